"""The products over edges as torch functions with their adjoints."""

from typing import Any

import torch
from torch import Tensor

from dpbench.kernels.contraction import reference
from dpbench.kernels.contraction.edges import EdgeRange
from dpbench.shapes import Float


def moments(
    rows: Float[Tensor, "edge 4"], features: Float[Tensor, "edge M"], edges: EdgeRange
) -> Float[Tensor, "atom 4 M"]:
    """Return sum_e R[e] (x) G[e] of each atom; rows are constants of the graph."""
    result: Tensor = _Moments.apply(  # type: ignore[no-untyped-call]
        rows, features, edges
    )
    return result


def row_gradient(
    moment: Float[Tensor, "atom 4 M"],
    rows: Float[Tensor, "edge 4"],
    features: tuple[Float[Tensor, "edge M"], Float[Tensor, "edge M"]],
    edges: EdgeRange,
) -> Float[Tensor, "edge 4"]:
    """Return dE/dR of each edge from X = dE/dmoments.

    dE/dR[e] = X[a] . G[e] + e_0 (R[e] . X[a] . G'[e]); the second part is what reaches
    the first column of R through the embedding net. Rows are constants of the graph.

    Args:
        moment: X, by atom.
        rows: R.
        features: G and its derivative G' by the first column of R.
        edges: Which edges belong to which atom.
    """
    result: Tensor = _RowGradient.apply(  # type: ignore[no-untyped-call]
        moment, rows, *features, edges
    )
    return result


class _Moments(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, features: Tensor, edges: EdgeRange) -> Tensor:
        ctx.save_for_backward(rows)
        ctx.edges = edges
        return _moments(rows, features, edges)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Any, ...]:
        (rows,) = ctx.saved_tensors
        return None, spread(rows, grads[0], ctx.edges), None


class _RowGradient(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        moment: Tensor,
        rows: Tensor,
        values: Tensor,
        slopes: Tensor,
        edges: EdgeRange,
    ) -> Tensor:
        ctx.save_for_backward(moment, rows, values, slopes)
        ctx.edges = edges
        if values.device.type != "cpu":
            return reference.row_gradient(moment, rows, (values, slopes), edges)
        out = values.new_empty(len(values), 4)
        moment, rows, values, slopes, starts, written = _numpy(
            moment, rows, values, slopes, edges.starts, out
        )
        _compiled().row_gradient(moment, rows, (values, slopes), starts, written)
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Any, ...]:
        moment, rows, values, slopes = ctx.saved_tensors
        edges, grad = ctx.edges, grads[0]
        if values.device.type != "cpu":
            outs = reference.row_gradient_adjoint(
                grad, moment, rows, (values, slopes), edges
            )
            return outs[0], None, outs[1], outs[2], None
        outs = (
            torch.zeros_like(moment),
            torch.empty_like(values),
            torch.empty_like(slopes),
        )
        arrays = _numpy(grad, moment, rows, values, slopes, edges.starts)
        _compiled().row_gradient_adjoint(
            *arrays[:3], (arrays[3], arrays[4]), arrays[5], tuple(_numpy(*outs))
        )
        return outs[0], None, outs[1], outs[2], None


def _moments(rows: Tensor, features: Tensor, edges: EdgeRange) -> Tensor:
    if features.device.type != "cpu":
        return reference.moments(rows, features, edges)
    out = features.new_empty(len(edges.starts) - 1, 4, features.shape[1])
    _compiled().moments(*_numpy(rows, features, edges.starts, out))
    return out


def spread(
    rows: Float[Tensor, "edge 4"], moment: Float[Tensor, "atom 4 M"], edges: EdgeRange
) -> Float[Tensor, "edge M"]:
    """Return R[e] . X[a] of each edge; not differentiable."""
    if rows.device.type != "cpu":
        return reference.spread(rows, moment, edges)
    out = rows.new_empty(len(rows), moment.shape[2])
    _compiled().spread(*_numpy(rows, moment, edges.starts, out))
    return out


def _compiled() -> Any:
    """Import the numba engine when it is first needed, on CPU tensors only."""
    from dpbench.kernels.contraction import cpu

    return cpu


def _numpy(*tensors: Tensor) -> list[Any]:
    return [tensor.detach().contiguous().numpy() for tensor in tensors]
