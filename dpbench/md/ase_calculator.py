"""A Deep Potential as an ASE calculator, in ASE's names, order and signs."""

from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Any, ClassVar, final

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from numpy.typing import NDArray

from dpbench.errors import ModelError
from dpbench.md.batches import ATOMS_PER_BATCH, evaluate_many
from dpbench.md.model_source import Precision, open_model
from dpbench.md.moving import MovingStructure
from dpbench.md.skin import Geometry
from dpbench.models.compressed import CompressedPotential
from dpbench.models.files import Potential
from dpbench.models.sel import SelOverflow, trained_overflow

APARAM = "aparam"
"""Array of ``ase.Atoms`` with the numbers of atoms that a model takes."""

DEFAULT_SKIN = 1.0
"""Å; a list at room temperature lasts for some tens of steps."""

_NONE = np.zeros(0)
_VOIGT = ([0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1])


@final
class DPCalculator(Calculator):
    """Energy (eV), forces (eV/Å) and stress (eV/Å^3) of an ``ase.Atoms``.

    ASE's stress is positive under tension: stress = -virial / volume, in the order
    xx, yy, zz, yz, xz, xy. It is given wherever the cell has a volume. A model that
    takes numbers of each atom reads them from ``atoms.arrays["aparam"]``.
    """

    implemented_properties: ClassVar[list[str]] = [  # type: ignore[misc]
        "energy",
        "free_energy",
        "energies",
        "forces",
        "stress",
    ]

    nolabel = True
    """Tells ``ase run`` that there are no files to be named."""

    def __init__(
        self,
        model: Potential | str | PathLike[str],
        *,
        skin: float = DEFAULT_SKIN,
        is_exact: bool = False,
        sel_overflow: SelOverflow | None = None,
        provenance: Mapping[str, Any] | None = None,
        device: str = "cpu",
        precision: Precision | None = None,
    ) -> None:
        """Wrap a model.

        A plain model on the CPU is tabulated first, which changes forces by less than
        1e-5 eV/Å and makes them several times as fast.

        Args:
            model: The potential, plain or compressed, which keeps its device; or a
                file of one: ``m.pth`` of dpbench, ``.dp`` or ``.yaml`` of DeePMD-kit.
            skin: Extra radius of the neighbour list, Å; zero searches at every call.
            is_exact: Evaluate the embedding nets of a plain model exactly.
            sel_overflow: What to do with more neighbours than the model's ``sel``;
                None: what the training did that ``provenance`` tells of.
            provenance: Of the model, as ``load_potential`` returns it; None takes the
                file's.
            device: Where a model of a file shall lie.
            precision: Of the nets; None keeps the model's.

        Raises:
            ModelError: If the file is no model, or a compressed model shall be
                evaluated exactly.
        """
        super().__init__()  # type: ignore[no-untyped-call]
        model, of_file = open_model(model, device=device, precision=precision)
        if is_exact and isinstance(model, CompressedPotential):
            raise ModelError(
                "is_exact: the model is compressed, so there is no exact embedding; "
                "expected the m.pth it was made of. Leave is_exact out, or give that."
            )
        if sel_overflow is None:
            sel_overflow = trained_overflow(
                of_file if provenance is None else provenance
            )
        self.model = model
        self.neighbours = MovingStructure(
            model, skin=skin, is_exact=is_exact, sel_overflow=sel_overflow
        )

    @classmethod
    def load(cls, path: str | PathLike[str], **options: Any) -> "DPCalculator":
        """Make a calculator of a model file; options are those of the constructor.

        Raises:
            ModelError: If the file is missing, damaged, or no model dpbench evaluates.
        """
        return cls(path, **options)

    def check_state(self, atoms: Atoms, tol: float = 1e-15) -> list[str]:
        """List what has changed since the last call, numbers of atoms among it."""
        changes: list[str] = super().check_state(  # type: ignore[no-untyped-call]
            atoms, tol
        )
        known: Any = self.atoms
        if not changes:
            then, now = (one.arrays.get(APARAM, _NONE) for one in (known, atoms))
            changes = [] if np.array_equal(then, now) else [APARAM]
        return changes

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = all_changes,
    ) -> None:
        """Evaluate the model; all properties come from one evaluation.

        Raises:
            ModelError: If the model does not know an element, an atom has more
                neighbours than the model has slots, or positions are not finite.
        """
        super().calculate(  # type: ignore[no-untyped-call]
            atoms, properties, system_changes
        )
        current: Any = self.atoms
        found = self.neighbours.evaluate(_geometry(current))
        self.results = _results(
            current,
            energy=float(found.energy[0]),
            atom_energy=found.atom_energy.cpu().numpy(),
            force=found.force.cpu().numpy(),
            virial=found.virial[0].cpu().numpy(),
        )

    def evaluate_many(
        self, images: Sequence[Atoms], *, atoms_per_batch: int = ATOMS_PER_BATCH
    ) -> list[dict[str, Any]]:
        """Evaluate many structures in few passes; they may differ in everything.

        The state of the calculator stays as it is.

        Args:
            images: The structures.
            atoms_per_batch: Most atoms of one pass; one structure at least.

        Returns:
            Of each structure what ``calculate`` puts into ``results``.

        Raises:
            ModelError: As ``calculate``; names the structure by its number.
        """
        geometries = [_geometry(atoms) for atoms in images]
        for index, geometry in enumerate(geometries):
            if not np.isfinite(geometry.coord).all():
                raise ModelError(
                    f"structure {index}: a position is no number; expected finite "
                    "coordinates, Å. Look at where the structure comes from."
                )
        found = evaluate_many(
            self.neighbours.model,
            geometries,
            sel_overflow=self.neighbours.overflow,
            atoms_per_batch=atoms_per_batch,
        )
        return [
            _results(
                atoms,
                energy=one.energy,
                atom_energy=one.atom_energy,
                force=one.force,
                virial=one.virial,
            )
            for atoms, one in zip(images, found, strict=True)
        ]

    def _get_name(self) -> str:
        return "dpbench"


def _geometry(atoms: Any) -> Geometry:
    numbers = atoms.arrays.get(APARAM)
    return Geometry(
        z=atoms.numbers,
        coord=atoms.positions,
        box=atoms.cell.array,
        pbc=atoms.pbc,
        aparam=None
        if numbers is None
        else np.asarray(numbers, dtype=np.float64).reshape(len(atoms), -1),
    )


def _results(
    atoms: Any,
    *,
    energy: float,
    atom_energy: NDArray[np.float64],
    force: NDArray[np.float64],
    virial: NDArray[np.float64],
) -> dict[str, Any]:
    """Return results by ASE's names; a stress where the cell has a volume."""
    results = {
        "energy": energy,
        "free_energy": energy,
        "energies": atom_energy,
        "forces": force,
    }
    if atoms.cell.rank == 3:
        symmetric = (virial + virial.T) / 2
        results["stress"] = -symmetric[_VOIGT] / atoms.get_volume()
    return results
