"""How smooth the energy curve of two atoms is.

Source: Y. Chiang et al., MLIP Arena (2025), and matbench-discovery, for the three
measures; both take them from curves of equal steps.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True, slots=True)
class CurveShape:
    """Measures of one curve."""

    tortuosity: float | None
    """Total variation over the two falls to the minimum; None for a flat curve."""
    energy_jump: float
    """eV, sum of |steps| around points where the energy turns."""
    force_flips: int
    """Sign changes of the force."""


def curve_shape(
    energy: NDArray[np.float64],
    force: NDArray[np.float64],
    *,
    tolerance: float = 1e-6,
) -> CurveShape | None:
    """Measure one curve of a dimer.

    Args:
        energy: (point), eV, from short to long distances.
        force: (point), eV/Å, on the second atom along the bond.
        tolerance: eV and eV/Å; smaller steps and forces have no sign.

    Returns:
        The measures; None where a number is not finite. A point where the energy
        turns from falling to rising once is a minimum and no jump: the deepest one
        does not count.
    """
    if not (np.isfinite(energy).all() and np.isfinite(force).all()):
        return None
    steps = np.diff(energy)
    lowest = int(energy.argmin())
    falls = abs(energy[0] - energy[lowest]) + abs(energy[-1] - energy[lowest])
    sign = np.where(np.abs(steps) > tolerance, np.sign(steps), 0)
    turns = [
        point
        for point in range(1, len(energy) - 1)
        if sign[point - 1] * sign[point] < 0 and point != lowest
    ]
    jump = sum(abs(steps[point - 1]) + abs(steps[point]) for point in turns)
    pushes = np.sign(force[np.abs(force) > tolerance])
    return CurveShape(
        tortuosity=float(np.abs(steps).sum() / falls) if falls > tolerance else None,
        energy_jump=float(jump),
        force_flips=int((np.diff(pushes) != 0).sum()),
    )
