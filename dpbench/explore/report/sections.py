"""Sections of the page: what was explored, chosen and labelled, and its cost."""

from collections import Counter

from dpbench.eval.dataset_report.sections import section, table
from dpbench.eval.web.markup import Markup, tag
from dpbench.eval.web.numbers import number
from dpbench.explore.outcome import losses_of
from dpbench.explore.progress import STAGE_WORDS, duration
from dpbench.explore.report import plots
from dpbench.explore.report.collect import Content, Told
from dpbench.explore.report.left_out import card
from dpbench.explore.stage_results import (
    AssessedErrors,
    ExploreResult,
    LabelResult,
    SelectResult,
)

NOT_DONE = "–"
"""Where a stage is not done."""

ERROR_LEGEND = {"before training on them": "hollow", "after": "after"}

Row = tuple[str, ...]


def iterations(content: Content) -> Markup:
    """Tell each iteration in one line."""
    heads = (
        "iteration",
        "stage",
        "trained on",
        "walks",
        "explored",
        "accurate",
        "candidate",
        "failed",
        "chosen",
        "labelled",
        "quarantined",
        "new frames",
        "CPU h",
    )
    rows = [_iteration_row(told) for told in content.iterations]
    if not rows:
        words = "No iteration has begun."
        return section("iterations", "Iterations", tag("p", words, class_="note"))
    return section(
        "iterations",
        "Iterations",
        _start_note(content),
        table(heads, rows, numbers_from=3),
        *(_chosen(told) for told in content.iterations if told.select is not None),
    )


def deviations(content: Content) -> Markup:
    """Draw how far the models disagree, and what came of it."""
    drawn = (
        _figure(
            plots.fractions(content),
            "Accurate, candidate and failed frames",
            legend=plots.VERDICTS,
        ),
        _figure(
            plots.force_deviations(content),
            "Deviation of the forces",
            note="Each row is as high as its fullest bin; the first bin holds all "
            "below it. Dashed: the trust levels. " + plots.not_drawn(content),
            legend=plots.VERDICTS,
            kind="tall",
        ),
        _optional(plots.virial_deviations(content), "Deviation of the virial"),
        _by_condition(content),
    )
    return section("deviations", "Deviations", tag("div", *drawn, class_="figures"))


def errors(content: Content) -> Markup:
    """Draw the errors of the chosen frames before and after training on them."""
    drawn = (
        _figure(
            plots.force_errors(content),
            "Force error of the new frames",
            legend=ERROR_LEGEND,
        ),
        _figure(
            plots.far_force_errors(content),
            "Largest force errors of the new frames",
            legend=ERROR_LEGEND,
        ),
        _figure(
            plots.energy_errors(content),
            "Energy error of the new frames",
            legend=ERROR_LEGEND,
        ),
        _figure(
            plots.validation_errors(content),
            "Force error of held-out frames",
            legend={"mean of the models": "after", "each model": "member"},
            missing="No frame is held out, or no model is trained yet.",
        ),
    )
    words = (
        "New frames are those that the iteration chose and labelled; before: by the "
        "models that chose them, after: by the next, trained on them but for those "
        "that are held out. RMSE is that of a force component, mean over the models."
    )
    return section(
        "errors",
        "Errors",
        tag("p", words, class_="note"),
        tag("div", *drawn, class_="figures"),
        _error_table(content),
    )


def cost(content: Content) -> Markup:
    """Tell the processor time by stage and iteration."""
    spent = content.cpu_seconds
    total = sum(spent.values())
    wall = dict.fromkeys(STAGE_WORDS, 0.0)
    for told in content.iterations:
        for name, seconds in told.wall_seconds.items():
            wall[name] += seconds
    if content.start_label is not None:
        wall["label"] += content.start_label.wall_seconds
    if content.start is not None:
        wall["ingest"] += content.start.wall_seconds
    rows = [
        (
            STAGE_WORDS[name],
            f"{spent[name] / plots.HOUR:.3g}" if name in spent else NOT_DONE,
            _percent(spent.get(name, 0.0), total) if name in spent else NOT_DONE,
            duration(wall[name]) if wall[name] else NOT_DONE,
        )
        for name in STAGE_WORDS
    ]
    rows.append(
        (
            "all",
            f"{total / plots.HOUR:.3g}",
            _percent(total, total),
            duration(sum(wall.values())),
        )
    )
    words = (
        "CPU hours count every process of a task. The time is that of the sessions "
        "that ended the stages: what an interrupted one had spent is not in it."
    )
    return section(
        "cost",
        "Cost",
        tag(
            "div",
            _figure(
                plots.cost(content),
                "CPU hours by iteration",
                legend={STAGE_WORDS[n]: c for n, c in plots.STAGES.items()},
            ),
            card(
                "By stage",
                table(("stage", "CPU h", "share", "time"), rows, numbers_from=1),
                tag("p", words, class_="note"),
            ),
            class_="figures",
        ),
    )


def accurate_share(select: SelectResult, explore: ExploreResult | None) -> str:
    """Write the share of accurate frames among those that were to be explored."""
    accurate, judged = select.counts.get("accurate", 0), sum(select.counts.values())
    if explore is not None:
        losses = losses_of(explore)
        accurate, judged = accurate * losses.given, judged * losses.planned
    return _percent(accurate, judged)


def _start_note(content: Content) -> Markup | None:
    start = content.start
    if start is None:
        return None
    label = content.start_label
    by = f", labelled here by {label.driver}" if label is not None else ""
    words = f"It began with {start.version}: {_count(start.nframes, 'frame')}{by}."
    return tag("p", words, class_="note")


def _iteration_row(told: Told) -> Row:
    select, label, explore = told.select, told.label, told.explore
    verdicts = tuple(
        NOT_DONE
        if select is None
        else _percent(select.counts.get(name, 0), sum(select.counts.values()))
        for name in plots.VERDICTS
    )
    return (
        str(told.number),
        NOT_DONE if explore is None else str(explore.stage),
        NOT_DONE if told.train is None else told.train.dataset,
        NOT_DONE if explore is None else str(len(explore.walks)),
        NOT_DONE if select is None else f"{sum(select.counts.values()):,}",
        *verdicts,
        NOT_DONE if select is None else str(len(select.chosen)),
        NOT_DONE if label is None else str(len(label.done)),
        NOT_DONE if label is None else str(len(label.quarantined)),
        NOT_DONE if told.ingest is None else str(told.ingest.new),
        f"{sum(told.cpu_seconds.values()) / plots.HOUR:.3g}",
    )


def _chosen(told: Told) -> Markup | None:
    """List the frames that an iteration chose, and what came of their labels."""
    select, label = told.select, told.label
    if select is None or not select.chosen:
        return None
    fate = _fates(label)
    is_waiting = label is None and select.stop is None
    other = ("waiting" if is_waiting else "not labelled", "", "", "")
    rows = [
        (
            str(place + 1),
            one.walk,
            str(one.step),
            NOT_DONE if one.atom is None else str(one.atom),
            number(one.max_devi_f),
            number(one.distance),
            *fate.get((one.walk, one.step, one.atom), other),
        )
        for place, one in enumerate(select.chosen)
    ]
    heads = (
        "",
        "walk",
        "step",
        "atom",
        "deviation",
        "distance",
        "label",
        "attempts",
        "CPU s",
        "key",
    )
    title = f"Iteration {told.number}: {_count(len(rows), 'frame')} chosen"
    rescued = f", {select.rescued} of them failed ones" if select.rescued else ""
    return tag(
        "details",
        tag("summary", title + rescued),
        table(heads, rows),
        id=f"chosen{told.number}",
    )


def _fates(
    label: LabelResult | None,
) -> dict[tuple[str, int, int | None], Row]:
    if label is None:
        return {}
    found: dict[tuple[str, int, int | None], Row] = {}
    for done in label.done:
        word = "known already" if done.is_cached else "done"
        seconds = "" if done.is_cached else f"{done.cpu_seconds:.1f}"
        found[done.walk, done.step, done.atom] = (
            word,
            str(done.attempts),
            seconds,
            done.key[:12],
        )
    for lost in label.quarantined:
        found[lost.walk, lost.step, lost.atom] = (
            "quarantined",
            str(lost.attempts),
            f"{lost.cpu_seconds:.1f}",
            lost.key[:12],
        )
    return found


def _by_condition(content: Content) -> Markup | None:
    """Draw the verdicts of the last iteration by structure, temperature, pressure."""
    for told in reversed(content.iterations):
        if told.select is not None and told.explore is not None:
            break
    else:
        return None
    counts = _condition_counts(told.explore, told.select)
    if len(counts) < 2:
        return None
    return _figure(
        plots.verdict_bars(list(counts.items()), is_iterations=False),
        f"Where the models of iteration {told.number} are unsure",
        legend=plots.VERDICTS,
    )


def _condition_counts(
    explore: ExploreResult, select: SelectResult
) -> dict[str, dict[str, int]]:
    found: dict[str, Counter[str]] = {}
    for walk in explore.walks:
        words = f"{walk.structure} {walk.temperature:g} K"
        if walk.pressure is not None:
            words += f" {walk.pressure:g} GPa"
        found.setdefault(words, Counter()).update(select.by_walk.get(walk.name, {}))
    return {words: dict(counts) for words, counts in found.items() if counts.total()}


def _error_table(content: Content) -> Markup | None:
    rows = []
    for told in content.iterations:
        one = told.assess
        if one is None:
            continue
        for name, before, after in (
            ("new", one.before, one.after),
            ("held out", one.validation_before, one.validation_after),
        ):
            if before is not None or after is not None:
                n = str(one.nframes) if name == "new" else ""
                rows.append((str(told.number), name, n, *_error_cells(before, after)))
    if not rows:
        return None
    heads = (
        "iteration",
        "frames",
        "",
        "force RMSE, meV/Å",
        "95 % of forces, meV/Å",
        "energy RMSE, meV/atom",
    )
    return table(heads, rows, numbers_from=2)


def _error_cells(
    before: AssessedErrors | None, after: AssessedErrors | None
) -> tuple[str, ...]:
    cells = []
    for name in ("rmse_f", "p95_f", "rmse_e"):
        two = [
            number(None if value is None else 1000 * value)
            for one in (before, after)
            for value in [None if one is None else getattr(one, name)]
        ]
        cells.append(NOT_DONE if set(two) == {NOT_DONE} else " → ".join(two))
    return tuple(cells)


def _percent(part: float, total: float) -> str:
    return f"{100 * part / total:.1f} %" if total else NOT_DONE


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def _optional(drawing: Markup | None, caption: str) -> Markup | None:
    if drawing is None:
        return None
    return _figure(drawing, caption, legend=plots.VERDICTS)


def _figure(
    drawing: Markup | None,
    caption: str,
    *,
    note: str = "",
    legend: dict[str, str] | None = None,
    kind: str | None = None,
    missing: str = "Not measured yet.",
) -> Markup:
    head = tag("figcaption", caption)
    if drawing is None:
        return tag("figure", head, tag("p", missing, class_="note"))
    below = tag("p", note.strip(), class_="note") if note else None
    colours = plots.legend(legend or {})
    return tag("figure", head, colours, drawing, below, class_=kind)
