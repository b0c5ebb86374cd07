"""Merging batches into one, and taking frames out of one."""

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

import torch
from torch import Tensor

from dpbench.kernels.assembly.plan import MergePlan, plan_merge
from dpbench.kernels.assembly.reference import merged_edges
from dpbench.kernels.batch import Batch
from dpbench.shapes import Bool

_JOINED = (
    "atype",
    "energy",
    "force",
    "virial",
    "has_energy",
    "has_force",
    "has_virial",
)
"""Fields that lie behind each other as they are."""


def merge(parts: Sequence[Batch]) -> Batch:
    """Put sorted batches behind each other; the result is sorted, too.

    It equals, bit for bit, the batch made of all frames at once. Of a single part it
    is that very object.

    Args:
        parts: At least one batch, all of one model and on one device.

    Raises:
        ValueError: If there is no part, or the parts know different types.
    """
    if len(parts) == 1:
        return parts[0]
    plan = plan_merge(parts)
    is_on_host = parts[0].edge_vec.device.type == "cpu"
    edges = _copied(parts, plan) if is_on_host else merged_edges(parts, plan)
    joined = {
        name: torch.cat([getattr(part, name) for part in parts])
        for name in (*_JOINED, *_given(parts))
    }
    device = joined["energy"].device
    frame_offset = torch.cat(
        [
            part.frame_offset[(1 if index else 0) :] + start
            for index, (part, start) in enumerate(
                zip(parts, plan.atom_start.tolist(), strict=True)
            )
        ]
    )
    nframes = frame_offset.diff()
    frame_idx = torch.repeat_interleave(
        torch.arange(len(nframes), device=device), nframes, output_size=plan.natoms
    )
    rest: dict[str, Any] = joined | edges
    return Batch(
        frame_offset=frame_offset,
        frame_idx=frame_idx,
        atom_type_offset=plan.atom_type_offset,
        pair_offset=plan.pair_offset,
        most_neighbours=plan.most_neighbours,
        **rest,
    )


def _given(parts: Sequence[Batch]) -> list[str]:
    """Return the optional fields that every part has.

    Raises:
        ValueError: If only some have one.
    """
    given = []
    for name in ("fparam", "aparam"):
        has = [getattr(part, name) is not None for part in parts]
        if any(has) and not all(has):
            raise ValueError(f"{name}: given in {sum(has)} of {len(has)} batches")
        given += [name] if all(has) else []
    return given


def _copied(parts: Sequence[Batch], plan: MergePlan) -> dict[str, Tensor]:
    """Return the index and edge fields, copied by numba."""
    from dpbench.kernels.assembly.cpu import copy_part

    names = ("edge_i", "edge_j", "edge_row", "edge_vec", "row_offset", "atom_order")
    like = {name: getattr(parts[0], name) for name in names}
    nedges, natoms = plan.nedges, plan.natoms
    found = {name: like[name].new_empty(nedges) for name in names[:3]}
    found["edge_vec"] = like["edge_vec"].new_empty(nedges, 3)
    found["row_offset"] = like["row_offset"].new_empty(
        len(plan.pair_offset), natoms + 1
    )
    found["atom_order"] = like["atom_order"].new_empty(natoms)
    out = tuple(found[name].numpy() for name in names)
    for index, part in enumerate(parts):
        place = (
            plan.first[index],
            plan.row_start[index],
            plan.block[index],
            plan.atom_start[index],
        )
        copy_part(tuple(getattr(part, name).numpy() for name in names), place, out)
    found["row_offset"][:, -1] = torch.tensor([pair[-1] for pair in plan.pair_offset])
    return found


def select_frames(batch: Batch, first: int, stop: int) -> Batch:
    """Take some neighbouring frames out of a batch.

    Args:
        batch: Any batch.
        first: Its first frame that is wanted.
        stop: The frame after the last.
    """
    begin, end = batch.frame_offset[[first, stop]].tolist()
    atoms, frames = slice(begin, end), slice(first, stop)
    is_edge = (batch.edge_i >= begin) & (batch.edge_i < end)
    is_row = (batch.atom_order >= begin) & (batch.atom_order < end)
    new_row = torch.cumsum(is_row, 0) - 1
    counts = batch.row_offset.diff(dim=1)[:, is_row]
    ends = torch.cumsum(counts.flatten(), 0).view_as(counts)
    row_offset = torch.cat([(ends - counts)[:, :1], ends], dim=1)
    types = torch.bincount(batch.atype[atoms], minlength=len(batch.pair_offset))
    type_offset = (0, *torch.cumsum(types, 0).tolist())
    taken: dict[str, Tensor] = {
        "edge_i": batch.edge_i[is_edge] - begin,
        "edge_j": batch.edge_j[is_edge] - begin,
        "edge_row": new_row[batch.edge_row[is_edge]].to(torch.int32),
        "edge_vec": batch.edge_vec[is_edge],
        "atom_order": batch.atom_order[is_row] - begin,
        "row_offset": row_offset,
        "frame_offset": batch.frame_offset[first : stop + 1] - begin,
        "frame_idx": batch.frame_idx[atoms] - first,
    }
    for field in fields(batch):
        array = getattr(batch, field.name)
        if isinstance(array, Tensor) and field.name not in taken:
            is_per_atom = field.name in ("atype", "force", "aparam")
            taken[field.name] = array[atoms if is_per_atom else frames]
    rest: dict[str, Any] = taken
    return replace(
        batch,
        atom_type_offset=type_offset,
        pair_offset=tuple(map(tuple, row_offset[:, list(type_offset)].tolist())),
        **rest,
    )


def keep_edges(batch: Batch, is_kept: Bool[Tensor, " edge"]) -> Batch:
    """Drop edges of a batch; those that stay keep their order.

    Args:
        batch: Any batch.
        is_kept: Which edges stay.
    """
    before = torch.zeros(len(is_kept) + 1, dtype=torch.int64, device=is_kept.device)
    torch.cumsum(is_kept, 0, out=before[1:])
    row_offset = before[batch.row_offset]
    pairs = row_offset[:, list(batch.atom_type_offset)]
    counts = row_offset.diff(dim=1)
    most = counts.max(dim=1).values if counts.numel() else counts.new_zeros(len(counts))
    return replace(
        batch,
        edge_i=batch.edge_i[is_kept],
        edge_j=batch.edge_j[is_kept],
        edge_row=batch.edge_row[is_kept],
        edge_vec=batch.edge_vec[is_kept],
        row_offset=row_offset,
        pair_offset=tuple(map(tuple, pairs.tolist())),
        most_neighbours=tuple(most.tolist()),
    )
