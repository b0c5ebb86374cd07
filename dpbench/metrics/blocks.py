"""Independent blocks of correlated errors, and intervals from them.

Neighbouring frames of a trajectory have like errors, so a hundred frames are fewer than
a hundred observations. A block is a stretch of one trajectory of at least twice the
autocorrelation time of the errors; where there are many trajectories, a block is a
whole one. Below five blocks there is no interval.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dpbench.metrics.student import two_sided_quantile

FEWEST_BLOCKS = 5
"""Below this number of blocks there is no interval."""

MANY_TRAJECTORIES = 10
"""From this number on, whole trajectories are the blocks."""

TIMES = 2.0
"""Least length of a block, in autocorrelation times."""

LEVEL = 0.05
"""Share of intervals that may miss the truth."""

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Series:
    """A metric along its rows: scale * f(sum(numerator)/sum(denominator)).

    A row is a frame or, in long series, a few consecutive ones. f is the square root
    where ``root`` is set, else nothing.
    """

    numerator: Array
    """(row), sums of errors."""
    denominator: Array
    """(row), weights; 0 where a row does not count."""
    trajectory: NDArray[np.int64]
    """(row), trajectory of each row; rows of one follow each other in time."""
    scale: float = 1.0
    root: bool = False
    signed: Array | None = None
    """(row), the error with its sign, where it has one: it remembers longer than its
    square does."""
    frames: str = ""
    """Digest of the frames and of how they were laid into rows; series pair only where
    it is the same."""

    def value(self) -> float | None:
        """Return the metric; None where no row counts."""
        weight = math.fsum(self.denominator)
        if weight <= 0:
            return None
        ratio = math.fsum(self.numerator) / weight
        return self.scale * (math.sqrt(ratio) if self.root else ratio)

    def counted(self) -> NDArray[np.bool_]:
        """(row), whether a row has anything to say."""
        return np.asarray(self.denominator > 0)

    def influence(self) -> Array:
        """(row), by how much each row moves the metric, in the metric's unit.

        The derivative of the metric by the row's weight: zero on average.
        """
        weight = float(self.denominator.sum())
        ratio = float(self.numerator.sum()) / weight
        slope = self.scale
        if self.root:
            slope = self.scale / (2 * math.sqrt(ratio)) if ratio > 0 else 0.0
        return slope * (self.numerator - ratio * self.denominator) / weight

    def without(self, blocks: "Blocks") -> Array:
        """(block), the metric with each block left out in turn."""
        numerator = np.bincount(blocks.of_row, self.numerator, blocks.count)
        denominator = np.bincount(blocks.of_row, self.denominator, blocks.count)
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = (numerator.sum() - numerator) / (denominator.sum() - denominator)
        ratio = np.maximum(ratio, 0.0)  # rounding may leave less than nothing
        return np.asarray(self.scale * (np.sqrt(ratio) if self.root else ratio))


@dataclass(frozen=True, kw_only=True, slots=True)
class Blocks:
    """Rows cut into blocks that are taken for independent."""

    of_row: NDArray[np.int64]
    """(row), block of each row, counted from 0."""
    count: int
    """Number of blocks."""
    independent: int
    """Number of blocks that counts: less than ``count`` where their weights differ,
    (sum w)^2 / sum w^2."""
    correlation_time: float
    """Rows; 1 where the errors do not remember. NaN where nothing was estimated since
    whole trajectories are the blocks."""
    carry_over: float
    """By how much variances between blocks are too small, as a factor."""


def correlation_time(series: Array, trajectory: NDArray[np.integer]) -> float:
    """Estimate the autocorrelation time of a series, in rows.

    tau = 1 + 2 sum_k rho_k, so that n rows are worth n/tau independent ones; an AR(1)
    process that forgets as exp(-k/20) has 40. Each trajectory is centred on its own
    mean, what centring takes from the autocovariance is given back, and lags never
    cross from one trajectory to the next. The window closes where the sum of two
    neighbouring lags is no longer positive; these sums never rise before. The same is
    done with the ranks of the series, and the longer time counts, so that one wild
    frame cannot hide that the others remember.

    Args:
        series: (row), finite numbers.
        trajectory: (row), trajectory of each row.

    Returns:
        At least 1, at most half the longest trajectory (or 1).

    Source:
        C. J. Geyer, Stat. Sci. 7, 473 (1992): initial monotone sequence;
        A. Sokal, in Functional Integration (1997), on autocorrelation times.
    """
    order = np.argsort(trajectory, kind="stable")
    edges = np.flatnonzero(np.diff(trajectory[order])) + 1
    pieces = [rows for rows in np.split(order, edges) if len(rows) > 3]
    if not pieces or np.ptp(series) == 0:
        return 1.0
    rank = np.argsort(np.argsort(series, kind="stable"), kind="stable").astype(float)
    return max(_tau([values[rows] for rows in pieces]) for values in (series, rank))


def _tau(pieces: Sequence[Array]) -> float:
    longest = max(map(len, pieces))
    total = sum(map(len, pieces))
    window = max(2, longest // 2)
    sums, given_back = np.zeros(window), np.zeros(window)
    lag = np.arange(window)
    for piece in pieces:
        covariance = _autocovariance(piece - piece.mean())[:window]
        sums[: len(covariance)] += covariance
        given_back += np.maximum(len(piece) - lag, 0) / len(piece)
    if sums[0] <= 0:
        return 1.0
    tau = 1.0
    for _ in range(4):  # the mean's variance is tau's, which is what is sought
        corrected = (sums + sums[0] / total * tau * given_back) / total
        even = corrected[: window // 2 * 2].reshape(-1, 2).sum(axis=1)
        ends = np.flatnonzero(even <= 0)
        pairs = np.minimum.accumulate(even[: ends[0]] if len(ends) else even)
        tau = float(np.clip(2 * pairs.sum() / corrected[0] - 1, 1.0, longest / 2))
    return tau


def _autocovariance(centred: Array) -> Array:
    """Sum products at each lag, by the fast Fourier transform."""
    n = len(centred)
    spectrum = np.fft.rfft(centred, 1 << (2 * n - 1).bit_length())
    return np.fft.irfft(np.abs(spectrum) ** 2)[:n]


def make_blocks(
    memory: Sequence[Array],
    trajectory: NDArray[np.integer],
    *,
    weight: Array,
) -> Blocks:
    """Cut rows into independent blocks.

    Where there are many trajectories, each is a block. Else each trajectory is cut
    into equal stretches of at least twice the autocorrelation time; one that is
    shorter stays whole.

    Args:
        memory: Series whose longest autocorrelation time counts, each (row).
        trajectory: (row), trajectory of each row, one after the other.
        weight: (row), how much each row counts.
    """
    _, number, lengths = np.unique(trajectory, return_inverse=True, return_counts=True)
    per_trajectory = np.bincount(number, weight).astype(np.float64)
    if _worth(per_trajectory) >= MANY_TRAJECTORIES:
        return Blocks(
            of_row=number.astype(np.int64),
            count=len(lengths),
            independent=_worth(per_trajectory),
            correlation_time=math.nan,
            carry_over=1.0,
        )
    tau = max((correlation_time(series, trajectory) for series in memory), default=1.0)
    pieces = np.maximum(1, lengths // math.ceil(TIMES * tau))
    begins = np.cumsum(lengths) - lengths  # of the sorted rows
    order = np.argsort(number, kind="stable")
    inside = np.arange(len(number)) - np.repeat(begins, lengths)
    of_row = np.empty(len(number), np.int64)
    of_row[order] = np.repeat(np.cumsum(pieces) - pieces, lengths) + (
        inside * np.repeat(pieces, lengths) // np.repeat(lengths, lengths)
    )
    nblocks = int(pieces.sum())
    return Blocks(
        of_row=of_row,
        count=nblocks,
        independent=_worth(np.bincount(of_row, weight, nblocks).astype(np.float64)),
        correlation_time=tau,
        carry_over=_carry_over(tau, len(number), nblocks, len(lengths)),
    )


def _worth(weight: Array) -> int:
    """Say how many equal blocks these unequal ones are worth (Kish 1965)."""
    square = float((weight**2).sum())
    return round(float(weight.sum()) ** 2 / square) if square > 0 else 0


def _carry_over(tau: float, nrows: int, nblocks: int, ntrajectories: int) -> float:
    """Correct for what a block still knows of the one before it.

    Means over blocks of length L of a series that forgets as exp(-2k/tau) have a
    variance too small by the factor 1 - (1 - exp(-x))/x, x = 2 L/tau: by a quarter at
    L = 2 tau.
    """
    if tau < 1.5 or nblocks == 0:
        return 1.0
    x = 2 * nrows / nblocks / tau
    share = (nblocks - ntrajectories) / nblocks
    return 1 / (1 - share * -math.expm1(-x) / x)


def jackknife_variance(left_out: Array, blocks: Blocks) -> float:
    """Give the variance of an estimate from its values with one block left out.

    Source:
        H. R. Künsch, Ann. Stat. 17, 1217 (1989): the block jackknife.
    """
    n = blocks.count
    spread = float(((left_out - left_out.mean()) ** 2).sum())
    return blocks.carry_over * (n - 1) / n * spread


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """A metric with its interval."""

    value: float | None
    low: float | None
    """Lower end of the 95 % interval; None where it cannot be had."""
    high: float | None
    nblocks: int
    """Independent blocks."""
    correlation_time: float
    """Rows; see ``Blocks``."""

    @property
    def interval(self) -> tuple[float, float] | None:
        """Both ends of the interval; None where it cannot be had."""
        if self.low is None or self.high is None:
            return None
        return self.low, self.high


def estimate(seeds: Sequence[Series]) -> Estimate:
    """Estimate the mean of a metric over training seeds, with its 95 % interval.

    One training: blocks of frames are left out in turn. Three trainings and more:
    frames and seeds both vary (two crossed random effects), their variances add up, and
    the degrees of freedom are Satterthwaite's. Two trainings: no interval, since two
    say next to nothing of their spread. The interval is made for the logarithm, so that
    no end of it is negative.

    Args:
        seeds: The same metric on the same frames, one series per training.
    """
    values = [series.value() for series in seeds]
    known = [value for value in values if value is not None]
    whole = [s for s in seeds if bool(np.isfinite(s.numerator).all())]
    if len(known) < len(seeds) or len(whole) < len(seeds) or not seeds:
        lost = None if len(known) < len(seeds) or not seeds else math.inf
        return Estimate(
            value=lost, low=None, high=None, nblocks=0, correlation_time=1.0
        )
    mean = math.fsum(known) / len(known)
    blocks, rows = blocks_of(seeds)
    parts: list[tuple[float, float]] = []
    enough = blocks.independent >= FEWEST_BLOCKS and len(seeds) != 2 and min(known) > 0
    if enough:
        left_out = np.mean([s.without(blocks) for s in rows], axis=0)
        enough = bool((left_out > 0).all() and np.isfinite(left_out).all())
    low = high = None
    if enough:
        variance = jackknife_variance(np.log(left_out), blocks)
        parts.append((variance, float(blocks.independent - 1)))
        if len(seeds) > 1:
            parts.append(seed_variance(np.log(known)))
        half = half_interval(parts, LEVEL)
        low, high = mean * math.exp(-half), mean * math.exp(half)
    return Estimate(
        value=mean,
        low=low,
        high=high,
        nblocks=blocks.independent,
        correlation_time=blocks.correlation_time,
    )


def blocks_of(
    seeds: Sequence[Series], against: Sequence[Series] = ()
) -> tuple[Blocks, list[Series]]:
    """Cut the rows that all series count into blocks.

    The memory is that of the mean influence over seeds and of the signed errors; with
    ``against``, that of the difference of influences alone.

    Returns:
        The blocks, and all series (``seeds`` first) on the rows that count.
    """
    every = [*seeds, *against]
    keep = np.logical_and.reduce([series.counted() for series in every])
    rows = [_select(series, keep) for series in every]
    mine, theirs = rows[: len(seeds)], rows[len(seeds) :]
    memory: list[Array] = []
    if keep.any():
        drift = np.mean([series.influence() for series in mine], axis=0)
        if theirs:
            drift = drift - np.mean([series.influence() for series in theirs], axis=0)
        memory.append(drift)
        if not theirs:
            memory += [series.signed for series in mine if series.signed is not None]
    trajectory = rows[0].trajectory
    return make_blocks(memory, trajectory, weight=rows[0].denominator), rows


def _select(series: Series, keep: NDArray[np.bool_]) -> Series:
    return Series(
        numerator=series.numerator[keep],
        denominator=series.denominator[keep],
        trajectory=series.trajectory[keep],
        scale=series.scale,
        root=series.root,
        signed=None if series.signed is None else series.signed[keep],
        frames=series.frames,
    )


def seed_variance(values: Sequence[float] | Array) -> tuple[float, float]:
    """Give the variance of a mean over seeds, and its degrees of freedom."""
    return float(np.var(values, ddof=1)) / len(values), float(len(values) - 1)


def total_variance(parts: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Add up independent variances, each with its degrees of freedom.

    Source:
        F. E. Satterthwaite, Biometrics Bull. 2, 110 (1946).
    """
    variance = sum(part for part, _ in parts)
    if variance <= 0:
        return 0.0, 1.0
    # Shares first: the square of a tiny variance is nothing in floating point.
    return variance, 1 / sum((part / variance) ** 2 / dof for part, dof in parts)


def half_interval(parts: Sequence[tuple[float, float]], level: float) -> float:
    """Give half the length of the interval that variances make together."""
    variance, dof = total_variance(parts)
    return two_sided_quantile(level, round(dof, 3)) * math.sqrt(variance)
