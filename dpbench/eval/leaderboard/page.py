"""The leaderboard as one HTML file that needs nothing else."""

from collections.abc import Iterable, Sequence
from importlib.resources import files

from dpbench.eval.leaderboard.board import Board
from dpbench.eval.leaderboard.columns import COLUMNS
from dpbench.eval.leaderboard.leakage_cell import HELP
from dpbench.eval.leaderboard.table_markup import table_section
from dpbench.eval.web.document import LOGO, THEME_BUTTON, document
from dpbench.eval.web.markup import Markup, tag
from dpbench.eval.web.tables import grid
from dpbench.metrics.definitions import METRICS


def render_page(board: Board) -> str:
    """Write the page: a pure function of the board."""
    assets = files("dpbench.eval.leaderboard") / "assets"
    return document(
        "dpbench leaderboard",
        tag("a", "Skip to the tables", href="#tables", class_="skip"),
        _header(board),
        tag(
            "main",
            _toolbar(board),
            tag("p", "", class_="status", role="status", id="status"),
            tag("div", *(table_section(t) for t in board.tables), id="tables"),
            tag(
                "p",
                "No row fits these filters.",
                class_="nothing",
                id="nothing",
                hidden="",
            ),
            _reading_help(),
        ),
        script=(assets / "app.js").read_text(encoding="utf-8"),
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
    return tag(
        "header",
        tag(
            "div",
            LOGO,
            tag(
                "div",
                tag("h1", "dpbench leaderboard"),
                tag(
                    "p",
                    "Deep Potential models measured for accuracy, stability and speed; "
                    "every number leads back to its source files.",
                ),
            ),
            class_="brand",
        ),
        tag("p", summary, class_="summary"),
        THEME_BUTTON,
    )


def _toolbar(board: Board) -> Markup:
    rows = [row for table in board.tables for row in table.rows]
    selects = (
        ("dataset", "Dataset", sorted({t.dataset for t in board.tables})),
        ("part", "Part", _unique(t.part for t in board.tables)),
        ("hardware", "Hardware", sorted({r.record.hardware.label for r in rows})),
        ("precision", "Precision", sorted({r.record.precision for r in rows})),
    )
    return tag(
        "form",
        tag(
            "label",
            tag("span", "Search"),
            tag(
                "input",
                id="filter-text",
                type="search",
                placeholder="model, training set …",
                autocomplete="off",
            ),
        ),
        *(_select(name, title, values) for name, title, values in selects),
        tag(
            "label",
            tag("span", "Sort by"),
            tag(
                "select",
                tag("option", "Rank", value="rank"),
                *(tag("option", c.head, value=c.metric) for c in COLUMNS),
                id="sort-by",
            ),
            class_="sort-by",
        ),
        tag("button", "Reset", type="reset"),
        class_="toolbar",
        id="filters",
        aria_label="Filters",
    )


def _select(name: str, title: str, values: Sequence[str]) -> Markup:
    return tag(
        "label",
        tag("span", title),
        tag(
            "select",
            tag("option", "All", value=""),
            *(tag("option", value, value=value) for value in values),
            id=f"filter-{name}",
            data_filter=name,
        ),
    )


def _unique(values: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(values))


def _reading_help() -> Markup:
    rows = [(METRICS[c.metric].title, c.unit, c.meaning) for c in COLUMNS]
    return tag(
        "details",
        tag("summary", "How to read this page"),
        tag(
            "p",
            "± is half the 95 % bootstrap interval: over blocks of frames for errors, "
            "over timed windows for speeds. Rows are ranked by force RMSE within one "
            "table; rows whose intervals overlap share a rank. Rows scored on training "
            "or validation frames take no rank. Speeds of different hardware are never "
            "put into one plot.",
        ),
        tag("p", HELP),
        grid(("Metric", "Unit", "Meaning"), rows, numbers_from=9),
        class_="help",
    )
