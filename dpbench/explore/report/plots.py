"""The figures of the page, from the results of the stages."""

from collections.abc import Sequence
from itertools import pairwise

from dpbench.eval.web.markup import Markup, tag
from dpbench.explore.progress import STAGE_WORDS
from dpbench.explore.report.collect import Content, Told
from dpbench.explore.report.rows import Rows, dumbbells, ridges, stacks
from dpbench.explore.select.settings import Level
from dpbench.explore.stage_results import AssessedErrors, Histogram, SelectResult

VERDICTS = {"accurate": "accurate", "candidate": "candidate", "failed": "failed"}
"""Verdicts in their order, and the CSS class of each."""

STAGES = {
    "label": "stage0",
    "train": "stage1",
    "explore": "stage2",
    "select": "stage3",
    "assess": "stage4",
}
"""Stages that cost processor time, and the CSS class of each."""

HOUR = 3600.0

LEAST_HEIGHT = 66
"""Of all rows of iterations together, pixels."""


def fractions(content: Content) -> Markup | None:
    """Draw the shares of accurate, candidate and failed frames of each iteration."""
    found = [
        (t.number, t.select.counts) for t in content.iterations if t.select is not None
    ]
    return verdict_bars([(str(n), counts) for n, counts in found], is_iterations=True)


def verdict_bars(
    rows: Sequence[tuple[str, dict[str, int]]], *, is_iterations: bool
) -> Markup | None:
    """Draw shares of verdicts, one bar a row; None without rows.

    Args:
        rows: Label and counts of each.
        is_iterations: Whether the labels are numbers of iterations.
    """
    if not rows:
        return None
    shares = [shares_of(counts) for _, counts in rows]
    texts = [
        f"{label}: " + ", ".join(f"{counts.get(v, 0)} {v}" for v in VERDICTS)
        for label, counts in rows
    ]
    names = tuple(label for label, _ in rows)
    plain = Rows(labels=names, title="", height=24)
    return stacks(
        _rows(names, height=24) if is_iterations else plain,
        shares,
        classes=VERDICTS,
        texts=texts,
        x_label="Share of the explored frames, %",
        label="Shares of accurate, candidate and failed frames",
    )


def shares_of(counts: dict[str, int]) -> dict[str, float]:
    """Turn counts of verdicts into percent."""
    total = sum(counts.get(verdict, 0) for verdict in VERDICTS)
    return {v: 100 * counts.get(v, 0) / total if total else 0.0 for v in VERDICTS}


def force_deviations(content: Content) -> Markup | None:
    """Draw the histograms of the largest force deviation, one an iteration."""
    rows = [
        (told.number, told.select.max_devi_f, levels_of(told.select, "force"))
        for told in content.iterations
        if told.select is not None
    ]
    select = content.config.get("select") or {}
    is_relative = bool(select.get("relative") or select.get("relative_to_walk"))
    unit = "relative" if is_relative else "eV/Å"
    return _deviations(rows, x_label=f"Largest force deviation of a frame, {unit}")


def virial_deviations(content: Content) -> Markup | None:
    """Draw the histograms of the largest virial deviation, where it decides."""
    rows = [
        (told.number, told.select.max_devi_v, levels_of(told.select, "virial"))
        for told in content.iterations
        if told.select is not None
    ]
    if not any(levels for _, _, levels in rows):
        return None
    return _deviations(rows, x_label="Largest virial deviation of a frame, eV/atom")


def levels_of(select: SelectResult, quantity: str) -> list[Level]:
    """Return the different trust levels of a quantity that were used."""
    found = {getattr(levels, quantity) for levels in select.levels.values()}
    return sorted(level for level in found if level is not None)


def not_drawn(content: Content) -> str:
    """Say how many frames lie beyond the histograms of the force deviation."""
    parts = [
        f"{told.select.max_devi_f.beyond} in iteration {told.number}"
        for told in content.iterations
        if told.select is not None and told.select.max_devi_f.beyond
    ]
    return f"Beyond the last bin: {', '.join(parts)}." if parts else ""


def force_errors(content: Content) -> Markup | None:
    """Draw the force errors of the new frames before and after training on them."""
    return _errors(
        content.iterations, "rmse_f", x_label="Force RMSE of the new frames, meV/Å"
    )


def far_force_errors(content: Content) -> Markup | None:
    """Draw the 95th percentile of the force errors of the new frames."""
    return _errors(
        content.iterations,
        "p95_f",
        x_label="95th percentile of the force error, meV/Å",
    )


def energy_errors(content: Content) -> Markup | None:
    """Draw the energy errors of the new frames before and after training on them."""
    return _errors(
        content.iterations, "rmse_e", x_label="Energy RMSE of the new frames, meV/atom"
    )


def validation_errors(content: Content) -> Markup | None:
    """Draw the force error of every model on the frames that none was trained on."""
    rows, dots, means = [], [], []
    for told in content.iterations:
        if told.train is None:
            continue
        each = [
            1000 * value
            for model in told.train.models
            if (value := model.errors.get("rmse_f_validation")) is not None
        ]
        rows.append(str(told.number))
        dots.append(each)
        means.append((None, sum(each) / len(each) if each else None))
    return dumbbells(
        _rows(rows),
        means,
        dots=dots,
        x_label="Force RMSE of held-out frames, meV/Å",
        label="Validation error of the models, by iteration",
    )


def cost(content: Content) -> Markup | None:
    """Draw the processor time of each iteration by stage."""
    bars: list[tuple[str, dict[str, float]]] = []
    if content.start_label is not None:
        bars.append(("start", {"label": content.start_label.cpu_seconds}))
    bars += [(str(told.number), told.cpu_seconds) for told in content.iterations]
    if not any(sum(stages.values()) for _, stages in bars):
        return None
    hours = [{n: s / HOUR for n, s in stages.items()} for _, stages in bars]
    texts = [
        f"{name}: "
        + ", ".join(f"{STAGE_WORDS[n]} {s / HOUR:.3g} h" for n, s in stages.items())
        for name, stages in bars
    ]
    return stacks(
        _rows([name for name, _ in bars], height=24),
        hours,
        classes=STAGES,
        texts=texts,
        x_label="CPU hours",
        label="Processor time by stage and iteration",
    )


def legend(names: dict[str, str]) -> Markup:
    """Tell colours: {word: CSS class}."""
    items = (
        tag("li", tag("span", class_=f"swatch {colour}", aria_hidden="true"), word)
        for word, colour in names.items()
    )
    return tag("ul", *items, class_="legend")


def _rows(labels: Sequence[str], *, height: int = 28) -> Rows:
    """Lay rows of iterations, high enough together for the word beside them."""
    enough = LEAST_HEIGHT // max(1, len(labels))
    return Rows(labels=tuple(labels), title="Iteration", height=max(height, enough))


def _deviations(
    rows: Sequence[tuple[int, Histogram, list[Level]]], *, x_label: str
) -> Markup | None:
    if not any(any(histogram.counts) for _, histogram, _ in rows):
        return None
    height = max(24, min(58, 620 // len(rows)))
    bins = [_cut_at_levels(histogram, levels) for _, histogram, levels in rows]
    return ridges(
        _rows([str(number) for number, _, _ in rows], height=height),
        bins,
        colours=[
            _colours(edges, levels)
            for (edges, _), (_, _, levels) in zip(bins, rows, strict=True)
        ],
        lines=[sorted({v for level in levels for v in level}) for _, _, levels in rows],
        texts=[f"iteration {n}: {sum(h.counts)} frames" for n, h, _ in rows],
        x_label=x_label,
        label=f"{x_label}: histograms by iteration",
    )


def _cut_at_levels(
    histogram: Histogram, levels: list[Level]
) -> tuple[list[float], list[int]]:
    """Cut the bins that a trust level goes through; both parts stay as high."""
    edges, heights = [histogram.edges[0]], []
    for (low, high), count in zip(
        pairwise(histogram.edges), histogram.counts, strict=True
    ):
        inner = sorted({at for level in levels for at in level if low < at < high})
        edges += [*inner, high]
        heights += [count] * (len(inner) + 1)
    return edges, heights


def _colours(edges: Sequence[float], levels: list[Level]) -> list[str]:
    """Colour bins by the verdict of what is in them, where all share the levels."""
    if len(levels) != 1:
        return ["plain"] * (len(edges) - 1)
    low, high = levels[0]
    return [
        "accurate" if last <= low else "candidate" if last <= high else "failed"
        for last in edges[1:]
    ]


def _errors(iterations: Sequence[Told], name: str, *, x_label: str) -> Markup | None:
    found = [(told.number, told.assess) for told in iterations if told.assess]
    pairs = [(_milli(one.before, name), _milli(one.after, name)) for _, one in found]
    return dumbbells(
        _rows([str(number) for number, _ in found]),
        pairs,
        x_label=x_label,
        label=f"{x_label}: before and after training on them",
    )


def _milli(errors: AssessedErrors | None, name: str) -> float | None:
    value = None if errors is None else getattr(errors, name)
    return None if value is None else 1000 * value
