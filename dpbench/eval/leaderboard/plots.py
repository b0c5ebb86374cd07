"""Inline SVG plots: accuracy against speed, parity, energy along a run."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from dpbench.eval.web.axes import Scale, frame, left_margin, padded, picture
from dpbench.eval.web.markup import Markup, join, tag
from dpbench.eval.web.numbers import number

LABEL_GAP = 18
"""Pixels that two labels need between their base lines."""

LABEL_LENGTH = 28
"""Characters of a point's label."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Point:
    """One row in the plot of accuracy against speed."""

    row_id: str
    name: str
    speed: float
    """µs/atom/step."""
    error: float
    """meV/Å."""
    error_low: float
    error_high: float
    is_ranked: bool


def pareto_front(points: Sequence[Point]) -> list[Point]:
    """Points that no other beats in both speed and error, fastest first."""
    front: list[Point] = []
    for point in sorted(points, key=lambda p: (p.speed, p.error, p.row_id)):
        if not front or point.error < front[-1].error:
            front.append(point)
    return front


def pareto_plot(points: Sequence[Point], *, label: str) -> Markup:
    """Draw error against cost on one machine; the front is a step line.

    Args:
        points: Rows of one table and one machine; both numbers positive.
        label: Name of the plot for those who do not see it.
    """
    width, height = 640, 360
    x_low, x_high = padded([p.speed for p in points], kind="log")
    heights = [v for p in points for v in (p.error_low, p.error, p.error_high)]
    y_low, y_high = padded([h for h in heights if h > 0], kind="log")
    y = Scale(low=y_low, high=y_high, start=height - 48, stop=14, kind="log")
    x = Scale(low=x_low, high=x_high, start=left_margin(y), stop=width - 16, kind="log")
    marks = [_pareto_mark(point, x, y) for point in points]
    return picture(
        width,
        height,
        frame(
            x,
            y,
            x_label="MD step, µs/atom/step  (faster ←)",
            y_label="Force RMSE, meV/Å  (better ↓)",
        ),
        _front_line(pareto_front([p for p in points if p.is_ranked]), x, y),
        *marks,
        *_point_labels(points, x, y, width=width),
        label=label,
    )


def _front_line(front: Sequence[Point], x: Scale, y: Scale) -> Markup:
    if not front:
        return Markup("")
    path = [f"M{x(front[0].speed)} {y.stop}V{y(front[0].error)}"]
    path += [f"H{x(p.speed)}V{y(p.error)}" for p in front[1:]]
    path.append(f"H{x.stop}")
    return tag("path", d="".join(path), class_="front")


def _pareto_mark(point: Point, x: Scale, y: Scale) -> Markup:
    at_x, at_y = x(point.speed), y(point.error)
    low = y(max(point.error_low, y.low))
    whisker = tag("path", d=f"M{at_x} {low}V{y(point.error_high)}", class_="whisker")
    title = (
        f"{point.name}: {number(point.error)} meV/Å, {number(point.speed)} µs/atom/step"
    )
    dot = tag(
        "circle",
        tag("title", title),
        cx=str(at_x),
        cy=str(at_y),
        r="5.5",
        class_="dot" if point.is_ranked else "dot hollow",
    )
    return tag(
        "a",
        whisker,
        dot,
        href=f"#row-{point.row_id}",
        data_row=point.row_id,
        aria_label=title,
    )


def _point_labels(
    points: Sequence[Point], x: Scale, y: Scale, *, width: int
) -> list[Markup]:
    """Names beside the points, moved apart where they would overlap."""
    placed: list[tuple[float, float, float]] = []
    labels = []
    for point in sorted(points, key=lambda p: (y(p.error), p.row_id)):
        text = shortened(point.name, LABEL_LENGTH)
        span = 7.2 * len(text)
        left = x(point.speed) + span + 12 > width
        start = x(point.speed) - 10 - span if left else x(point.speed) + 10
        at = y(point.error) - 8
        while any(
            abs(at - other) < LABEL_GAP and start < right and start + span > other_start
            for other_start, right, other in placed
        ):
            at += 1
        placed.append((start, start + span, at))
        labels.append(
            tag(
                "text",
                text,
                x=str(round(start + span, 1) if left else round(start, 1)),
                y=str(round(at + 4, 1)),
                class_="name end" if left else "name",
            )
        )
    return labels


def parity_plot(
    reference: Sequence[float],
    predicted: Sequence[float | None],
    *,
    quantity: str,
    unit: str,
) -> Markup | None:
    """Draw predicted against reference values; None if there are no points."""
    pairs = [
        (a, b)
        for a, b in zip(reference, predicted, strict=True)
        if b is not None and math.isfinite(b)
    ]
    if not pairs:
        return None
    size = 340
    low, high = padded([v for pair in pairs for v in pair], kind="linear", share=0.05)
    y = Scale(low=low, high=high, start=size - 46, stop=10)
    x = Scale(low=low, high=high, start=left_margin(y), stop=size - 10)
    # Whole pixels, each once: hundreds of points would else be most of the page.
    pixels = sorted({(round(x(a)), round(y(b))) for a, b in pairs})
    dots = "".join(f"M{a} {b}h0" for a, b in pixels)
    return picture(
        size,
        size,
        frame(
            x,
            y,
            x_label=f"Reference {quantity}, {unit}",
            y_label=f"Predicted {quantity}, {unit}",
        ),
        tag("path", d=f"M{x.start} {y.start}L{x.stop} {y.stop}", class_="diagonal"),
        tag("path", d=dots, class_="cloud"),
        label=f"Parity plot of {len(pairs)} values of {quantity}",
    )


def trace_plot(
    runs: Sequence[tuple[Sequence[float], Sequence[float | None]]],
) -> Markup | None:
    """Draw the total energy along constant-energy runs.

    Args:
        runs: (time in fs, energy in meV/atom less that of the start) of each run.
    """
    lines = [
        [(t / 1000, e) for t, e in zip(time, energy, strict=True) if e is not None]
        for time, energy in runs
    ]
    lines = [line for line in lines if len(line) > 1]
    if not lines:
        return None
    width, height = 340, 270
    low, high = padded([e for line in lines for _, e in line], kind="linear")
    y = Scale(low=low, high=high, start=height - 46, stop=10)
    x = Scale(
        low=0.0,
        high=max(t for line in lines for t, _ in line),
        start=left_margin(y),
        stop=width - 12,
    )
    return picture(
        width,
        height,
        frame(
            x,
            y,
            x_label="Time, ps",
            y_label="Energy shift, meV/atom",
        ),
        join(
            *(
                tag(
                    "path",
                    d="M" + "L".join(f"{x(t)} {y(e)}" for t, e in line),
                    class_=f"line line{index % 3}",
                )
                for index, line in enumerate(lines)
            )
        ),
        label=f"Total energy along {len(lines)} constant-energy runs",
        kind="trace",
    )


def shortened(text: str, length: int) -> str:
    """Cut a text to ``length`` characters, with an ellipsis if it was longer."""
    return text if len(text) <= length else text[: length - 1] + "…"
