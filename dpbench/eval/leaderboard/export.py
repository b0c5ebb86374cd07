"""The leaderboard as Markdown, CSV and JSON, from the same board as the page."""

import csv
import json
from io import StringIO
from typing import Any

from dpbench.config import to_mapping
from dpbench.eval.leaderboard import leakage_cell
from dpbench.eval.leaderboard.board import (
    BASELINE_NAME,
    BaselineRow,
    Board,
    Row,
    Table,
    was_busy,
)
from dpbench.eval.leaderboard.columns import COLUMNS, with_spread
from dpbench.eval.leaderboard.plots import shortened
from dpbench.eval.record import Record
from dpbench.metrics.definitions import MetricValue

SCHEMA_VERSION = 2
"""Of ``leaderboard.json``. 1 had no ``leakage``."""

LEAKAGE_COLUMNS = (
    "leakage_copies",
    "leakage_twins",
    "leakage_same_trajectory",
    "leakage_nearest_steps",
)
"""Heads of the columns of leakage, in frames and steps."""


def render_markdown(board: Board) -> str:
    """Write one table per dataset part."""
    lines = ["# dpbench leaderboard", ""]
    for table in board.tables:
        lines += [f"## {_md(table.dataset)}:{_md(table.part)}", ""]
        lines += [f"{table.nframes} frames, {table.natoms} atoms.", ""]
        heads = ["#", "Model", "Trained on"]
        heads += [f"{c.head}, {c.unit}" for c in COLUMNS]
        heads += [
            leakage_cell.HEAD,
            "Params",
            "Backend",
            "Precision",
            "Hardware",
            "Marks",
            "Record",
        ]
        lines.append("| " + " | ".join(heads) + " |")
        lines.append("|" + "---|" * len(heads))
        lines += [_md_row(_model_cells(row)) for row in table.rows]
        lines += [_md_row(_baseline_cells(row)) for row in table.baselines]
        lines.append("")
    lines.append(
        "± is half the 95 % bootstrap interval. Rows are ranked by force RMSE; rows "
        "whose intervals overlap share a rank; marked rows take none."
    )
    return "\n".join(lines) + "\n"


def _cautions(row: Row) -> list[str]:
    """What a reader of the timings must know, as the page's badges say it."""
    smoke = ["smoke"] if row.record.mode == "smoke" else []
    return [*smoke, *(["busy machine"] if was_busy(row) else [])]


def _told(number: int | None) -> str:
    return "–" if number is None else str(number)


def _model_cells(row: Row) -> list[str]:
    record = row.record
    digest = row.digests.get("accuracy") or sorted(row.digests.values())[0]
    return [
        "–" if row.rank is None else str(row.rank),
        record.model.name,
        _trained_on(record),
        *(with_spread(row.metrics.get(c.metric)) for c in COLUMNS),
        leakage_cell.leakage_cell(row.leakage_record).text,
        _told(record.model.parameters),
        record.backend,
        record.precision,
        record.hardware.label,
        "; ".join([*row.marks, *_cautions(row)]),
        digest[:12],
    ]


def _baseline_cells(row: BaselineRow) -> list[str]:
    return [
        "–",
        BASELINE_NAME,
        row.baseline.fitted_on,
        *(with_spread(row.metrics.get(c.metric)) for c in COLUMNS),
        "–",
        str(row.baseline.rank),
        "–",
        "–",
        "–",
        "baseline",
        row.digest[:12],
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


def _trained_on(record: Record) -> str:
    training = record.provenance.training_dataset
    return "unknown" if training is None else training.label


def _md_row(cells: list[str]) -> str:
    return "| " + " | ".join(_md(shortened(cell, 80)) for cell in cells) + " |"


def _md(text: str) -> str:
    """Keep a text from being markup: pipes, tags, emphasis, links, line breaks."""
    text = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;")
    for sign in ("\\", "|", "`", "*", "_", "[", "]"):
        text = text.replace(sign, "\\" + sign)
    return text


def render_csv(board: Board) -> str:
    """Write all rows under one head; names of columns carry their units."""
    buffer = StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\n")
    heads = ["dataset", "part", "rank", "model", "model_digest", "trained_on"]
    for column in COLUMNS:
        heads += [column.metric, f"{column.metric}_ci_low", f"{column.metric}_ci_high"]
    heads += ["md_natoms", "parameters", "backend", "precision", "hardware"]
    heads += ["marks", "train_overlap_frames", *LEAKAGE_COLUMNS, "records"]
    writer.writerow(heads)
    for table in board.tables:
        for row in table.rows:
            writer.writerow([_plain(cell) for cell in _csv_model(table, row)])
        for baseline in table.baselines:
            writer.writerow([_plain(cell) for cell in _csv_baseline(table, baseline)])
    return buffer.getvalue()


def _plain(cell: Any) -> Any:
    """Keep a spreadsheet from reading a name as a formula."""
    if isinstance(cell, str) and cell[:1] in ("=", "+", "-", "@"):
        return "'" + cell
    return cell


def _csv_numbers(metrics: dict[str, MetricValue]) -> list[float | None]:
    out: list[float | None] = []
    for column in COLUMNS:
        metric = metrics.get(column.metric)
        if metric is None:
            out += [None, None, None]
        else:
            out += [metric.value, metric.ci_low, metric.ci_high]
    return out


def _csv_model(table: Table, row: Row) -> list[Any]:
    record = row.record
    return [
        table.dataset,
        table.part,
        row.rank,
        record.model.name,
        record.model.digest,
        _trained_on(record),
        *_csv_numbers(row.metrics),
        None if row.throughput is None else row.throughput.natoms,
        record.model.parameters,
        record.backend,
        record.precision,
        record.hardware.label,
        "; ".join(row.marks),
        row.leakage_record.overlap.train,
        *_leakage_numbers(row),
        " ".join(sorted(set(row.digests.values()))),
    ]


def _csv_baseline(table: Table, row: BaselineRow) -> list[Any]:
    return [
        table.dataset,
        table.part,
        None,
        BASELINE_NAME,
        None,
        row.baseline.fitted_on,
        *_csv_numbers(row.metrics),
        None,
        row.baseline.rank,
        *(None,) * 3,
        "baseline",
        None,
        *(None,) * len(LEAKAGE_COLUMNS),
        row.digest,
    ]


def render_json(board: Board) -> str:
    """Write tables and rows with full metrics and the digests of their records."""
    payload = {
        "schema": "dpbench.leaderboard",
        "schema_version": SCHEMA_VERSION,
        "tables": [_json_table(table) for table in board.tables],
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
    }


def _json_row(row: Row) -> dict[str, Any]:
    record, leakage = row.record, row.leakage_record.leakage
    return {
        "id": row.id,
        "rank": row.rank,
        "marks": list(row.marks),
        "model": to_mapping(record.model),
        "trained_on": _trained_on(record),
        "backend": record.backend,
        "precision": record.precision,
        "hardware": {"id": record.hardware.id, "label": record.hardware.label},
        "overlap": to_mapping(row.leakage_record.overlap),
        "leakage": None if leakage is None else to_mapping(leakage),
        "metrics": _json_metrics(row.metrics),
        "md_natoms": None if row.throughput is None else row.throughput.natoms,
        "stability": None if row.stability is None else row.stability.status,
        "records": dict(sorted(row.digests.items())),
        "command": list(record.command),
    }


def _json_metrics(metrics: dict[str, MetricValue]) -> dict[str, Any]:
    return {name: to_mapping(metric) for name, metric in sorted(metrics.items())}
