"""The leaderboard as CSV and JSON, from the same board as the page."""

import csv
import json
from collections.abc import Mapping, Sequence
from io import StringIO
from typing import Any

from dpbench.config import to_mapping
from dpbench.eval.leaderboard.board import (
    BASELINE_NAME,
    BaselineRow,
    Board,
    Row,
    Table,
)
from dpbench.eval.leaderboard.cautions import cautions, fidelity
from dpbench.eval.leaderboard.columns import (
    COLUMNS,
    Column,
    further_columns,
)
from dpbench.eval.leaderboard.escaping import csv_text
from dpbench.eval.leaderboard.lines import Line, lines, main_digest, trained_on
from dpbench.eval.leaderboard.suite_tables import PublishedLine, SuiteTable
from dpbench.metrics.definitions import MetricValue

SCHEMA_VERSION = 3
"""Of ``leaderboard.json``. 1 had no ``leakage``; 2 had neither entries nor ranges of
ranks nor the tasks beside accuracy, stability and throughput."""

LEAKAGE_COLUMNS = (
    "leakage_copies",
    "leakage_twins",
    "leakage_same_trajectory",
    "leakage_nearest_steps",
)
"""Heads of the columns of leakage, in frames and steps."""

FIDELITY = "fidelity_force_mae_component_mev_per_ang"
"""Head of the column that tells how far a fast mode is from float64."""


def _told(number: int | None) -> str:
    return "–" if number is None else str(number)


def render_csv(board: Board) -> str:
    """Write all lines under one head; names of columns carry their units.

    A training with several seeds has a line of its own (``training``), and then one of
    each seed.
    """
    rows = [row for table in board.tables for row in table.rows]
    columns = (*COLUMNS, *further_columns(rows))
    buffer = StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\n")
    heads = ["dataset", "part", "line", "rank", "rank_last", "model", "model_digest"]
    heads += ["trained_on", "seeds", "blocks"]
    for column in columns:
        heads += [column.key, f"{column.key}_ci_low", f"{column.key}_ci_high"]
    heads += [FIDELITY, "md_natoms", "parameters", "backend", "precision", "hardware"]
    heads += ["hardware_id", "suite", "marks", "train_overlap_frames"]
    writer.writerow([*heads, *LEAKAGE_COLUMNS, "records"])
    for table in board.tables:
        cells: list[list[Any]] = []
        for line in lines(table):
            cells.append(_csv_line(table, line, columns))
            if len(line.rows) > 1:
                cells += [_csv_seed(table, line, row, columns) for row in line.rows]
        cells += [_csv_baseline(table, row, columns) for row in table.baselines]
        cells += [_csv_published(table, line, columns) for line in table.published]
        writer.writerows([csv_text(cell) for cell in row] for row in cells)
    return buffer.getvalue()


def _csv_numbers(metrics: Sequence[MetricValue | None]) -> list[float | None]:
    out: list[float | None] = []
    for metric in metrics:
        if metric is None:
            out += [None, None, None]
        else:
            out += [metric.value, metric.ci_low, metric.ci_high]
    return out


def _csv_line(table: Table, line: Line, columns: Sequence[Column]) -> list[Any]:
    digests = {digest for row in line.rows for digest in row.digests.values()}
    several = len(line.rows) > 1
    return [
        table.dataset,
        table.part,
        "training" if several else "row",
        line.entry.rank,
        line.entry.rank_last,
        line.entry.name,
        None if several else line.record.model.digest,
        trained_on(line.record),
        len(line.rows),
        line.nblocks,
        *_csv_numbers([line.metric(column) for column in columns]),
        *_csv_row_facts(line.first, line.entry.marks),
        " ".join(sorted(digests)),
    ]


def _csv_seed(
    table: Table, line: Line, row: Row, columns: Sequence[Column]
) -> list[Any]:
    seeds = dict(zip(line.entry.rows, line.entry.seeds, strict=True))
    return [
        table.dataset,
        table.part,
        f"seed {_told(seeds[row.id])}",
        None,
        None,
        row.record.model.name,
        row.record.model.digest,
        trained_on(row.record),
        1,
        None,
        *_csv_numbers([row.metrics.get(column.metric) for column in columns]),
        *_csv_row_facts(row, row.marks),
        " ".join(sorted(set(row.digests.values()))),
    ]


def _csv_row_facts(row: Row, marks: Sequence[str]) -> list[Any]:
    record = row.record
    return [
        fidelity(row),
        None if row.throughput is None else row.throughput.natoms,
        record.model.parameters,
        record.backend,
        record.precision,
        record.hardware.label,
        record.hardware.id,
        record.suite,
        "; ".join(marks),
        row.leakage_record.overlap.train,
        *_leakage_numbers(row),
    ]


def _leakage_numbers(row: Row) -> list[int | None]:
    found = row.leakage_record.leakage
    if found is None:
        return [None] * len(LEAKAGE_COLUMNS)
    return [
        found.exact,
        found.invariant,
        found.same_trajectory,
        found.nearest_steps,
    ]


def _csv_baseline(
    table: Table, row: BaselineRow, columns: Sequence[Column]
) -> list[Any]:
    return [
        *(table.dataset, table.part, "baseline", None, None, BASELINE_NAME, None),
        *(row.baseline.fitted_on, None, None),
        *_csv_numbers([row.metrics.get(column.metric) for column in columns]),
        *(None, None, row.baseline.rank, None, None, None, None, None, "baseline"),
        *(None,) * (1 + len(LEAKAGE_COLUMNS)),
        row.digest,
    ]


def _csv_published(
    table: Table, line: PublishedLine, columns: Sequence[Column]
) -> list[Any]:
    return [
        *(table.dataset, table.part, "published", None, None, line.row.model, None),
        *(None, None, None),
        *_csv_numbers([line.metrics.get(column.metric) for column in columns]),
        *(None,) * 7,
        line.suite,
        f"published: {line.row.source}",
        *(None,) * (1 + len(LEAKAGE_COLUMNS)),
        None,
    ]


def render_json(board: Board) -> str:
    """Write tables, entries and rows with metrics and the digests of their records."""
    payload = {
        "schema": "dpbench.leaderboard",
        "schema_version": SCHEMA_VERSION,
        "tables": [_json_table(table) for table in board.tables],
        "suites": [_json_suite(table) for table in board.suites],
    }
    return json.dumps(payload, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _json_table(table: Table) -> dict[str, Any]:
    return {
        "dataset": table.dataset,
        "dataset_digest": table.dataset_digest,
        "part": table.part,
        "split_digest": table.split_digest,
        "nframes": table.nframes,
        "natoms": table.natoms,
        "entries": [
            {
                "id": line.entry.id,
                "name": line.entry.name,
                "rank": line.entry.rank,
                "rank_last": line.entry.rank_last,
                "marks": list(line.entry.marks),
                "rows": list(line.entry.rows),
                "seeds": list(line.entry.seeds),
                "blocks": line.nblocks,
                "metrics": _json_metrics(line.entry.metrics),
            }
            for line in lines(table)
        ],
        "rows": [_json_row(row) for row in table.rows],
        "baselines": [
            {
                "name": BASELINE_NAME,
                "fitted_on": row.baseline.fitted_on,
                "metrics": _json_metrics(row.metrics),
                "record": row.digest,
            }
            for row in table.baselines
        ],
        "published": [
            {
                "name": line.row.model,
                "source": line.row.source,
                "url": line.row.url,
                "note": line.row.note,
                "suite": line.suite,
                "metrics": _json_metrics(line.metrics),
            }
            for line in table.published
        ],
    }


def _json_suite(table: SuiteTable) -> dict[str, Any]:
    return {
        "suite": table.suite.label,
        "suite_digest": table.suite.digest,
        "metrics": [to_mapping(metric) for metric in table.metrics],
        "rows": [
            {
                "name": row.name,
                "published": row.published is not None,
                "rank": row.rank,
                "rank_last": row.rank_last,
                "score": row.score,
                "score_low": row.low,
                "score_high": row.high,
                "why_no_score": row.why_none,
                "seeds": row.nseeds,
                "marks": list(row.marks),
                "values": [cell.value for cell in row.cells],
                "errors": [cell.error for cell in row.cells],
                "status": [cell.status for cell in row.cells],
                "rows": [cell.row for cell in row.cells],
            }
            for row in table.rows
        ],
    }


def _json_row(row: Row) -> dict[str, Any]:
    record, leakage = row.record, row.leakage_record.leakage
    return {
        "id": row.id,
        "entry": row.entry,
        "rank": row.rank,
        "rank_last": row.rank_last,
        "marks": list(row.marks),
        "cautions": [words for words, _ in cautions(row)],
        "model": to_mapping(record.model),
        "trained_on": trained_on(record),
        "backend": record.backend,
        "precision": record.precision,
        "suite": record.suite,
        "hardware": {"id": record.hardware.id, "label": record.hardware.label},
        "overlap": to_mapping(row.leakage_record.overlap),
        "leakage": None if leakage is None else to_mapping(leakage),
        "metrics": _json_metrics(row.metrics),
        FIDELITY: fidelity(row),
        "md_natoms": None if row.throughput is None else row.throughput.natoms,
        "stability": None if row.stability is None else row.stability.status,
        "tasks": {
            name: {"status": task.status, "reason": task.reason, "code": task.code}
            for name, task in sorted(row.tasks.items())
        },
        "records": dict(sorted(row.digests.items())),
        "command": list(record.command),
        "reproduce": f"dpbench reproduce {main_digest(row)}",
    }


def _json_metrics(metrics: Mapping[str, MetricValue]) -> dict[str, Any]:
    return {name: to_mapping(metric) for name, metric in sorted(metrics.items())}
