"""The embedding net and its derivative by a table that is made anew at each call.

The net is evaluated at the ends of equal intervals over the arguments' range, and each
argument is looked up in quintic pieces between them. The way back scatters to the
pieces and goes through the net at the knots only, so that the net's cost does not grow
with the number of edges. Descriptors without passes of their own take this.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from dpbench.kernels.choice import choose
from dpbench.kernels.embedding.blocks import embed
from dpbench.kernels.layers import Layer
from dpbench.kernels.tables import Grid, grid_for, pieces_for
from dpbench.shapes import Float

INTERVALS = 128
"""Pieces of a table."""


def embed_by_table(
    s: Float[Tensor, " edge"],
    layers: Sequence[Layer],
    activation: str,
    *,
    intervals: int = INTERVALS,
) -> tuple[Float[Tensor, "edge feature"], Float[Tensor, "edge feature"]]:
    """Evaluate an embedding net and its derivative by its one input.

    The same as ``embed`` to about 1e-6; the net itself is evaluated where its knots
    would outnumber the edges, or the device is no CPU. Differentiable once by the
    parameters; ``s`` is a constant.

    Args:
        s: Normalised radial column of the environment matrix.
        layers: All layers of the net; the first takes one number.
        activation: Name of the activation function.
        intervals: Pieces of the table.

    Returns:
        G(s) and dG/ds.
    """
    if s.device.type != "cpu" or len(s) <= intervals or not torch.isfinite(s).all():
        return embed(s, layers, activation)
    low, high = s.aminmax()
    intervals = pieces_for(float(high - low), intervals)
    if len(s) <= intervals:
        return embed(s, layers, activation)
    flat = [tensor for layer in layers for tensor in layer]
    both = _Tabulated.apply(s, activation, intervals, *flat)  # type: ignore[no-untyped-call]
    value, slope = both
    return value, slope


class _Tabulated(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, s: Tensor, activation: str, intervals: int, *flat: Any
    ) -> Any:
        layers = _group(flat)
        low, high = s.aminmax()
        grid = grid_for(low[None].double(), high[None].double(), intervals)
        tables = choose("tables", s.device, s.dtype).make_tables(
            [layers], activation, grid, s.dtype
        )
        piece = torch.empty(len(s), dtype=torch.int32)
        x = torch.empty_like(s)
        loops = _compiled()
        lower, step = float(grid.lower), float(grid.step)
        loops.place(s.numpy(), lower, step, intervals, piece.numpy(), x.numpy())
        value = s.new_empty(len(s), tables.width)
        slope = torch.empty_like(value)
        loops.lookup(
            *(piece.numpy(), x.numpy(), _inverse(grid, s)),
            *(tables.coefficients.numpy(), value.numpy(), slope.numpy()),
        )
        ctx.save_for_backward(s, piece, x, *flat)
        ctx.grid, ctx.activation = grid, activation
        ctx.shape = tables.coefficients.shape
        return value, slope

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Any, ...]:
        s, piece, x, *flat = ctx.saved_tensors
        out = s.new_zeros(ctx.shape)
        _compiled().scatter(
            *(piece.numpy(), x.numpy(), _inverse(ctx.grid, s)),
            tuple(grad.contiguous().numpy() for grad in grads),
            out.numpy(),
        )
        (found,) = choose("tables", s.device, s.dtype).tables_adjoint(
            [_group(flat)], ctx.activation, ctx.grid, out
        )
        return None, None, None, *(tensor for layer in found for tensor in layer)


def _inverse(grid: Grid, like: Tensor) -> Any:
    """Return 1 / step as a number of the arrays' own type."""
    return (1 / grid.step).to(like.dtype).numpy()[0]


def _group(flat: Sequence[Any]) -> list[Layer]:
    return [Layer(*flat[start : start + 3]) for start in range(0, len(flat), 3)]


def _compiled() -> Any:
    """Import the numba loops when they are first needed."""
    from dpbench.kernels.embedding import table_loops

    return table_loops
