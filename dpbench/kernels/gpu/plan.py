"""Orders of edges that let programs gather where the formulas scatter.

They follow from a neighbour list, or from a list and a table's grid, and hold as long
as these do: for a training frame, for ever. Nothing here waits for the device.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from dpbench.kernels.gpu.launch import RUN_EDGES
from dpbench.shapes import Float64, Int32, Int64


class Incidence(NamedTuple):
    """The edges of each atom, from both ends."""

    row_of: Int32[Tensor, " atom"]
    """Row of each atom that is the centre of an edge, else -1."""
    incoming: Int32[Tensor, " edge"]
    """Edges by the atom they point to, in ascending order for each atom."""
    incoming_offset: Int64[Tensor, " atom_plus_one"]
    """Where those of each atom start in ``incoming``."""


class Runs(NamedTuple):
    """Edges by the interval of the table that they use, in runs of bounded length."""

    order: Int32[Tensor, " edge"]
    """Edges by interval, ascending inside one."""
    start: Int64[Tensor, " run"]
    """First entry of ``order`` of each run; runs beyond the last are empty."""
    stop: Int64[Tensor, " run"]
    """Behind its last entry."""
    inverse: Float64[Tensor, " run"]
    """1 / step of the interval's table."""
    offset: Int64[Tensor, " interval_plus_one"]
    """First run of each interval."""


def incidence(
    edge_i: Tensor, edge_j: Tensor, edge_row: Tensor, *, natoms: int
) -> Incidence:
    """Order edges by the atom they point to.

    Args:
        edge_i: Centre of each edge; at least ``natoms`` marks an entry without edge.
        edge_j: Neighbour of each edge; likewise.
        edge_row: Row of the centre.
        natoms: Number of atoms.
    """
    row_of = torch.full((natoms + 1,), -1, dtype=torch.int32, device=edge_i.device)
    # Edges of one centre all write the same number, so their order does not matter.
    centre = edge_i.long().clamp(max=natoms)
    row_of = row_of.scatter(0, centre, edge_row.to(torch.int32))
    sorted_j, incoming = torch.sort(edge_j, stable=True)
    atoms = torch.arange(natoms + 1, device=edge_j.device, dtype=edge_j.dtype)
    return Incidence(
        row_of=row_of[:natoms].contiguous(),
        incoming=incoming.to(torch.int32),
        incoming_offset=torch.searchsorted(sorted_j, atoms),
    )


def make_runs(interval: Tensor, step: Tensor, first: Tensor, *, intervals: int) -> Runs:
    """Order edges by interval and cut them into runs.

    Args:
        interval: Interval of each edge; ``intervals`` marks an entry without edge.
        step: Width of the intervals of each net.
        first: First interval of each net.
        intervals: Rows of the table.
    """
    device, nedges = interval.device, len(interval)
    ordered, order = torch.sort(interval, stable=True)
    every = torch.arange(intervals + 1, device=device, dtype=interval.dtype)
    bucket = torch.searchsorted(ordered, every)
    length = bucket[1:] - bucket[:-1]
    pieces = (length + RUN_EDGES - 1) // RUN_EDGES
    offset = torch.cat([pieces.new_zeros(1), pieces.cumsum(0)])
    # No interval has more runs than edges: a bound that needs no look at the device.
    capacity = nedges // RUN_EDGES + min(intervals, nedges) + 1
    run = torch.arange(capacity, device=device)
    owner = torch.searchsorted(offset, run, right=True) - 1
    owner = owner.clamp(max=intervals - 1)
    start = bucket[owner] + (run - offset[owner]) * RUN_EDGES
    stop = torch.minimum(start + RUN_EDGES, bucket[owner + 1])
    is_run = run < offset[-1]
    net = torch.searchsorted(first, owner, right=True) - 1
    # Behind the intervals stand two lines for each net.
    net = torch.where(owner < first[-1], net, (owner - first[-1]) // 2)
    return Runs(
        order=order.to(torch.int32),
        start=torch.where(is_run, start, 0),
        stop=torch.where(is_run, stop, 0),
        inverse=1 / step[net],
        offset=offset,
    )
