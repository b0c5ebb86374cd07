"""From records to the tables of the leaderboard: a pure function.

One table holds what may be compared: the same part of the same split of the same
dataset version. One row is one model by one backend in one precision on one machine;
it joins the newest record of each task. Nothing here is stored: ranks are computed
anew each time.
"""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from dpbench.eval.leaderboard.entries import Entry, Member, make_entries
from dpbench.eval.leaderboard.keys import row_key, short_id, table_key
from dpbench.eval.leaderboard.ranks import RANKED_BY, TIMED_BY, ranked
from dpbench.eval.leaderboard.suite_tables import (
    PublishedLine,
    SuiteTable,
    published_lines,
    suite_table,
)
from dpbench.eval.record import Record
from dpbench.eval.suites.loading import Suite
from dpbench.eval.task_results import (
    Accuracy,
    Baseline,
    Stability,
    TaskResult,
    Throughput,
)
from dpbench.metrics.definitions import MetricValue

TIES_BY = TIMED_BY
"""Metric that orders rows whose accuracy is level."""

NO_ACCURACY = "accuracy not measured"
FAILED = "the backend failed"

BUSY_LOAD = 1.5
"""Load per core above which a machine was busy; a training just before gives one."""
BASELINE_NAME = "composition-only"


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One row of a table."""

    id: str
    """Twelve hex digits that name the row on the page."""
    rank: int | None
    """First rank that it may stand at, that of its entry; None where it takes none,
    ``marks`` say why."""
    marks: tuple[str, ...]
    record: Record
    """The record that names model, hardware and precision: the newest one."""
    digests: dict[str, str]
    """Task -> digest of the record that its numbers come from; of a row that has none,
    ``failure`` -> digest of the record that says why."""
    records: dict[str, Record]
    """Every record that ``digests`` names, by digest."""
    metrics: dict[str, MetricValue]
    """All headline metrics by name."""
    tasks: dict[str, TaskResult]
    """Results of the other tasks by name, each from the newest record that has it."""
    accuracy: Accuracy | None
    stability: Stability | None
    throughput: Throughput | None
    throughput_record: Record | None
    """The record that ``throughput`` belongs to."""
    leakage_record: Record
    """The record that tells of leakage: that of the accuracy, where there is one."""
    rank_last: int | None = None
    """Last rank that it may stand at."""
    entry: str = ""
    """Id of its entry: rows that differ in the training's seed alone share one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BaselineRow:
    """The composition-only baseline on a table's frames."""

    id: str
    baseline: Baseline
    metrics: dict[str, MetricValue]
    digest: str
    """A record that holds it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """Rows that may be compared."""

    id: str
    dataset: str
    """Label of the version, ``water-v2``."""
    dataset_digest: str
    part: str
    split_digest: str | None
    nframes: int
    natoms: int
    rows: tuple[Row, ...]
    """Ranked rows first, by the error of their entry; then the others."""
    entries: tuple[Entry, ...]
    """In the order of their rows: what the ranks are about."""
    baselines: tuple[BaselineRow, ...]
    published: tuple[PublishedLine, ...] = ()
    """What others published for these frames; not measured here, so without a rank."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Board:
    """All tables."""

    tables: tuple[Table, ...]
    nrecords: int
    suites: tuple[SuiteTable, ...] = ()


def make_board(
    records: Mapping[str, Record],
    *,
    suite: str | None = None,
    suites: Iterable[Suite] = (),
) -> Board:
    """Arrange records into tables.

    Args:
        records: Digest -> record, in any order.
        suite: Keep only records of this suite, ``si-lda-v1``, or of all its versions,
            ``si-lda``.
        suites: Files of suites: their bounds give scores.

    Returns:
        The same board for the same records, whatever their order.
    """
    kept = {
        digest: record
        for digest, record in sorted(records.items())
        if suite is None or _is_of(record, suite)
    }
    groups: dict[tuple[str, str, str, str], dict[str, Record]] = {}
    for digest, record in kept.items():
        groups.setdefault(table_key(record), {})[digest] = record
    known = sorted(suites, key=lambda suite: suite.label)
    tables = [_table(key, members, known) for key, members in groups.items()]
    tables.sort(key=lambda t: (t.dataset, _part_order(t.part), t.id))
    scored = [suite_table(one, kept) for one in known]
    return Board(
        tables=tuple(tables),
        nrecords=len(kept),
        suites=tuple(s for s in scored if any(row.record for row in s.rows)),
    )


def _is_of(record: Record, suite: str) -> bool:
    label = record.suite or ""
    return (
        label == suite or re.fullmatch(rf"{re.escape(suite)}-v\d+", label) is not None
    )


def _part_order(part: str) -> tuple[int, str]:
    order = {"test": 0, "all": 2, "validation": 3, "train": 4}
    return (order.get(part, 1), part)


def _table(
    key: tuple[str, str, str, str],
    members: Mapping[str, Record],
    suites: Iterable[Suite],
) -> Table:
    grouped: dict[tuple[str, ...], dict[str, Record]] = {}
    for digest, record in members.items():
        grouped.setdefault(row_key(record), {})[digest] = record
    rows = [_row(key, row_key, records) for row_key, records in grouped.items()]
    rows, entries = _ranked(rows)
    newest = _newest(members)[1]
    return Table(
        id=short_id(*key),
        dataset=key[0],
        dataset_digest=key[1],
        part=key[2],
        split_digest=key[3] or None,
        nframes=newest.nframes,
        natoms=newest.natoms,
        rows=tuple(rows),
        entries=tuple(entries),
        baselines=_baselines(key, members),
        published=published_lines(suites, key),
    )


def _row(
    table_key: tuple[str, ...],
    row_key: tuple[str, ...],
    records: Mapping[str, Record],
) -> Row:
    by_task: dict[str, tuple[str, Record]] = {}
    for task in ("accuracy", "stability", "throughput"):
        having = {d: r for d, r in records.items() if getattr(r, task) is not None}
        if having:
            by_task[task] = _newest(having)
    newest, record = _newest(records)
    results = {task: getattr(found[1], task) for task, found in by_task.items()}
    others = _other_tasks(records)
    by_task |= others
    scored = by_task.get("accuracy")
    marks = scored[1].marks if scored is not None else (*record.marks, NO_ACCURACY)
    if record.failure is not None and scored is None:
        marks = (f"{FAILED}: {record.failure}",)
    tasks = {name: found[1].tasks[name] for name, found in others.items()}
    # The quick tasks come last: their numbers keep their names.
    metrics = {
        metric.name: metric
        for result in (*tasks.values(), *results.values())
        for metric in result.metrics
    }
    digests = {task: digest for task, (digest, _) in by_task.items()}
    return Row(
        id=short_id(*table_key, *row_key),
        rank=None,
        marks=marks,
        record=record,
        digests=digests or {"failure": newest},
        records={digest: records[digest] for digest in (*digests.values(), newest)},
        metrics=metrics,
        tasks=tasks,
        accuracy=results.get("accuracy"),
        stability=results.get("stability"),
        throughput=results.get("throughput"),
        throughput_record=by_task["throughput"][1] if "throughput" in by_task else None,
        leakage_record=record if scored is None else scored[1],
    )


def _other_tasks(records: Mapping[str, Record]) -> dict[str, tuple[str, Record]]:
    """Find the newest record of each task that ``Record.tasks`` holds."""
    names = sorted({name for record in records.values() for name in record.tasks})
    return {
        name: _newest({d: r for d, r in records.items() if name in r.tasks})
        for name in names
    }


def _newest(records: Mapping[str, Record]) -> tuple[str, Record]:
    return max(records.items(), key=lambda item: (item[1].created_at, item[0]))


def _ranked(rows: Iterable[Row]) -> tuple[list[Row], list[Entry]]:
    """Join rows into entries, rank these, and order both."""
    by_id = {row.id: row for row in rows}
    entries = ranked(make_entries(_member(row) for row in by_id.values()))
    entries.sort(key=lambda entry: _entry_order(entry, by_id))
    ordered = [
        replace(
            by_id[row_id],
            rank=entry.rank,
            rank_last=entry.rank_last,
            entry=entry.id,
        )
        for entry in entries
        for row_id in entry.rows
    ]
    return ordered, entries


def _member(row: Row) -> Member:
    return Member(
        id=row.id,
        record=row.record,
        marks=row.marks,
        metrics=row.metrics,
        accuracy=row.accuracy,
        natoms=None if row.throughput is None else row.throughput.natoms,
    )


def _entry_order(
    entry: Entry, rows: Mapping[str, Row]
) -> tuple[bool, bool, float, float, str, str]:
    metric, speed = entry.metrics.get(RANKED_BY), entry.metrics.get(TIES_BY)
    value = metric.value if metric is not None else None
    return (
        entry.rank is None,
        value is None,
        float(f"{value or 0.0:.4g}"),  # the same weights on two backends are level
        math.inf if speed is None or speed.value is None else speed.value,
        rows[entry.rows[0]].record.model.name,
        entry.id,
    )


def _baselines(
    key: tuple[str, ...], members: Mapping[str, Record]
) -> tuple[BaselineRow, ...]:
    """Every distinct baseline once; models trained on other frames bring others."""
    found: dict[str, BaselineRow] = {}
    for digest, record in sorted(members.items()):
        if record.accuracy is None or record.accuracy.baseline is None:
            continue
        baseline = record.accuracy.baseline
        name = short_id(*key, baseline.fitted_on, repr(baseline.energies))
        found.setdefault(
            name,
            BaselineRow(
                id=name,
                baseline=baseline,
                metrics={metric.name: metric for metric in baseline.metrics},
                digest=digest,
            ),
        )
    return tuple(found[name] for name in sorted(found))


def was_busy(row: Row) -> bool:
    """Whether the machine had clearly more to do than its cores before the timing."""
    timed = row.throughput_record
    if timed is None or timed.hardware.load is None:
        return False
    return timed.hardware.load > BUSY_LOAD * timed.hardware.logical
