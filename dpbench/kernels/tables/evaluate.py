"""Reading a table, in plain torch."""

from typing import NamedTuple

import torch
from torch import Tensor

from dpbench.kernels.tables.pieces import Tables, locate
from dpbench.shapes import Float


class Evaluation(NamedTuple):
    """A net read from its table."""

    value: Float[Tensor, "edge width"]
    """G."""
    slope: Float[Tensor, "edge width"]
    """dG/ds."""
    curvature: Float[Tensor, "edge width"]
    """d2G/ds2."""
    outside: int
    """How many arguments lie beyond the table and got its linear continuation."""


def evaluate(tables: Tables, net: int, s: Float[Tensor, " edge"]) -> Evaluation:
    """Read value, slope and curvature of a net from its table.

    Args:
        tables: The table.
        net: Which of its nets.
        s: Arguments; beyond the ends the table goes on straight.
    """
    found = locate(tables.grid, net, s)
    c = tables.coefficients[found.row, :, : tables.width]
    x = found.x.to(c.dtype)[:, None]
    step = tables.step[net].to(c.dtype)
    value, slope, half_bend = c[:, 5], torch.zeros_like(x), torch.zeros_like(x)
    for power in range(4, -1, -1):
        half_bend = half_bend * x + slope
        slope = slope * x + value
        value = value * x + c[:, power]
    return Evaluation(value, slope / step, 2 * half_bend / step**2, found.outside)
