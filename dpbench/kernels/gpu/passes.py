"""The passes over edges as Triton programs; signatures of ``kernels.passes``."""

from typing import Any

import torch
from torch import Tensor

from dpbench.kernels.gpu import launch
from dpbench.kernels.gpu.plan import Incidence, Runs, incidence, make_runs
from dpbench.kernels.passes import reference
from dpbench.kernels.passes.data import Edges, Layout, Normal
from dpbench.kernels.tables import Tables
from dpbench.shapes import Float, Float64, Int64

PARTS = 16
"""Runs into which a frame's atoms are cut when its sums are formed."""


def shortest(
    edge_vec: Float[Tensor, "edge 3"], layout: Layout
) -> Float64[Tensor, "type type"]:
    """Return the shortest distance of each pair of types, Å; infinite for none."""
    return reference.shortest(edge_vec, layout)


def prepare(
    edge_vec: Float[Tensor, "edge 3"], layout: Layout, normal: Normal, tables: Tables
) -> Edges:
    """Form environment rows and find each edge's place in its table.

    Counting the edges beyond the table waits for the device once.
    """
    edges, outside = prepare_on_device(edge_vec, layout, normal, tables)
    return edges._replace(extended=int(outside))


def prepare_on_device(
    edge_vec: Float[Tensor, "edge 3"], layout: Layout, normal: Normal, tables: Tables
) -> tuple[Edges, Int64[Tensor, ""]]:
    """As ``prepare``, but leave the number of edges beyond the table on the device."""
    count = len(edge_vec)
    vec = edge_vec.contiguous()
    edges = Edges(
        vec=vec,
        rows=vec.new_zeros(count, 4),
        radial=vec.new_zeros(count, 3),
        interval=torch.zeros(count, dtype=torch.int32, device=vec.device),
        x=vec.new_zeros(count),
        extended=0,
    )
    nrows = len(layout.row_type)
    outside = torch.zeros(nrows, dtype=torch.int32, device=vec.device)
    if nrows:
        mask = normal.davg if normal.mask is None else normal.mask
        _programs("environment").prepare[(nrows,)](
            *(vec, edges.rows, edges.radial, edges.interval, edges.x, outside),
            *_csr(layout),
            *_dense(normal.davg, normal.inverse_std, mask),
            *_near(vec, tables.lower, tables.step, tables.first),
            nrows=nrows,
            NTYPES=len(layout.row_offset),
            NETS=len(tables.step),
            MASKED=normal.mask is not None,
            RCUT=normal.rcut,
            RCUT_SMTH=normal.rcut_smth,
            PROTECTION=normal.protection,
            BLOCK=launch.line_block(),
            num_warps=1,
        )
    return edges, outside.sum()


def moments(
    edges: Edges, layout: Layout, tables: Tables
) -> Float[Tensor, "row 4 width"]:
    """P1: return sum_e R (x) G(s) of each row."""
    return _moments(edges, None, layout, tables)


def tangent_moments(
    rows_dot: Float[Tensor, "edge 4"], edges: Edges, layout: Layout, tables: Tables
) -> Float[Tensor, "row 4 width"]:
    """P3: return X' = sum_e R' (x) G + R (x) G' s' of each row."""
    return _moments(edges, rows_dot.contiguous(), layout, tables)


def edge_gradient(
    grad_x: Float[Tensor, "row 4 width"],
    edges: Edges,
    layout: Layout,
    normal: Normal,
    tables: Tables,
) -> Float[Tensor, "edge 3"]:
    """P2: return dE/dd of each edge from dE/dX, eV/Å."""
    out = torch.zeros_like(edges.vec)
    if len(layout.row_type):
        _programs("descriptor").edge_gradient[(len(layout.row_type),)](
            *(grad_x.contiguous(), edges.vec, edges.rows, edges.radial),
            *(
                edges.interval,
                edges.x,
                *_near(edges.x, tables.coefficients, tables.step),
            ),
            *(*_csr(layout), normal.inverse_std.contiguous(), out),
            **_sizes(layout, tables),
        )
    return out


def tangent_rows(
    edges: Edges,
    layout: Layout,
    normal: Normal,
    atom_dot: Float64[Tensor, "atom 3"],
    strain: Float64[Tensor, "frame 3 3"] | None,
) -> Float[Tensor, "edge 4"]:
    """Return R' = J d' with d'_e = u_j - u_i - d S of the edge's frame."""
    out = torch.zeros_like(edges.rows)
    block = launch.flat_block()
    if len(out):
        _programs("environment").tangent_rows[(-(-len(out) // block),)](
            *(edges.vec, edges.radial),
            *_dense(layout.edge_i, layout.edge_j, layout.edge_row),
            *_dense(layout.row_type, layout.frame_idx, normal.inverse_std, atom_dot),
            *_dense(atom_dot if strain is None else strain, layout.row_offset),
            *(out, layout.row_offset.numel() - 1),
            STRAINED=strain is not None,
            BLOCK=block,
        )
    return out


def assemble(
    grad: Float[Tensor, "edge 3"], edges: Edges, layout: Layout, *, with_virial: bool
) -> tuple[Float64[Tensor, "atom 3"], Float64[Tensor, "frame 3 3"]]:
    """Return forces (eV/Å) and virials (eV; zero unless wanted), in float64."""
    natoms = len(layout.frame_idx)
    index = layout.edge_i, layout.edge_j, layout.edge_row
    frames = torch.arange(layout.nframes + 1, device=grad.device)
    offset = torch.searchsorted(layout.frame_idx.contiguous(), frames)
    force, by_atom = assemble_along(
        grad, edges.vec, layout, incidence(*index, natoms=natoms), virial=with_virial
    )
    return force, segment_sums(by_atom, offset).view(-1, 3, 3)


def assemble_along(
    grad: Float[Tensor, "edge 3"],
    vec: Float[Tensor, "edge 3"],
    layout: Layout,
    along: Incidence,
    *,
    virial: bool,
) -> tuple[Float64[Tensor, "atom 3"], Float64[Tensor, "atom 9"]]:
    """Return forces and each atom's share of the virial, given who gathers what."""
    natoms = len(along.row_of)
    force = torch.zeros(natoms, 3, dtype=torch.float64, device=grad.device)
    by_atom = torch.zeros(natoms, 9, dtype=torch.float64, device=grad.device)
    if natoms:
        _programs("assembly").assemble[(natoms,)](
            *(grad.contiguous(), vec, along.row_of, layout.row_offset.contiguous()),
            *(along.incoming, along.incoming_offset, force, by_atom),
            nrows=len(layout.row_type),
            NTYPES=len(layout.row_offset),
            BLOCK=launch.line_block(),
            WITH_VIRIAL=virial,
            num_warps=1,
        )
    return force, by_atom


def segment_sums(
    values: Float[Tensor, "item column"], offset: Int64[Tensor, " segment_plus_one"]
) -> Float64[Tensor, "segment column"]:
    """Sum rows segment by segment, in a fixed order and in float64."""
    nsegments, columns = len(offset) - 1, values.shape[1]
    partial = torch.zeros(
        nsegments, PARTS, columns, dtype=torch.float64, device=values.device
    )
    if nsegments:
        _programs("assembly").segment_sum[(nsegments, PARTS)](
            *(values.contiguous(), offset, partial),
            COLUMNS=columns,
            LANES=launch.power_of_two(columns),
            PARTS=PARTS,
            BLOCK=64,
        )
    return partial.sum(dim=1)


def adjoint(
    grads: tuple[Float[Tensor, "row 4 width"], Float[Tensor, "row 4 width"]],
    rows_dot: Float[Tensor, "edge 4"],
    edges: Edges,
    layout: Layout,
    tables: Tables,
) -> Float[Tensor, "interval 6 width"]:
    """P4: return the gradient by the tables' coefficients."""
    runs = make_runs(
        edges.interval,
        *_near(edges.x, tables.step, tables.first),
        intervals=len(tables.coefficients),
    )
    return adjoint_along(grads, rows_dot, edges, layout, runs)


def adjoint_along(
    grads: tuple[Float[Tensor, "row 4 width"], Float[Tensor, "row 4 width"]],
    rows_dot: Float[Tensor, "edge 4"],
    edges: Edges,
    layout: Layout,
    runs: Runs,
) -> Float[Tensor, "interval 6 width"]:
    """P4, given the edges' order by interval."""
    intervals, width = len(runs.offset) - 1, grads[0].shape[2]
    partial = edges.x.new_empty(len(runs.start), 6, width)
    out = edges.x.new_empty(intervals, 6, width)
    programs, lanes = _programs("adjoint"), launch.power_of_two(width)
    programs.adjoint_runs[(len(runs.start),)](
        *_dense(*grads, edges.rows, rows_dot, edges.x, layout.edge_row),
        *(runs.order, runs.start, runs.stop, runs.inverse, partial),
        WIDTH=width,
        LANES=lanes,
        BLOCK=launch.edge_block(),
        num_warps=launch.EDGE_WARPS,
    )
    programs.add_runs[(intervals,)](
        *(partial, runs.offset, out),
        NUMBERS=6 * width,
        LANES=launch.power_of_two(6 * width),
    )
    return out


def check(dtype: torch.dtype) -> float:
    """Return the largest relative error against the reference on a small problem.

    Raises:
        ImportError: If Triton programs cannot run here; the message says why.
    """
    from dpbench.kernels.gpu import passes
    from dpbench.kernels.gpu.trial import largest_error

    return largest_error(passes, dtype)


def _moments(
    edges: Edges, rows_dot: Tensor | None, layout: Layout, tables: Tables
) -> Tensor:
    coefficients = tables.coefficients
    out = coefficients.new_empty(len(layout.row_type), 4, coefficients.shape[2])
    if len(out):
        _programs("descriptor").moments[(len(out),)](
            *(edges.rows, edges.rows if rows_dot is None else rows_dot),
            *(edges.interval, edges.x, *_near(edges.x, coefficients, tables.step)),
            *(*_csr(layout), out),
            **_sizes(layout, tables),
            TANGENT=rows_dot is not None,
        )
    return out


def _sizes(layout: Layout, tables: Tables) -> dict[str, int]:
    width = tables.coefficients.shape[2]
    return {
        "nrows": len(layout.row_type),
        "NTYPES": len(layout.row_offset),
        "WIDTH": width,
        "LANES": launch.power_of_two(width),
        "BLOCK": launch.edge_block(),
        "num_warps": launch.EDGE_WARPS,
    }


def _csr(layout: Layout) -> tuple[Tensor, ...]:
    return _dense(layout.row_offset, layout.row_type, layout.net)


def _dense(*tensors: Tensor) -> tuple[Tensor, ...]:
    return tuple(tensor.detach().contiguous() for tensor in tensors)


def _near(where: Tensor, *tensors: Tensor) -> tuple[Tensor, ...]:
    """Bring small tensors to the edges' device: a grid is kept on the host."""
    return _dense(*(tensor.to(where.device) for tensor in tensors))


def _programs(name: str) -> Any:
    """Import a module of Triton programs when it is first needed."""
    import importlib

    return importlib.import_module(f"dpbench.kernels.gpu.programs.{name}")
