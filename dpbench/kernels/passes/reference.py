"""The passes over edges in plain torch, on any device."""

import torch
from torch import Tensor

from dpbench.kernels.passes.data import Edges, Layout, Normal
from dpbench.kernels.switch import radial_terms
from dpbench.kernels.tables import Tables
from dpbench.shapes import Float, Float64


def shortest(
    edge_vec: Float[Tensor, "edge 3"], layout: Layout
) -> Float64[Tensor, "type type"]:
    """Return the shortest distance of each pair of types, Å; infinite for none."""
    r = torch.linalg.vector_norm(edge_vec.double(), dim=1)
    out = torch.full(layout.net.shape, torch.inf, dtype=r.dtype, device=r.device)
    pair = layout.row_type[layout.edge_row] * len(out) + _neighbour_types(layout)
    flat = out.flatten().scatter_reduce_(0, pair, r, "amin")
    return flat.view_as(out)


def prepare(
    edge_vec: Float[Tensor, "edge 3"], layout: Layout, normal: Normal, tables: Tables
) -> Edges:
    """Form environment rows and find each edge's place in its table."""
    centre = layout.row_type[layout.edge_row]
    pair = centre, _neighbour_types(layout)
    r = torch.linalg.vector_norm(edge_vec, dim=1)
    f, h, df, dh = radial_terms(
        r, rcut_smth=normal.rcut_smth, rcut=normal.rcut, protection=normal.protection
    )
    raw = torch.cat([f.unsqueeze(1), h.unsqueeze(1) * edge_vec], dim=1)
    rows = (raw - normal.davg[centre]) * normal.inverse_std[centre]
    radial = torch.stack([h, df / r, dh / r], dim=1)
    if normal.mask is not None:
        keep = normal.mask[pair].unsqueeze(1)
        rows, radial = rows * keep, radial * keep
    net = layout.net[pair]
    lower, step, first = (
        t.to(edge_vec.device) for t in (tables.lower, tables.step, tables.first)
    )
    place = (rows[:, 0].double() - lower[net]) / step[net]
    count = first[net + 1] - first[net]
    piece = torch.minimum(place.floor().long().clamp(min=0), (count - 1).clamp(min=0))
    # Behind the pieces stand two lines for each net: below its lower end, and above.
    below, above = place < 0, place > count
    row = torch.where(below, first[-1] + 2 * net, first[net] + piece)
    row = torch.where(above, first[-1] + 2 * net + 1, row)
    begin = torch.where(above, count, torch.where(below, 0, piece))
    # What rounding may do to a place; the last piece goes on smoothly so far.
    slack = 1e-6 if rows.dtype == torch.float64 else 1e-3
    outside = torch.logical_or(place < -slack, place > count + slack)
    return Edges(
        vec=edge_vec,
        rows=rows,
        radial=radial,
        interval=row.to(torch.int32),
        x=(place - begin).to(rows.dtype),
        extended=int(outside.sum()),
    )


def moments(
    edges: Edges, layout: Layout, tables: Tables
) -> Float[Tensor, "row 4 width"]:
    """P1: return sum_e R (x) G(s) of each row."""
    value, _ = _features(edges, layout, tables)
    return _sum_rows(edges.rows.unsqueeze(2) * value.unsqueeze(1), layout)


def edge_gradient(
    grad_x: Float[Tensor, "row 4 width"],
    edges: Edges,
    layout: Layout,
    normal: Normal,
    tables: Tables,
) -> Float[Tensor, "edge 3"]:
    """P2: return dE/dd of each edge from dE/dX, eV/Å."""
    value, slope = _features(edges, layout, tables)
    to_row = grad_x[layout.edge_row]
    grad = (to_row * value.unsqueeze(1)).sum(dim=2)
    along = (edges.rows.unsqueeze(2) * to_row).sum(dim=1)
    grad[:, 0] += (along * slope).sum(dim=1)
    scaled = grad * normal.inverse_std[layout.row_type[layout.edge_row]]
    h, df, dh = edges.radial.unbind(dim=1)
    angular = scaled[:, 1:]
    radial = scaled[:, 0] * df + (angular * edges.vec).sum(dim=1) * dh
    return angular * h.unsqueeze(1) + radial.unsqueeze(1) * edges.vec


def assemble(
    grad: Float[Tensor, "edge 3"],
    edges: Edges,
    layout: Layout,
    *,
    with_virial: bool,
) -> tuple[Float64[Tensor, "atom 3"], Float64[Tensor, "frame 3 3"]]:
    """Return forces (eV/Å) and virials (eV; zero unless wanted), in float64."""
    wide, vec = grad.double(), edges.vec.double()
    force = wide.new_zeros(len(layout.frame_idx), 3)
    force.index_add_(0, layout.edge_i, wide)
    force.index_add_(0, layout.edge_j, wide, alpha=-1)
    virial = wide.new_zeros(layout.nframes, 3, 3)
    if with_virial:
        outer = vec.unsqueeze(2) * wide.unsqueeze(1)
        virial.index_add_(0, layout.frame_idx[layout.edge_i], outer, alpha=-1)
    return force, virial


def tangent_rows(
    edges: Edges,
    layout: Layout,
    normal: Normal,
    atom_dot: Float64[Tensor, "atom 3"],
    strain: Float64[Tensor, "frame 3 3"] | None,
) -> Float[Tensor, "edge 4"]:
    """Return R' = J d' with d'_e = u_j - u_i - d S of the edge's frame.

    Args:
        edges: The edges.
        layout: Of the batch.
        normal: Of the model.
        atom_dot: u, tangent of the positions.
        strain: S by frame; None for no tangent of the cell.
    """
    vec = edges.vec
    dot = (atom_dot[layout.edge_j] - atom_dot[layout.edge_i]).to(vec.dtype)
    if strain is not None:
        by_edge = strain.to(vec.dtype)[layout.frame_idx[layout.edge_i]]
        dot = dot - (vec.unsqueeze(1) @ by_edge)[:, 0]
    h, df, dh = edges.radial.unbind(dim=1)
    along = (vec * dot).sum(dim=1)
    angular = h.unsqueeze(1) * dot + (dh * along).unsqueeze(1) * vec
    rows = torch.cat([(df * along).unsqueeze(1), angular], dim=1)
    return rows * normal.inverse_std[layout.row_type[layout.edge_row]]


def tangent_moments(
    rows_dot: Float[Tensor, "edge 4"], edges: Edges, layout: Layout, tables: Tables
) -> Float[Tensor, "row 4 width"]:
    """P3: return X' = sum_e R' (x) G + R (x) G' s' of each row."""
    value, slope = _features(edges, layout, tables)
    by_slope = edges.rows * rows_dot[:, :1]
    both = rows_dot.unsqueeze(2) * value.unsqueeze(1)
    return _sum_rows(both + by_slope.unsqueeze(2) * slope.unsqueeze(1), layout)


def adjoint(
    grads: tuple[Float[Tensor, "row 4 width"], Float[Tensor, "row 4 width"]],
    rows_dot: Float[Tensor, "edge 4"],
    edges: Edges,
    layout: Layout,
    tables: Tables,
) -> Float[Tensor, "interval 6 width"]:
    """P4: return the gradient by the tables' coefficients.

    Args:
        grads: Gradients by X and by X'.
        rows_dot: R'.
        edges: The edges.
        layout: Of the batch.
        tables: The tables that were looked up.
    """
    grad_x, grad_dot = (g[layout.edge_row] for g in grads)
    to_value = (edges.rows.unsqueeze(2) * grad_x).sum(dim=1)
    to_value = to_value + (rows_dot.unsqueeze(2) * grad_dot).sum(dim=1)
    to_slope = (edges.rows.unsqueeze(2) * grad_dot).sum(dim=1) * rows_dot[:, :1]
    powers, slopes = _powers(edges, layout, tables)
    parts = powers.unsqueeze(2) * to_value.unsqueeze(1)
    parts = parts + slopes.unsqueeze(2) * to_slope.unsqueeze(1)
    out = torch.zeros_like(tables.coefficients)
    return out.index_add_(0, edges.interval.long(), parts)


def _neighbour_types(layout: Layout) -> Tensor:
    """Return the type of each edge's neighbour; edges are grouped by it."""
    counts = layout.row_offset[:, -1] - layout.row_offset[:, 0]
    types = torch.arange(len(counts), device=counts.device)
    return torch.repeat_interleave(types, counts, output_size=len(layout.edge_i))


def _powers(edges: Edges, layout: Layout, tables: Tables) -> tuple[Tensor, Tensor]:
    """Return what each coefficient adds to G and to dG/ds, (edge, 6) each."""
    net = layout.net[layout.row_type[layout.edge_row], _neighbour_types(layout)]
    step = tables.step.to(edges.x)[net]
    x = edges.x.unsqueeze(1)
    order = torch.arange(6, device=x.device)
    powers = x**order
    slopes = order * x ** (order - 1).clamp(min=0)
    return powers, slopes / step.unsqueeze(1)


def _features(edges: Edges, layout: Layout, tables: Tables) -> tuple[Tensor, Tensor]:
    """Return G and dG/ds of each edge, (edge, width) each."""
    powers, slopes = _powers(edges, layout, tables)
    pieces = tables.coefficients[edges.interval.long()]
    value = (powers.unsqueeze(1) @ pieces)[:, 0]
    return value, (slopes.unsqueeze(1) @ pieces)[:, 0]


def _sum_rows(parts: Float[Tensor, "edge 4 width"], layout: Layout) -> Tensor:
    out = parts.new_zeros(len(layout.row_type), *parts.shape[1:])
    return out.index_add_(0, layout.edge_row, parts)
