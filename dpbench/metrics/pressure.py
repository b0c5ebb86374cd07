"""How far the pressures of two runs are apart: their means, their distributions."""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

MOST_BINS = 80
"""Of the histograms; short runs have fewer."""


def pressure_mae(reference: Array, predicted: Array) -> float:
    """Return the absolute difference of the mean pressures, in their unit.

    Frames are not paired: two runs that forgot their start have nothing in common at
    one time, and pairs would measure their fluctuations.

    Args:
        reference: (frame).
        predicted: (frame), of any other length.

    Source:
        Matbench Discovery, MD task, eqs. 6 and 7.
    """
    return abs(float(reference.mean()) - float(predicted.mean()))


def pressure_error(reference: Array, predicted: Array) -> float:
    """Return the part of two distributions that they do not share, percent.

        50 sum |rho_r - rho_p| dp

    Args:
        reference: (frame).
        predicted: (frame).

    Returns:
        0 for the same histograms, 100 for disjoint ones.

    Raises:
        ValueError: If a value is no number.

    Source:
        Matbench Discovery, MD task, eq. 9, with 80 bins; here at most the square root
        of the frames, since fifty frames in eighty bins share little with themselves.
    """
    both = np.concatenate([reference, predicted])
    if not np.isfinite(both).all():
        raise ValueError("pressures must be numbers")
    low, high = float(both.min()), float(both.max())
    if low == high:
        return 0.0
    fewest = min(len(reference), len(predicted))
    nbins = int(min(MOST_BINS, max(2, np.ceil(np.sqrt(fewest)))))
    edges = np.linspace(low, high, nbins + 1)
    part = [
        np.histogram(one, bins=edges)[0] / len(one) for one in (reference, predicted)
    ]
    return float(50 * np.abs(part[0] - part[1]).sum())
