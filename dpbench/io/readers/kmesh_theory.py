"""The Monkhorst-Pack mesh behind a list of irreducible k-points."""

import numpy as np
from numpy.typing import NDArray

MOST_DIVISIONS = 64
"""Divisions of an axis that are tried."""

_WEIGHT = 1e-3
"""How far from a whole number of mesh points a printed weight may stand."""

Mesh = tuple[tuple[int, ...], tuple[int, ...]]


def infer_mesh(
    crystal: NDArray[np.float64], weights: NDArray[np.float64], *, tolerance: float
) -> Mesh | None:
    """Find the mesh whose symmetry-reduced points these are.

    Args:
        crystal: (point, 3), fractions of the reciprocal vectors.
        weights: (point), of any norm.
        tolerance: What the printing of a coordinate may leave.

    Returns:
        Divisions and shifts (0 or 1, in half divisions); None if in doubt.
    """
    divisions, shifts = [], []
    for column in crystal.T:
        found = _divisions(column, tolerance)
        if found is None:
            return None
        divisions.append(found[0])
        shifts.append(found[1])
    # symmetry may leave no point off an axis: then try that axis like the finest one
    finest = max(divisions)
    raised = [
        finest if n == 1 and s == 0 else n
        for n, s in zip(divisions, shifts, strict=True)
    ]
    share_of_one = weights / weights.sum()
    for trial in (divisions, raised):
        share = share_of_one * np.prod(trial)
        # every point stands for a whole number of mesh points
        if np.abs(share - np.rint(share)).max() < _WEIGHT and share.min() > 0.5:
            return tuple(trial), tuple(shifts)
    return None


def _divisions(column: NDArray[np.float64], tolerance: float) -> tuple[int, int] | None:
    """Return the fewest divisions (and the shift, 0 or 1) that hold all values."""
    for n in range(1, MOST_DIVISIONS + 1):
        for shift in (0, 1):
            offset = column * n - 0.5 * shift
            if np.abs(offset - np.rint(offset)).max() < tolerance * n:
                return n, shift
    return None
