"""Edges by the net that serves them: slices of a batch, and who is centre."""

from collections.abc import Iterator
from typing import NamedTuple

from dpbench.kernels.batch import Batch
from dpbench.kernels.contraction import EdgeRange


class Group(NamedTuple):
    """Edges that share an embedding net: one neighbour type, some centre types."""

    net: int
    """Index of the embedding net."""
    neighbour_type: int
    """Type of the neighbours."""
    atoms: slice
    """Rows of ``atom_order`` whose edges these are."""
    edges: slice
    """Rows of the per-edge arrays."""
    edge_range: EdgeRange
    """The edges by atom, counted from the start of both slices."""


def groups_by_neighbour(batch: Batch) -> Iterator[Group]:
    """Yield the edges to neighbours of each type; net and type are the same."""
    ntypes, natoms = len(batch.most_neighbours), len(batch.atype)
    for t in range(ntypes):
        yield _group(batch, t, net=t, atoms=slice(0, natoms), centre=(0, ntypes))


def groups_by_pair(batch: Batch) -> Iterator[Group]:
    """Yield the edges of each pair of types; the net is centre + neighbour * ntypes.

    Groups of one centre type come together.
    """
    ntypes = len(batch.most_neighbours)
    for centre in range(ntypes):
        atoms = slice(*batch.atom_type_offset[centre : centre + 2])
        for t in range(ntypes):
            net = centre + t * ntypes
            yield _group(batch, t, net=net, atoms=atoms, centre=(centre, centre + 1))


def _group(
    batch: Batch, neighbour: int, *, net: int, atoms: slice, centre: tuple[int, int]
) -> Group:
    offset = batch.pair_offset[neighbour]
    edges = slice(offset[centre[0]], offset[centre[1]])
    starts = batch.row_offset[neighbour, atoms.start : atoms.stop + 1]
    edge_range = EdgeRange(
        starts=starts - edges.start,
        centres=batch.edge_row[edges] - atoms.start,
        most=batch.most_neighbours[neighbour],
    )
    return Group(net, neighbour, atoms, edges, edge_range)
