"""One number for a row of a suite: made when somebody looks, never stored.

Every metric of weight w has an error between 0 (perfect) and 1 (useless), by the bounds
that the suite froze,

    e = clip((value - perfect) / (useless - perfect), floor, 1),

and the score is their weighted geometric mean, exp(sum(w ln e) / sum(w)): smaller is
better. With ``perfect`` 0 and ``useless`` the error of the composition-only fit this is
the dummy-normalised error of LAMBench. No other model enters, so that a score never
changes when another row comes or goes.

Source:
    LAMBench, results/README.md (dummy-normalised errors, exp(mean log));
    matbench-discovery (calibration by the cohort moves ranks).
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from dpbench.eval.record import Record
from dpbench.eval.suites.format import SuiteFile, SuiteMetric
from dpbench.metrics.definitions import MetricValue

Place = tuple[str, str, str]
"""Task, key of the dataset, part."""

Status = Literal["ok", "failed", "missing"]

MODES = ("smoke", "standard", "full")
"""From short to long: where there are several, the longest counts."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Numbers:
    """What one task gave."""

    failed: bool
    """Whether the model gave out: what is missing then is its fault."""
    metrics: Mapping[str, MetricValue] = field(default_factory=dict)
    """By name."""
    is_smoke: bool = False
    """Whether it was measured in smoke mode: rough."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Term:
    """One metric of a score."""

    metric: SuiteMetric
    """What the suite says of it."""
    value: float | None
    """As measured, in its unit."""
    status: Status
    """``failed``: the model gave out, and the term counts 1; ``missing``: not measured,
    or there was nothing to compare with."""
    error: float | None
    """Between the suite's floor and 1; None where it is missing and may not be."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Score:
    """Of one row in one suite; smaller is better."""

    value: float | None
    """Between the suite's floor (perfect) and 1 (useless)."""
    low: float | None
    """The score with every number at the better end of its 95 % interval; None where
    one has no interval."""
    high: float | None
    """The same with the worse ends."""
    why_none: str | None
    """Why there is no score."""
    terms: tuple[Term, ...]
    """In the suite's order, those of weight 0 included."""
    is_rough: bool = False
    """Whether a number that counts was measured in smoke mode."""
    by_data: Mapping[str, float | None] = field(default_factory=dict)
    """Key of the dataset -> the score of its numbers alone: what is left of a model
    that does not know the elements of all."""


def score_of(suite: SuiteFile, found: Mapping[Place, Numbers]) -> Score:
    """Score one row.

    Args:
        suite: Its bounds and weights.
        found: What was measured, by task, dataset and part.

    Returns:
        The score; without a value where a number is missing that the suite wants.
    """
    terms = tuple(_term(metric, suite, found) for metric in suite.metric)
    by_data = {data.key: _of_data(terms, data.key) for data in suite.data}
    counted = [term for term in terms if term.metric.weight > 0]
    absent = [term.metric for term in counted if term.error is None]
    if not counted or absent:
        why = "the suite gives no score: its numbers have weight 0"
        if absent:
            named = ", ".join(f"{m.name} ({m.data}:{m.part})" for m in absent)
            why = f"not measured: {named}"
        return Score(
            value=None,
            low=None,
            high=None,
            why_none=why,
            terms=terms,
            by_data=by_data,
        )
    ends = [_ends(term, suite, found) for term in counted]
    weights = [term.metric.weight for term in counted]
    places = {(m.task, m.data, m.part) for m in (term.metric for term in counted)}
    return Score(
        value=_mean([term.error for term in counted], weights),
        low=_mean([end[0] for end in ends], weights),
        high=_mean([end[1] for end in ends], weights),
        why_none=None,
        terms=terms,
        is_rough=any(found[place].is_smoke for place in places & found.keys()),
        by_data=by_data,
    )


def normalised(metric: SuiteMetric, value: float, *, floor: float) -> float:
    """Place a value between the bounds: ``floor`` is perfect, 1 is useless."""
    error = (value - metric.perfect) / (metric.useless - metric.perfect)
    return min(max(error, floor), 1.0)


def numbers_of(record: Record, task: str) -> Numbers | None:
    """Take the numbers of a task out of a record; None if it has none of it."""
    found = _result(record, task)
    if found is None:
        return None
    failed, metrics = found
    return Numbers(
        failed=failed,
        metrics={metric.name: metric for metric in metrics},
        is_smoke=record.mode == "smoke" and task != "accuracy",
    )


def _result(record: Record, task: str) -> tuple[bool, Sequence[MetricValue]] | None:
    """Return whether a task failed, and its numbers."""
    if task == "accuracy" and record.accuracy is not None:
        return record.accuracy.nonfinite_frames > 0, record.accuracy.metrics
    if task == "stability" and record.stability is not None:
        return record.stability.status == "exploded", record.stability.metrics
    if task == "throughput" and record.throughput is not None:
        failed = any(size.status == "failed" for size in record.throughput.sizes)
        return failed, record.throughput.metrics
    result = record.tasks.get(task)
    return None if result is None else (result.status == "failed", result.metrics)


def row_of(
    suite: SuiteFile, records: Iterable[Record], *, label: str | None = None
) -> dict[Place, Numbers]:
    """Gather what records of one row have measured: of the longest mode, the newest.

    Args:
        suite: The suite.
        records: Of one model, backend, precision and machine.
        label: Take records of this suite alone, ``si-lda-v1``; None: that of the file.

    Returns:
        By task, dataset and part; what lies on other data than the suite's is left out.
    """
    wanted = label or f"{suite.name}-v{suite.version}"
    newest = sorted(
        records, key=lambda r: (MODES.index(r.mode), r.created_at), reverse=True
    )
    keys = {(data.digest, data.split.digest): data.key for data in suite.data}
    found: dict[Place, Numbers] = {}
    for record in newest:
        split = "" if record.split is None else record.split.digest
        key = keys.get((record.dataset.digest, split))
        if record.suite != wanted or key is None:
            continue
        for task in suite.task:
            place = (task.task, task.data, task.part)
            if place[1:] != (key, record.part) or place in found:
                continue
            numbers = numbers_of(record, task.task)
            if numbers is not None:
                found[place] = numbers
    return found


def _term(
    metric: SuiteMetric, suite: SuiteFile, found: Mapping[Place, Numbers]
) -> Term:
    numbers = found.get((metric.task, metric.data, metric.part))
    measured = None if numbers is None else numbers.metrics.get(metric.name)
    value = None if measured is None else measured.value
    if value is not None:
        error = normalised(metric, value, floor=suite.floor)
        return Term(metric=metric, value=value, status="ok", error=error)
    if numbers is not None and numbers.failed:
        return Term(metric=metric, value=None, status="failed", error=1.0)
    error_or_none = 1.0 if metric.missing == "useless" else None
    return Term(metric=metric, value=None, status="missing", error=error_or_none)


def _ends(
    term: Term, suite: SuiteFile, found: Mapping[Place, Numbers]
) -> tuple[float | None, float | None]:
    """Return the error at the better and the worse end of the interval."""
    if term.value is None:
        return term.error, term.error
    metric = term.metric
    measured = found[metric.task, metric.data, metric.part].metrics[metric.name]
    if measured.ci_low is None or measured.ci_high is None:
        return None, None
    low, high = sorted(
        normalised(metric, end, floor=suite.floor)
        for end in (measured.ci_low, measured.ci_high)
    )
    return low, high


def _of_data(terms: Iterable[Term], key: str) -> float | None:
    own = [t for t in terms if t.metric.data == key and t.metric.weight > 0]
    if not own:
        return None
    return _mean([term.error for term in own], [term.metric.weight for term in own])


def _mean(errors: Iterable[float | None], weights: Iterable[float]) -> float | None:
    """Return the weighted geometric mean; None if an error is not there."""
    total = above = 0.0
    for error, weight in zip(errors, weights, strict=True):
        if error is None:
            return None
        above += weight * math.log(error)
        total += weight
    return math.exp(above / total)
