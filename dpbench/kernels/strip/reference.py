"""The passes with the types' share in plain torch, on any device.

The four columns of a row are taken one by one: nothing is larger than (edge, width).
"""

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
    return _sum_rows([row * value for row in _columns(edges.rows)], layout)


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
    columns = [grad_x[:, k][layout.edge_row] for k in range(4)]
    grad = torch.stack([(column * value).sum(dim=1) for column in columns], dim=1)
    grad[:, 0] += (_along(edges.rows, columns) * slope).sum(dim=1)
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
    slope = slope * rows_dot[:, :1]
    pairs = zip(_columns(rows_dot), _columns(edges.rows), strict=True)
    return _sum_rows([dot * value + row * slope for dot, row in pairs], layout)


def adjoint(
    grads: tuple[Float[Tensor, "row 4 width"], Float[Tensor, "row 4 width"]],
    rows_dot: Float[Tensor, "edge 4"],
    edges: Edges,
    share: Share,
    layout: Layout,
    tables: Tables,
) -> tuple[Float[Tensor, "piece 6 width"], Float[Tensor, "centre neighbour width"]]:
    """P4: return the gradients by the table's coefficients, and by T."""
    to_x, to_dot = ([g[:, k][layout.edge_row] for k in range(4)] for g in grads)
    to_value = _along(edges.rows, to_x) + _along(rows_dot, to_dot)
    to_slope = _along(edges.rows, to_dot) * rows_dot[:, :1]
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


def _columns(rows: Float[Tensor, "edge 4"]) -> list[Tensor]:
    """Return the columns of rows, (edge, 1) each."""
    return [rows[:, k : k + 1] for k in range(4)]


def _along(rows: Float[Tensor, "edge 4"], columns: list[Tensor]) -> Tensor:
    """Return the sum over the four columns, (edge, width)."""
    first, *others = zip(_columns(rows), columns, strict=True)
    total = first[0] * first[1]
    for row, column in others:
        total = torch.addcmul(total, row, column)
    return total


def _sum_rows(parts: list[Tensor], layout: Layout) -> Float[Tensor, "row 4 width"]:
    out = parts[0].new_zeros(4, len(layout.row_type), parts[0].shape[1])
    for total, part in zip(out, parts, strict=True):
        total.index_add_(0, layout.edge_row, part)
    return out.transpose(0, 1).contiguous()
