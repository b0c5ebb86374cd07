"""The passes with the types' share in plain torch, on any device."""

import torch
from torch import Tensor

from dpbench.kernels.passes.data import Edges, Layout, Normal
from dpbench.kernels.strip.data import Share
from dpbench.kernels.tables import Tables
from dpbench.shapes import Float


def moments(
    edges: Edges, share: Share, layout: Layout, tables: Tables
) -> Float[Tensor, "row 4 width"]:
    """P1: return sum_e R (x) G (1 + w T) of each row."""
    value, _ = _weighted(edges, share, layout, tables)
    return _sum_rows(edges.rows.unsqueeze(2) * value.unsqueeze(1), layout)


def edge_gradient(
    grad_x: Float[Tensor, "row 4 width"],
    edges: Edges,
    share: Share,
    layout: Layout,
    normal: Normal,
    tables: Tables,
) -> Float[Tensor, "edge 3"]:
    """P2: return dE/dd of each edge from dE/dX, eV/Å."""
    value, slope = _weighted(edges, share, layout, tables)
    to_row = grad_x[layout.edge_row]
    grad = (to_row * value.unsqueeze(1)).sum(dim=2)
    along = (edges.rows.unsqueeze(2) * to_row).sum(dim=1)
    grad[:, 0] += (along * slope).sum(dim=1)
    scaled = grad * normal.inverse_std[layout.row_type[layout.edge_row]]
    h, df, dh = edges.radial.unbind(dim=1)
    angular = scaled[:, 1:]
    radial = scaled[:, 0] * df + (angular * edges.vec).sum(dim=1) * dh
    return angular * h.unsqueeze(1) + radial.unsqueeze(1) * edges.vec


def tangent_moments(
    rows_dot: Float[Tensor, "edge 4"],
    edges: Edges,
    share: Share,
    layout: Layout,
    tables: Tables,
) -> Float[Tensor, "row 4 width"]:
    """P3: return X' along a tangent R' of the rows, of each row."""
    value, slope = _weighted(edges, share, layout, tables)
    by_slope = edges.rows * rows_dot[:, :1]
    both = rows_dot.unsqueeze(2) * value.unsqueeze(1)
    return _sum_rows(both + by_slope.unsqueeze(2) * slope.unsqueeze(1), layout)


def adjoint(
    grads: tuple[Float[Tensor, "row 4 width"], Float[Tensor, "row 4 width"]],
    rows_dot: Float[Tensor, "edge 4"],
    edges: Edges,
    share: Share,
    layout: Layout,
    tables: Tables,
) -> tuple[Float[Tensor, "piece 6 width"], Float[Tensor, "centre neighbour width"]]:
    """P4: return the gradients by the table's coefficients, and by T."""
    grad_x, grad_dot = (g[layout.edge_row] for g in grads)
    to_value = (edges.rows.unsqueeze(2) * grad_x).sum(dim=1)
    to_value = to_value + (rows_dot.unsqueeze(2) * grad_dot).sum(dim=1)
    to_slope = (edges.rows.unsqueeze(2) * grad_dot).sum(dim=1) * rows_dot[:, :1]
    g, dg = _features(edges, tables)
    own, (w, b) = _own(share, layout)
    by_share = to_value * g * w + to_slope * (dg * w + g * b)
    to_share = torch.zeros_like(share.table).flatten(0, 1)
    to_share.index_add_(0, _pair(layout), by_share)
    factor = 1 + w * own
    to_g, to_dg = to_value * factor + to_slope * own * b, to_slope * factor
    powers, slopes = _powers(edges, tables)
    parts = powers.unsqueeze(2) * to_g.unsqueeze(1)
    parts = parts + slopes.unsqueeze(2) * to_dg.unsqueeze(1)
    out = torch.zeros_like(tables.coefficients)
    out.index_add_(0, edges.interval.long(), parts)
    return out, to_share.view_as(share.table)


def _weighted(
    edges: Edges, share: Share, layout: Layout, tables: Tables
) -> tuple[Tensor, Tensor]:
    g, dg = _features(edges, tables)
    own, (w, b) = _own(share, layout)
    factor = 1 + w * own
    return g * factor, dg * factor + g * own * b


def _own(share: Share, layout: Layout) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """Return T, and w and dw/ds as columns, of each edge."""
    own = share.table.flatten(0, 1)[_pair(layout)]
    return own, (share.weight[:, :1], share.weight[:, 1:])


def _pair(layout: Layout) -> Tensor:
    """Return centre type times types plus neighbour type of each edge."""
    counts = layout.row_offset[:, -1] - layout.row_offset[:, 0]
    types = torch.arange(len(counts), device=counts.device)
    neighbour = torch.repeat_interleave(types, counts, output_size=len(layout.edge_i))
    return layout.row_type[layout.edge_row] * len(counts) + neighbour


def _powers(edges: Edges, tables: Tables) -> tuple[Tensor, Tensor]:
    """Return what each coefficient adds to G and to dG/ds, (edge, 6) each."""
    x = edges.x.unsqueeze(1)
    order = torch.arange(6, device=x.device)
    slopes = order * x ** (order - 1).clamp(min=0)
    return x**order, slopes / tables.step.to(edges.x)


def _features(edges: Edges, tables: Tables) -> tuple[Tensor, Tensor]:
    """Return G and dG/ds of each edge, (edge, width) each."""
    powers, slopes = _powers(edges, tables)
    pieces = tables.coefficients[edges.interval.long()]
    value = (powers.unsqueeze(1) @ pieces)[:, 0]
    return value, (slopes.unsqueeze(1) @ pieces)[:, 0]


def _sum_rows(parts: Float[Tensor, "edge 4 width"], layout: Layout) -> Tensor:
    out = parts.new_zeros(len(layout.row_type), *parts.shape[1:])
    return out.index_add_(0, layout.edge_row, parts)
