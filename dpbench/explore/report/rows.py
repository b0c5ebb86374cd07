"""Plots with one row an iteration: what they share, and the ways to draw a row."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from dpbench.eval.web.axes import Scale, picture, tick_text
from dpbench.eval.web.markup import Markup, join, tag

WIDTH = 420
"""Of every plot, pixels of its own."""

TOP, BOTTOM, RIGHT = 10, 46, 14
"""Margins, pixels."""

LETTER = 6.8
"""Width of a letter of a label, pixels."""

MOST_LETTERS = 26
"""Longer labels are cut."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Rows:
    """Where the rows of a plot are."""

    labels: tuple[str, ...]
    """Left of each row."""
    title: str
    """What the labels are; empty = they say it."""
    height: int
    """Of a row, pixels."""

    @property
    def left(self) -> float:
        """First pixel right of the labels."""
        longest = max((len(_cut(label)) for label in self.labels), default=0)
        return (24 if self.title else 8) + 10 + LETTER * longest

    @property
    def bottom(self) -> int:
        """Pixel of the horizontal axis."""
        return TOP + self.height * len(self.labels)

    def middle(self, row: int) -> float:
        """Return the pixel of the middle of a row."""
        return TOP + self.height * (row + 0.5)

    def scale(self, low: float, high: float, *, is_log: bool = False) -> Scale:
        """Lay a horizontal scale beside the labels."""
        return Scale(
            low=low,
            high=high,
            start=self.left,
            stop=WIDTH - RIGHT,
            kind="log" if is_log else "linear",
        )

    def draw(self, x: Scale, *marks: Markup, x_label: str, label: str) -> Markup:
        """Draw the axis and the labels, and the marks over them.

        Args:
            x: Horizontal scale.
            marks: What the rows show.
            x_label: Quantity and unit.
            label: Name of the plot for those who do not see it.
        """
        height = self.bottom + BOTTOM
        return picture(
            WIDTH, height, self._axis(x, x_label), *marks, label=label, kind="rows"
        )

    def _axis(self, x: Scale, x_label: str) -> Markup:
        ticks = x.ticks()
        lines = "".join(f"M{x(value)} {TOP}V{self.bottom}" for value in ticks)
        parts = [tag("path", d=lines, class_="grid")]
        parts += [
            _text(tick_text(value, ticks), x(value), self.bottom + 16, "tick mid")
            for value in ticks
        ]
        middle = (x.start + x.stop) / 2
        parts.append(_text(x_label, middle, self.bottom + 35, "axis mid"))
        parts += [
            _text(_cut(label), self.left - 7, self.middle(row) + 4, "tick end")
            for row, label in enumerate(self.labels)
        ]
        if self.title:
            middle = (TOP + self.bottom) / 2
            turn = f"translate(14 {middle}) rotate(-90)"
            parts.append(tag("text", self.title, transform=turn, class_="axis mid"))
        return join(*parts)


def stacks(
    rows: Rows,
    values: Sequence[Mapping[str, float]],
    *,
    classes: Mapping[str, str],
    texts: Sequence[str],
    x_label: str,
    label: str,
) -> Markup:
    """Draw one bar a row, made of parts.

    Args:
        rows: Where.
        values: (row), size of each part.
        classes: CSS class of each part; their order is that in a bar.
        texts: (row), what a pointer over the row says.
        x_label: Quantity and unit.
        label: Name of the plot for those who do not see it.
    """
    longest = max((sum(row.values()) for row in values), default=0.0)
    x = rows.scale(0.0, longest or 1.0)
    high = rows.height * 0.64
    marks = []
    for number, row in enumerate(values):
        top, at = round(rows.middle(number) - high / 2, 1), 0.0
        parts: list[Markup] = [tag("title", texts[number])]
        for name, colour in classes.items():
            size = row.get(name, 0.0)
            if size > 0:
                width = round(x(at + size) - x(at), 1)
                parts.append(
                    tag(
                        "rect",
                        x=str(x(at)),
                        y=str(top),
                        width=str(max(width, 0.5)),
                        height=str(round(high, 1)),
                        class_=f"part {colour}",
                    )
                )
                at += size
        marks.append(tag("g", *parts))
    return rows.draw(x, *marks, x_label=x_label, label=label)


def ridges(
    rows: Rows,
    bins: Sequence[tuple[Sequence[float], Sequence[int]]],
    *,
    colours: Sequence[Sequence[str]],
    lines: Sequence[Sequence[float]],
    texts: Sequence[str],
    x_label: str,
    label: str,
) -> Markup:
    """Draw one histogram a row; each row is as high as its fullest bin.

    The axis is logarithmic where no bin reaches zero.

    Args:
        rows: Where.
        bins: (row), edges (bin + 1) and counts (bin).
        colours: (row) of (bin), the CSS class of each.
        lines: (row), values that are marked.
        texts: (row), what a pointer over the row says.
        x_label: Quantity and unit.
        label: Name of the plot for those who do not see it.
    """
    is_log = all(edges[0] > 0 for edges, _ in bins)
    low, high = _reach(bins, lines, is_log=is_log)
    x = rows.scale(low, high, is_log=is_log)
    marks = []
    for number, (edges, counts) in enumerate(bins):
        base = TOP + rows.height * (number + 1) - 1
        most = max(counts, default=0) or 1
        paths: dict[str, str] = {}
        for (first, last), count, colour in zip(
            pairwise(edges), counts, colours[number], strict=True
        ):
            if count and first < high and last > low:
                tall = max(1.0, (rows.height - 4) * count / most)
                left, right = x(max(first, low)), x(min(last, high))
                box = f"M{left} {base}V{base - tall:.1f}H{right}V{base}Z"
                paths[colour] = paths.get(colour, "") + box
        marks.append(
            tag(
                "g",
                tag("title", texts[number]),
                tag("path", d=f"M{x.start} {base}H{x.stop}", class_="floor"),
                *(tag("path", d=d, class_=f"part {c}") for c, d in paths.items()),
                *(
                    tag(
                        "path",
                        d=f"M{x(at)} {base}V{base - rows.height + 3}",
                        class_="level",
                    )
                    for at in lines[number]
                    if low <= at <= high
                ),
            )
        )
    return rows.draw(x, *marks, x_label=x_label, label=label)


def dumbbells(
    rows: Rows,
    pairs: Sequence[tuple[float | None, float | None]],
    *,
    x_label: str,
    label: str,
    dots: Sequence[Sequence[float]] = (),
) -> Markup | None:
    """Draw a hollow dot for before, a filled one for after, and a line between.

    Args:
        rows: Where.
        pairs: (row), before and after; None = not known.
        x_label: Quantity and unit.
        label: Name of the plot for those who do not see it.
        dots: (row), further small dots.

    Returns:
        The plot; None if no number is known.
    """
    known = [v for pair in pairs for v in pair if v is not None and v > 0]
    known += [v for row in dots for v in row if v > 0]
    if not known:
        return None
    low, high = min(known) / 1.25, max(known) * 1.25
    x = rows.scale(low, high, is_log=True)
    marks = []
    for number, (before, after) in enumerate(pairs):
        y = round(rows.middle(number), 1)
        if before and after:
            marks.append(tag("path", d=f"M{x(before)} {y}H{x(after)}", class_="bond"))
        own = dots[number] if dots else ()
        # Below the others, so that a mean does not hide those that it is of.
        marks += [
            _dot(x(value), y + 9, 3.0, "dot member") for value in own if value > 0
        ]
        if before:
            marks.append(_dot(x(before), y, 4.6, "dot hollow"))
        if after:
            marks.append(_dot(x(after), y, 5.0, "dot"))
    return rows.draw(x, *marks, x_label=x_label, label=label)


def _dot(x: float, y: float, radius: float, kind: str) -> Markup:
    return tag("circle", cx=str(x), cy=str(y), r=str(radius), class_=kind)


def _reach(
    bins: Sequence[tuple[Sequence[float], Sequence[int]]],
    lines: Sequence[Sequence[float]],
    *,
    is_log: bool,
) -> tuple[float, float]:
    """Span the filled bins and the marked values of all rows."""
    low, high = [], [value for row in lines for value in row]
    for edges, counts in bins:
        filled = [i for i, count in enumerate(counts) if count]
        if filled:
            low.append(edges[filled[0]])
            high.append(edges[filled[-1] + 1])
    first = min([*low, *high], default=0.0)
    if is_log:
        positive = [value for value in (*low, *high) if value > 0]
        return min(positive, default=0.1) / 1.1, max(positive, default=1.0) * 1.1
    first = 0.0 if first < 0.5 * max(high, default=0.0) else first
    last = max(high, default=1.0)
    return first, last * 1.04 if last > first else first + 1.0


def _cut(label: str) -> str:
    return label if len(label) <= MOST_LETTERS else label[: MOST_LETTERS - 1] + "…"


def _text(words: str, x: float, y: float, kind: str) -> Markup:
    return tag("text", words, x=str(round(x, 1)), y=str(round(y, 1)), class_=kind)
