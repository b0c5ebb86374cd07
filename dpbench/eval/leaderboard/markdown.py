"""The leaderboard as Markdown, from the same board as the page."""

from collections.abc import Sequence

from dpbench.eval.leaderboard import leakage_cell
from dpbench.eval.leaderboard.board import BASELINE_NAME, BaselineRow, Board, Table
from dpbench.eval.leaderboard.cautions import cautions, fidelity
from dpbench.eval.leaderboard.columns import (
    COLUMNS,
    GROUPS,
    Column,
    further_columns,
    with_spread,
)
from dpbench.eval.leaderboard.escaping import markdown_text
from dpbench.eval.leaderboard.lines import Line, lines, main_digest, trained_on
from dpbench.eval.leaderboard.suite_tables import PublishedLine, SuiteTable
from dpbench.eval.web.numbers import number
from dpbench.metrics.definitions import METRICS

MARKDOWN_LENGTH = 80
"""Characters of a cell."""


def render_markdown(board: Board) -> str:
    """Write one table per dataset part, and one per set of further numbers."""
    out = ["# dpbench leaderboard", ""]
    for suite in board.suites:
        out += _suite_lines(suite)
    for table in board.tables:
        shown = lines(table)
        out += [f"## {markdown_text(table.dataset)}:{markdown_text(table.part)}", ""]
        out += [f"{table.nframes} frames, {table.natoms} atoms.", ""]
        heads = ["#", "Model", "Trained on", *map(_head, COLUMNS)]
        heads += ["Blocks", "Seeds", "Off float64, meV/Å", leakage_cell.HEAD, "Params"]
        heads += ["Backend", "Precision", "Hardware", "Marks", "Reproduce"]
        cells = [_model_cells(line) for line in shown]
        cells += [_baseline_cells(row) for row in table.baselines]
        cells += [_published_cells(line) for line in table.published]
        out += [*_md_table(heads, cells), ""]
        out += _further_tables(table, shown)
    out.append(
        "± is half the 95 % interval: over independent blocks of frames and over seeds "
        "for errors, over timed windows for speeds. Ranks go by force RMSE: 1 + the "
        "models that are significantly better, to those that are not significantly "
        "worse; marked rows take none. Speeds of different hardware are not compared."
    )
    return "\n".join(out) + "\n"


def _further_tables(table: Table, shown: Sequence[Line]) -> list[str]:
    columns = further_columns(table.rows)
    out: list[str] = []
    for group, title in GROUPS.items():
        own = [column for column in columns if column.group == group]
        kept = [line for line in shown if any(line.metric(c) for c in own)]
        if not kept:
            continue
        speed = ["Hardware"] if any(c.is_speed for c in own) else []
        cells = [
            [
                line.entry.name,
                *(with_spread(line.metric(c)) for c in own),
                *(line.record.hardware.label for _ in speed),
            ]
            for line in kept
        ]
        cells += [
            [
                f"{line.row.model} (published)",
                *(with_spread(line.metrics.get(c.metric)) for c in own),
                *("–" for _ in speed),
            ]
            for line in table.published
            if any(c.metric in line.metrics for c in own)
        ]
        out += [f"### {title}", ""]
        out += [*_md_table(["Model", *map(_head, own), *speed], cells), ""]
    return out


def _head(column: Column) -> str:
    code = "" if column.code is None else f" ({column.code[:8]})"
    unit = f", {column.unit}" if column.unit else ""
    return f"{column.head}{code}{unit}"


def _md_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [
        "| " + " | ".join(heads) + " |",
        "|" + "---|" * len(heads),
        *(
            "| " + " | ".join(markdown_text(c, MARKDOWN_LENGTH) for c in row) + " |"
            for row in rows
        ),
    ]


def _told(number: int | None) -> str:
    return "–" if number is None else str(number)


def _model_cells(line: Line) -> list[str]:
    record, first = line.record, line.first
    warnings = dict.fromkeys(text for row in line.rows for text, _ in cautions(row))
    return [
        line.rank_text,
        line.entry.name,
        trained_on(record),
        *(with_spread(line.metric(c)) for c in COLUMNS),
        _told(line.nblocks),
        str(len(line.rows)),
        number(fidelity(first)),
        leakage_cell.leakage_cell(first.leakage_record).text,
        _told(record.model.parameters),
        record.backend,
        record.precision,
        record.hardware.label,
        "; ".join([*line.entry.marks, *warnings]),
        f"dpbench reproduce {main_digest(first)[:12]}",
    ]


def _baseline_cells(row: BaselineRow) -> list[str]:
    return [
        "–",
        BASELINE_NAME,
        row.baseline.fitted_on,
        *(with_spread(row.metrics.get(c.metric)) for c in COLUMNS),
        *("–",) * 4,
        str(row.baseline.rank),
        *("–",) * 3,
        "baseline",
        f"dpbench reproduce {row.digest[:12]}",
    ]


def _published_cells(line: PublishedLine) -> list[str]:
    return [
        "–",
        line.row.model,
        "–",
        *(with_spread(line.metrics.get(c.metric)) for c in COLUMNS),
        *("–",) * 8,
        f"published: {line.row.source}",
        "–",
    ]


def _suite_lines(table: SuiteTable) -> list[str]:
    """Write the scores of a suite."""
    heads = ["#", "Model", "Seeds", "Score"]
    heads += [
        f"{METRICS[m.name].title} ({m.data}:{m.part}), {METRICS[m.name].unit}"
        for m in table.metrics
    ]
    cells = []
    for row in table.rows:
        last = row.rank_last if row.rank_last != row.rank else None
        rank = "–" if row.rank is None else f"{row.rank}{f'–{last}' if last else ''}"
        interval = (
            "" if row.low is None else f" [{number(row.low)}, {number(row.high)}]"
        )
        score = "–" if row.score is None else f"{number(row.score)}{interval}"
        name = row.name if row.record is not None else f"{row.name} (published)"
        numbers = [
            "failed" if cell.status == "failed" else number(cell.value)
            for cell in row.cells
        ]
        cells.append([rank, name, str(row.nseeds or "–"), score, *numbers])
    file = table.suite.file
    return [
        f"## Suite {markdown_text(table.suite.label)}: {markdown_text(file.title)}",
        "",
        "Score: weighted geometric mean of errors between the suite's frozen bounds; "
        "0 is perfect, 1 is useless.",
        "",
        *_md_table(heads, cells),
        "",
        *_unscored(table),
    ]


def _unscored(table: SuiteTable) -> list[str]:
    """Say why rows have no score, or no rank."""
    lines = [
        f"- {markdown_text(row.name)}: {markdown_text(words)}"
        for row in table.rows
        if row.record is not None
        for words in [*([row.why_none] if row.why_none else []), *row.marks]
    ]
    return [*lines, ""] if lines else []
