"""The leaderboard as one HTML file that needs nothing else.

The head and the filters stand in the file, and for readers without JavaScript the first
rows. All rows are inline JSON, and the records behind them compressed blocks after the
script: the table is there before the parser has reached them.
"""

from collections.abc import Sequence
from importlib.resources import files

from dpbench.eval.leaderboard.board import Board
from dpbench.eval.leaderboard.chunks import record_chunks
from dpbench.eval.leaderboard.columns import COLUMNS
from dpbench.eval.leaderboard.leakage_cell import HELP
from dpbench.eval.leaderboard.packing import inline_json, page_data
from dpbench.eval.leaderboard.plain_table import plain_tables
from dpbench.eval.web.document import document, masthead
from dpbench.eval.web.markup import Markup, tag
from dpbench.eval.web.tables import grid
from dpbench.metrics.definitions import METRICS

SCRIPTS = (
    "dom.js",
    "axes.js",
    "plots.js",
    "data.js",
    "details.js",
    "cards.js",
    "cells.js",
    "table.js",
    "sections.js",
    "suites.js",
    "taskplots.js",
    "app.js",
)
"""Parts of the page's script, in the order in which one builds on the other."""

FILTERS = (
    ("suite", "Suite"),
    ("dataset", "Dataset"),
    ("part", "Part"),
    ("hardware", "Hardware"),
    ("backend", "Backend"),
    ("precision", "Precision"),
    ("trained", "Trained on"),
    ("leakage", "Leakage"),
)
"""Names and titles; the script fills in the choices, and hides those with one."""


def render_page(board: Board) -> str:
    """Write the page: a pure function of the board."""
    assets = files("dpbench.eval.leaderboard") / "assets"
    parts = [(assets / name).read_text(encoding="utf-8") for name in SCRIPTS]
    chunks = record_chunks(board)
    data = page_data(board) | {"chunks": chunks.counts}
    return document(
        "dpbench leaderboard",
        tag("a", "Skip to the tables", href="#tables", class_="skip"),
        _header(board),
        tag(
            "main",
            _toolbar(),
            tag("p", "", class_="status", role="status", id="status"),
            tag("div", tag("noscript", plain_tables(board)), id="tables"),
            tag(
                "p",
                "No row fits these filters.",
                class_="nothing",
                id="nothing",
                hidden="",
            ),
            _reading_help(),
        ),
        tag("div", "", id="tip", role="tooltip", hidden=""),
        tag(
            "script",
            Markup(inline_json(data)),
            type="application/json",
            id="board-data",
        ),
        script='(() => {\n"use strict";\n' + "".join(parts) + "})();\n",
        style=(assets / "board.css").read_text(encoding="utf-8"),
        after="".join(
            tag("script", Markup(text), type="text/plain", id=f"chunk-{index}")
            for index, text in enumerate(chunks.texts)
        ),
    )


def _header(board: Board) -> Markup:
    rows = [row for table in board.tables for row in table.rows]
    counts = (
        (len({row.record.model.digest for row in rows}), "model"),
        (len(board.tables), "dataset part"),
        (len({row.record.hardware.id for row in rows}), "machine"),
        (board.nrecords, "result record"),
    )
    summary = " · ".join(f"{n} {word}{'' if n == 1 else 's'}" for n, word in counts)
    return masthead(
        "dpbench leaderboard",
        "Interatomic potentials measured for accuracy, stability and speed; every "
        "number leads back to its source files.",
        summary=summary,
    )


def _toolbar() -> Markup:
    search = tag(
        "input",
        id="filter-text",
        type="search",
        placeholder="model, training set …",
        autocomplete="off",
    )
    return tag(
        "form",
        tag("label", tag("span", "Search"), search),
        *(_select(f"filter-{name}", title, filter_=name) for name, title in FILTERS),
        _select("columns", "Columns"),
        _select("sort-by", "Sort by"),
        tag("button", "Reset", type="reset"),
        class_="toolbar",
        id="filters",
        aria_label="Filters",
    )


def _select(name: str, title: str, *, filter_: str | None = None) -> Markup:
    return tag(
        "label",
        tag("span", title),
        tag("select", id=name, data_filter=filter_),
        class_=name,
    )


def _reading_help() -> Markup:
    rows: Sequence[Sequence[str]] = [
        (METRICS[c.metric].title, c.unit, c.meaning) for c in COLUMNS
    ]
    return tag(
        "details",
        tag("summary", "How to read this page"),
        tag(
            "p",
            "± is half the 95 % interval: over independent blocks of frames, and over "
            "seeds where there are three, for errors; over timed windows for speeds. "
            "Below five blocks there is none. Ranks go by force RMSE within one table, "
            "from 1 + the models that are significantly better to those that are not "
            "significantly worse, each compared in pairs on the same frames. Rows "
            "scored on training or validation frames take no rank. Speeds of different "
            "hardware are never sorted into one list nor put into one plot.",
        ),
        tag("p", HELP),
        grid(("Metric", "Unit", "Meaning"), rows, numbers_from=9),
        class_="help",
    )
