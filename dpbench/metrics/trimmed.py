"""Trimmed means with their tests: what a spike cannot move."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dpbench.metrics.student import two_sided_p, two_sided_quantile

TRIM = 0.25
"""Share of the numbers dropped at either end."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Shift:
    """A place, or the difference of two, in the unit of the numbers."""

    value: float
    low: float
    """Lower end of the interval that belongs to the test."""
    high: float
    p: float
    """Two-sided, against zero."""


def trimmed_shift(values: Sequence[float], *, level: float) -> Shift:
    """Test whether the middle of some numbers is zero.

    The mean without the lowest and the highest quarter; its error from the numbers with
    these drawn in to the others (winsorised).

    Args:
        values: At least four numbers.
        level: Two-sided level of test and interval.

    Source:
        J. W. Tukey, D. H. McLaughlin, Sankhya A 25, 331 (1963).
    """
    middle, variance, dof = _middle(values)
    return _shift(middle, variance, dof, level)


def trimmed_difference(
    a: Sequence[float], b: Sequence[float], *, level: float
) -> Shift:
    """Test whether two groups have the same middle; the shift is that of a less b.

    Args:
        a: At least four numbers.
        b: At least four numbers.
        level: Two-sided level of test and interval.

    Source:
        K. K. Yuen, Biometrika 61, 165 (1974).
    """
    (one, var_one, dof_one), (two, var_two, dof_two) = _middle(a), _middle(b)
    variance = var_one + var_two
    dof = dof_one + dof_two
    if variance > 0:
        shares = (
            (var_one / variance) ** 2 / dof_one,
            (var_two / variance) ** 2 / dof_two,
        )
        dof = 1 / sum(shares)
    return _shift(one - two, variance, dof, level)


def _middle(values: Sequence[float]) -> tuple[float, float, float]:
    """Return trimmed mean, its variance, and degrees of freedom."""
    ordered = np.sort(np.asarray(values, np.float64))
    n = len(ordered)
    cut = int(TRIM * n)
    kept = ordered[cut : n - cut]
    drawn_in = np.clip(ordered, kept[0], kept[-1])
    spread = float(((drawn_in - drawn_in.mean()) ** 2).sum())
    h = len(kept)
    return float(kept.mean()), spread / (h * (h - 1)), float(h - 1)


def _shift(middle: float, variance: float, dof: float, level: float) -> Shift:
    error = math.sqrt(variance)
    half = two_sided_quantile(level, round(dof, 3)) * error
    p = two_sided_p(middle / error, dof) if error > 0 else float(middle == 0)
    return Shift(value=middle, low=middle - half, high=middle + half, p=p)
