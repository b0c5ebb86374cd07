"""What others read of the board: Hugging Face's evaluation results, and a badge."""

from collections.abc import Iterator

from dpbench.errors import EvaluationError
from dpbench.eval.leaderboard.board import Board, Table
from dpbench.eval.leaderboard.columns import COLUMNS, Column, with_spread
from dpbench.eval.leaderboard.escaping import yaml_text
from dpbench.eval.leaderboard.lines import Line, lines, main_digest
from dpbench.eval.leaderboard.ranks import RANKED_BY
from dpbench.eval.web.markup import tag
from dpbench.metrics.definitions import MetricValue

SOURCE_NAME = "dpbench leaderboard"


def of_model(board: Board, model: str | None) -> list[tuple[Table, Line]]:
    """Find the lines of a model by its name, or its digest or the start of it.

    Args:
        board: The board.
        model: The model; None = all lines.

    Raises:
        EvaluationError: If no line is of this model.
    """
    found = [
        (table, line)
        for table in board.tables
        for line in lines(table)
        if model is None or _is_of(line, model)
    ]
    if model is not None and not found:
        names = sorted({row.record.model.name for t in board.tables for row in t.rows})
        raise EvaluationError(
            f"model '{model}': is not on the board; expected a name or the start of a "
            f"digest. Known names: {', '.join(names[:10])}."
        )
    return found


def _is_of(line: Line, model: str) -> bool:
    digests = [row.record.model.digest.split(":")[-1] for row in line.rows]
    names = [line.entry.name, *(row.record.model.name for row in line.rows)]
    start = model.split(":")[-1]
    return model in names or (
        len(start) >= 6 and any(digest.startswith(start) for digest in digests)
    )


def render_eval_results(
    board: Board, *, model: str | None = None, url: str | None = None
) -> str:
    """Write ``eval_results.yaml``: dataset, revision, value, date and source of each.

    Args:
        board: The board.
        model: Only this model: the file then fits into its repository.
        url: Where the records can be had; else each is named by its digest.

    Raises:
        EvaluationError: If no line is of this model.

    Source:
        Hugging Face Hub documentation, "Evaluation results" (``.eval_results/*.yaml``).
    """
    parts = [
        item
        for table, line in of_model(board, model)
        for item in _results(table, line, url)
    ]
    return "".join(parts) or "[]\n"


def _results(table: Table, line: Line, url: str | None) -> Iterator[str]:
    for column in COLUMNS:
        metric = line.metric(column)
        if metric is not None and metric.value is not None:
            yield _result(table, line, column, metric, url=url)


def _result(
    table: Table, line: Line, column: Column, metric: MetricValue, *, url: str | None
) -> str:
    row = line.first
    digest = row.digests.get(column.task) or main_digest(row)
    record = row.records[digest]
    notes = [
        f"model {line.entry.name} ({record.model.digest})",
        f"{column.meaning} {with_spread(metric)} {metric.unit}, n = {metric.n}",
        f"{len(line.rows)} seeds" if len(line.rows) > 1 else "",
        f"{record.backend}, {record.precision}, {record.hardware.label}",
        *(f"takes no rank: {mark}" for mark in line.entry.marks),
        f"dpbench reproduce {digest}",
    ]
    told = "; ".join(note for note in notes if note)
    return (
        "- dataset:\n"
        f"    id: {yaml_text(table.dataset)}\n"
        f"    task_id: {yaml_text(f'{table.part}/{column.key}')}\n"
        f"    revision: {yaml_text(table.dataset_digest)}\n"
        f"  value: {metric.value!r}\n"
        f"  date: {yaml_text(record.created_at)}\n"
        "  source:\n"
        f"    url: {yaml_text(url or f'urn:dpbench:result:{digest}')}\n"
        f"    name: {yaml_text(SOURCE_NAME)}\n"
        f"  notes: {yaml_text(told)}\n"
    )


def render_badge(board: Board, *, model: str | None = None) -> str:
    """Draw a badge: a model's rank and error, or how many models the board has.

    Raises:
        EvaluationError: If no line is of this model.
    """
    found = of_model(board, model)
    if model is None:
        models = {row.record.model.digest for t in board.tables for row in t.rows}
        words = f"{len(models)} model{'' if len(models) == 1 else 's'}"
        parts = len(board.tables)
        return _badge("dpbench", f"{words} on {parts} part{'' if parts == 1 else 's'}")
    table, line = next((f for f in found if f[1].entry.rank is not None), found[0])
    error = line.entry.metrics.get(RANKED_BY)
    ranked = sum(entry.rank is not None for entry in table.entries)
    place = "no rank" if line.rank_text == "–" else f"rank {line.rank_text} of {ranked}"
    value = "" if error is None else f" · {with_spread(error)} {error.unit}"
    return _badge(f"dpbench {table.dataset}:{table.part}", f"{place}{value}")


def _badge(label: str, message: str) -> str:
    left, right = (round(6.6 * len(text)) + 14 for text in (label, message))
    width = left + right
    texts = ((label, left / 2, "#ffffff"), (message, left + right / 2, "#ffffff"))
    svg = tag(
        "svg",
        tag("title", f"{label}: {message}"),
        tag("rect", width=width, height=20, rx=4, fill="#0b6bcb"),
        tag(
            "path", d=f"M4 0H{left}V20H4a4 4 0 0 1-4-4V4a4 4 0 0 1 4-4", fill="#38454f"
        ),
        *(
            tag(
                "text",
                text,
                x=str(at),
                y=14,
                fill=colour,
                text_anchor="middle",
                font_size=11,
                font_family="Verdana,DejaVu Sans,sans-serif",
                textLength=round(6.6 * len(text)),
            )
            for text, at, colour in texts
        ),
        xmlns="http://www.w3.org/2000/svg",
        width=width,
        height=20,
        role="img",
        aria_label=f"{label}: {message}",
    )
    return svg + "\n"
