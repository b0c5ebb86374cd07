"""An embedding of distances and its slope, weighted by what the pair of types says.

value = G (1 + w T)          slope = G' (1 + w T) + G T dw/ds

T is a row per pair of types; w and dw/ds are numbers of the edge, constants.
"""

from typing import Any

import torch
from torch import Tensor

from dpbench.shapes import Float, Int64

Pair = tuple[Tensor, Tensor]
"""Features and their slopes, or weights and theirs."""


def with_types(
    features: Pair,
    weights: Pair,
    share: Float[Tensor, "pair feature"],
    pair: Int64[Tensor, " edge"],
) -> Pair:
    """Weight the features of edges by their types.

    Differentiable once by ``features`` and ``share``.

    Args:
        features: G and dG/ds, (edge, feature) each.
        weights: w and dw/ds, (edge) each.
        share: T by pair of types.
        pair: Row of ``share`` of each edge.

    Returns:
        Value and slope, (edge, feature) each.
    """
    both: Pair = _TypeShare.apply(  # type: ignore[no-untyped-call]
        *features, *weights, share, pair
    )
    return both


def reference(
    features: Pair, weights: Pair, share: Tensor, centre: Int64[Tensor, " edge"]
) -> Pair:
    """Do the same in plain torch, on any device, differentiable by autograd."""
    g, dg = features
    weight, slope = (number.unsqueeze(1) for number in weights)
    own = share.index_select(0, centre)
    factor = 1 + weight * own
    return g * factor, dg * factor + g * own * slope


class _TypeShare(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        g: Tensor,
        dg: Tensor,
        weight: Tensor,
        slope: Tensor,
        share: Tensor,
        centre: Tensor,
    ) -> Pair:
        ctx.save_for_backward(g, dg, weight, slope, share, centre)
        if g.device.type != "cpu":
            return reference((g, dg), (weight, slope), share, centre)
        out = torch.empty_like(g), torch.empty_like(g)
        arrays = _numpy(g, dg, weight, slope, share, centre, *out)
        one = arrays[0].dtype.type(1)
        _compiled().forward(
            *(arrays[:2], arrays[2:4], arrays[4], arrays[5], arrays[6:], one)
        )
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Any, ...]:
        g, dg, weight, slope, share, centre = ctx.saved_tensors
        if g.device.type != "cpu":
            return *_adjoint(ctx.saved_tensors, grads), None
        out = torch.empty_like(g), torch.empty_like(g), torch.zeros_like(share)
        arrays = _numpy(g, dg, weight, slope, share, centre, *grads, *out)
        one = arrays[0].dtype.type(1)
        _compiled().backward(
            *(arrays[:2], arrays[2:4], arrays[4], arrays[5]),
            *(arrays[6:8], arrays[8:], one),
        )
        return out[0], out[1], None, None, out[2], None


def _adjoint(saved: Any, grads: tuple[Tensor, ...]) -> tuple[Any, ...]:
    """Return the gradients by all but the centres, in plain torch."""
    g, dg, weight, slope, share, centre = saved
    w, b = weight.unsqueeze(1), slope.unsqueeze(1)
    own = share.index_select(0, centre)
    factor = 1 + w * own
    u, v = grads
    by_edge = u * g * w + v * (dg * w + g * b)
    to_share = torch.zeros_like(share).index_add_(0, centre, by_edge)
    return u * factor + v * own * b, v * factor, None, None, to_share


def _compiled() -> Any:
    """Import the numba passes when they are first needed, on CPU tensors only."""
    from dpbench.kernels.embedding import share_loops

    return share_loops


def _numpy(*tensors: Tensor) -> tuple[Any, ...]:
    return tuple(tensor.detach().contiguous().numpy() for tensor in tensors)
