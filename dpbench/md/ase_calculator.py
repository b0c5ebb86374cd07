"""A Deep Potential as an ASE calculator, in ASE's names, order and signs."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, final

from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes

from dpbench.errors import ModelError
from dpbench.md.moving import MovingStructure
from dpbench.md.skin import Geometry
from dpbench.models.compressed import CompressedPotential
from dpbench.models.files import Potential
from dpbench.models.sel import SelOverflow, trained_overflow

DEFAULT_SKIN = 1.0
"""Å; a list at room temperature lasts for some tens of steps."""

_VOIGT = ([0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1])


@final
class DPCalculator(Calculator):
    """Energy (eV), forces (eV/Å) and stress (eV/Å^3) of an ``ase.Atoms``.

    ASE's stress is positive under tension: stress = -virial / volume, in the order
    xx, yy, zz, yz, xz, xy. It is given wherever the cell has a volume.
    """

    implemented_properties: ClassVar[list[str]] = [  # type: ignore[misc]
        "energy",
        "free_energy",
        "energies",
        "forces",
        "stress",
    ]

    def __init__(
        self,
        model: Potential,
        *,
        skin: float = DEFAULT_SKIN,
        is_exact: bool = False,
        sel_overflow: SelOverflow | None = None,
        provenance: Mapping[str, Any] | None = None,
    ) -> None:
        """Wrap a model.

        A plain model on the CPU is tabulated first, which changes forces by less than
        1e-5 eV/Å and makes them several times as fast.

        Args:
            model: The potential, plain or compressed; it keeps device and precision.
            skin: Extra radius of the neighbour list, Å; zero searches at every call.
            is_exact: Evaluate the embedding nets of a plain model exactly.
            sel_overflow: What to do with more neighbours than the model's ``sel``;
                None: what the training did that ``provenance`` tells of.
            provenance: Of the model, as ``load_potential`` returns it.

        Raises:
            ModelError: If a compressed model shall be evaluated exactly.
        """
        super().__init__()  # type: ignore[no-untyped-call]
        if is_exact and isinstance(model, CompressedPotential):
            raise ModelError(
                "is_exact: the model is compressed, so there is no exact embedding; "
                "expected the m.pth it was made of. Leave is_exact out, or give that."
            )
        if sel_overflow is None:
            sel_overflow = trained_overflow(provenance or {})
        self.model = model
        self.neighbours = MovingStructure(
            model, skin=skin, is_exact=is_exact, sel_overflow=sel_overflow
        )

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
        found = self.neighbours.evaluate(
            Geometry(
                z=current.numbers,
                coord=current.positions,
                box=current.cell.array,
                pbc=current.pbc,
            )
        )
        energy = float(found.energy[0])
        self.results = {
            "energy": energy,
            "free_energy": energy,
            "energies": found.atom_energy.cpu().numpy(),
            "forces": found.force.cpu().numpy(),
        }
        if current.cell.rank == 3:
            virial = found.virial[0].cpu().numpy()
            symmetric = (virial + virial.T) / 2
            self.results["stress"] = -symmetric[_VOIGT] / current.get_volume()
