"""The first rows as plain tables, for readers whose browser runs no script."""

from dpbench.eval.leaderboard.board import BASELINE_NAME, Board, Table
from dpbench.eval.leaderboard.cautions import cautions
from dpbench.eval.leaderboard.columns import COLUMNS, with_spread
from dpbench.eval.leaderboard.leakage_cell import HEAD, leakage_cell
from dpbench.eval.leaderboard.lines import Line, lines
from dpbench.eval.web.markup import Markup, join, tag

MOST_ROWS = 50
"""Rows of a table."""

MOST_IN_ALL = 300
"""Rows of all tables together."""


def plain_tables(board: Board) -> Markup:
    """Write the first rows of the first tables; the other files have them all."""
    left = MOST_IN_ALL
    sections = []
    for table in board.tables:
        shown = lines(table)[: min(left, MOST_ROWS)]
        left -= len(shown)
        if shown:
            sections.append(_section(table, shown))
    note = (
        "Sorting, filters, plots and the records behind the rows need JavaScript, "
        "which runs within this file alone. All rows: leaderboard.md, leaderboard.csv."
    )
    return join(tag("p", note, class_="note"), *sections)


def _section(table: Table, shown: tuple[Line, ...]) -> Markup:
    heads = ["#", "Model", *(f"{c.head}, {c.unit}" for c in COLUMNS), HEAD, "Runs on"]
    more = len(table.entries) - len(shown)
    return tag(
        "section",
        tag("h2", f"{table.dataset}:{table.part}"),
        tag("p", f"{table.nframes} frames, {table.natoms} atoms", class_="facts"),
        tag(
            "div",
            tag(
                "table",
                tag("thead", tag("tr", *(tag("th", h, scope="col") for h in heads))),
                tag(
                    "tbody",
                    *(_row(_cells(line)) for line in shown),
                    *(
                        _row(
                            ["–", BASELINE_NAME]
                            + [with_spread(b.metrics.get(c.metric)) for c in COLUMNS]
                            + ["–", "–"]
                        )
                        for b in table.baselines
                    ),
                ),
            ),
            class_="scroll",
        ),
        tag("p", f"and {more} more", class_="note") if more > 0 else None,
        class_="part-section",
    )


def _row(cells: list[str]) -> Markup:
    return tag("tr", *(tag("td", cell) for cell in cells))


def _cells(line: Line) -> list[str]:
    record, entry = line.record, line.entry
    warnings = [*entry.marks, *(words for words, _ in cautions(line.first))]
    seeds = f", {len(line.rows)} seeds" if len(line.rows) > 1 else ""
    told = f" ({'; '.join(warnings)})" if warnings else ""
    return [
        line.rank_text,
        f"{entry.name}{seeds}{told}",
        *(with_spread(line.metric(c)) for c in COLUMNS),
        leakage_cell(line.first.leakage_record).text,
        f"{record.backend} · {record.precision} · {record.hardware.label}",
    ]
