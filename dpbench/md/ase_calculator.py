"""A Deep Potential as an ASE calculator, in ASE's names, order and signs."""

from collections.abc import Sequence
from typing import Any, ClassVar, final

from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes

from dpbench.md.skin import Geometry, SkinList
from dpbench.models.potential import DeepPotential

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

    def __init__(self, model: DeepPotential, *, skin: float = DEFAULT_SKIN) -> None:
        """Wrap a model.

        Args:
            model: The potential; it keeps its device and precision.
            skin: Extra radius of the neighbour list, Å; zero searches at every call.
        """
        super().__init__()  # type: ignore[no-untyped-call]
        self.model = model
        self.neighbours = SkinList(model.type_map, model.rcut, skin)

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = all_changes,
    ) -> None:
        """Evaluate the model; all properties come from one evaluation.

        Raises:
            ModelError: If the model does not know an element.
        """
        super().calculate(  # type: ignore[no-untyped-call]
            atoms, properties, system_changes
        )
        current: Any = self.atoms
        batch = self.neighbours.batch(
            Geometry(
                z=current.numbers,
                coord=current.positions,
                box=current.cell.array,
                pbc=current.pbc,
            ),
            self.model.dtype,
        )
        if self.model.device.type != "cpu":
            batch = batch.to(self.model.device, self.model.dtype)
        found = self.model.energy_and_forces(batch)
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
