"""More neighbours than slots: an error, or DeePMD-kit's truncation.

``sel`` divides the descriptor and weighs its padding. An atom with more neighbours
than slots is outside what the model was made for, and DeePMD-kit would drop the
farthest, so that its energy jumps. dpbench stops there, unless it is asked for
DeePMD-kit's numbers, which an imported model may need.

``within_sel`` serves everything that has a ``Batch``: call it on each batch before the
model. It costs a comparison of some integers where no atom can overflow.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dpbench.errors import NeighbourSlotsError
from dpbench.kernels.assembly import keep_edges
from dpbench.kernels.batch import Batch
from dpbench.kernels.nearest import nearest
from dpbench.kernels.neighbours import Neighbours
from dpbench.models.config import ModelConfig
from dpbench.models.descriptor_config import PlainDescriptor
from dpbench.shapes import Int64

SEL_EXPECTS = "the model's sel expects at most"
"""In the words of every ``overflow_error``, for who gets them from another program."""

SelOverflow = Literal["error", "deepmd", "deepmd-tf"]
"""What to do with more neighbours than ``sel``: stop, or drop the farthest as
DeePMD-kit does; its TensorFlow backend has a rule of its own, see ``nearest``."""


def trained_overflow(provenance: Mapping[str, Any]) -> SelOverflow:
    """Return what a model's training did with more neighbours than slots.

    It is the default of evaluation, dynamics and the ASE calculator.
    """
    training = (provenance.get("config") or {}).get("training") or {}
    wish: SelOverflow = training.get("sel_overflow") or "error"
    return wish


def within_sel(
    batch: Batch,
    config: ModelConfig,
    *,
    overflow: SelOverflow = "error",
    names: Sequence[str] | None = None,
) -> Batch:
    """Return a batch in which no atom has more neighbours than the model has slots.

    For molecular dynamics, too: call it on each batch that is built from a list. Code
    with neighbour tables of its own compares its counts per type with
    ``config.descriptor.parts[k].sel``, calls ``kernels.nearest.nearest`` where they
    are exceeded, and ``overflow_error`` to say so.

    Args:
        batch: Any batch.
        config: The model.
        overflow: ``error``, or the rule by which neighbours are dropped.
        names: What to call each frame in an error; by default its number.

    Returns:
        ``batch`` itself where nothing is too much.

    Raises:
        NeighbourSlotsError: If an atom has more neighbours than slots and ``overflow``
            is ``error``; or if the model is a hybrid, which nothing is dropped for.
    """
    for part in config.descriptor.parts:
        if _fits(batch.most_neighbours, part):
            continue
        counts = _counts(batch, part, config.descriptor.rcut)
        excess = _excess(counts, part)
        if not bool((excess > 0).any()):
            continue
        if overflow == "error" or len(config.descriptor.parts) > 1:
            raise _error_of(batch, counts, excess, (config, part), names)
        kept = nearest(
            batch.edge_row,
            _kinds(batch),
            batch.edge_vec.double().square().sum(dim=1),
            sel=part.sel,
            is_mixed=part.mixed_types,
            rule=overflow,
        )
        return keep_edges(batch, kept)
    return batch


def nearest_neighbours(
    found: Neighbours,
    vectors: NDArray[np.float64],
    atype: NDArray[np.int64],
    descriptor: PlainDescriptor,
    *,
    overflow: Literal["deepmd", "deepmd-tf"],
) -> Neighbours:
    """Return what DeePMD-kit would keep of the neighbours of one frame.

    Args:
        found: All neighbours within the cutoff.
        vectors: (edge, 3), Å, their vectors.
        atype: (atom), types.
        descriptor: Its ``sel`` limits them.
        overflow: The rule.
    """
    kinds = atype[found.edge_j]
    bucket = found.edge_i.astype(np.int64) * (int(atype.max(initial=0)) + 1) + kinds
    counts = np.bincount(bucket, minlength=1)
    if counts.max() <= min(descriptor.sel) and not descriptor.mixed_types:
        return found
    kept = nearest(
        torch.from_numpy(found.edge_i),
        torch.from_numpy(kinds),
        torch.from_numpy((vectors**2).sum(axis=1)),
        sel=descriptor.sel,
        is_mixed=descriptor.mixed_types,
        rule=overflow,
    ).numpy()
    return Neighbours(
        edge_i=found.edge_i[kept], edge_j=found.edge_j[kept], shift=found.shift[kept]
    )


def overflow_error(
    config: ModelConfig, *, frame: str, atom: int, types: tuple[int, int], count: int
) -> NeighbourSlotsError:
    """Word the error of an atom with more neighbours than slots.

    Args:
        config: The model.
        frame: Which frame, e.g. ``frame 3``; empty where there is only one.
        atom: Number of the atom in its frame.
        types: Its type, and the type of its neighbours; -1 for all types together.
        count: Neighbours of that type.
    """
    centre, kind = types
    symbols = config.type_map
    of_kind = symbols[kind] if kind >= 0 else "neighbours"
    part = next(
        (p for p in config.descriptor.parts if p.mixed_types == (kind < 0)),
        config.descriptor.parts[0],
    )
    slots = part.sel[kind] if kind >= 0 else sum(part.sel)
    where = f"{frame}, atom" if frame else "atom"
    return NeighbourSlotsError(
        f"{where} {atom} ({symbols[centre]}): has {count} {of_kind} within "
        f"{config.descriptor.rcut:g} Å; {SEL_EXPECTS} {slots}. Train "
        "with a larger sel, or reproduce what DeePMD-kit does, which drops the "
        'farthest, with --sel-overflow deepmd, in Python sel_overflow="deepmd".'
    )


def _fits(most: Sequence[int], part: PlainDescriptor) -> bool:
    """Say whether these bounds per type are within the slots."""
    if part.mixed_types:
        return sum(most) <= sum(part.sel)
    return all(count <= slots for count, slots in zip(most, part.sel, strict=True))


def _kinds(batch: Batch) -> Int64[Tensor, " edge"]:
    """Return the type of each edge's neighbour."""
    device = batch.edge_vec.device
    ends = [pairs[-1] - pairs[0] for pairs in batch.pair_offset]
    types = torch.arange(len(ends), device=device)
    lengths = torch.tensor(ends, device=device)
    return torch.repeat_interleave(types, lengths, output_size=sum(ends))


def _counts(
    batch: Batch, part: PlainDescriptor, rcut: float
) -> Int64[Tensor, "type row"]:
    """Count neighbours within the part's cutoff, per type and row."""
    counts = batch.row_offset.diff(dim=1)
    if part.rcut >= rcut:
        return counts
    near = batch.edge_vec.double().square().sum(dim=1) < part.rcut**2
    bucket = _kinds(batch) * counts.shape[1] + batch.edge_row
    inside = torch.bincount(bucket[near], minlength=counts.numel())
    return inside.view_as(counts)


def _excess(
    counts: Int64[Tensor, "type row"], part: PlainDescriptor
) -> Int64[Tensor, "kind row"]:
    """Return how many neighbours are too many; one kind where slots are mixed."""
    if part.mixed_types:
        return counts.sum(dim=0, keepdim=True) - sum(part.sel)
    return counts - torch.tensor(part.sel, device=counts.device).unsqueeze(1)


def _error_of(
    batch: Batch,
    counts: Int64[Tensor, "type row"],
    excess: Int64[Tensor, "kind row"],
    model: tuple[ModelConfig, PlainDescriptor],
    names: Sequence[str] | None,
) -> NeighbourSlotsError:
    """Word the error of the atom that has the most too many."""
    config, part = model
    kind, row = divmod(int(excess.argmax()), excess.shape[1])
    atom = int(batch.atom_order[row])
    frame = int(batch.frame_idx[atom])
    if names is None:
        name = f"frame {frame}" if batch.nframes > 1 else ""
    else:
        name = names[frame]
    count = counts[:, row].sum() if part.mixed_types else counts[kind, row]
    return overflow_error(
        config,
        frame=name,
        atom=atom - int(batch.frame_offset[frame]),
        types=(int(batch.atype[atom]), -1 if part.mixed_types else kind),
        count=int(count),
    )
