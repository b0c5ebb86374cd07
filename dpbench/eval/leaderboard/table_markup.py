"""One table of the page: its rows, and the plots of accuracy against speed."""

from dpbench.eval.leaderboard import leakage_cell
from dpbench.eval.leaderboard.board import (
    BASELINE_NAME,
    BaselineRow,
    Row,
    Table,
    was_busy,
)
from dpbench.eval.leaderboard.columns import COLUMNS, Column, half_width
from dpbench.eval.leaderboard.details import row_details
from dpbench.eval.leaderboard.plots import Point, pareto_plot
from dpbench.eval.web.markup import Markup, join, tag
from dpbench.eval.web.numbers import number, spread_text
from dpbench.metrics.definitions import MetricValue

ERROR = "force_rmse_component_mev_per_ang"
SPEED = "md_us_per_atom_step"


def table_section(table: Table) -> Markup:
    """Draw one table: head, rows with their details, baselines, plots."""
    facts = f"{table.nframes} frames, {table.natoms} atoms"
    split = "whole version" if table.split_digest is None else "split "
    digest = table.split_digest or ""
    return tag(
        "section",
        tag(
            "div",
            tag("h2", table.dataset, tag("span", table.part, class_="part")),
            tag(
                "p",
                f"{facts} · {split}",
                tag("code", digest.split(":")[-1][:12]) if digest else None,
                class_="facts",
            ),
            class_="title",
        ),
        tag(
            "table",
            tag(
                "caption",
                f"Models on {table.dataset}:{table.part}, ranked by force RMSE",
                class_="hidden",
            ),
            _table_head(),
            tag(
                "tbody",
                *(_model_rows(table, row) for row in table.rows),
                *(_baseline_row(table, row) for row in table.baselines),
            ),
            class_="board",
        ),
        _pareto_figures(table),
        class_="part-section",
        id=f"table-{table.id}",
        data_dataset=table.dataset,
        data_part=table.part,
    )


def _table_head() -> Markup:
    def cell(
        key: str, title: str, unit: str, meaning: str, *, is_number: bool
    ) -> Markup:
        button = tag(
            "button",
            tag("span", title),
            tag("small", unit) if unit else None,
            type="button",
            title=meaning,
        )
        return tag(
            "th",
            button,
            scope="col",
            data_key=key,
            class_="num" if is_number else None,
            aria_sort="ascending" if key == "rank" else "none",
        )

    return tag(
        "thead",
        tag(
            "tr",
            cell(
                "rank",
                "#",
                "",
                "Rank by force RMSE; rows whose 95 % intervals overlap share one",
                is_number=True,
            ),
            cell("model", "Model", "", "Click a row for its record", is_number=False),
            *(
                cell(c.metric, c.head, c.unit, c.meaning, is_number=True)
                for c in COLUMNS
            ),
            cell(
                "leakage",
                leakage_cell.HEAD,
                "of test frames",
                leakage_cell.MEANING,
                is_number=False,
            ),
            cell("parameters", "Params", "", "Trainable numbers", is_number=True),
            cell(
                "hardware",
                "Runs on",
                "",
                "Backend, precision, hardware",
                is_number=False,
            ),
        ),
    )


def _model_rows(table: Table, row: Row) -> Markup:
    record = row.record
    training = record.provenance.training_dataset
    trained_on = "unknown data" if training is None else training.label
    searched = (record.model.name, trained_on, record.model.description, table.dataset)
    main = tag(
        "tr",
        _rank_cell(row.rank),
        _model_cell(row, trained_on),
        *(
            _number_cell(c, row.metrics.get(c.metric), _note(c, row), table)
            for c in COLUMNS
        ),
        _leakage_cell(row),
        tag(
            "td",
            _count(record.model.parameters),
            class_="num",
            data_value=record.model.parameters,
            data_label="Params",
        ),
        tag(
            "td",
            tag("span", f"{record.backend} · {record.precision}"),
            tag("span", record.hardware.label, class_="under"),
            class_="hardware",
            data_value=record.hardware.label,
            data_label="Runs on",
        ),
        id=f"row-{row.id}",
        class_="row" if row.rank is not None else "row unranked",
        data_details=f"details-{row.id}",
        data_search=" ".join(searched).lower(),
        data_hardware=record.hardware.label,
        data_precision=record.precision,
    )
    details = tag(
        "tr",
        tag("td", row_details(row), colspan=len(COLUMNS) + 5),
        id=f"details-{row.id}",
        class_="details",
        hidden="",
    )
    return join(main, details)


def _model_cell(row: Row, trained_on: str) -> Markup:
    record = row.record
    return tag(
        "th",
        tag(
            "button",
            record.model.name,
            type="button",
            class_="open",
            aria_expanded="false",
            aria_controls=f"details-{row.id}",
        ),
        tag(
            "span",
            f"trained on {trained_on} · ",
            tag("code", record.model.digest.split(":")[-1][:8]),
            class_="under",
        ),
        *_badges(row),
        scope="row",
        data_value=record.model.name,
        class_="model",
    )


def _rank_cell(rank: int | None) -> Markup:
    if rank is None:
        return tag("td", "–", class_="num rank", title="takes no rank")
    badge = tag("span", str(rank), class_=f"medal medal{min(rank, 4)}")
    return tag("td", badge, class_="num rank", data_value=rank)


def _badges(row: Row) -> list[Markup]:
    out = [
        tag("span", mark, class_="badge warn", title="takes no rank")
        for mark in row.marks
    ]
    if row.record.mode == "smoke":
        out.append(
            tag(
                "span", "smoke", class_="badge", title="Short runs: rough speed numbers"
            )
        )
    if was_busy(row):
        out.append(
            tag(
                "span",
                "busy machine",
                class_="badge",
                title="Other work ran beside the timings: their spread tells how much",
            )
        )
    return out


def _leakage_cell(row: Row) -> Markup:
    told = leakage_cell.leakage_cell(row.leakage_record)
    severity = told.severity
    return tag(
        "td",
        *(tag("span", words, class_="badge warn") for words in told.found),
        None if told.found else tag("span", told.rest),
        tag("span", told.note, class_="under") if told.note else None,
        class_="leakage",
        data_value=None if severity is None else repr(severity),
        data_label=leakage_cell.HEAD,
        title=told.title,
    )


def _note(column: Column, row: Row) -> str | None:
    if column.metric == SPEED and row.throughput is not None:
        return f"{row.throughput.natoms} atoms"
    if column.metric == "nve_drift_mev_per_atom_ps" and row.stability is not None:
        failed = [r.failure_step for r in row.stability.runs if r.status == "exploded"]
        if failed:
            return f"exploded at step {failed[0]}"
    return None


def _number_cell(
    column: Column, metric: MetricValue | None, note: str | None, table: Table
) -> Markup:
    value = None if metric is None else metric.value
    half = None if metric is None else half_width(metric)
    title = None
    if metric is not None and metric.ci_low is not None:
        title = (
            f"95 % interval {number(metric.ci_low)} to {number(metric.ci_high)} "
            f"{metric.unit}, n = {metric.n}"
        )
    return tag(
        "td",
        tag("span", number(value), class_="value"),
        None
        if half is None or value is None
        else tag("small", f"±{spread_text(value, half)}"),
        None if note is None else tag("span", note, class_="under"),
        _bar(column, value, table),
        class_="num",
        data_value=None if value is None else repr(value),
        data_label=f"{column.head}, {column.unit}",
        title=title,
    )


def _bar(column: Column, value: float | None, table: Table) -> Markup | None:
    """A thin bar under the ranked error, as a share of the table's largest."""
    if column.metric != ERROR or value is None:
        return None
    known = [row.metrics[ERROR].value for row in table.rows if ERROR in row.metrics]
    largest = max((v for v in known if v is not None), default=0.0)
    if largest <= 0 or value > largest:
        return None
    return tag("i", class_="bar", style=f"--share:{100 * value / largest:.1f}%")


def _baseline_row(table: Table, row: BaselineRow) -> Markup:
    fitted = row.baseline.fitted_on
    return tag(
        "tr",
        tag("td", "–", class_="num rank", title="A baseline takes no rank"),
        tag(
            "th",
            tag("span", BASELINE_NAME, class_="name"),
            tag("span", f"fitted on {fitted}; zero forces", class_="under"),
            tag("span", "baseline", class_="badge"),
            scope="row",
            data_value=BASELINE_NAME,
            class_="model",
        ),
        *(_number_cell(c, row.metrics.get(c.metric), None, table) for c in COLUMNS),
        tag("td", "–", class_="leakage", data_label=leakage_cell.HEAD),
        tag(
            "td",
            str(row.baseline.rank),
            class_="num",
            data_value=row.baseline.rank,
            data_label="Params",
        ),
        tag("td", "–", class_="hardware", data_label="Runs on"),
        class_="row baseline",
        data_search=f"{BASELINE_NAME} baseline",
        data_baseline="",
    )


def _told_apart(row: Row, table: Table) -> str:
    """Name a row by its model, and by what tells it from others of that model."""
    name = row.record.model.name
    others = [other.record for other in table.rows if other.record.model.name == name]
    words = [name]
    if len({record.backend for record in others}) > 1:
        words.append(row.record.backend)
    if len({record.precision for record in others}) > 1:
        words.append(row.record.precision)
    return " ".join(words)


def _pareto_figures(table: Table) -> Markup | None:
    machines: dict[str, list[Point]] = {}
    labels: dict[str, str] = {}
    for row in table.rows:
        point = _point(row, _told_apart(row, table))
        if point is not None:
            hardware = row.record.hardware
            machines.setdefault(hardware.id, []).append(point)
            labels[hardware.id] = hardware.label
    if not machines:
        return None
    figures = (
        tag(
            "figure",
            tag(
                "figcaption",
                tag("strong", "Accuracy against speed"),
                tag("span", labels[machine], class_="under"),
            ),
            pareto_plot(
                points,
                label=f"Force RMSE against MD cost of {len(points)} models on "
                f"{labels[machine]}",
            ),
            data_hardware=labels[machine],
        )
        for machine, points in sorted(machines.items())
    )
    return tag("div", *figures, class_="figures")


def _point(row: Row, name: str) -> Point | None:
    error, speed = row.metrics.get(ERROR), row.metrics.get(SPEED)
    if error is None or speed is None or not error.value or not speed.value:
        return None
    return Point(
        row_id=row.id,
        name=name,
        speed=speed.value,
        error=error.value,
        error_low=error.ci_low if error.ci_low is not None else error.value,
        error_high=error.ci_high if error.ci_high is not None else error.value,
        is_ranked=row.rank is not None,
    )


def _count(n: int | None) -> str:
    return "–" if n is None else f"{n:,}".replace(",", "\u2009")
