"""The grid of a table, its layout, and where a number falls in it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dpbench.kernels.layers import Layer
from dpbench.shapes import Float, Float64, Int64

CHANNEL_BLOCK = 16
"""Channels are padded with zeros to a multiple of this: whole vectors in every loop."""

LEAST_SPAN = 1e-3
"""Least width of a net's grid: all edges may share one distance."""


USUAL_SPAN = 8.0
"""Range of the normalised argument in ordinary data: water from 0.9 Å to the cutoff."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Grid:
    """Equal intervals for each net."""

    lower: Float64[Tensor, " net"]
    """Where the first interval of each net starts."""
    step: Float64[Tensor, " net"]
    """Width of a net's intervals; 1 for a net without intervals."""
    first: Int64[Tensor, " net_and_end"]
    """Intervals first[k] .. first[k+1] - 1 belong to net k."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Tables:
    """All channels of one or several nets as polynomials of degree five.

    Inside an interval, with x in [0, 1], G = sum_n c[n] x^n and
    dG/ds = (1 / step) sum_n n c[n] x^(n-1). Two rows a net follow the intervals: the
    straight lines that continue it below (row ``first[-1] + 2 k``, x <= 0 from the
    lower end) and above (the next row, x >= 0 from the upper end).
    """

    lower: Float64[Tensor, " net"]
    """Where the first interval of each net starts."""
    step: Float64[Tensor, " net"]
    """Width of a net's intervals."""
    first: Int64[Tensor, " net_and_end"]
    """Intervals first[k] .. first[k+1] - 1 belong to net k."""
    coefficients: Float[Tensor, "row 6 channel"]
    """c[n]; channels beyond ``width`` are zero."""
    width: int
    """Channels of the nets."""
    ways: Any = None
    """What the variant that made the table keeps of the nets for its adjoint."""

    @property
    def grid(self) -> Grid:
        """The intervals alone."""
        return Grid(lower=self.lower, step=self.step, first=self.first)


def grid_for(
    low: Float64[Tensor, " net"],
    high: Float64[Tensor, " net"],
    intervals: int | Sequence[int],
) -> Grid:
    """Divide each net's range into equal intervals.

    Args:
        low: Least argument of each net.
        high: Greatest argument. A net with ``low > high``, as minimum and maximum over
            no edges give it, gets no intervals.
        intervals: Intervals of each net, or one number for all.

    Raises:
        ValueError: If a range is not finite, or a net that occurs has no intervals.
    """
    low, high = low.to(torch.float64), high.to(torch.float64)
    occurs = low <= high
    inside = torch.cat([low[occurs], high[occurs]])
    if bool((torch.isnan(low) | torch.isnan(high)).any()) or bool(
        torch.isinf(inside).any()
    ):
        raise ValueError(f"ranges from {low.tolist()} to {high.tolist()}; need finite")
    wanted = torch.as_tensor(intervals, dtype=torch.int64, device=low.device)
    counts = torch.where(occurs, wanted.expand(len(low)), 0)
    if bool((counts[occurs] < 1).any()):
        raise ValueError(f"intervals = {intervals}; need at least 1 for each net")
    lower = torch.where(occurs, low, 0.0)
    least = LEAST_SPAN * lower.abs().clamp(min=1)
    span = torch.where(occurs, torch.maximum(high - low, least), counts.double())
    step = torch.where(counts > 0, span / counts.clamp(min=1), 1.0)
    first = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
    return Grid(lower=lower, step=step, first=first)


def pieces_for(span: float, intervals: int) -> int:
    """Return how many intervals a range takes, so that a wide one is no coarser.

    One pair of atoms that nearly coincide widens the range many times; the error of
    a table grows with the sixth power of its intervals' width.

    Args:
        span: Greatest less least argument of the net.
        intervals: Intervals of an ordinary range.
    """
    return math.ceil(intervals * max(1.0, span / USUAL_SPAN))


def knots(grid: Grid, net: int) -> Float64[Tensor, " knot"]:
    """Return the ends of a net's intervals, in order; none if it has no intervals."""
    count = int(grid.first[net + 1] - grid.first[net])
    if count == 0:
        return grid.lower.new_empty(0)
    index = torch.arange(count + 1, device=grid.lower.device)
    return grid.lower[net] + index * grid.step[net]


@dataclass(frozen=True, kw_only=True, slots=True)
class Located:
    """Where numbers fall in a table."""

    row: Int64[Tensor, " edge"]
    """Row of ``Tables.coefficients``: an interval, or a line beyond an end."""
    x: Float64[Tensor, " edge"]
    """Position within the row, in steps; in [0, 1] inside an interval."""
    outside: int
    """How many lie beyond the ends."""


def locate(grid: Grid, net: int, s: Float[Tensor, " edge"]) -> Located:
    """Find row and position of each argument of a net.

    A NaN stays one: it gets the first interval and x = NaN.

    Raises:
        ValueError: If the net has no intervals but arguments are given.
    """
    first, end = int(grid.first[net]), int(grid.first[net + 1])
    if end == first:
        if len(s):
            raise ValueError(f"net {net} has no intervals, but {len(s)} edges use it")
        return Located(row=s.new_empty(0, dtype=torch.int64), x=s.double(), outside=0)
    position = (s.to(torch.float64) - grid.lower[net]) / grid.step[net]
    count = end - first
    whole = torch.nan_to_num(position.floor(), nan=0.0).clamp(0, count - 1)
    below, above = position < 0, position > count
    x = torch.where(below, position, position - whole)
    x = torch.where(above, position - count, x)
    line = int(grid.first[-1]) + 2 * net
    row = whole.to(torch.int64) + first
    row = torch.where(below, line, torch.where(above, line + 1, row))
    return Located(row=row, x=x, outside=int((below | above).sum()))


def padded_width(nets: Sequence[Sequence[Layer]]) -> tuple[int, int]:
    """Return the channels of the nets, and the same rounded up to whole blocks.

    Raises:
        ValueError: If the nets differ in their number of channels, or there are none.
    """
    widths = {layers[-1].w.shape[1] for layers in nets}
    if len(widths) != 1:
        raise ValueError(
            f"nets of {sorted(widths)} channels; one table holds one width"
        )
    width = widths.pop()
    return width, -(-width // CHANNEL_BLOCK) * CHANNEL_BLOCK


def double_layers(layers: Sequence[Layer]) -> list[Layer]:
    """Return a copy in float64."""
    return [
        Layer(
            layer.w.detach().to(torch.float64, copy=True),
            layer.b.detach().to(torch.float64, copy=True),
            None
            if layer.idt is None
            else layer.idt.detach().to(torch.float64, copy=True),
        )
        for layer in layers
    ]
