"""What the passes over edges work on."""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from torch import Tensor

from dpbench.shapes import Float, Int32, Int64


@dataclass(frozen=True, kw_only=True, slots=True)
class Layout:
    """Which edges belong to which atom; the atoms are the rows of ``atom_order``."""

    row_offset: Int64[Tensor, "type row_plus_one"]
    """The edges from row a to neighbours of type t are
    ``row_offset[t, a] : row_offset[t, a + 1]``."""
    row_type: Int64[Tensor, " row"]
    """Type of each row's atom."""
    edge_i: Int64[Tensor, " edge"]
    """Centre atom."""
    edge_j: Int64[Tensor, " edge"]
    """Neighbour atom."""
    edge_row: Int64[Tensor, " edge"]
    """Row of the centre."""
    frame_idx: Int64[Tensor, " atom"]
    """Frame of each atom."""
    nframes: int
    """Number of frames."""
    net: Int64[Tensor, "type type"]
    """Table of each pair (centre type, neighbour type)."""
    host: dict[str, Any] = field(default_factory=dict, init=False)
    """The same as arrays of numpy, kept by the compiled passes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Normal:
    """How environment rows are formed from edge vectors; in the model's precision."""

    davg: Float[Tensor, "type 4"]
    """Mean per centre type."""
    inverse_std: Float[Tensor, "type 4"]
    """1 / dstd per centre type."""
    mask: Float[Tensor, "type type"] | None
    """Zero for pairs (centre, neighbour) that do not see each other, else one."""
    rcut: float
    """Cutoff radius, Å."""
    rcut_smth: float
    """Where the switch starts, Å."""
    protection: float
    """Added to distances in denominators, Å."""


class Edges(NamedTuple):
    """Edges ready for the passes."""

    vec: Float[Tensor, "edge 3"]
    """d, Å."""
    rows: Float[Tensor, "edge 4"]
    """Normalised environment rows R; zero for masked pairs."""
    radial: Float[Tensor, "edge 3"]
    """h, f'/r and h'/r: what the Jacobian of R needs; zero for masked pairs."""
    interval: Int32[Tensor, " edge"]
    """Row of the tables' coefficients for s = R[0]: a piece, or a line beyond."""
    x: Float[Tensor, " edge"]
    """Place of s within that row, in steps; in [0, 1] inside a piece."""
    extended: int
    """Edges outside their table."""
    order: Int32[Tensor, " edge"] | None = None
    """The edges of each row and neighbour type, sorted by ``interval``; None where
    tables have no pieces, and on GPUs."""
