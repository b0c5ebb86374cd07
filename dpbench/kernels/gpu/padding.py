"""Empty slots on the device: (sel_t - n_it) R0 (x) G_t(s0) of each atom."""

from typing import NamedTuple

import torch
from torch import Tensor

from dpbench.kernels.gpu import launch
from dpbench.kernels.tables import Grid
from dpbench.shapes import Float, Int64


class Padding(NamedTuple):
    """Where each pair of types finds G_t(s0), fixed as long as the grid is."""

    rows: Float[Tensor, "type 4"]
    """R0 by centre type."""
    piece: Int64[Tensor, " pair"]
    """Row of the table, by centre and neighbour type."""
    powers: Float[Tensor, "pair 6"]
    """x^n of the place inside it."""

    @classmethod
    def of(
        cls,
        rows: Float[Tensor, "type 4"] | None,
        net: Int64[Tensor, "type type"],
        grid: Grid,
    ) -> "Padding | None":
        """Find the places; None for a model whose mean is zero."""
        if rows is None:
            return None
        lower, step, first = (t.cpu() for t in (grid.lower, grid.step, grid.first))
        nets = net.cpu()
        s = rows[:, :1].double().cpu().expand(nets.shape)
        at = (s - lower[nets]) / step[nets]
        count = first[nets + 1] - first[nets]
        # s0 may lie on the upper end; a net without edges has no pieces, but a line.
        whole = torch.minimum(at.floor().long().clamp(min=0), (count - 1).clamp(min=0))
        piece = torch.where(count > 0, first[nets] + whole, first[-1] + 2 * nets)
        powers = (at - whole).unsqueeze(2) ** torch.arange(6)
        return cls(
            rows=rows.contiguous(),
            piece=piece.flatten().to(rows.device),
            powers=powers.flatten(0, 1).to(rows),
        )


def finish_moments(
    x: Float[Tensor, "row 4 width"],
    padding: Padding | None,
    empty: Float[Tensor, "row type"],
    row_type: Int64[Tensor, " row"],
    *,
    coefficients: Float[Tensor, "piece 6 width"],
    scale: float,
) -> None:
    """Add the empty slots to X and scale it, in place."""
    from dpbench.kernels.gpu.programs import gram

    if not len(x):
        return
    width = x.shape[2]
    places = (x, row_type, x) if padding is None else padding
    gram.finish_moments[(len(x),)](
        *(x, empty, row_type, *places, coefficients),
        SCALE=scale,
        NTYPES=empty.shape[1],
        WIDTH=width,
        LANES=launch.power_of_two(width),
        PADDED=padding is not None,
    )


def add_padding_adjoint(
    grad_x: Float[Tensor, "row 4 width"],
    padding: Padding,
    empty: Float[Tensor, "row type"],
    type_offset: tuple[int, ...],
    by_piece: Float[Tensor, "piece 6 width"],
) -> None:
    """Add what the empty slots send to the tables, in place."""
    from dpbench.kernels.gpu.programs import gram

    width, ntypes = grad_x.shape[2], empty.shape[1]
    flat = grad_x.view(len(grad_x), 4 * width)
    totals = []
    for centre in range(len(padding.rows)):
        rows = slice(*type_offset[centre : centre + 2])
        totals.append(empty[rows].T @ flat[rows])
    gram.add_padding_adjoint[(1,)](
        *(torch.cat(totals), padding.rows, padding.piece, padding.powers, by_piece),
        len(padding.piece),
        NTYPES=ntypes,
        WIDTH=width,
        LANES=launch.power_of_two(width),
    )
