"""Observables as CSV and trajectories as extxyz: appended, cut back on a restart."""

from collections.abc import Sequence
from io import BufferedRandom
from pathlib import Path
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from dpbench.elements import SYMBOLS
from dpbench.errors import SimulationError
from dpbench.md.observables import COLUMNS, Sample
from dpbench.md.state import State
from dpbench.units import AMU


def open_file(path: Path) -> BufferedRandom:
    """Open a file at its end, made where there is none.

    Raises:
        SimulationError: If the folder or the disk refuses.
    """
    try:
        path.touch()
        file = path.open("r+b")
    except OSError as error:
        raise SimulationError(
            f"{path}: cannot be written ({error.strerror})."
        ) from error
    file.seek(0, 2)
    return file


def cut_file(file: BufferedRandom, path: Path, size: int) -> None:
    """Cut a file to ``size`` bytes.

    Raises:
        SimulationError: If it is shorter than that.
    """
    if file.seek(0, 2) < size:
        raise SimulationError(
            f"{path}: is shorter than when the restart file was written; expected at "
            f"least {size} bytes. Put the file back, or start a new run."
        )
    file.truncate(size)
    file.seek(size)


@final
class CsvLog:
    """One row per log point and replica."""

    def __init__(self, path: Path) -> None:
        """Append to ``path``; a new file gets a header."""
        self._path, self._file = path, open_file(path)
        if self._file.tell() == 0:
            names = ",".join(name for name, _, _ in COLUMNS.values())
            self._file.write(f"step,time_ps,replica,{names}\n".encode())

    def write(self, sample: Sample) -> None:
        """Write a log point; it is on its way to the disk at once."""
        rows = []
        for replica in range(len(sample.values["potential"])):
            values = (sample.values[name][replica] for name in COLUMNS)
            cells = ",".join("" if np.isnan(v) else repr(float(v)) for v in values)
            rows.append(f"{sample.step},{sample.time:.9g},{replica},{cells}\n")
        self._file.write("".join(rows).encode())
        self._file.flush()

    def position(self) -> Any:
        """Return the size of the file."""
        self._file.flush()
        return self._file.tell()

    def cut(self, position: Any) -> None:
        """Drop rows of later steps."""
        cut_file(self._file, self._path, int(position))

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()


@final
class ExtxyzTrajectory:
    """One file per replica, which ASE and OVITO read.

    Momenta are in ASE's unit, so that ``atoms.get_velocities()`` is right.
    """

    def __init__(self, paths: Sequence[Path], fields: Sequence[str]) -> None:
        """Append to ``paths``, one per replica.

        Args:
            paths: The files.
            fields: Of ``coord``, ``velocity`` and ``force``, what is written.
        """
        self._paths, self._fields = tuple(paths), tuple(fields)
        self._files = [open_file(path) for path in paths]
        self._species: NDArray[np.str_] | None = None

    def write(self, state: State, sample: Sample) -> None:
        """Write a frame of every replica."""
        if self._species is None:
            self._species = np.array([f"{SYMBOLS[z]:<2}" for z in state.z])
        for replica, file in enumerate(self._files):
            header, columns = self._frame(state, sample, replica)
            line = "%s" + " %16.8f" * columns.shape[1] + "\n"
            # One format call for all atoms: ten times as fast as one for each.
            flat: list[Any] = []
            for name, row in zip(self._species, columns.tolist(), strict=True):
                flat.append(name)
                flat.extend(row)
            body = (line * len(columns)) % tuple(flat)
            file.write(f"{len(columns)}\n{header}\n{body}".encode())
            file.flush()

    def position(self) -> Any:
        """Return the sizes of the files."""
        for file in self._files:
            file.flush()
        return [file.tell() for file in self._files]

    def cut(self, position: Any) -> None:
        """Drop frames of later steps."""
        for file, path, size in zip(self._files, self._paths, position, strict=True):
            cut_file(file, path, int(size))

    def close(self) -> None:
        """Let go of the files."""
        for file in self._files:
            file.close()

    def _frame(
        self, state: State, sample: Sample, replica: int
    ) -> tuple[str, NDArray[np.float64]]:
        parts = ["species:S:1", "pos:R:3"]
        columns = [state.coord[replica].cpu().numpy()]
        if "velocity" in self._fields:
            parts.append("momenta:R:3")
            columns.append(momenta(state, replica))
        if "force" in self._fields:
            parts.append("forces:R:3")
            columns.append(state.force[replica].cpu().numpy())
        words = [f"Properties={':'.join(parts)}"]
        if state.pbc.any():
            cell = " ".join(f"{x:.10f}" for x in state.box[replica].flatten().tolist())
            words.insert(0, f'Lattice="{cell}"')
        periodic = " ".join("T" if flag else "F" for flag in state.pbc)
        words += [
            f'pbc="{periodic}"',
            f"energy={float(sample.values['potential'][replica])!r}",
            f"step={sample.step}",
            f"time_ps={sample.time:.9g}",
            f"temperature_k={float(sample.values['temperature'][replica]):.6g}",
        ]
        return " ".join(words), np.concatenate(columns, axis=1)


def momenta(state: State, replica: int) -> NDArray[np.float64]:
    """Return m v of each atom in ASE's unit, sqrt(amu eV), (atom, 3)."""
    # m[eV ps^2/Å^2] v[Å/ps] is eV ps/Å; ASE's time is Å sqrt(amu/eV) = sqrt(AMU) ps.
    product = state.mass[:, None] * state.velocity[replica] / AMU**0.5
    array: NDArray[np.float64] = product.cpu().numpy()
    return array
