"""The tables of suites: scores by frozen bounds, beside the rows that others published.

A score is made here, each time, from the numbers of one row and the bounds of the
suite's file: no other row enters. Ranks go by intervals, pair by pair, so that a
verdict does not change when another row comes or goes.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from dpbench.errors import ConfigError
from dpbench.eval.leaderboard.entries import common_name, training_digest
from dpbench.eval.leaderboard.keys import row_id, short_id
from dpbench.eval.record import Record
from dpbench.eval.suites.format import PublishedRow, SuiteMetric
from dpbench.eval.suites.loading import Suite, list_suites, load_suite
from dpbench.eval.suites.scoring import (
    Numbers,
    Place,
    Score,
    Status,
    row_of,
    score_of,
)
from dpbench.metrics.definitions import MetricValue, metric_value

SMOKE = "smoke mode: rough"
"""Mark of a score that short runs enter."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SuiteCell:
    """One number of a suite's row."""

    value: float | None
    """In the metric's unit; mean over the seeds."""
    error: float | None
    """Between perfect and useless, 0 to 1."""
    status: Status
    row: str | None = None
    """Id of the row that measured it; None for what was published."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SuiteRow:
    """One training in a suite, or one published model."""

    id: str
    name: str
    record: Record | None
    """None: published by others, not measured here."""
    published: PublishedRow | None
    score: float | None
    low: float | None
    """The score with all numbers at the better ends of their intervals."""
    high: float | None
    why_none: str | None
    """Why there is no score."""
    nseeds: int
    marks: tuple[str, ...]
    """Why it takes no rank."""
    cells: tuple[SuiteCell, ...]
    """In the order of the suite's metrics."""
    rank: int | None = None
    rank_last: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class PublishedLine:
    """A published model on the frames of one table."""

    id: str
    row: PublishedRow
    suite: str
    """Label of the suite whose file has it."""
    metrics: dict[str, MetricValue]


@dataclass(frozen=True, kw_only=True, slots=True)
class SuiteTable:
    """All rows of one suite."""

    suite: Suite
    rows: tuple[SuiteRow, ...]
    """By score; then those without, then what was published."""

    @property
    def metrics(self) -> tuple[SuiteMetric, ...]:
        """The numbers, in the order of the columns."""
        return self.suite.file.metric


def suites_of(records: Mapping[str, Record]) -> tuple[Suite, ...]:
    """Load the suites that records belong to, as far as this dpbench has them.

    A suite whose file is another than the one that a record was made with is left out:
    its bounds would not be those of the record. Suites with published rows for the same
    frames come too, whoever measured them.
    """
    told = {(record.suite, record.suite_digest) for record in records.values()}
    found = []
    for label, digest in sorted((a, b or "") for a, b in told if a is not None):
        try:
            suite = load_suite(label)
        except ConfigError:  # of a newer dpbench, or of somebody's own
            continue
        if digest in ("", suite.digest):
            found.append(suite)
    digests = {record.dataset.digest for record in records.values()}
    found += [
        suite
        for suite in list_suites()
        if suite.file.published and digests & {data.digest for data in suite.file.data}
    ]
    return tuple({suite.label: suite for suite in found}.values())


def suite_table(suite: Suite, records: Mapping[str, Record]) -> SuiteTable:
    """Score the rows of a suite.

    Args:
        suite: Its bounds and its published rows.
        records: All records of the board.
    """
    own = [record for _, record in sorted(records.items())]
    models: dict[tuple[str, ...], list[Record]] = {}
    for record in own:
        if record.suite == suite.label:
            models.setdefault((record.model.digest, *_bench(record)), []).append(record)
    trainings: dict[tuple[str, ...], list[list[Record]]] = {}
    for members in models.values():
        key = (training_digest(members[0]), *_bench(members[0]))
        trainings.setdefault(key, []).append(members)
    rows = [_measured(suite, key, seeds) for key, seeds in trainings.items()]
    published = [_published(suite, row) for row in suite.published()]
    ordered = sorted(_ranked(rows), key=_order)
    return SuiteTable(suite=suite, rows=(*ordered, *published))


def _bench(record: Record) -> tuple[str, ...]:
    return record.backend, record.precision, record.hardware.id


def _order(row: SuiteRow) -> tuple[bool, bool, float, str, str]:
    value = math.inf if row.score is None else row.score
    return row.rank is None, row.score is None, value, row.name, row.id


def _measured(
    suite: Suite, key: tuple[str, ...], seeds: Sequence[Sequence[Record]]
) -> SuiteRow:
    found = [row_of(suite.file, members) for members in seeds]
    scores = [score_of(suite.file, numbers) for numbers in found]
    newest = max((r for members in seeds for r in members), key=lambda r: r.created_at)
    marks = dict.fromkeys(m for members in seeds for r in members for m in r.marks)
    if any(score.is_rough for score in scores):
        marks[SMOKE] = None
    known = [score.value for score in scores if score.value is not None]
    whole = len(known) == len(scores)
    ends = [(s.low, s.high) for s in scores if s.low is not None and s.high is not None]
    return SuiteRow(
        id=short_id(suite.label, *key),
        name=common_name([members[0].model.name for members in seeds]),
        record=newest,
        published=None,
        score=sum(known) / len(known) if whole else None,
        low=min(low for low, _ in ends) if len(ends) == len(scores) else None,
        high=max(high for _, high in ends) if len(ends) == len(scores) else None,
        why_none=next((s.why_none for s in scores if s.why_none), None),
        nseeds=len(seeds),
        marks=tuple(marks),
        cells=tuple(
            _cell(index, scores, _rows_at(suite, metric, seeds[0]))
            for index, metric in enumerate(suite.file.metric)
        ),
    )


def _rows_at(
    suite: Suite, metric: SuiteMetric, members: Iterable[Record]
) -> str | None:
    """Find the row of the tables that shows a number."""
    data = suite.data(metric.data)
    for record in members:
        split = "" if record.split is None else record.split.digest
        if (record.dataset.digest, split) == (data.digest, data.split.digest) and (
            record.part == metric.part
        ):
            return row_id(record)
    return None


def _cell(index: int, scores: Sequence[Score], row: str | None) -> SuiteCell:
    terms = [score.terms[index] for score in scores]
    values = [term.value for term in terms if term.value is not None]
    errors = [term.error for term in terms if term.error is not None]
    whole = len(values) == len(terms)
    worst = next((t.status for t in terms if t.status != "ok"), terms[0].status)
    return SuiteCell(
        value=sum(values) / len(values) if whole else None,
        error=sum(errors) / len(errors) if len(errors) == len(terms) else None,
        status=worst,
        row=row,
    )


def published_lines(
    suites: Iterable[Suite], key: tuple[str, str, str, str]
) -> tuple[PublishedLine, ...]:
    """Find what was published for the frames of one table.

    Args:
        suites: Those that may have published rows.
        key: Of the table, as ``table_key`` gives it.
    """
    out = []
    for suite in suites:
        keys = [
            d.key for d in suite.file.data if (d.digest, d.split.digest) == key[1::2]
        ]
        for row in suite.published() if keys else ():
            metrics = {
                v.metric: metric_value(v.metric, v.value, n=0)
                for v in row.values
                if v.data in keys and v.part == key[2]
            }
            if metrics:
                name = short_id(suite.label, row.model, row.source, *key)
                out.append(
                    PublishedLine(id=name, row=row, suite=suite.label, metrics=metrics)
                )
    return tuple(out)


def _published(suite: Suite, row: PublishedRow) -> SuiteRow:
    told = {(v.metric, v.data, v.part): v.value for v in row.values}
    found: dict[Place, Numbers] = {}
    for metric in suite.file.metric:
        value = told.get((metric.name, metric.data, metric.part))
        if value is None:
            continue
        place = (metric.task, metric.data, metric.part)
        known = found[place].metrics if place in found else {}
        number = metric_value(metric.name, value, n=0)
        found[place] = Numbers(failed=False, metrics={**known, metric.name: number})
    score = score_of(suite.file, found)
    return SuiteRow(
        id=short_id(suite.label, "published", row.model, row.source),
        name=row.model,
        record=None,
        published=row,
        score=score.value,
        low=None,
        high=None,
        why_none=score.why_none,
        nseeds=0,
        marks=("published",),
        cells=tuple(
            SuiteCell(value=term.value, error=term.error, status=term.status)
            for term in score.terms
        ),
    )


def _ranked(rows: Sequence[SuiteRow]) -> list[SuiteRow]:
    """Rank by intervals of scores: what overlaps, shares ranks.

    Rows of one training, on several backends say, count once against others and not
    against each other.
    """
    ends = {
        row.id: (
            row.score if row.low is None else row.low,
            row.score if row.high is None else row.high,
            training_digest(row.record),
        )
        for row in rows
        if row.score is not None and not row.marks and row.record is not None
    }
    return [row if row.id not in ends else _in_rank(row, ends) for row in rows]


def _in_rank(row: SuiteRow, ends: Mapping[str, tuple[float, float, str]]) -> SuiteRow:
    """Give a row its range of ranks."""
    low, high, own = ends[row.id]
    others = [other for other in ends.values() if other[2] != own]
    better = {name for _, their_high, name in others if their_high < low}
    not_worse = {name for their_low, _, name in others if their_low <= high}
    return replace(row, rank=1 + len(better), rank_last=1 + len(not_worse | better))
