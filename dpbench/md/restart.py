"""Restart files: all that a run needs to go on, written whole."""

import io
import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from dpbench.errors import SimulationError
from dpbench.md.dynamics import Dynamics
from dpbench.md.state import State
from dpbench.models.checkpoint import write_whole

FORMAT = 1

TENSORS = (
    "coord",
    "velocity",
    "force",
    "box",
    "energy",
    "virial",
    "kinetic",
    "heat",
    "mass",
)
"""Fields of ``State`` that are tensors."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Restart:
    """What a restart file holds."""

    header: dict[str, Any]
    """JSON: configuration, positions of the outputs, step ..."""
    arrays: dict[str, NDArray[Any]]
    """State, baths, generator and statistics."""

    def state(self, device: torch.device | str) -> State:
        """Put the state back on a device."""
        arrays = self.arrays
        tensors = {
            name: torch.tensor(arrays[name], dtype=torch.float64, device=device)
            for name in TENSORS
        }
        bath = {
            name.removeprefix("bath."): torch.tensor(array, device=device)
            for name, array in arrays.items()
            if name.startswith("bath.")
        }
        return State(
            z=arrays["z"],
            pbc=arrays["pbc"],
            bath=bath,
            step=int(self.header["step"]),
            **tensors,
        )

    def resume(self, dynamics: Dynamics) -> None:
        """Bring generator and neighbour list to where they were.

        The list is made where it was made before, so that sums have the same order.
        """
        state = torch.from_numpy(self.arrays["generator"])
        try:
            dynamics.generator.set_state(state)
        except RuntimeError as error:
            raise SimulationError(
                "the restart file comes from another kind of device, whose random "
                "numbers cannot be continued here. Use the device it was made on."
            ) from error
        device = dynamics.state.device
        origin, box = (
            torch.tensor(self.arrays[name], device=device)
            for name in ("origin", "origin_box")
        )
        dynamics.neighbours.build(dynamics.state, origin, box)

    def part(self, prefix: str) -> dict[str, NDArray[Any]]:
        """Arrays whose names start with ``prefix.``, without it."""
        start = f"{prefix}."
        return {
            name.removeprefix(start): array
            for name, array in self.arrays.items()
            if name.startswith(start)
        }


def write_restart(
    path: Path,
    dynamics: Dynamics,
    header: dict[str, Any],
    statistics: dict[str, NDArray[np.float64]],
) -> None:
    """Write a restart file so that a crash leaves the old one or the new one.

    Raises:
        ModelError: If the file cannot be written.
    """
    state, neighbours = dynamics.state, dynamics.neighbours
    if neighbours.origin is None or neighbours.origin_box is None:
        raise RuntimeError("a restart file needs a run that has started")
    arrays: dict[str, NDArray[Any]] = {
        name: getattr(state, name).cpu().numpy() for name in TENSORS
    }
    arrays |= {f"bath.{name}": t.cpu().numpy() for name, t in state.bath.items()}
    arrays |= {f"digest.{name}": array for name, array in statistics.items()}
    arrays |= {
        "z": state.z,
        "pbc": state.pbc,
        "origin": neighbours.origin.cpu().numpy(),
        "origin_box": neighbours.origin_box.cpu().numpy(),
        "generator": dynamics.generator.get_state().numpy(),
    }
    text = json.dumps({"format": FORMAT, "step": state.step, **header})
    buffer = io.BytesIO()
    np.savez(buffer, header=np.array(text), **arrays)  # type: ignore[arg-type]
    write_whole(path, buffer.getvalue())


def read_restart(path: Path) -> Restart:
    """Read a restart file.

    Raises:
        SimulationError: If it is missing, damaged or of a newer format.
    """
    try:
        content = io.BytesIO(path.read_bytes())
        with np.load(content, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        header = json.loads(str(arrays.pop("header")))
        newer = header["format"] > FORMAT
    except OSError as error:
        raise SimulationError(
            f"{path}: cannot be read ({error.strerror}). Give the folder of a run that "
            "wrote a restart file."
        ) from error
    except (ValueError, KeyError, EOFError, TypeError, zipfile.BadZipFile) as error:
        raise SimulationError(
            f"{path}: is damaged or no restart file of dpbench."
        ) from error
    if newer:
        raise SimulationError(
            f"{path}: has restart format {header['format']}; this dpbench reads up to "
            f"{FORMAT}. Update dpbench."
        )
    return Restart(header=header, arrays=arrays)
