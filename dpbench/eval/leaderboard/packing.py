"""The board as the page carries it: summary lines as compact JSON.

A line is an array, in the order of ``FIELDS``; texts that repeat stand once, in
``words``, and a line has their index. Numbers of a line are ``cells``: column, value,
ends of the interval, blocks and a note. The script of the page reads exactly this.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from dpbench.eval.leaderboard import leakage_cell
from dpbench.eval.leaderboard.board import (
    BASELINE_NAME,
    BaselineRow,
    Board,
    Row,
    Table,
)
from dpbench.eval.leaderboard.cautions import OTHER_THEORY, cautions, fidelity_words
from dpbench.eval.leaderboard.columns import (
    COLUMNS,
    GROUPS,
    Column,
    further_columns,
    unit_text,
)
from dpbench.eval.leaderboard.figures import data_steps, size_curves
from dpbench.eval.leaderboard.lines import Line, lines, trained_on
from dpbench.eval.leaderboard.suite_tables import SuiteRow, SuiteTable
from dpbench.eval.record import Record
from dpbench.eval.suites.format import PublishedRow
from dpbench.eval.tasks.table import TASKS
from dpbench.metrics.definitions import METRICS, MetricValue

FORMAT = 1
"""Of the inline JSON; its reader is in the same file."""

FIELDS = (
    "id",
    "rank",
    "rankLast",
    "name",
    "digest",
    "trained",
    "description",
    "kind",
    "backend",
    "precision",
    "hardware",
    "machine",
    "suite",
    "leakage",
    "severity",
    "found",
    "rest",
    "note",
    "told",
    "parameters",
    "marks",
    "badges",
    "blocks",
    "seeds",
    "training",
    "cells",
)
"""What the places of a line mean."""

OLD_TASKS = {
    "accuracy": "Accuracy",
    "stability": "Energy conservation",
    "throughput": "Speed",
}
"""Titles of the tasks with a field of their own in records."""

SHARED = ("copies", "twins", "same run")
"""Kinds of leakage that a suite's row is marked with."""

DIGITS = 5
"""Significant digits of a summary number; the records have them all."""


class Words:
    """Texts that occur more than once, each with a number."""

    def __init__(self) -> None:
        """Start with no word."""
        self.index: dict[str, int] = {}

    def __call__(self, text: str | None) -> int | None:
        """Return the number of a text; None for None."""
        if text is None:
            return None
        return self.index.setdefault(text, len(self.index))


def page_data(board: Board) -> dict[str, Any]:
    """Lay out everything that the table, the filters and the fronts need."""
    words = Words()
    rows = [row for table in board.tables for row in table.rows]
    columns = (*COLUMNS, *further_columns(rows))
    groups = [
        key
        for key in GROUPS
        if key == "overview" or any(column.group == key for column in columns)
    ]
    tables = [_table(table, columns, words) for table in board.tables]
    return {
        "format": FORMAT,
        "fields": FIELDS,
        "groups": [[key, GROUPS[key]] for key in groups],
        "columns": [_column(column) for column in columns],
        "metrics": {
            name: [item.title, unit_text(item.unit), item.meaning, item.polarity]
            for name, item in METRICS.items()
        },
        "tasks": {name: task.title for name, task in TASKS.items()} | OLD_TASKS,
        "leakage": [leakage_cell.HEAD, leakage_cell.MEANING],
        "tables": tables,
        "suites": [_suite(table) for table in board.suites],
        "words": list(words.index),
    }


def inline_json(payload: Any) -> str:
    """Write JSON that may stand within a script element: no ``<`` is left in it."""
    text = json.dumps(
        payload, ensure_ascii=False, allow_nan=False, separators=(",", ":")
    )
    return text.replace("<", "\\u003c")


def _column(column: Column) -> list[Any]:
    return [
        column.key,
        column.metric,
        column.head if column.code is None else f"{column.head} · {column.code[:4]}",
        column.group,
        column.task,
        int(column in COLUMNS),
        int(column.is_speed),
    ]


def _table(table: Table, columns: tuple[Column, ...], words: Words) -> dict[str, Any]:
    return {
        "id": table.id,
        "dataset": table.dataset,
        "digest": table.dataset_digest,
        "part": table.part,
        "split": table.split_digest,
        "nframes": table.nframes,
        "natoms": table.natoms,
        "rows": [_line(line, columns, words) for line in lines(table)],
        "baselines": [_baseline(row, columns) for row in table.baselines],
        "sizes": size_curves(table),
        "steps": data_steps(table),
        "published": [
            {
                "id": line.id,
                "name": line.row.model,
                "told": _told(line.row),
                "suite": line.suite,
                "cells": _known_cells(line.metrics, columns),
            }
            for line in table.published
        ],
    }


def _told(row: PublishedRow) -> str:
    """Say who published a row, and what makes it another thing than one of ours."""
    return " ".join(text for text in (row.source, row.url, row.note) if text)


def _suite(table: SuiteTable) -> dict[str, Any]:
    file = table.suite.file
    return {
        "label": table.suite.label,
        "title": file.title,
        "description": " ".join(file.description.split()),
        "digest": table.suite.digest,
        "metrics": [
            [m.name, m.task, m.data, m.part, m.weight, m.perfect, m.useless]
            for m in table.metrics
        ],
        "rows": [_suite_row(row) for row in table.rows],
    }


def _leakage_told(record: Record) -> list[str] | None:
    """Say what scored frames have in common with training frames, if anything."""
    found = leakage_cell.leakage_cell(record)
    return [found.kind, found.title] if found.kind in SHARED else None


def _suite_row(row: SuiteRow) -> dict[str, Any]:
    record = row.record
    runs_on = record and f"{record.backend} · {record.precision}"
    return {
        "id": row.id,
        "name": row.name,
        "rank": row.rank,
        "rankLast": row.rank_last,
        "score": _short(row.score),
        "low": _short(row.low),
        "high": _short(row.high),
        "why": row.why_none,
        "seeds": row.nseeds,
        "marks": list(row.marks),
        "runsOn": runs_on,
        "hardware": record and record.hardware.label,
        "trained": None if record is None else trained_on(record),
        "told": None if row.published is None else _told(row.published),
        "leakage": None if record is None else _leakage_told(record),
        "cells": [
            [_short(cell.value), _short(cell.error), cell.status, cell.row]
            for cell in row.cells
        ],
    }


def _line(line: Line, columns: tuple[Column, ...], words: Words) -> list[Any]:
    record, entry = line.record, line.entry
    training = record.provenance.training_dataset
    leakage = leakage_cell.leakage_cell(line.first.leakage_record)
    values = {
        "id": entry.id,
        "rank": entry.rank,
        "rankLast": entry.rank_last,
        "name": entry.name,
        "digest": record.model.digest.split(":")[-1][:8],
        "trained": words(None if training is None else training.label),
        "description": words(record.model.description),
        "kind": words(record.model.kind),
        "backend": words(record.backend),
        "precision": words(record.precision),
        "hardware": words(record.hardware.label),
        "machine": words(record.hardware.id),
        "suite": words(record.suite),
        "leakage": words(leakage.kind),
        "severity": _short(leakage.severity),
        "found": [words(text) for text in leakage.found],
        "rest": words(leakage.rest),
        "note": words(leakage.note or None),
        "told": words(leakage.title),
        "parameters": record.model.parameters,
        "marks": [words(mark) for mark in entry.marks],
        "badges": [
            [words(text), words(why), int(text == OTHER_THEORY)]
            for text, why in dict.fromkeys(c for r in line.rows for c in cautions(r))
        ],
        "blocks": line.nblocks,
        "seeds": [row.id for row in line.rows] if len(line.rows) > 1 else None,
        "training": words(entry.model[-12:]),
        "cells": _cells(line, columns, words),
    }
    return [values[field] for field in FIELDS]


def _cells(line: Line, columns: tuple[Column, ...], words: Words) -> list[list[Any]]:
    cells = []
    for index, column in enumerate(columns):
        metric = line.metric(column)
        if metric is not None:
            note = words(_note(column, line.first))
            cells.append([*_numbers(index, metric), note])
    return [_trimmed(cell) for cell in cells]


def _baseline(row: BaselineRow, columns: tuple[Column, ...]) -> dict[str, Any]:
    return {
        "id": row.id,
        "name": BASELINE_NAME,
        "fittedOn": row.baseline.fitted_on,
        "rank": row.baseline.rank,
        "record": row.digest,
        "cells": _known_cells(row.metrics, columns),
    }


def _known_cells(
    metrics: Mapping[str, MetricValue], columns: tuple[Column, ...]
) -> list[list[Any]]:
    return [
        _trimmed(_numbers(index, metrics[column.metric]))
        for index, column in enumerate(columns)
        if column.metric in metrics
    ]


def _numbers(index: int, metric: MetricValue) -> list[Any]:
    return [
        index,
        _short(metric.value),
        _short(metric.ci_low),
        _short(metric.ci_high),
        metric.nblocks,
    ]


def _short(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.{DIGITS}g}")


def _trimmed(values: Iterable[Any]) -> list[Any]:
    """Leave out what is missing at the end."""
    kept = list(values)
    while kept and kept[-1] is None:
        kept.pop()
    return kept


def _note(column: Column, row: Row) -> str | None:
    """Say what belongs under a number."""
    if column.metric == "md_us_per_atom_step":
        off = fidelity_words(row)
        size = None if row.throughput is None else f"{row.throughput.natoms} atoms"
        return "\n".join(text for text in (size, off) if text) or None
    if column.metric == "nve_drift_mev_per_atom_ps" and row.stability is not None:
        failed = [r.failure_step for r in row.stability.runs if r.status == "exploded"]
        return f"exploded at step {failed[0]}" if failed else None
    task = row.tasks.get(column.task)
    if task is not None and task.status != "ok":
        return (task.reason or task.status).replace("_", " ")
    return None
