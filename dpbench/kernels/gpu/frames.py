"""Training frames that stay on the device, ready for the passes.

Everything that follows from a batch and the tables' grid alone is made once: rows,
places in the tables, who gathers from which edge, which edges share an interval.
Batches of one bucket have arrays of one shape, so that one graph serves them.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from dpbench.kernels.batch import Batch
from dpbench.kernels.gpu.packed import Packed
from dpbench.kernels.gpu.passes import prepare_on_device
from dpbench.kernels.gpu.plan import Incidence, Runs, incidence, make_runs
from dpbench.kernels.passes.data import Edges, Layout, Normal
from dpbench.kernels.tables import Grid, Tables
from dpbench.shapes import Float, Int64


class Bucket(NamedTuple):
    """What frames must share to share a graph."""

    atom_type_offset: tuple[int, ...]
    """First row of each type: the products of the fitting nets have these heights."""
    nframes: int
    """Frames of the batch."""
    capacity: int
    """Room for edges."""


def bucket_of(batch: Batch) -> Bucket:
    """Return the bucket of a batch: its edges rounded up by at most a quarter."""
    nedges = max(len(batch.edge_i), 1)
    unit = max(1 << max(nedges.bit_length() - 3, 0), 64)
    return Bucket(
        atom_type_offset=batch.atom_type_offset,
        nframes=batch.nframes,
        capacity=-(-nedges // unit) * unit,
    )


def pack_frames(
    batch: Batch,
    normal: Normal,
    net: Int64[Tensor, "type type"],
    grid: Grid,
    *,
    sel: Float[Tensor, " type"],
    bias: Float[Tensor, " type"],
) -> Packed:
    """Prepare a batch and put it into one buffer on its device.

    Args:
        batch: Frames on the device, in the model's precision.
        normal: How rows are formed.
        net: Table of each pair (centre type, neighbour type).
        grid: The tables' grid, for all frames of the run.
        sel: Neighbour slots per type.
        bias: Energy bias per type, eV; labels are packed without it.

    Raises:
        ValueError: If an edge lies beyond the grid.
    """
    room = bucket_of(batch).capacity
    layout = _layout(batch, net)
    edges, outside = prepare_on_device(
        batch.edge_vec, layout, normal, _bare_tables(grid, batch)
    )
    if int(outside):
        raise ValueError(
            f"{int(outside)} edges lie beyond the tables' grid; make it from the "
            "shortest distances of all frames"
        )
    natoms, rows = len(batch.atype), int(grid.first[-1]) + 2 * len(grid.lower)
    index = {
        "edge_i": _padded(batch.edge_i.to(torch.int32), room, natoms),
        "edge_j": _padded(batch.edge_j.to(torch.int32), room, natoms),
        "edge_row": _padded(batch.edge_row.to(torch.int32), room, 0),
        "interval": _padded(edges.interval, room, rows),
    }
    along = incidence(
        index["edge_i"], index["edge_j"], index["edge_row"], natoms=natoms
    )
    device = batch.edge_vec.device
    step, first = grid.step.to(device), grid.first.to(device)
    runs = make_runs(index["interval"], step, first, intervals=rows)
    arrays = {
        **index,
        "vec": _padded(edges.vec, room, 0),
        "rows": _padded(edges.rows, room, 0),
        "radial": _padded(edges.radial, room, 0),
        "x": _padded(edges.x, room, 0),
        "row_offset": layout.row_offset,
        "row_type": layout.row_type,
        "frame_idx": batch.frame_idx,
        **{f"along_{name}": a for name, a in along._asdict().items()},
        **{f"runs_{name}": a for name, a in runs._asdict().items()},
        **_atoms(batch, sel),
        **_labels(batch, bias),
    }
    return Packed.of(arrays, device)


def layout_of(packed: Packed, net: Tensor, nframes: int) -> Layout:
    """Return views of a packed batch as the passes take them."""
    views = packed.views
    return Layout(
        row_offset=views["row_offset"],
        row_type=views["row_type"],
        edge_i=views["edge_i"],
        edge_j=views["edge_j"],
        edge_row=views["edge_row"],
        frame_idx=views["frame_idx"],
        nframes=nframes,
        net=net,
    )


def edges_of(packed: Packed) -> Edges:
    """Return views of a packed batch's edges."""
    views = packed.views
    return Edges(
        vec=views["vec"],
        rows=views["rows"],
        radial=views["radial"],
        interval=views["interval"],
        x=views["x"],
        extended=0,
    )


def incidence_of(packed: Packed) -> Incidence:
    """Return views of who gathers from which edge."""
    return Incidence(*(packed.views[f"along_{name}"] for name in Incidence._fields))


def runs_of(packed: Packed) -> Runs:
    """Return views of the edges' order by interval."""
    return Runs(*(packed.views[f"runs_{name}"] for name in Runs._fields))


def _layout(batch: Batch, net: Tensor) -> Layout:
    return Layout(
        row_offset=batch.row_offset,
        row_type=batch.atype[batch.atom_order],
        edge_i=batch.edge_i,
        edge_j=batch.edge_j,
        edge_row=batch.edge_row,
        frame_idx=batch.frame_idx,
        nframes=batch.nframes,
        net=net,
    )


def _bare_tables(grid: Grid, batch: Batch) -> Tables:
    """Return tables without numbers: placing edges needs the grid alone."""
    return Tables(
        lower=grid.lower,
        step=grid.step,
        first=grid.first,
        coefficients=batch.edge_vec.new_empty(0, 6, 0),
        width=0,
    )


def _atoms(batch: Batch, sel: Tensor) -> dict[str, Tensor]:
    """Return what belongs to rows and atoms."""
    order = batch.atom_order
    row_of_atom = torch.empty_like(order)
    row_of_atom[order] = torch.arange(len(order), device=order.device)
    counts = (batch.row_offset[:, 1:] - batch.row_offset[:, :-1]).T
    return {
        "frame_offset": batch.frame_offset,
        "row_frame": batch.frame_idx[order],
        "row_of_atom": row_of_atom,
        "empty": sel - counts.to(sel.dtype),
    }


def _labels(batch: Batch, bias: Tensor) -> dict[str, Tensor]:
    """Return labels and their weights, float64."""
    by_frame = torch.zeros_like(batch.energy)
    by_frame.index_add_(0, batch.frame_idx, bias.double()[batch.atype])
    has_force = batch.has_force[batch.frame_idx]
    return {
        "energy": batch.energy - by_frame,
        "force": batch.force,
        "virial": batch.virial.flatten(1),
        "energy_weight": _share(batch.has_energy, 1),
        "force_weight": _share(has_force, 3),
        "virial_weight": _share(batch.has_virial, 9),
        "natoms": batch.natoms.double(),
    }


def _share(is_labelled: Tensor, components: int) -> Tensor:
    """Return each label's part in a mean over all labelled components."""
    count = is_labelled.sum().clamp(min=1) * components
    return is_labelled.double() / count


def _padded(values: Tensor, length: int, fill: float) -> Tensor:
    """Lengthen an array per edge with entries that nothing reads."""
    out = values.new_full((length, *values.shape[1:]), fill)
    out[: len(values)] = values
    return out
