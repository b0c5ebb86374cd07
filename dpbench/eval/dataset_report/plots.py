"""Inline SVG plots of distributions, and small pictures of structures."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from dpbench.eval.web.axes import Scale, frame, left_margin, padded, picture
from dpbench.eval.web.markup import Markup, tag
from dpbench.frames import Frames

WIDTH, HEIGHT = 420, 240

MOST_BINS = 60
"""Bins of a histogram whose edges follow the data; few values get fewer."""

FAR_OUT = 12.0
"""Values farther from the median than this many interquartile ranges are told beside
the plot, so that one outlier does not squeeze all others into one bar."""

FEW = 0.01
"""Share of the values that may be left out of a plot: more are no outliers, and the
plot spans them too."""

N_COLOURS = 6
"""Colours of lines and elements before they repeat."""

Values = NDArray[np.floating]


def histogram(values: Values, *, x_label: str, label: str) -> Markup | None:
    """Draw how often values occur; None if there are fewer than two.

    A few outliers are left out: ``beyond`` tells them.

    Args:
        values: Any shape; NaN is left out.
        x_label: Quantity and unit.
        label: Name of the plot for those who do not see it.
    """
    known = values[np.isfinite(values)]
    if len(known) < 2:
        return None
    low, high = _range_without_outliers(known)
    known = known[(known >= low) & (known <= high)]
    if not high > low:
        low, high = padded([low], kind="linear")
    n_bins = min(MOST_BINS, max(8, int(2 * np.sqrt(len(known)))))
    edges = np.linspace(low, high, n_bins + 1)
    counts = np.histogram(known, edges)[0]
    x = Scale(low=low, high=high, start=0, stop=1)
    return _bars(counts, edges, x=x, x_label=x_label, label=label)


def beyond(values: Values) -> str:
    """Say how many frames ``histogram`` leaves out, and how far they reach."""
    known = values[np.isfinite(values)]
    if len(known) < 2:
        return ""
    low, high = _range_without_outliers(known)
    below, above = known[known < low], known[known > high]
    parts = []
    if len(below):
        parts.append(f"{_lie(len(below))} below, down to {below.min():.6g}")
    if len(above):
        parts.append(f"{_lie(len(above))} above, up to {above.max():.6g}")
    return f"Not drawn: {'; '.join(parts)}." if parts else ""


def _lie(n: int) -> str:
    return "1 frame lies" if n == 1 else f"{n} frames lie"


def binned(
    counts: NDArray[np.integer], edges: Values, *, x_label: str, label: str
) -> Markup | None:
    """Draw counts of bins on a logarithmic axis, as far as there are any."""
    filled = np.flatnonzero(counts)
    if not len(filled):
        return None
    first, last = int(filled[0]), int(filled[-1]) + 1
    counts, edges = counts[first:last], edges[first : last + 1]
    x = Scale(low=float(edges[0]), high=float(edges[-1]), start=0, stop=1, kind="log")
    return _bars(counts, edges, x=x, x_label=x_label, label=label)


def curves(
    lines: Mapping[str, Values],
    centres: Values,
    *,
    x_label: str,
    y_label: str,
    label: str,
) -> Markup | None:
    """Draw several lines over one axis, with their names beside their peaks."""
    peaks = [float(line.max()) for line in lines.values()]
    if not peaks or max(peaks) <= 0:
        return None
    y = Scale(low=0.0, high=max(peaks) * 1.08, start=HEIGHT - 46, stop=10)
    used = np.flatnonzero(sum(lines.values()))
    low = float(centres[max(0, used[0] - 2)])
    x = Scale(
        low=low, high=float(centres[-1]), start=left_margin(y), stop=float(WIDTH - 12)
    )
    marks = []
    for number, (name, line) in enumerate(lines.items()):
        pixels = " ".join(
            f"{x(c)} {y(v)}" for c, v in zip(centres, line, strict=True) if c >= low
        )
        colour = number % N_COLOURS
        marks.append(tag("path", d=f"M{pixels}", class_=f"line line{colour}"))
        height = str(22 + 15 * number)
        legend = {"x": str(WIDTH - 18), "y": height, "class_": f"end text{colour}"}
        marks.append(tag("text", name, **legend))
    return picture(
        WIDTH,
        HEIGHT,
        frame(x, y, x_label=x_label, y_label=y_label),
        *marks,
        label=label,
    )


def structure(frames: Frames, frame_idx: int, *, label: str) -> Markup:
    """Draw the atoms of one frame and its cell, seen along its shortest extent."""
    coord = frames.coord[frames.atoms_of(frame_idx)].astype(np.float64)
    z = frames.z[frames.atoms_of(frame_idx)]
    box = frames.box[frame_idx]
    corners = _corners(box)
    both = np.concatenate([coord, corners])
    extent = np.nan_to_num(both.max(axis=0) - both.min(axis=0))
    depth = int(np.argmin(extent))
    across = [axis for axis in range(3) if axis != depth]
    low, size = both[:, across].min(axis=0), 150
    scale = (size - 24) / max(float(extent[across].max()), 1.0)
    flat = (coord[:, across] - low) * scale + 12
    elements = np.unique(z).tolist()
    order = np.argsort(coord[:, depth], kind="stable")
    dots = [
        tag(
            "circle",
            cx=str(round(float(flat[i, 0]), 1)),
            cy=str(round(float(flat[i, 1]), 1)),
            r=str(round(float(np.clip(0.45 * scale, 2.0, 9.0)), 1)),
            class_=f"atom{elements.index(int(z[i])) % N_COLOURS}",
        )
        for i in order.tolist()
    ]
    return picture(size, size, _cell(corners, across, low, scale), *dots, label=label)


def _corners(box: Values) -> Values:
    """Corners of the cell (8, 3); none where there is no cell."""
    if np.isnan(box).any():
        return np.zeros((0, 3))
    steps = np.array([[i, j, k] for i in (0, 1) for j in (0, 1) for k in (0, 1)])
    corners: Values = (steps[:, :, None] * box).sum(axis=1)
    return corners


def _cell(corners: Values, across: list[int], low: Values, scale: float) -> Markup:
    if not len(corners):
        return Markup("")
    flat = ((corners[:, across] - low) * scale + 12).round(1)
    edges = [
        (a, a | bit) for a in range(8) for bit in (1, 2, 4) if not a & bit
    ]  # corners are numbered by their bits
    path = "".join(
        f"M{flat[a, 0]} {flat[a, 1]}L{flat[b, 0]} {flat[b, 1]}" for a, b in edges
    )
    return tag("path", d=path, class_="cell")


def _range_without_outliers(known: Values) -> tuple[float, float]:
    first, middle, third = np.percentile(known, [25, 50, 75])
    far = FAR_OUT * max(float(third - first), 1e-12)
    low = max(float(known.min()), float(middle) - far)
    high = min(float(known.max()), float(middle) + far)
    if np.count_nonzero(known < low) > FEW * len(known):
        low = float(known.min())
    if np.count_nonzero(known > high) > FEW * len(known):
        high = float(known.max())
    return low, high


def _bars(
    counts: NDArray[np.integer],
    edges: Values,
    *,
    x: Scale,
    x_label: str,
    label: str,
) -> Markup:
    top = float(counts.max())
    y = Scale(low=0.0, high=top * 1.05, start=HEIGHT - 46, stop=10)
    x = Scale(
        low=x.low, high=x.high, start=left_margin(y), stop=WIDTH - 12, kind=x.kind
    )
    bars: Sequence[str] = [
        f"M{x(float(a))} {y.start}V{y(float(n))}H{x(float(b))}V{y.start}Z"
        for a, b, n in zip(edges[:-1], edges[1:], counts.tolist(), strict=True)
        if n
    ]
    return picture(
        WIDTH,
        HEIGHT,
        frame(x, y, x_label=x_label, y_label="Count"),
        tag("path", d="".join(bars), class_="bars"),
        label=label,
    )
