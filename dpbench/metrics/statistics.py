"""Spread of measured numbers: median, quartiles, bootstrap intervals."""

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
