"""The passes over edges on the CPU: checks and allocation around ``loops`` (numba)."""

from typing import Any

import torch
from torch import Tensor

from dpbench.kernels.passes import loops as typed_loops
from dpbench.kernels.passes import reference
from dpbench.kernels.passes import runs as typed_runs
from dpbench.kernels.passes.data import Edges, Layout, Normal
from dpbench.kernels.passes.trial import largest_error
from dpbench.kernels.tables import Tables
from dpbench.kernels.threads import use_threads

loops: Any = typed_loops  # numba tells no signatures
runs: Any = typed_runs

LEAST_ROWS = 128
"""Rows for which P4 takes a further thread, with a sum over the tables of its own."""


def shortest(edge_vec: Tensor, layout: Layout) -> Tensor:
    """Return the shortest distance of each pair of types, Å; infinite for none."""
    out = torch.full(layout.net.shape, torch.inf, dtype=torch.float64)
    loops.shortest(*_arrays(edge_vec, layout.row_offset, layout.row_type, out))
    return out.sqrt_()


def prepare(edge_vec: Tensor, layout: Layout, normal: Normal, tables: Tables) -> Edges:
    """Form environment rows and find each edge's place in its table."""
    n = len(edge_vec)
    out = Edges(
        vec=edge_vec.contiguous(),
        rows=edge_vec.new_empty(n, 4),
        radial=edge_vec.new_empty(n, 3),
        interval=torch.empty(n, dtype=torch.int32),
        x=edge_vec.new_empty(n),
        extended=0,
    )
    mask = normal.mask
    if mask is None:
        mask = edge_vec.new_ones(layout.net.shape)
    outside = loops.prepare(
        _arrays(out.vec, out.rows, out.radial, out.interval, out.x),
        _host(layout, "rows", ("row_offset", "row_type", "net")),
        _arrays(normal.davg, normal.inverse_std, mask),
        (normal.rcut, normal.rcut_smth, normal.protection),
        _arrays(tables.lower, tables.step, tables.first),
    )
    # Tables without pieces, as exact features have, give no places to sort by.
    order = _order(out.interval, layout, tables) if int(tables.first[-1]) else None
    return out._replace(extended=int(outside), order=order)


def moments(edges: Edges, layout: Layout, tables: Tables) -> Tensor:
    """P1: return sum_e R (x) G(s) of each row."""
    coefficients = tables.coefficients
    out = coefficients.new_empty(len(layout.row_type), 4, coefficients.shape[2])
    loops.moments(
        *_arrays(edges.rows, edges.interval, edges.x),
        *_host(layout, "offset", ("row_offset",)),
        *_arrays(coefficients, out),
        use_threads(),
    )
    return out


def edge_gradient(
    grad_x: Tensor, edges: Edges, layout: Layout, normal: Normal, tables: Tables
) -> Tensor:
    """P2: return dE/dd of each edge from dE/dX, eV/Å."""
    out = edges.vec.new_empty(len(edges.vec), 3)
    loops.edge_gradient(
        _along_runs(edges, layout, tables, edges.vec, edges.rows, edges.radial),
        _host(layout, "rows", ("row_offset", "row_type", "net")),
        *_arrays(normal.inverse_std, _inverse(tables, edges), tables.coefficients),
        *_arrays(grad_x, out),
        use_threads(),
    )
    return out


def assemble(
    grad: Tensor, edges: Edges, layout: Layout, *, with_virial: bool
) -> tuple[Tensor, Tensor]:
    """Return forces (eV/Å) and virials (eV; zero unless wanted), in float64."""
    force = torch.zeros(len(layout.frame_idx), 3, dtype=torch.float64)
    virial = torch.zeros(layout.nframes, 3, 3, dtype=torch.float64)
    loops.assemble(
        *_arrays(grad, edges.vec),
        *_host(layout, "ends", ("edge_i", "edge_j", "frame_idx")),
        *_arrays(force, virial),
        with_virial,
    )
    return force, virial


def tangent_rows(
    edges: Edges,
    layout: Layout,
    normal: Normal,
    atom_dot: Tensor,
    strain: Tensor | None,
) -> Tensor:
    """Return R' = J d' with d'_e = u_j - u_i - d S of the edge's frame."""
    out = edges.vec.new_empty(len(edges.vec), 4)
    tilt = atom_dot.new_zeros(0, 3, 3) if strain is None else strain
    loops.tangent_rows(
        _arrays(edges.vec, edges.radial),
        _host(layout, "edges", ("edge_i", "edge_j", "edge_row")),
        _host(layout, "atoms", ("row_type", "frame_idx")),
        *_arrays(normal.inverse_std, atom_dot, tilt, out),
    )
    return out


def tangent_moments(
    rows_dot: Tensor, edges: Edges, layout: Layout, tables: Tables
) -> Tensor:
    """P3: return X' = sum_e R' (x) G + R (x) G' s' of each row."""
    coefficients = tables.coefficients
    out = coefficients.new_empty(len(layout.row_type), 4, coefficients.shape[2])
    loops.tangent_moments(
        _arrays(edges.rows, rows_dot, edges.interval, edges.x),
        _host(layout, "rows", ("row_offset", "row_type", "net")),
        *_arrays(_inverse(tables, edges), coefficients, out),
        use_threads(),
    )
    return out


def adjoint(
    grads: tuple[Tensor, Tensor],
    rows_dot: Tensor,
    edges: Edges,
    layout: Layout,
    tables: Tables,
) -> Tensor:
    """P4: return the gradient by the tables' coefficients."""
    shape = tables.coefficients.shape
    nrows = len(layout.row_type)
    workers = min(use_threads(), max(1, -(-nrows // LEAST_ROWS)))
    out = tables.coefficients.new_zeros(workers, *shape)
    loops.adjoint(
        _along_runs(edges, layout, tables, edges.rows, rows_dot),
        _host(layout, "rows", ("row_offset", "row_type", "net")),
        *_arrays(_inverse(tables, edges), *grads, out),
    )
    return out[0] if workers == 1 else out.sum(dim=0)


def check(dtype: torch.dtype) -> float:
    """Return the largest relative error against the reference on a small problem."""
    from dpbench.kernels.passes import compiled

    return largest_error(compiled, reference, dtype)


def _order(interval: Tensor, layout: Layout, tables: Tables) -> Tensor:
    """Return the edges of each row and neighbour type sorted by piece."""
    order = torch.empty_like(interval)
    runs.sort_rows(
        *_arrays(interval),
        *_host(layout, "sort", ("row_offset", "edge_row")),
        int(tables.first[-1]) + 2 * len(tables.step),
        *_arrays(order),
    )
    return order


def _along_runs(
    edges: Edges, layout: Layout, tables: Tables, *values: Tensor
) -> tuple[Any, ...]:
    """Return values by edge, its place in the tables, and the order of the edges."""
    order = edges.order
    if order is None:
        order = _order(edges.interval, layout, tables)
    found: tuple[Any, ...] = _arrays(*values, edges.interval, edges.x, order)
    return found


def _inverse(tables: Tables, edges: Edges) -> Tensor:
    """Return 1 / step of each table in the precision of the edges."""
    return (1 / tables.step).to(edges.x.dtype)


def _host(layout: Layout, name: str, fields: tuple[str, ...]) -> Any:
    """Return some of the layout's tensors as arrays, made once."""
    found = layout.host.get(name)
    if found is None:
        tensors = (getattr(layout, field) for field in fields)
        found = layout.host[name] = _arrays(*tensors)
    return found


def _arrays(*tensors: Tensor):  # type: ignore[no-untyped-def]
    # Nothing here is differentiated; a view that is no block in memory is copied.
    return tuple(
        (tensor if tensor.is_contiguous() else tensor.contiguous()).numpy()
        for tensor in tensors
    )
