"""The products over edges in plain torch, on any device.

Edges of an atom are padded to the largest number of neighbours, and one batched matrix
product does the rest.
"""

from typing import TYPE_CHECKING

from torch import Tensor

if TYPE_CHECKING:
    from dpbench.kernels.contraction.products import EdgeRange


def moments(rows: Tensor, features: Tensor, edges: "EdgeRange") -> Tensor:
    """Return sum_e R[e] (x) G[e] of each atom, (atom, 4, M)."""
    return _padded(rows, edges).transpose(1, 2) @ _padded(features, edges)


def project(moment: Tensor, features: Tensor, edges: "EdgeRange") -> Tensor:
    """Return X[a] . G[e] of each edge, (edge, 4)."""
    product = _padded(features, edges) @ moment.transpose(1, 2)
    return product.flatten(0, 1)[edges.slots]


def spread(rows: Tensor, moment: Tensor, edges: "EdgeRange") -> Tensor:
    """Return R[e] . X[a] of each edge, (edge, M)."""
    return (_padded(rows, edges) @ moment).flatten(0, 1)[edges.slots]


def _padded(values: Tensor, edges: "EdgeRange") -> Tensor:
    """Lay rows per edge out as (atom, most neighbours, column), zeros behind."""
    natoms, most, width = len(edges.starts) - 1, edges.most, values.shape[1]
    flat = values.new_zeros(natoms * most, width)
    return flat.index_copy(0, edges.slots, values).view(natoms, most, width)
