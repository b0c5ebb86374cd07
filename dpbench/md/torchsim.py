"""A Deep Potential as a model of torch-sim: many systems, one call.

torch-sim is imported when a model is made, so that this module needs it only then.
"""

import importlib
from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dpbench.errors import SimulationError
from dpbench.md.batches import ATOMS_PER_BATCH, evaluate_many
from dpbench.md.model_source import Precision, open_model
from dpbench.md.moving import fastest
from dpbench.md.skin import Geometry
from dpbench.models.files import Potential
from dpbench.models.parameters import DTYPES
from dpbench.models.sel import SelOverflow, trained_overflow

NEEDED = ("positions", "cell", "atomic_numbers", "system_idx", "pbc")
"""Of a state."""


def make_model(
    model: Potential | str | PathLike[str],
    *,
    device: torch.device | str = "cpu",
    precision: Precision | None = None,
    is_exact: bool = False,
    sel_overflow: SelOverflow | None = None,
    atoms_per_batch: int = ATOMS_PER_BATCH,
) -> Any:
    """Make a ``torch_sim`` model with energy, forces, stress and per-atom energies.

    Stress is -virial / V, torch-sim's sign; zero for systems that are not periodic.
    Neighbours are searched on the CPU, anew in each call.

    Args:
        model: The potential, which keeps its device, or a file of one.
        device: Where a model of a file, and torch-sim's states, lie.
        precision: Of nets and states; None keeps the model's.
        is_exact: Evaluate the embedding nets of a plain model exactly.
        sel_overflow: What to do with more neighbours than the model's ``sel``; None:
            what the training did.
        atoms_per_batch: Most atoms of one forward pass.

    Returns:
        A ``torch_sim.models.interface.ModelInterface``.

    Raises:
        SimulationError: If torch-sim is missing.
        ModelError: If the model cannot be read.
    """
    try:
        interface = importlib.import_module("torch_sim.models.interface")
    except ImportError as error:
        raise SimulationError(
            f"torch_sim: cannot be imported ({error}); expected torch-sim-atomistic "
            "0.3 or later. pip install torch-sim-atomistic"
        ) from error
    potential, provenance = open_model(model, device=device, precision=precision)
    systems = SystemForces(
        potential if is_exact else fastest(potential),
        sel_overflow=sel_overflow or trained_overflow(provenance),
        atoms_per_batch=atoms_per_batch,
    )
    return _class_of(interface.ModelInterface)(systems)


@final
class SystemForces:
    """Evaluates systems that lie behind each other, as torch-sim has them."""

    def __init__(
        self,
        model: Potential,
        *,
        sel_overflow: SelOverflow = "error",
        atoms_per_batch: int = ATOMS_PER_BATCH,
    ) -> None:
        """Take a model as it is; it decides device and precision."""
        self.model = model
        self._overflow: SelOverflow = sel_overflow
        self._atoms_per_batch = atoms_per_batch

    @property
    def dtype(self) -> torch.dtype:
        """Precision of what is returned."""
        return DTYPES[self.model.config.precision]

    def evaluate(
        self,
        *,
        positions: Tensor,
        row_vector_cell: Tensor,
        atomic_numbers: Tensor,
        system_idx: Tensor,
        pbc: Any,
    ) -> dict[str, Tensor]:
        """Evaluate.

        Args:
            positions: (atom, 3), Å.
            row_vector_cell: (system, 3, 3), Å, rows are cell vectors.
            atomic_numbers: (atom).
            system_idx: (atom), system of each atom, ascending.
            pbc: One truth for all, or three for the directions.

        Returns:
            energy (system) eV, forces (atom, 3) eV/Å, stress (system, 3, 3) eV/Å^3,
            energies (atom) eV.

        Raises:
            ModelError: If the model does not know an element, or an atom has more
                neighbours than slots.
        """
        cells = row_vector_cell.detach().to("cpu", torch.float64).numpy()
        periodic = _periodic(pbc)
        structures = _structures(
            positions.detach().to("cpu", torch.float64).numpy(),
            atomic_numbers.detach().cpu().numpy(),
            cells,
            counts=torch.bincount(system_idx, minlength=len(cells)).tolist(),
            pbc=periodic,
        )
        found = list(
            evaluate_many(
                self.model,
                structures,
                sel_overflow=self._overflow,
                atoms_per_batch=self._atoms_per_batch,
            )
        )
        virial = np.stack([one.virial for one in found])
        arrays = {
            "energy": np.array([one.energy for one in found]),
            "forces": np.concatenate([one.force for one in found]),
            "stress": _stress(virial, cells) if periodic.all() else 0 * virial,
            "energies": np.concatenate([one.atom_energy for one in found]),
        }
        return {
            name: torch.from_numpy(array).to(positions.device, self.dtype)
            for name, array in arrays.items()
        }


def _structures(
    coord: NDArray[np.float64],
    z: NDArray[np.integer],
    box: NDArray[np.float64],
    *,
    counts: Sequence[int],
    pbc: NDArray[np.bool_],
) -> list[Geometry]:
    """Cut what lies behind each other into systems."""
    ends = np.cumsum(counts)
    return [
        Geometry(
            z=z[end - count : end], coord=coord[end - count : end], box=cell, pbc=pbc
        )
        for end, count, cell in zip(ends, counts, box, strict=True)
    ]


def _stress(
    virial: NDArray[np.float64], box: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return -virial / V, symmetric, (system, 3, 3), eV/Å^3."""
    symmetric = (virial + virial.transpose(0, 2, 1)) / 2
    stress: NDArray[np.float64] = -symmetric / np.abs(np.linalg.det(box))[:, None, None]
    return stress


def _periodic(pbc: Any) -> NDArray[np.bool_]:
    """Take one truth or three, as numbers, list or tensor."""
    plain = pbc.detach().cpu().numpy() if isinstance(pbc, Tensor) else np.asarray(pbc)
    return np.broadcast_to(plain.astype(np.bool_), 3).copy()


def _class_of(interface: Any) -> Any:
    """Make the class; its base is known only once torch-sim is there."""

    class DPModel(interface):  # type: ignore[misc]
        """A Deep Potential with torch-sim's interface."""

        def __init__(self, systems: SystemForces) -> None:
            super().__init__()
            self._systems = systems
            self._device = systems.model.device
            self._dtype = systems.dtype
            self._compute_stress = True
            self._compute_forces = True

        def forward(self, state: Any, **_: Any) -> dict[str, Tensor]:
            """Evaluate a state, or a mapping of what it holds."""
            values = state
            if not isinstance(state, Mapping):
                values = {name: getattr(state, name) for name in NEEDED}
            return self._systems.evaluate(
                positions=values["positions"],
                # torch-sim's cells have their vectors as columns.
                row_vector_cell=values["cell"].mT,
                atomic_numbers=values["atomic_numbers"],
                system_idx=values["system_idx"],
                pbc=values["pbc"],
            )

    return DPModel
