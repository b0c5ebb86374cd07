"""Merging sorted batches with torch alone, on any device."""

from collections.abc import Sequence

import torch
from torch import Tensor

from dpbench.kernels.assembly.plan import MergePlan
from dpbench.kernels.batch import Batch


def merged_edges(parts: Sequence[Batch], plan: MergePlan) -> dict[str, Tensor]:
    """Return the index and edge fields of the merged batch.

    Args:
        parts: Sorted batches on one device.
        plan: Where each slice goes.
    """
    device = parts[0].edge_vec.device

    def tensor(array: object) -> Tensor:
        return torch.as_tensor(array, device=device)

    def spread(values: Tensor, lengths: Tensor, total: int) -> Tensor:
        # Told its size, the device is not waited for.
        return torch.repeat_interleave(values, lengths, output_size=total)

    natoms, nedges = plan.natoms, plan.nedges
    starts = tensor(plan.atom_start)
    atom_start = spread(starts, tensor(plan.rows.sum(axis=1)), natoms)
    # Rows of all parts behind each other, and where each goes.
    lengths = tensor(plan.rows.ravel())
    before = torch.cumsum(lengths, 0) - lengths
    moved = tensor(plan.row_start.ravel()) - before
    row_to = spread(moved, lengths, natoms)
    row_to = row_to + torch.arange(len(row_to), device=device)
    atom_order = torch.empty_like(row_to)
    atom_order[row_to] = torch.cat([part.atom_order for part in parts]) + atom_start
    counts = torch.cat([part.row_offset.diff(dim=1) for part in parts], dim=1)
    sorted_counts = torch.empty_like(counts)
    sorted_counts[:, row_to] = counts
    ends = torch.cumsum(sorted_counts.flatten(), 0).view_as(counts)
    row_offset = torch.cat([(ends - sorted_counts)[:, :1], ends], dim=1)
    # Edges of all parts behind each other; where each comes from.
    lengths = tensor(plan.lengths.ravel())
    begin = torch.cumsum(lengths, 0) - lengths
    to = spread(tensor(plan.block.ravel()) - begin, lengths, nedges)
    to = to + torch.arange(len(to), device=device)
    atom_shift = spread(starts, tensor(plan.lengths.sum(axis=(1, 2))), nedges)
    edge_row = row_to[torch.cat([p.edge_row for p in parts]) + atom_shift]
    edges = {
        "edge_i": torch.cat([part.edge_i for part in parts]) + atom_shift,
        "edge_j": torch.cat([part.edge_j for part in parts]) + atom_shift,
        "edge_row": edge_row,
    }
    fields = {"edge_vec": torch.cat([part.edge_vec for part in parts])}
    fields |= {name: index.to(torch.int32) for name, index in edges.items()}
    found = {}
    for name, array in fields.items():
        found[name] = torch.empty_like(array)
        found[name][to] = array
    return found | {"atom_order": atom_order, "row_offset": row_offset}
