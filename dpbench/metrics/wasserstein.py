"""The distance that one distribution must be carried to become another."""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def wasserstein(grid: Array, first: Array, second: Array) -> float:
    """Return W1 of two distributions on one grid, in the grid's unit.

        W1 = int |C_1(x) - C_2(x)| dx,  C the cumulative masses, both ending at 1

    Unlike the area between two densities it goes on growing with the shift of a peak
    once the peaks no longer overlap.

    Args:
        grid: (point), ascending.
        first: (point), masses, of any positive sum.
        second: (point), masses.

    Raises:
        ValueError: If a mass is no number or negative, or all are zero.

    Source:
        L. N. Vaserstein, Probl. Peredachi Inf. 5, 64 (1969); in one dimension
        S. S. Vallender, Theory Probab. Appl. 18, 784 (1974).
    """
    for values in (first, second):
        if not np.isfinite(values).all() or (values < 0).any() or not values.sum() > 0:
            raise ValueError("masses must be finite, not negative, and not all zero")
    ahead = np.cumsum(first / first.sum()) - np.cumsum(second / second.sum())
    return float(np.abs(ahead[:-1]) @ np.diff(grid))
