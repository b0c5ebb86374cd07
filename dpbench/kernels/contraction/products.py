"""The products over edges as torch functions with their adjoints."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dpbench.kernels.contraction import reference
from dpbench.shapes import Float, Int64


@dataclass(frozen=True, kw_only=True, slots=True)
class EdgeRange:
    """A slice of edges grouped by the atoms of a slice."""

    starts: Int64[Tensor, " atom_plus_one"]
    """The edges of atom a are ``starts[a] : starts[a + 1]``, from 0."""
    centres: Int64[Tensor, " edge"]
    """Atom of each edge, from 0."""
    most: int
    """Largest number of edges of an atom; a bound will do."""

    @property
    def slots(self) -> Int64[Tensor, " edge"]:
        """Place of each edge when each atom has room for ``most``."""
        index = torch.arange(len(self.centres), device=self.centres.device)
        return index - self.starts[self.centres] + self.centres * self.most


def moments(
    rows: Float[Tensor, "edge 4"], features: Float[Tensor, "edge M"], edges: EdgeRange
) -> Float[Tensor, "atom 4 M"]:
    """Return sum_e R[e] (x) G[e] of each atom; rows are constants of the graph."""
    result: Tensor = _Moments.apply(  # type: ignore[no-untyped-call]
        rows, features, edges
    )
    return result


def project(
    moment: Float[Tensor, "atom 4 M"],
    features: Float[Tensor, "edge M"],
    edges: EdgeRange,
) -> Float[Tensor, "edge 4"]:
    """Return X[a] . G[e] of each edge."""
    result: Tensor = _Project.apply(  # type: ignore[no-untyped-call]
        moment, features, edges
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
        return None, _spread(rows, grads[0], ctx.edges), None


class _Project(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, moment: Tensor, features: Tensor, edges: EdgeRange) -> Tensor:
        ctx.save_for_backward(moment, features)
        ctx.edges = edges
        return _project(moment, features, edges)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Any, ...]:
        moment, features = ctx.saved_tensors
        grad_moment = _moments(grads[0], features, ctx.edges)
        return grad_moment, _spread(grads[0], moment, ctx.edges), None


def _moments(rows: Tensor, features: Tensor, edges: EdgeRange) -> Tensor:
    if features.device.type != "cpu":
        return reference.moments(rows, features, edges)
    out = features.new_empty(len(edges.starts) - 1, 4, features.shape[1])
    _compiled().moments(*_numpy(rows, features, edges.starts, out))
    return out


def _project(moment: Tensor, features: Tensor, edges: EdgeRange) -> Tensor:
    if features.device.type != "cpu":
        return reference.project(moment, features, edges)
    out = features.new_empty(len(features), 4)
    _compiled().project(*_numpy(moment, features, edges.starts, out))
    return out


def _spread(rows: Tensor, moment: Tensor, edges: EdgeRange) -> Tensor:
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
