"""Keeping the nearest neighbours of each atom, as DeePMD-kit fills its slots.

DeePMD-kit gives every atom a fixed number of slots and drops what does not fit. Its
backends differ in what they drop, see ``nearest``.
"""

from typing import Literal

import torch
from torch import Tensor

from dpbench.shapes import Bool, Float, Int

Rule = Literal["deepmd", "deepmd-tf"]
"""Which of DeePMD-kit's rules; see ``nearest``."""


def nearest(
    centre: Int[Tensor, " edge"],
    kind: Int[Tensor, " edge"],
    squared: Float[Tensor, " edge"],
    *,
    sel: tuple[int, ...],
    is_mixed: bool,
    rule: Rule = "deepmd",
) -> Bool[Tensor, " edge"]:
    """Tell which neighbours DeePMD-kit keeps.

    ``deepmd`` is the rule of the backends PyTorch, JAX, Paddle and NumPy: of all
    neighbours the nearest sum(sel) stay, and of those the nearest sel[t] of each type.
    ``deepmd-tf`` is that of TensorFlow: the nearest sel[t] of each type. They differ
    where an atom has more than sum(sel) neighbours. Where distances are equal
    DeePMD-kit's choice is arbitrary; here the edge that comes first stays.

    Args:
        centre: Centre of each edge, any numbering.
        kind: Type of the neighbour.
        squared: Squared length, Å^2.
        sel: Slots per type; ``is_mixed``: only their sum counts.
        is_mixed: Whether slots are of any type.
        rule: Which backend's rule.
    """
    is_kept = torch.ones_like(centre, dtype=torch.bool)
    if is_mixed or rule == "deepmd":
        is_kept = _rank(centre.long(), squared) < sum(sel)
    if is_mixed:
        return is_kept
    left = torch.nonzero(is_kept).squeeze(1)
    slots = torch.tensor(sel, device=centre.device)
    bucket = centre[left].long() * len(sel) + kind[left].long()
    is_kept[left] = _rank(bucket, squared[left]) < slots[kind[left].long()]
    return is_kept


def _rank(
    bucket: Int[Tensor, " edge"], squared: Float[Tensor, " edge"]
) -> Int[Tensor, " edge"]:
    """Return the place of each edge within its bucket, nearest first."""
    order = torch.argsort(squared, stable=True)
    order = order[torch.argsort(bucket[order], stable=True)]
    sorted_bucket = bucket[order]
    place = torch.arange(len(order), device=order.device)
    first = torch.searchsorted(sorted_bucket, sorted_bucket)
    rank = torch.empty_like(order)
    rank[order] = place - first
    return rank
