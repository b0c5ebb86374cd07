"""The report of a simplification: one HTML file that needs nothing else."""

import math
from collections.abc import Sequence

from dpbench.eval.web.axes import Scale, frame, left_margin, padded, picture
from dpbench.eval.web.document import document, masthead
from dpbench.eval.web.markup import Markup, tag
from dpbench.eval.web.numbers import number
from dpbench.eval.web.tables import grid
from dpbench.explore.select.choosing import WHY
from dpbench.explore.simplify.record import CHOSEN, FULL, RANDOM, Simplified

WIDTH, HEIGHT = 620, 340

QUANTITIES = (
    ("rmse_f", "force RMSE, meV/Å", "Force RMSE"),
    ("p95_f", "95th percentile of the force error, meV/Å", "Large force errors"),
    ("rmse_e", "energy RMSE, meV/atom", "Energy RMSE"),
)
"""What is drawn: key, axis, title."""

STYLE = """
main { padding-bottom: 60px; }
.figures { display: grid; gap: 0 16px;
  grid-template-columns: repeat(auto-fit, minmax(min(430px, 100%), 1fr)); }
.card .plot { max-width: none; }
.plot .grid { stroke: var(--line); stroke-width: 1; }
.plot text { font-size: 11px; fill: var(--soft); }
.plot .mid { text-anchor: middle; } .plot .end { text-anchor: end; }
.plot .side { fill: none; stroke-width: 2.2; stroke-linejoin: round; }
.plot .chosen { stroke: var(--accent); } .plot .random { stroke: var(--second); }
.plot .full { stroke: var(--third); stroke-dasharray: 5 4; }
.plot circle { stroke: var(--card); stroke-width: 1; }
.plot circle.of-chosen { fill: var(--accent); }
.plot circle.of-random { fill: var(--second); }
.plot text.name { font-size: 12px; font-weight: 600; }
.plot text.name-chosen { fill: var(--accent); }
.plot text.name-random { fill: var(--second); }
.plot text.name-full { fill: var(--third); }
.card { margin: 0 0 16px; }
.lead { font-size: 1.05rem; max-width: 70ch; }
"""


def render(found: Simplified) -> str:
    """Write the page: a pure function of the outcome."""
    return document(
        f"{found.name} · {found.dataset} · dpbench",
        masthead(
            f"{len(found.frames)} frames of {found.dataset}",
            "A small subset, and what it is worth",
        ),
        tag(
            "main",
            tag("p", _lead(found), class_="lead"),
            tag(
                "div",
                *(_figure(found, *quantity) for quantity in QUANTITIES),
                class_="figures",
            ),
            _numbers(found),
            _growth(found),
            _provenance(found),
        ),
        style=STYLE,
    )


def _lead(found: Simplified) -> str:
    size = len(found.frames)
    error = found.median(CHOSEN, size)
    words = (
        f"Models trained on {size} of the {found.pool_frames} frames of "
        f"'{found.pool}' have a force RMSE of {number(1000 * error)} meV/Å on the "
        f"{found.test_frames} frames of '{found.test}'."
    )
    drawn = found.median(RANDOM, size)
    if not math.isnan(drawn):
        words += (
            f" As many frames chosen at random give {number(1000 * drawn)} meV/Å: a "
            f"ratio of {error / drawn:.2f}."
        )
    equivalent = found.random_equivalent
    if equivalent is not None:
        words += f" About {equivalent:.0f} random frames would be as good."
    return f"{words} {found.ended}".rstrip()


def _figure(found: Simplified, key: str, axis: str, title: str) -> Markup:
    """Draw error against size, every model a dot, medians a line."""
    values = [
        1000 * getattr(point, key)
        for point in found.points
        if getattr(point, key) > 0 and math.isfinite(getattr(point, key))
    ]
    if not values:
        words = tag("p", "No frame has this label.", class_="note")
        return tag("section", tag("h4", title), words, class_="card")
    # The model of all frames is a level: its size would squeeze all others together.
    sizes = [p.size for p in found.points if p.side != FULL] or [found.pool_frames]
    low, high = padded(values, kind="log")
    y = Scale(low=low, high=high, start=HEIGHT - 46, stop=12, kind="log")
    low, high = padded([float(size) for size in sizes], kind="log")
    x = Scale(
        low=low, high=high, start=left_margin(y), stop=float(WIDTH - 14), kind="log"
    )
    marks = [
        mark
        for side in (RANDOM, CHOSEN)
        for mark in _side(found, side, key, scales=(x, y))
    ]
    drawing = picture(
        WIDTH,
        HEIGHT,
        frame(x, y, x_label="frames trained on", y_label=axis),
        *_everything(found, key, scales=(x, y)),
        *marks,
        *_names(found),
        label=f"{title} against the number of frames",
    )
    return tag("section", tag("h4", title), drawing, class_="card")


def _side(
    found: Simplified, side: str, key: str, *, scales: tuple[Scale, Scale]
) -> list[Markup]:
    x, y = scales
    curve = [(n, 1000 * e) for n, e in found.curve(side, key) if e > 0]
    if not curve:
        return []
    path = " ".join(f"{x(size)} {y(error)}" for size, error in curve)
    dots = [
        tag(
            "circle",
            tag("title", f"{side}, {point.size} frames: {number(error)}"),
            cx=str(x(point.size)),
            cy=str(y(error)),
            r="3.4",
            class_=f"of-{side}",
        )
        for point in found.points
        if point.side == side and (error := 1000 * getattr(point, key)) > 0
    ]
    return [tag("path", d=f"M{path}", class_=f"side {side}"), *dots]


def _everything(
    found: Simplified, key: str, *, scales: tuple[Scale, Scale]
) -> list[Markup]:
    """Draw the error of the model that was trained on all frames, as a level."""
    x, y = scales
    error = 1000 * found.median(FULL, found.pool_frames, key)
    if not error > 0:
        return []
    line = tag("path", d=f"M{x.start} {y(error)}H{x.stop}", class_="side full")
    return [line]


def _names(found: Simplified) -> list[Markup]:
    sides = {point.side for point in found.points}
    shown = [
        (CHOSEN, "chosen"),
        (RANDOM, "at random"),
        (FULL, f"all {found.pool_frames} frames"),
    ]
    return [
        tag(
            "text",
            words,
            x=str(WIDTH - 22),
            y=str(28 + 17 * place),
            class_=f"end name name-{side}",
        )
        for place, (side, words) in enumerate(s for s in shown if s[0] in sides)
    ]


def _numbers(found: Simplified) -> Markup:
    rows = []
    for size in sorted({point.size for point in found.points}):
        for side in (CHOSEN, RANDOM, FULL):
            values = found.values(side, size)
            if values:
                errors = [
                    number(1000 * found.median(side, size, key))
                    for key, _, _ in QUANTITIES
                ]
                rows.append([str(size), side, str(len(values)), *errors])
    heads = ["frames", "side", "models", *(axis for _, axis, _ in QUANTITIES)]
    return tag(
        "section",
        tag("h4", "Medians over the models"),
        grid(heads, rows, numbers_from=2),
        class_="card",
    )


def _growth(found: Simplified) -> Markup | None:
    if not found.rounds:
        return None
    reasons = sorted({why for one in found.rounds for why in one.counts})
    rows = [
        [
            str(one.size),
            *(number(value) for value in one.max_devi_f),
            *(str(one.counts.get(why, 0)) for why in reasons),
        ]
        for one in found.rounds
    ]
    heads = ["frames", "median", "95 %", "largest", *reasons]
    meanings = tag("dl", *(part for why in reasons for part in _meaning(why, found)))
    return tag(
        "section",
        tag("h4", "Growth: largest force deviation on the other frames, eV/Å"),
        grid(heads, rows, numbers_from=0),
        meanings,
        class_="card",
    )


def _meaning(why: str, found: Simplified) -> Sequence[Markup]:
    words = WHY.get(why, "")
    if why == CHOSEN:
        words = "added to the subset"
    elif why == "accurate" and found.settings.force is None:
        words = "of the half of the smaller deviations"
    return tag("dt", why), tag("dd", words)


def _provenance(found: Simplified) -> Markup:
    settings = found.settings
    facts = {
        "dataset": f"{found.dataset}, {found.digest}",
        "split": f"{found.name}, {found.split}",
        "method": f"{settings.method}, {settings.models} models, {settings.steps} "
        f"steps each, seed {settings.seed}",
        "compared with": f"{settings.controls} random subsets of every size",
        "training": f"{found.cpu_seconds:.0f} s of processor time for "
        f"{len(found.points)} models",
    }
    entries = [part for k, v in facts.items() for part in (tag("dt", k), tag("dd", v))]
    return tag(
        "section",
        tag("h4", "Where it comes from"),
        tag("dl", *entries),
        class_="card",
    )
