"""The products over edges in plain torch, on any device.

Edges of an atom are padded to the largest number of neighbours, and one batched matrix
product does the rest.
"""

from torch import Tensor

from dpbench.kernels.contraction.edges import EdgeRange


def moments(rows: Tensor, features: Tensor, edges: EdgeRange) -> Tensor:
    """Return sum_e R[e] (x) G[e] of each atom, (atom, 4, M)."""
    return _padded(rows, edges).transpose(1, 2) @ _padded(features, edges)


def project(moment: Tensor, features: Tensor, edges: EdgeRange) -> Tensor:
    """Return X[a] . G[e] of each edge, (edge, 4)."""
    product = _padded(features, edges) @ moment.transpose(1, 2)
    return product.flatten(0, 1)[edges.slots]


def spread(rows: Tensor, moment: Tensor, edges: EdgeRange) -> Tensor:
    """Return R[e] . X[a] of each edge, (edge, M)."""
    return (_padded(rows, edges) @ moment).flatten(0, 1)[edges.slots]


def row_gradient(
    moment: Tensor, rows: Tensor, features: tuple[Tensor, Tensor], edges: EdgeRange
) -> Tensor:
    """Return X[a] . G[e] + e_0 (R[e] . X[a] . G'[e]) of each edge, (edge, 4)."""
    values, slopes = features
    through = (rows * project(moment, slopes, edges)).sum(dim=1)
    out = project(moment, values, edges)
    out[:, 0] += through
    return out


def row_gradient_adjoint(
    grad: Tensor,
    moment: Tensor,
    rows: Tensor,
    features: tuple[Tensor, Tensor],
    edges: EdgeRange,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of ``row_gradient`` by X, G and G'."""
    values, slopes = features
    scaled = grad[:, :1] * rows
    to_moment = moments(grad, values, edges) + moments(scaled, slopes, edges)
    return to_moment, spread(grad, moment, edges), spread(scaled, moment, edges)


def _padded(values: Tensor, edges: EdgeRange) -> Tensor:
    """Lay rows per edge out as (atom, most neighbours, column), zeros behind."""
    natoms, most, width = len(edges.starts) - 1, edges.most, values.shape[1]
    flat = values.new_zeros(natoms * most, width)
    return flat.index_copy(0, edges.slots, values).view(natoms, most, width)
