"""Which of two measured things is better: a verdict that depends on these two alone.

Nothing here looks at a third one, so that no verdict changes when another model comes
or goes.
"""

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from dpbench.metrics.blocks import (
    FEWEST_BLOCKS,
    LEVEL,
    Array,
    Blocks,
    Series,
    blocks_of,
    jackknife_variance,
    seed_variance,
    total_variance,
)
from dpbench.metrics.definitions import MetricValue
from dpbench.metrics.student import two_sided_p, two_sided_quantile
from dpbench.metrics.trimmed import trimmed_difference, trimmed_shift

Outcome = Literal["better", "worse", "level", "unknown"]

FEWEST_SEEDS = 3
"""Trainings that an interval over seeds needs."""

TIMING_LEVEL = 0.01
"""Share of comparisons of the same with the same that may be called different."""

FEWEST_ROUNDS = 5
"""Fewest rounds of a comparison in turns: three of five make the trimmed mean, which
finds a difference of a third; for 5 % it takes twenty."""

FEWEST_APART = 5
"""Fewest timings of either side where they were not taken in turns."""

SMALLEST_SLOWDOWN = 0.01
"""Relative difference of timings below which nothing is called: where code and data
come to lie in memory makes so much."""

SMALLEST_APART = 0.05
"""The same for timings that were not taken in turns: a machine does not stay alike."""

SMALLEST = 1e-3
"""Relative difference below which two errors are level whatever a test says: the same
weights in two precisions differ by less, and always in the same direction."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """What can be said about a against b; the difference is a less b."""

    outcome: Outcome
    """``better``: a is significantly better than b. ``level``: no difference is shown.
    ``unknown``: there is nothing to tell by; ``note`` says why."""
    difference: float | None = None
    """In the metric's unit; for timings the ratio a/b less 1."""
    ci_low: float | None = None
    """Lower end of the interval of the difference, at the test's level."""
    ci_high: float | None = None
    p: float | None = None
    """Two-sided probability of such a difference by chance."""
    nblocks: int = 0
    """Independent blocks, or rounds, that both were measured on."""
    nseeds: tuple[int, int] = (1, 1)
    """Trainings of a and b."""
    note: str = ""
    """What the verdict leaves out, or why there is none."""

    def reversed(self) -> "Verdict":
        """Return the verdict on b against a; of errors, not of ratios."""
        turned: dict[Outcome, Outcome] = {"better": "worse", "worse": "better"}

        def minus(value: float | None) -> float | None:
            return None if value is None else -value

        return replace(
            self,
            outcome=turned.get(self.outcome, self.outcome),
            difference=minus(self.difference),
            ci_low=minus(self.ci_high),
            ci_high=minus(self.ci_low),
            nseeds=(self.nseeds[1], self.nseeds[0]),
        )


def compare(
    a: Sequence[Series],
    b: Sequence[Series],
    *,
    higher_is_better: bool = False,
    level: float = LEVEL,
) -> Verdict:
    """Compare two models on the same blocks of the same frames.

    The difference of the means over seeds is jackknifed over blocks that are as long as
    the difference remembers. To this the variances over seeds of either side are
    added, where it has three or more; the seeds of two models are not paired.

    Args:
        a: The metric of one model, one series per training.
        b: The same metric of the other.
        higher_is_better: Polarity of the metric.
        level: Probability of a false call, two-sided.

    Returns:
        ``unknown`` with fewer than five blocks, or if the frames are not the same.
    """
    nseeds = (len(a), len(b))
    why_not = _not_comparable(a, b)
    if why_not:
        return Verdict(outcome="unknown", nseeds=nseeds, note=why_not)
    blocks, rows = blocks_of(a, b)
    mine, theirs = rows[: len(a)], rows[len(a) :]
    if not all(np.array_equal(mine[0].denominator, s.denominator) for s in rows):
        note = "the two do not count the same labels"
        return Verdict(outcome="unknown", nseeds=nseeds, note=note)
    ours, other = _mean_value(mine), _mean_value(theirs)
    if ours is None or other is None or blocks.independent < FEWEST_BLOCKS:
        known = ours is not None and other is not None
        return Verdict(
            outcome="unknown",
            difference=ours - other if known else None,  # type: ignore[operator]
            nblocks=blocks.independent,
            nseeds=nseeds,
            note=f"{blocks.independent} independent blocks; {FEWEST_BLOCKS} are needed",
        )
    left_out = _mean_without(mine, blocks) - _mean_without(theirs, blocks)
    parts = [(jackknife_variance(left_out, blocks), float(blocks.independent - 1))]
    parts += [_over_seeds(side) for side in (mine, theirs) if len(side) >= FEWEST_SEEDS]
    verdict = _judge(
        ours - other,
        parts,
        floor=SMALLEST * max(abs(ours), abs(other)),
        higher_is_better=higher_is_better,
        level=level,
    )
    return replace(
        verdict, nblocks=blocks.independent, nseeds=nseeds, note=_seeds_note(nseeds)
    )


def _not_comparable(a: Sequence[Series], b: Sequence[Series]) -> str:
    every = [*a, *b]
    if not a or not b:
        return "no errors are kept frame by frame"
    if len({series.frames for series in every}) != 1 or not every[0].frames:
        return "measured on different frames"
    if not all(np.isfinite(series.numerator).all() for series in every):
        return "an error is not finite"
    return ""


def _mean_value(seeds: Sequence[Series]) -> float | None:
    values = [series.value() for series in seeds]
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if len(known) == len(values) else None


def _mean_without(seeds: Sequence[Series], blocks: Blocks) -> Array:
    return np.asarray(np.mean([series.without(blocks) for series in seeds], axis=0))


def _over_seeds(seeds: Sequence[Series]) -> tuple[float, float]:
    return seed_variance(np.array([series.value() for series in seeds], np.float64))


def _seeds_note(nseeds: tuple[int, int]) -> str:
    fewest = min(nseeds)
    if fewest >= FEWEST_SEEDS:
        return ""
    words = {1: "one seed", 2: "two seeds"}[fewest]
    return f"{words}: says nothing of other trainings of the same kind"


def _judge(
    difference: float,
    parts: Sequence[tuple[float, float]],
    *,
    floor: float,
    higher_is_better: bool,
    level: float,
) -> Verdict:
    """Test a difference against zero, given its variances and their freedom."""
    variance, dof = total_variance(parts)
    half = two_sided_quantile(level, round(dof, 3)) * math.sqrt(variance)
    if variance > 0:
        p = two_sided_p(difference / math.sqrt(variance), dof)
    else:
        p = float(difference == 0)
    outcome: Outcome = "level"
    if p < level and abs(difference) > floor:
        outcome = "better" if (difference > 0) == higher_is_better else "worse"
    return Verdict(
        outcome=outcome,
        difference=difference,
        ci_low=difference - half,
        ci_high=difference + half,
        p=p,
    )


def compare_values(a: MetricValue | None, b: MetricValue | None) -> Verdict:
    """Compare two numbers by their intervals alone, where nothing can be paired.

    Better means that the intervals do not overlap, which asks for more than a test of
    the difference does.
    """
    if a is None or b is None or a.value is None or b.value is None:
        return Verdict(outcome="unknown", note="one of the two has no number")
    difference = a.value - b.value
    (a_low, a_high), (b_low, b_high) = interval_of(a), interval_of(b)
    if math.isinf(a_high) or math.isinf(b_high):
        return Verdict(
            outcome="unknown",
            difference=difference,
            note="one of the two has no interval",
        )
    outcome: Outcome = "level"
    if a_high < b_low or b_high < a_low:
        outcome = "better" if (difference > 0) == (a.polarity == "higher") else "worse"
    return Verdict(
        outcome=outcome,
        difference=difference,
        ci_low=a_low - b_high,
        ci_high=a_high - b_low,
        note="not paired: intervals that do not overlap",
    )


def interval_of(metric: MetricValue) -> tuple[float, float]:
    """Return both ends of a number's interval, for telling it from others.

    Without an interval nothing can be told: it reaches from minus to plus infinity. It
    is never narrower than what counts as a difference at all.
    """
    if metric.value is None or metric.ci_low is None or metric.ci_high is None:
        return -math.inf, math.inf
    least = abs(metric.value) * SMALLEST / 2
    return (
        min(metric.ci_low, metric.value - least),
        max(metric.ci_high, metric.value + least),
    )


def compare_timings(
    a_rounds: Sequence[float] | Array,
    b_rounds: Sequence[float] | Array,
    *,
    paired: bool = True,
    level: float = TIMING_LEVEL,
) -> Verdict:
    """Compare two timings, taken in turns; less time is better.

    In each round both were timed, so that what the machine does in a minute falls on
    both; the trimmed mean of the rounds' ratios is tested, which a spike cannot move. A
    round is what is independent: where each runs in a process of its own, the median of
    the process. Who goes first should change from round to round. Twenty rounds with a
    noise of 2 % find a slowdown of 5 %.

    Args:
        a_rounds: Time per step, one per round, any unit.
        b_rounds: That of the other, of the same rounds.
        paired: False for timings taken at different times; then their trimmed means
            are tested, and less than ``SMALLEST_APART`` is level.
        level: Probability of a false call, two-sided.

    Returns:
        The verdict on a; its difference is a/b - 1, positive where a is slower.
        ``unknown`` with fewer than ``FEWEST_ROUNDS`` rounds, or if they do not pair.
    """
    a, b = np.asarray(a_rounds, np.float64), np.asarray(b_rounds, np.float64)
    why_not = _no_timing(a, b, paired=paired)
    if why_not:
        return Verdict(outcome="unknown", nblocks=min(len(a), len(b)), note=why_not)
    if paired:
        shift = trimmed_shift((np.log(a) - np.log(b)).tolist(), level=level)
        floor, note = SMALLEST_SLOWDOWN, ""
    else:
        one, two = np.log(a).tolist(), np.log(b).tolist()
        shift = trimmed_difference(one, two, level=level)
        floor, note = SMALLEST_APART, "not measured in turns"
    outcome: Outcome = "level"
    if shift.p < level and abs(math.expm1(shift.value)) > floor:
        outcome = "worse" if shift.value > 0 else "better"
    return Verdict(
        outcome=outcome,
        difference=math.expm1(shift.value),
        ci_low=math.expm1(shift.low),
        ci_high=math.expm1(shift.high),
        p=shift.p,
        nblocks=min(len(a), len(b)),
        note=note,
    )


def _no_timing(a: Array, b: Array, *, paired: bool) -> str:
    fewest = FEWEST_ROUNDS if paired else FEWEST_APART
    if not (np.isfinite(a).all() and np.isfinite(b).all()) or not (
        (a > 0).all() and (b > 0).all()
    ):
        return "a time is not a positive number"
    if paired and len(a) != len(b):
        return f"{len(a)} and {len(b)} rounds do not pair"
    if min(len(a), len(b)) < fewest:
        return f"{min(len(a), len(b))} rounds; {fewest} are needed"
    return ""


@dataclass(frozen=True, kw_only=True, slots=True)
class RankRange:
    """Between which ranks a row stands."""

    first: int
    """1 + the number of models that are significantly better."""
    last: int
    """The number of models that are not significantly worse, itself among them."""


def rank_ranges(
    models: Sequence[Hashable], verdicts: Sequence[Sequence[Verdict | None]]
) -> tuple[RankRange, ...]:
    """Turn pairwise verdicts into ranges of ranks.

    Rows of one model (on several backends, say) count once against others and not at
    all against each other.

    Args:
        models: (row), what each row is a row of.
        verdicts: (row, row), that on row i against row j; None on the diagonal.
    """
    out = []
    for i, model in enumerate(models):
        better = {
            other
            for j, other in enumerate(models)
            if other != model and _is(verdicts[i][j], "worse")
        }
        not_worse = {
            other
            for j, other in enumerate(models)
            if other == model or not _is(verdicts[i][j], "better")
        }
        out.append(RankRange(first=1 + len(better), last=len(not_worse | better)))
    return tuple(out)


def _is(verdict: Verdict | None, outcome: Outcome) -> bool:
    return verdict is not None and verdict.outcome == outcome
