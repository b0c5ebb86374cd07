"""The passes with the types' share on the CPU: allocation around ``loops`` (numba)."""

from typing import Any

import torch
from torch import Tensor

from dpbench.kernels.passes.data import Edges, Layout, Normal
from dpbench.kernels.strip import loops as typed_loops
from dpbench.kernels.strip import reference
from dpbench.kernels.strip.data import Share
from dpbench.kernels.strip.trial import largest_error
from dpbench.kernels.tables import Tables
from dpbench.kernels.threads import use_threads

loops: Any = typed_loops  # numba tells no signatures

BLOCK_ROWS = 128
"""Rows whose moments stay in a core's cache while P4 walks over the table."""


def moments(edges: Edges, share: Share, layout: Layout, tables: Tables) -> Tensor:
    """P1: return sum_e R (x) G (1 + w T) of each row."""
    out = _new_rows(layout, tables)
    loops.moments(
        _arrays(edges.rows, edges.interval, edges.x, share.weight),
        _arrays(layout.row_offset, layout.row_type),
        *_arrays(share.table, _inverse(tables, edges), tables.coefficients, out),
        use_threads(),
    )
    return out


def edge_gradient(
    grad_x: Tensor,
    edges: Edges,
    share: Share,
    layout: Layout,
    normal: Normal,
    tables: Tables,
) -> Tensor:
    """P2: return dE/dd of each edge from dE/dX, eV/Å."""
    out = edges.vec.new_empty(len(edges.vec), 3)
    loops.edge_gradient(
        _arrays(*edges[:5], share.weight),
        _arrays(layout.row_offset, layout.row_type),
        *_arrays(share.table),
        _arrays(normal.inverse_std, _inverse(tables, edges)),
        *_arrays(tables.coefficients, grad_x, out),
        use_threads(),
    )
    return out


def tangent_moments(
    rows_dot: Tensor, edges: Edges, share: Share, layout: Layout, tables: Tables
) -> Tensor:
    """P3: return X' along a tangent R' of the rows, of each row."""
    out = _new_rows(layout, tables)
    loops.tangent_moments(
        _arrays(edges.rows, rows_dot, edges.interval, edges.x, share.weight),
        _arrays(layout.row_offset, layout.row_type),
        *_arrays(share.table, _inverse(tables, edges), tables.coefficients, out),
        use_threads(),
    )
    return out


def adjoint(
    grads: tuple[Tensor, Tensor],
    rows_dot: Tensor,
    edges: Edges,
    share: Share,
    layout: Layout,
    tables: Tables,
) -> tuple[Tensor, Tensor]:
    """P4: return the gradients by the table's coefficients, and by T."""
    nrows = len(layout.row_type)
    workers = min(use_threads(), max(1, -(-nrows // BLOCK_ROWS)))
    new = tables.coefficients.new_zeros
    out = new(workers, *tables.coefficients.shape), new(workers, *share.table.shape)
    loops.adjoint(
        _arrays(edges.rows, rows_dot, edges.interval, edges.x, share.weight),
        _arrays(layout.row_offset, layout.row_type),
        *_arrays(share.table),
        _arrays(_inverse(tables, edges), tables.coefficients),
        _arrays(*grads),
        _arrays(*out),
        BLOCK_ROWS,
    )
    return out[0].sum(dim=0), out[1].sum(dim=0)


def check(dtype: torch.dtype) -> float:
    """Return the largest relative error against the reference on a small problem."""
    from dpbench.kernels.strip import compiled

    return largest_error(compiled, reference, dtype)


def _new_rows(layout: Layout, tables: Tables) -> Tensor:
    coefficients = tables.coefficients
    return coefficients.new_empty(len(layout.row_type), 4, coefficients.shape[2])


def _inverse(tables: Tables, edges: Edges) -> Tensor:
    """Return 1 / step of the table in the precision of the edges."""
    return (1 / tables.step).to(edges.x.dtype)


def _arrays(*tensors: Tensor):  # type: ignore[no-untyped-def]
    return tuple(tensor.detach().contiguous().numpy() for tensor in tensors)
