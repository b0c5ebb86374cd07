"""Time per atom against atoms: the plateau of latency, the flat part, the roofline."""

from collections.abc import Sequence
from dataclasses import dataclass

from dpbench.errors import EvaluationError
from dpbench.eval.record import Record
from dpbench.eval.speed.families import TITLES
from dpbench.eval.speed.reporting import TASK
from dpbench.eval.speed.settings import LEVELS
from dpbench.eval.web.axes import Scale, frame, left_margin, padded, picture
from dpbench.eval.web.markup import Markup, join, tag
from dpbench.eval.web.numbers import number

WIDTH, HEIGHT = 640, 360

SHADES = (
    "#0072b2",
    "#d55e00",
    "#009e73",
    "#cc79a7",
    "#e69f00",
    "#56b4e9",
    "#7f7f7f",
    "#882255",
)
"""Colours that people who confuse some can tell apart (Okabe and Ito)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Curve:
    """One configuration on one family."""

    name: str
    natoms: tuple[int, ...]
    time: tuple[float, ...]
    """µs/atom/step."""
    low: tuple[float, ...]
    high: tuple[float, ...]
    ended: str | None = None
    """What ended the ladder, in words."""

    @property
    def latency_us(self) -> float | None:
        """Time of a step that does not shrink with the atoms, µs.

        From the two smallest sizes, by the line through their times of a step; None
        where that does not meet the axis above zero.
        """
        if len(self.natoms) < 2:
            return None
        (n0, n1), (t0, t1) = self.natoms[:2], self.time[:2]
        constant = n0 * t0 - n0 * (n1 * t1 - n0 * t0) / (n1 - n0)
        return constant if constant > 0 else None


def curves_of(
    records: Sequence[Record], family: str, level: str = LEVELS[2]
) -> list[Curve]:
    """Take the curves of one family out of records.

    Raises:
        EvaluationError: If they are of different hardware: those share no axis.
    """
    machines = {record.hardware.id for record in records}
    if len(machines) > 1:
        raise EvaluationError(
            f"records of {len(machines)} machines ({', '.join(sorted(machines))}); "
            "expected one: speeds of different hardware are not compared."
        )
    found = []
    for record in records:
        result = record.tasks.get(TASK)
        told = None if result is None else result.samples["families"].get(family)
        if result is None or told is None:
            continue
        points = [
            (int(size["natoms"]), size["levels"][level])
            for size in told["sizes"]
            if size["status"] == "ok" and size["levels"].get(level) is not None
        ]
        if not points:
            continue
        last = told["sizes"][-1]
        found.append(
            Curve(
                name=str(result.samples.get("label") or record.model.name),
                natoms=tuple(n for n, _ in points),
                time=tuple(float(v["median"]) for _, v in points),
                low=tuple(float(v["ci_low"]) for _, v in points),
                high=tuple(float(v["ci_high"]) for _, v in points),
                ended=None
                if last["status"] == "ok"
                else f"{last['status']} at {last['natoms']} atoms".replace("_", " "),
            )
        )
    return found


def scaling_plot(
    records: Sequence[Record], family: str, *, level: str = LEVELS[2]
) -> Markup | None:
    """Draw time per atom against atoms for all configurations of one machine.

    The dashed line of each curve is its latency over the number of atoms, the plateau
    of a step too short to be filled; the dotted line is the roofline of the fastest:
    the least time per atom that it reaches at any size.

    Args:
        records: With results of ``md_throughput``, of one machine.
        family: ``water``, ``dense`` or ``slab``.
        level: What was timed.

    Returns:
        The drawing; None where no record has a size of this family.

    Raises:
        EvaluationError: If the records are of different hardware.
    """
    curves = curves_of(records, family, level)
    if not curves:
        return None
    x_low, x_high = padded([n for c in curves for n in c.natoms], kind="log")
    heights = [v for c in curves for v in (*c.low, *c.time, *c.high) if v > 0]
    y_low, y_high = padded(heights, kind="log")
    bottom = HEIGHT - 48
    y = Scale(low=y_low, high=y_high, start=bottom, stop=14, kind="log")
    x = Scale(low=x_low, high=x_high, start=left_margin(y), stop=WIDTH - 16, kind="log")
    height = HEIGHT + 18 * len(curves)
    title = TITLES[family]
    return picture(
        WIDTH,
        height,
        frame(x, y, x_label="atoms", y_label="time, µs/atom/step  (faster ↓)"),
        _roof(curves, x, y),
        *[_drawn(curve, index, x, y) for index, curve in enumerate(curves)],
        *[_legend(curve, index) for index, curve in enumerate(curves)],
        label=f"Time per atom and step against atoms, {title}",
        kind="scaling",
    )


def _drawn(curve: Curve, index: int, x: Scale, y: Scale) -> Markup:
    """Draw the line of one curve, its intervals and its latency."""
    colour = SHADES[index % len(SHADES)]
    places = [(x(n), y(t)) for n, t in zip(curve.natoms, curve.time, strict=True)]
    line = "M" + "L".join(f"{a} {b}" for a, b in places)
    style = f"stroke:{colour};fill:none"
    parts = [tag("path", d=line, style=f"{style};stroke-width:2")]
    spans = zip(curve.natoms, curve.low, curve.high, strict=True)
    for natoms, low, high in spans:
        at, bottom = x(natoms), y(max(low, y.low))
        parts.append(
            tag("path", d=f"M{at} {bottom}V{y(min(high, y.high))}", style=style)
        )
    for (a, b), natoms, time in zip(places, curve.natoms, curve.time, strict=True):
        words = f"{curve.name}: {natoms} atoms, {number(time)} µs/atom/step"
        parts.append(
            tag(
                "circle",
                tag("title", words),
                cx=str(a),
                cy=str(b),
                r="3.5",
                style=f"fill:{colour}",
            )
        )
    latency = curve.latency_us
    if latency is not None:
        parts.append(_plateau(latency, curve, x, y, style))
    return join(*parts)


def _plateau(latency: float, curve: Curve, x: Scale, y: Scale, style: str) -> Markup:
    """Draw latency / atoms as far as it lies in the picture."""
    first = max(x.low, latency / y.high)
    last = min(x.high, latency / y.low)
    if not first < last:
        return Markup("")
    ends = [(first, latency / first), (last, latency / last)]
    (a, b), (c, d) = [(x(n), y(min(max(t, y.low), y.high))) for n, t in ends]
    words = f"{curve.name}: {number(latency)} µs a step whatever its size"
    return tag(
        "path",
        tag("title", words),
        d=f"M{a} {b}L{c} {d}",
        style=f"{style};stroke-dasharray:4 4;opacity:.6",
    )


def _roof(curves: Sequence[Curve], x: Scale, y: Scale) -> Markup:
    """Draw the least time per atom of all."""
    best = min(min(curve.time) for curve in curves)
    words = f"roofline: {number(best)} µs/atom/step, the best at any size"
    return tag(
        "path",
        tag("title", words),
        d=f"M{x.start} {y(best)}H{x.stop}",
        class_="grid",
        style="stroke-dasharray:1 3;stroke-width:1.5",
    )


def _legend(curve: Curve, index: int) -> Markup:
    at = HEIGHT + 4 + 18 * index
    words = curve.name if curve.ended is None else f"{curve.name} ({curve.ended})"
    return join(
        tag(
            "path",
            d=f"M20 {at - 4}H44",
            style=f"stroke:{SHADES[index % len(SHADES)]};stroke-width:3",
        ),
        tag("text", words, x="52", y=str(at), class_="tick"),
    )
