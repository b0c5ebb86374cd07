"""Edges, tables and padding of a batch: what the four passes need besides the nets."""

import math
from dataclasses import dataclass, field
from typing import NamedTuple, final
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from dpbench.kernels.batch import Batch
from dpbench.kernels.choice import choose
from dpbench.kernels.passes import Edges, Layout, Normal
from dpbench.kernels.switch import switch_weight
from dpbench.kernels.tables import Grid, Tables, grid_for, pieces_for
from dpbench.models.config import se_e2_a_options
from dpbench.models.parameters import FlatParameters, embedding_nets
from dpbench.models.potential import DeepPotential
from dpbench.models.statistics import pair_mask
from dpbench.shapes import Float, Float64, Int64

INTERVALS = 128
"""Pieces of each table: forces of a water model after 15,000 steps are within 2e-7 eV/Å
of the exact net's; the error falls with the sixth power."""

DISTANCE_STEP = 0.05
"""Å; the shortest distance of a pair of types is rounded down to a multiple of this, so
that a table's range depends on the batch alone and few ranges occur."""

UNUSED_DISTANCE = 0.98
"""Share of the cutoff down to which a table reaches for pairs that do not occur."""

UNUSED_SHARE = 32
"""Tables of pairs that do not occur have one piece for so many of the others."""

MOST_GRIDS = 256
"""Grids that are kept."""


class Reach(NamedTuple):
    """A grid, and where empty slots lie in it."""

    grid: Grid
    """Ranges of the tables."""
    piece: Int64[Tensor, "type type"]
    """Piece that holds s0 of each pair (centre type, neighbour type)."""
    powers: Float[Tensor, "type type 6"]
    """Powers of s0's place in that piece."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Constants:
    """What a model contributes beside its parameters, on its device."""

    normal: Normal
    """davg, 1 / dstd, mask and cutoffs."""
    net: Int64[Tensor, "type type"]
    """Embedding net of each pair (centre type, neighbour type)."""
    empty_rows: Float[Tensor, "type 4"] | None
    """R0 = -davg / dstd by centre type; None where davg is zero."""
    sel: Float[Tensor, " type"]
    """Neighbour slots."""
    scale: float
    """1 / sum(sel)."""
    bias: Float64[Tensor, " type"]
    """Energy bias, eV."""
    reaches: dict[tuple[bytes, int], "Reach"] = field(default_factory=dict)
    """Grids by the distances that they reach down to, made once."""


_CONSTANTS: WeakKeyDictionary[DeepPotential, Constants] = WeakKeyDictionary()
_LAYOUTS: WeakKeyDictionary[Batch, Layout] = WeakKeyDictionary()


def constants_of(model: DeepPotential) -> Constants:
    """Return a model's constants, made once."""
    found = _CONSTANTS.get(model)
    if found is None:
        found = _CONSTANTS[model] = _make_constants(model)
    return found


def layout_of(batch: Batch, net: Int64[Tensor, "type type"]) -> Layout:
    """Return the batch's layout, made once as long as the batch lives."""
    found = _LAYOUTS.get(batch)
    if found is None or found.net is not net:
        found = _LAYOUTS[batch] = Layout(
            row_offset=batch.row_offset,
            row_type=batch.atype[batch.atom_order],
            edge_i=batch.edge_i,
            edge_j=batch.edge_j,
            edge_row=batch.edge_row,
            frame_idx=batch.frame_idx,
            nframes=batch.nframes,
            net=net,
        )
    return found


def reach_of(
    model: DeepPotential,
    shortest: Float64[Tensor, "type type"],
    *,
    intervals: int = INTERVALS,
) -> Reach:
    """Choose the range of each table so that no pair of atoms is closer.

    It depends on model and batch alone, not on what came before, so that a run can be
    gone on with bit for bit.

    Args:
        model: The model.
        shortest: Shortest distance of each pair (centre type, neighbour type), Å, on
            the host; infinite for pairs that do not occur.
        intervals: Pieces of each table.
    """
    config = se_e2_a_options(model.config)
    unused = UNUSED_DISTANCE * config.rcut
    # Rounded down to a multiple, so that few ranges occur; a NaN counts as unused.
    r = torch.nan_to_num(shortest, nan=unused).clamp(max=unused)
    r = (r / DISTANCE_STEP).floor().clamp(min=1) * DISTANCE_STEP
    constants = constants_of(model)
    key = (r.numpy().tobytes(), intervals)
    found = constants.reaches.get(key)
    if found is None:
        if len(constants.reaches) >= MOST_GRIDS:
            constants.reaches.clear()
        grid = _make_grid(model, r, intervals)
        found = constants.reaches[key] = _reach(grid, constants)
    return found


def _reach(grid: Grid, constants: Constants) -> Reach:
    """Find the place of empty slots, s0 = -davg / dstd, in each table."""
    normal = constants.normal
    s = (-normal.davg * normal.inverse_std)[:, :1].double().cpu()
    net = constants.net.cpu()
    at = (s.expand(net.shape) - grid.lower[net]) / grid.step[net]
    # s0 may lie on the upper end of a table whose pairs do not occur.
    last = grid.first[net + 1] - grid.first[net] - 1
    piece = torch.minimum(at.floor().long().clamp(min=0), last)
    powers = (at - piece).unsqueeze(2) ** torch.arange(6)
    device, dtype = normal.davg.device, normal.davg.dtype
    return Reach(
        grid=grid,
        piece=(grid.first[net] + piece).to(device),
        powers=powers.to(device, dtype),
    )


def _make_grid(
    model: DeepPotential, r: Float64[Tensor, "type type"], intervals: int
) -> Grid:
    """Span each table from the cutoff down to the distance ``r`` of its pairs."""
    config = se_e2_a_options(model.config)
    # As the kernels have them: rounded otherwise, an end would not hold its own edges.
    constants = constants_of(model)
    normal = constants.normal
    mean, inverse = (t[:, :1].double().cpu() for t in (normal.davg, normal.inverse_std))
    w = switch_weight(r, rcut_smth=config.rcut_smth, rcut=config.rcut)
    nearest = (w / (r + config.env_protection) - mean) * inverse
    farthest = (-mean * inverse).expand_as(nearest)
    # A masked pair has s = 0 whatever its distance.
    ends = torch.stack([nearest, farthest, torch.zeros_like(nearest)]).flatten(1)
    net = constants.net.cpu().flatten()
    low = ends.new_full((int(net.max()) + 1,), math.inf)
    low.scatter_reduce_(0, net, ends.amin(dim=0), "amin")
    high = torch.full_like(low, -math.inf)
    high.scatter_reduce_(0, net, ends.amax(dim=0), "amax")
    # Of pairs that do not occur only s0 is looked up: a few pieces do. With ten
    # elements and a net a pair, hardly one net in ten occurs in a batch.
    nearest_of = torch.full_like(low, math.inf)
    nearest_of.scatter_reduce_(0, net, r.flatten(), "amin")
    unused = math.floor(UNUSED_DISTANCE * config.rcut / DISTANCE_STEP) * DISTANCE_STEP
    few = max(1, intervals // UNUSED_SHARE)
    is_used = (nearest_of < unused - DISTANCE_STEP / 2).tolist()
    spans = (high - low).tolist()
    counts = [
        pieces_for(span, intervals) if used else few
        for span, used in zip(spans, is_used, strict=True)
    ]
    return grid_for(low, high, counts)


def _make_constants(model: DeepPotential) -> Constants:
    config, statistics = se_e2_a_options(model.config), model.statistics
    device, dtype = model.device, model.dtype
    davg = torch.as_tensor(statistics.davg, device=device, dtype=dtype)
    dstd = torch.as_tensor(statistics.dstd, device=device, dtype=dtype)
    types = torch.arange(model.config.ntypes, device=device)
    net = types.expand(len(types), -1)
    if not config.type_one_side:
        net = types[:, None] + types * len(types)
    mask = None
    if config.exclude_types:
        mask = torch.as_tensor(pair_mask(model.config), device=device, dtype=dtype)
    has_padding = bool((statistics.davg != 0).any())
    return Constants(
        normal=Normal(
            davg=davg,
            inverse_std=1 / dstd,
            mask=mask,
            rcut=config.rcut,
            rcut_smth=config.rcut_smth,
            protection=config.env_protection,
        ),
        net=net.contiguous(),
        empty_rows=-davg / dstd if has_padding else None,
        sel=torch.tensor(config.sel, device=device, dtype=dtype),
        scale=1 / sum(config.sel),
        bias=torch.as_tensor(statistics.energy_bias, device=device),
    )


@final
class TableFeatures:
    """The moments of a batch, their tangent and their adjoints, by tables."""

    def __init__(
        self,
        model: DeepPotential,
        batch: Batch,
        *,
        intervals: int = INTERVALS,
        down_to: Float64[Tensor, "type type"] | None = None,
    ) -> None:
        """Tabulate the embedding nets and place the batch's edges in the tables.

        Args:
            model: The model.
            batch: Its edges.
            intervals: Pieces of each table.
            down_to: Distances that tables must reach, Å, on the host; by default the
                shortest of the batch.
        """
        self._constants = constants_of(model)
        self._layout = layout_of(batch, self._constants.net)
        self._batch = batch
        self._activation = se_e2_a_options(model.config).activation_function
        self._nets = embedding_nets(model.config)
        device, dtype = model.device, model.dtype
        self._passes = choose("passes", device, dtype)
        self._makers = choose("tables", device, dtype)
        self._layers = [net.layers(model.parameters.views) for net in self._nets]
        shortest = self._passes.shortest(batch.edge_vec, self._layout).cpu()
        if down_to is not None:
            shortest = torch.minimum(shortest, down_to)
        reach = reach_of(model, shortest, intervals=intervals)
        self._grid = reach.grid
        self._tables: Tables = self._makers.make_tables(
            self._layers, self._activation, self._grid, dtype
        )
        self.channels: int = self._tables.width
        self.extended: int
        """Edges outside their table: pairs of atoms that all but coincide."""
        self._edges: Edges = self._passes.prepare(
            batch.edge_vec, self._layout, self._constants.normal, self._tables
        )
        self.extended = self._edges.extended
        self._padding = None
        if self._constants.empty_rows is not None:
            self._padding = _Padding(batch, self._constants, reach, self._tables)
        self._rows_dot: Tensor | None = None

    def moments(self) -> Float[Tensor, "row 4 width"]:
        """Return X of each row."""
        x: Tensor = self._passes.moments(self._edges, self._layout, self._tables)
        if self._padding is not None:
            self._padding.add_to(x)
        return x.mul_(self._constants.scale)

    def edge_gradient(
        self, grad_x: Float[Tensor, "row 4 width"]
    ) -> Float[Tensor, "edge 3"]:
        """Return dE/dd of each edge from dE/dX, eV/Å."""
        found: Tensor = self._passes.edge_gradient(
            grad_x * self._constants.scale,
            self._edges,
            self._layout,
            self._constants.normal,
            self._tables,
        )
        return found

    def assemble(
        self, grad: Float[Tensor, "edge 3"], *, with_virial: bool
    ) -> tuple[Float64[Tensor, "atom 3"], Float64[Tensor, "frame 3 3"]]:
        """Return forces and virials."""
        force, virial = self._passes.assemble(
            grad, self._edges, self._layout, with_virial=with_virial
        )
        return force, virial

    def tangent(
        self,
        atom_dot: Float64[Tensor, "atom 3"],
        strain: Float64[Tensor, "frame 3 3"] | None,
    ) -> Float[Tensor, "row 4 width"]:
        """Return X' along a tangent of positions and cells."""
        self._rows_dot = self._passes.tangent_rows(
            self._edges, self._layout, self._constants.normal, atom_dot, strain
        )
        x: Tensor = self._passes.tangent_moments(
            self._rows_dot, self._edges, self._layout, self._tables
        )
        return x.mul_(self._constants.scale)

    def adjoint(
        self,
        grad_x: Float[Tensor, "row 4 width"],
        grad_dot: Float[Tensor, "row 4 width"],
        gradient: FlatParameters,
    ) -> None:
        """Write the gradient by the embedding nets into ``gradient``.

        Args:
            grad_x: Gradient by X.
            grad_dot: Gradient by X' of the last ``tangent``.
            gradient: Buffer laid out like the parameters.
        """
        if self._rows_dot is None:
            raise RuntimeError("adjoint needs a tangent first")
        scale = self._constants.scale
        scaled = grad_x * scale
        by_piece: Tensor = self._passes.adjoint(
            (scaled, grad_dot * scale),
            self._rows_dot,
            self._edges,
            self._layout,
            self._tables,
        )
        if self._padding is not None:
            self._padding.add_adjoint(scaled, by_piece)
        found = self._makers.tables_adjoint(
            *(self._layers, self._activation, self._grid, by_piece),
            tables=self._tables,
        )
        for net, layers in zip(self._nets, found, strict=True):
            for target, layer in zip(net.layers(gradient.views), layers, strict=True):
                for place, value in zip(target, layer, strict=True):
                    if place is not None:
                        place.copy_(value)


@final
class _Padding:
    """Empty slots: (sel_t - n_it) R0 (x) G_t(s0) of each atom and neighbour type."""

    def __init__(
        self, batch: Batch, constants: Constants, reach: Reach, tables: Tables
    ) -> None:
        if constants.empty_rows is None:
            raise RuntimeError("a model without mean has no padding")
        offset = batch.row_offset
        counts = (offset[:, 1:] - offset[:, :-1]).T
        self._empty = constants.sel - counts
        self._rows = constants.empty_rows
        self._type_offset = batch.atom_type_offset
        self._piece, self._powers = reach.piece, reach.powers
        pieces = tables.coefficients[self._piece]
        features = (self._powers.unsqueeze(2) @ pieces)[:, :, 0]
        self._moments = self._rows[:, None, :, None] * features[:, :, None, :]

    def add_to(self, x: Float[Tensor, "row 4 width"]) -> None:
        """Add to the unscaled moments."""
        flat = x.view(len(x), x.shape[1] * x.shape[2])  # of no rows, too
        for centre, moment in enumerate(self._moments):
            rows = slice(*self._type_offset[centre : centre + 2])
            flat[rows].addmm_(self._empty[rows], moment.flatten(1))

    def add_adjoint(
        self,
        grad_x: Float[Tensor, "row 4 width"],
        by_piece: Float[Tensor, "piece 6 width"],
    ) -> None:
        """Add to the gradient by the tables' coefficients."""
        flat = grad_x.view(len(grad_x), grad_x.shape[1] * grad_x.shape[2])
        for centre, row in enumerate(self._rows):
            rows = slice(*self._type_offset[centre : centre + 2])
            total = (self._empty[rows].T @ flat[rows]).view(len(self._powers), 4, -1)
            to_value = (row[None, :, None] * total).sum(dim=1)
            parts = self._powers[centre].unsqueeze(2) * to_value.unsqueeze(1)
            by_piece.index_add_(0, self._piece[centre], parts)
