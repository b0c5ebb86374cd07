"""What a table gets wrong, and how many intervals it needs."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from dpbench.kernels.layers import Layer, embed_reference
from dpbench.kernels.tables import reference
from dpbench.kernels.tables.evaluate import evaluate
from dpbench.kernels.tables.pieces import Tables, double_layers, grid_for, knots
from dpbench.shapes import Float64

FEWEST, MOST = 16, 1 << 20
"""Bounds on the number of intervals that ``intervals_for`` returns."""


class TableError(NamedTuple):
    """Greatest absolute errors of a table, by net."""

    value: Float64[Tensor, " net"]
    """Of G."""
    slope: Float64[Tensor, " net"]
    """Of dG/ds."""


def table_error(
    nets: Sequence[Sequence[Layer]], activation: str, tables: Tables
) -> TableError:
    """Compare a table with the exact nets.

    Looks in the middle of each interval and at a quarter: the error of the value
    peaks in the middle, where that of the slope may vanish.

    Args:
        nets: The nets that were tabulated.
        activation: Name of the activation function.
        tables: The table.
    """
    values, slopes = [], []
    for net, layers in enumerate(nets):
        ends = knots(tables.grid, net)
        middle = (ends[1:] + ends[:-1]) / 2
        s = torch.cat([middle, (ends[:-1] + middle) / 2])
        if not len(s):
            values.append(s.new_zeros(()))
            slopes.append(s.new_zeros(()))
            continue
        exact = embed_reference(s, double_layers(layers), activation)
        read = evaluate(tables, net, s)
        values.append((read.value - exact[0]).abs().max())
        slopes.append((read.slope - exact[1]).abs().max())
    return TableError(torch.stack(values), torch.stack(slopes))


def intervals_for(
    nets: Sequence[Sequence[Layer]],
    activation: str,
    low: Float64[Tensor, " net"],
    high: Float64[Tensor, " net"],
    *,
    slope_error: float,
) -> int:
    """Return how many intervals a net keep the slopes within an error.

    Doubles the number until the error is met, then takes back what the fifth power of
    the step allows.

    Args:
        nets: The nets to tabulate.
        activation: Name of the activation function.
        low: Least argument of each net.
        high: Greatest argument of each net.
        slope_error: Greatest absolute error of dG/ds.
    """
    intervals = FEWEST
    while intervals < MOST:
        grid = grid_for(low, high, intervals)
        tables = reference.make_tables(nets, activation, grid, torch.float64)
        error = float(table_error(nets, activation, tables).slope.max())
        if error <= slope_error:
            shrunk = math.ceil(1.05 * intervals * math.pow(error / slope_error, 0.2))
            return min(intervals, max(intervals // 2, shrunk, FEWEST))
        intervals *= 2
    return MOST
