"""Charges as an ASE calculator, to stand beside a Deep Potential's."""

from collections.abc import Sequence
from typing import Any, ClassVar, final

from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes

from dpbench.md.long_range import LongRange
from dpbench.md.skin import Geometry

_VOIGT = ([0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1])


@final
class ChargeCalculator(Calculator):
    """Energy, forces, stress of charges, and the charges themselves, in ASE's units.

    ``ase.calculators.mixing.SumCalculator([DPCalculator(...), ChargeCalculator(...)])``
    is a Deep Potential with electrostatics.
    """

    implemented_properties: ClassVar[list[str]] = [  # type: ignore[misc]
        "energy",
        "free_energy",
        "forces",
        "stress",
        "charges",
    ]

    nolabel = True

    def __init__(self, long_range: LongRange) -> None:
        """Take the charges."""
        super().__init__()  # type: ignore[no-untyped-call]
        self.long_range = long_range

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = all_changes,
    ) -> None:
        """Evaluate the charges.

        Raises:
            ModelError: If an element has no parameters, or periodicity is mixed.
        """
        super().calculate(  # type: ignore[no-untyped-call]
            atoms, properties, system_changes
        )
        current: Any = self.atoms
        found = self.long_range.evaluate(
            Geometry(
                z=current.numbers,
                coord=current.positions,
                box=current.cell.array,
                pbc=current.pbc,
            )
        )
        self.results = {
            "energy": found.energy,
            "free_energy": found.energy,
            "forces": found.force,
            "charges": found.charge,
        }
        if current.cell.rank == 3:
            symmetric = (found.virial + found.virial.T) / 2
            self.results["stress"] = -symmetric[_VOIGT] / current.get_volume()
