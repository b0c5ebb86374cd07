"""Steps in a series of measurements: when did it become slower, and by how much?"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

THRESHOLD = 0.05
"""Relative worsening below which a step is no regression."""

FEW = 5
"""Points below which steps cannot be told from noise."""

FEW_THRESHOLD = 0.25
"""What the last of few points must be worse by."""

MOST_POINTS = 200
"""Only the last ones of a longer series are looked at."""

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Level:
    """A stretch of a series that stays alike."""

    start: int
    """Index of its first point."""
    stop: int
    """Index after its last point."""
    value: float
    """Median of its points."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Regression:
    """The series ends worse than it once was."""

    good: int
    """Index of the last point that was good."""
    bad: int
    """Index of the first point that was not, and after which none was."""
    before: float
    """Level at its best."""
    after: float
    """Level at the end."""

    @property
    def size(self) -> float:
        """Relative worsening: 0.1 is a tenth."""
        worse, better = max(self.before, self.after), min(self.before, self.after)
        return worse / better - 1


def find_levels(values: Sequence[float] | Array) -> tuple[Level, ...]:
    """Cut a series into levels.

    For each number of levels the cuts with the least sum of absolute deviations of the
    logarithms from their medians are found; of these numbers, the one that makes
    4 k ln(n)/n + ln(mean deviation) least. Deviations below a tenth of the typical
    change from point to point are not told from none.

    Args:
        values: Positive numbers, one per commit or date, the oldest first.

    Returns:
        Levels that cover the series.

    Raises:
        ValueError: If there is no value, or one that is not positive.

    Source:
        airspeed velocity, ``asv/step_detect.py``: L1 Potts functional, with the number
        of steps by an information criterion.
    """
    points = np.asarray(values, np.float64)
    if not len(points) or not (points > 0).all() or not np.isfinite(points).all():
        raise ValueError(f"expected positive numbers, got {list(values)[:5]}")
    points = points[-MOST_POINTS:]
    shift, logs = len(values) - len(points), np.log(points)
    cost, cut = _best_cuts(_deviations(logs))
    n = len(points)
    floor = 0.1 * float(np.median(np.abs(np.diff(logs)))) if n > 1 else 0.0
    floor = max(floor, 1e-6)
    criterion = [
        4 * k * math.log(n) / n + math.log(cost[k - 1] / n + floor)
        for k in range(1, len(cost) + 1)
    ]
    ends = _walk_back(cut, int(np.argmin(criterion)), n)
    return tuple(
        Level(
            start=shift + start,
            stop=shift + stop,
            value=float(np.median(points[start:stop])),
        )
        for start, stop in ends
    )


def find_regression(
    values: Sequence[float] | Array,
    *,
    higher_is_better: bool = False,
    threshold: float = THRESHOLD,
) -> Regression | None:
    """Tell whether a series ends worse than its best level, and since when.

    Args:
        values: Positive numbers, the oldest first.
        higher_is_better: Polarity, e.g. of frames per second.
        threshold: Relative worsening that counts.

    Returns:
        None if it does not. Of fewer than ``FEW`` points the last one is compared with
        the best before it, and must be worse by ``FEW_THRESHOLD``.
    """
    if len(values) < 2:
        return None
    if len(values) < FEW:
        levels = [
            Level(start=i, stop=i + 1, value=float(v)) for i, v in enumerate(values)
        ]
        threshold = max(threshold, FEW_THRESHOLD)
    else:
        levels = list(find_levels(values))
    sign = -1.0 if higher_is_better else 1.0
    best = min(levels, key=lambda level: (sign * level.value, -level.start))
    limit = sign * math.log1p(threshold) + math.log(best.value)
    first_bad = None
    for level in reversed(levels):
        if sign * (math.log(level.value) - limit) <= 0:
            break
        first_bad = level
    if first_bad is None:
        return None
    return Regression(
        good=first_bad.start - 1,
        bad=first_bad.start,
        before=best.value,
        after=levels[-1].value,
    )


def _deviations(points: Array) -> Array:
    """(start, last), sum of absolute deviations from the median in between."""
    n = len(points)
    out = np.zeros((n, n))
    for start in range(n):
        for last in range(start + 1, n):
            piece = points[start : last + 1]
            out[start, last] = np.abs(piece - np.median(piece)).sum()
    return out


def _best_cuts(deviation: Array) -> tuple[list[float], list[NDArray[np.int64]]]:
    """Find, for each number of levels, the least cost and where the last one starts."""
    n = len(deviation)
    most = max(1, min(n // 2, 30))
    best = deviation[0].copy()
    costs, cuts = [float(best[-1])], [np.zeros(n, np.int64)]
    for _ in range(1, most):
        nxt, start_of = np.full(n, np.inf), np.zeros(n, np.int64)
        for last in range(1, n):
            total = best[:last] + deviation[1 : last + 1, last]
            at = int(np.argmin(total))
            nxt[last], start_of[last] = total[at], at + 1
        best = nxt
        costs.append(float(best[-1]))
        cuts.append(start_of)
    return costs, cuts


def _walk_back(
    cuts: Sequence[NDArray[np.int64]], which: int, n: int
) -> list[tuple[int, int]]:
    """Return (start, stop) of every level of the chosen number of levels."""
    out, stop = [], n
    for level in range(which, -1, -1):
        start = int(cuts[level][stop - 1])
        out.append((start, stop))
        stop = start
    return out[::-1]
