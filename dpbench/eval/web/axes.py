"""Axes of the inline plots: scales, ticks, and the SVG that draws them."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from dpbench.eval.web.markup import Markup, join, tag


@dataclass(frozen=True, kw_only=True, slots=True)
class Scale:
    """Maps values to pixels."""

    low: float
    high: float
    start: float
    """Pixel of ``low``."""
    stop: float
    """Pixel of ``high``."""
    kind: Literal["linear", "log"] = "linear"

    def __call__(self, value: float) -> float:
        """Return the pixel of a value, one decimal."""
        low, high, at = self.low, self.high, value
        if self.kind == "log":
            low, high, at = math.log10(low), math.log10(high), math.log10(value)
        share = (at - low) / (high - low) if high > low else 0.5
        return round(self.start + share * (self.stop - self.start), 1)

    def ticks(self) -> list[float]:
        """Round values inside the range, about four to eight."""
        if self.kind == "log":
            ticks = log_ticks(self.low, self.high)
            if len(ticks) >= 3:
                return ticks
        return linear_ticks(self.low, self.high)


def linear_ticks(low: float, high: float) -> list[float]:
    """Multiples of 1, 2 or 5 times a power of ten between ``low`` and ``high``."""
    if not high > low:
        return [low]
    rough = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [index * step for index in range(first, last + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """Values 1, 2, 5 of each decade in the range; powers alone if there are many."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    factors = (1, 2, 5) if last - first <= 3 else (1,)
    values = [m * 10.0**p for p in range(first, last + 1) for m in factors]
    return [v for v in values if low * 0.999 <= v <= high * 1.001]


def padded(
    values: Sequence[float], *, kind: Literal["linear", "log"], share: float = 0.08
) -> tuple[float, float]:
    """Range of values with some air on both sides."""
    low, high = min(values), max(values)
    if kind == "log":
        factor = max((high / low) ** share, 1.25)
        return low / factor, high * factor
    air = (high - low) * share or max(abs(high), 1.0) * share
    return low - air, high + air


def tick_text(value: float, step_of: Sequence[float]) -> str:
    """Write a tick as short as its neighbours allow."""
    if value == 0:
        return "0"
    gaps = [abs(b - a) for a, b in itertools.pairwise(step_of) if b != a]
    smallest = min([*gaps, abs(value)])
    decimals = max(0, -math.floor(math.log10(smallest) + 1e-9))
    if abs(value) >= 1e5 or decimals > 4:
        return f"{value:.0e}".replace("e+0", "e").replace("e-0", "e-")
    return f"{value:.{decimals}f}".replace("-", "\u2212")


def left_margin(y: Scale) -> float:
    """Pixels that the vertical label and the ticks of ``y`` take."""
    ticks = y.ticks()
    return 36 + 6.8 * max((len(tick_text(t, ticks)) for t in ticks), default=0)


def frame(x: Scale, y: Scale, *, x_label: str, y_label: str) -> Markup:
    """Draw grid, ticks and labels of a plot.

    Args:
        x: Horizontal scale, left to right.
        y: Vertical scale; ``start`` is the lower edge.
        x_label: Quantity and unit.
        y_label: Quantity and unit.
    """
    parts: list[Markup] = []
    x_ticks, y_ticks = x.ticks(), y.ticks()
    for value in x_ticks:
        at = x(value)
        parts.append(tag("path", d=f"M{at} {y.start}V{y.stop}", class_="grid"))
        parts.append(
            tag(
                "text",
                tick_text(value, x_ticks),
                x=str(at),
                y=str(y.start + 16),
                class_="tick mid",
            )
        )
    for value in y_ticks:
        at = y(value)
        parts.append(tag("path", d=f"M{x.start} {at}H{x.stop}", class_="grid"))
        parts.append(
            tag(
                "text",
                tick_text(value, y_ticks),
                x=str(x.start - 7),
                y=str(at + 3.5),
                class_="tick end",
            )
        )
    middle_x, middle_y = (x.start + x.stop) / 2, (y.start + y.stop) / 2
    parts.append(
        tag("text", x_label, x=str(middle_x), y=str(y.start + 35), class_="axis mid")
    )
    parts.append(
        tag(
            "text",
            y_label,
            transform=f"translate(14 {middle_y}) rotate(-90)",
            class_="axis mid",
        )
    )
    return join(*parts)


def picture(
    width: int, height: int, *children: Markup, label: str, kind: str = ""
) -> Markup:
    """Wrap a drawing so that it scales and has a name."""
    return tag(
        "svg",
        *children,
        viewBox=f"0 0 {width} {height}",
        role="img",
        aria_label=label,
        class_=f"plot {kind}".strip(),
    )
