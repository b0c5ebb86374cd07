"""Spread of measured numbers: median, quartiles, bootstrap intervals, ties."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 1000
"""Bootstrap resamples of every interval."""

BOOTSTRAP_SEED = 20240611
"""Fixed, so that one record gives one interval."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Spread:
    """Summary of repeated measurements, in the unit of the samples."""

    median: float
    quartile_low: float
    quartile_high: float
    ci_low: float
    """Lower end of the 95 % bootstrap interval of the median."""
    ci_high: float
    """Upper end of the 95 % bootstrap interval of the median."""
    n: int
    """Number of samples."""

    @property
    def interquartile_range(self) -> float:
        """Distance between the quartiles."""
        return self.quartile_high - self.quartile_low


def spread(samples: Sequence[float], *, seed: int = BOOTSTRAP_SEED) -> Spread:
    """Summarise samples by median, quartiles and a bootstrap interval of the median.

    Args:
        samples: At least one number.
        seed: Seed of the resampling.

    Returns:
        The summary; the interval of one sample is that sample.

    Raises:
        ValueError: If there is no sample.
    """
    values = np.asarray(samples, np.float64)
    if not len(values):
        raise ValueError("expected at least one sample, got none")
    rng = np.random.default_rng(seed)
    drawn = values[rng.integers(0, len(values), (RESAMPLES, len(values)))]
    low, high = np.percentile(np.median(drawn, axis=1), [2.5, 97.5])
    quartile_low, median, quartile_high = np.percentile(values, [25, 50, 75])
    return Spread(
        median=float(median),
        quartile_low=float(quartile_low),
        quartile_high=float(quartile_high),
        ci_low=float(low),
        ci_high=float(high),
        n=len(values),
    )


def blocks_of_groups(group: NDArray[np.integer]) -> NDArray[np.int64]:
    """Cut frames into blocks for a bootstrap that respects their correlation.

    Frames of one group (a trajectory) are taken in their order and cut into contiguous
    blocks of ceil(n^(1/2)) frames; a block never holds two groups.

    Args:
        group: Group of each frame, (frame).

    Returns:
        Block of each frame, (frame), counted from 0.

    Source:
        J. M. Flegal, G. L. Jones, Ann. Stat. 38, 1034 (2010): batches of n^(1/2) for
        correlated series whose correlation time is not known.
    """
    block = np.zeros(len(group), np.int64)
    first = 0
    for label in np.unique(group):
        rows = np.flatnonzero(group == label)
        length = math.isqrt(len(rows) - 1) + 1
        block[rows] = first + np.arange(len(rows)) // length
        first = int(block[rows[-1]]) + 1
    return block


def bootstrap_ratios(
    numerator: NDArray[np.float64],
    denominator: NDArray[np.float64],
    *,
    seed: int = BOOTSTRAP_SEED,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Give 95 % intervals of sum(numerator)/sum(denominator) over resampled blocks.

    Args:
        numerator: Block sums, (block, quantity).
        denominator: Block sums, (block, quantity).
        seed: Seed of the resampling.

    Returns:
        Lower and upper ends, (quantity) each; NaN with fewer than two blocks, or where
        a resample may hold nothing of the quantity.
    """
    nblocks, nquantities = numerator.shape
    if nblocks < 2:
        return np.full(nquantities, np.nan), np.full(nquantities, np.nan)
    rng = np.random.default_rng(seed)
    ratios = np.empty((RESAMPLES, nquantities))
    step = max(1, min(RESAMPLES, 4_000_000 // nblocks))
    for start in range(0, RESAMPLES, step):
        rows = slice(start, min(start + step, RESAMPLES))
        draws = rng.multinomial(
            nblocks, np.full(nblocks, 1 / nblocks), rows.stop - start
        ).astype(np.float64)
        with np.errstate(divide="ignore", invalid="ignore"):
            ratios[rows] = (draws @ numerator) / (draws @ denominator)
    ratios[:, ~np.isfinite(ratios).all(axis=0)] = np.nan
    low, high = np.percentile(ratios, [2.5, 97.5], axis=0)
    return low, high


@dataclass(frozen=True, kw_only=True, slots=True)
class Interval:
    """A value, lower is better, and its interval."""

    value: float
    low: float
    high: float


def rank_with_ties(values: Sequence[Interval]) -> tuple[int, ...]:
    """Rank values, lower first; overlapping intervals share a rank.

    Values are walked from best to worst. One whose interval overlaps that of the first
    of the current rank shares that rank; else it starts a new one, numbered by its
    position (1, 1, 3). Ranks never fall as values grow, so taking one entry out never
    turns two others around.

    Args:
        values: One entry per competitor.

    Returns:
        Ranks from 1, in the order of ``values``.
    """
    order = sorted(range(len(values)), key=lambda index: values[index].value)
    ranks = [0] * len(values)
    leader: Interval | None = None
    rank = 0
    for position, index in enumerate(order, start=1):
        entry = values[index]
        if leader is None or entry.low > leader.high:
            leader, rank = entry, position
        ranks[index] = rank
    return tuple(ranks)
