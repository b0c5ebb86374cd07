"""Dealing groups of frames to the parts of a split."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dpbench.errors import DatasetError
from dpbench.store.digests import as_keys
from dpbench.store.splits.groups import Group, Index

GAP_FRACTION = 0.01
"""Share of a trajectory's frames between two blocks, where no gap is asked for."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Duration:
    """A time along a trajectory."""

    fs: float
    """Femtoseconds."""

    def __str__(self) -> str:
        """Write it with its unit."""
        return f"{self.fs:g} fs"


Gap = int | Duration | None
"""What lies between two blocks: frames, a time, or a hundredth of the trajectory."""


def by_group(
    groups: Sequence[Group], shares: Mapping[str, float], seed: int
) -> dict[str, Index]:
    """Deal whole groups, each to the part that lacks most; no part stays empty.

    Where a random order would leave the largest part with less than half its share
    (one long trajectory among short ones), groups are dealt by size instead.
    """
    order = sorted(groups, key=lambda group: _shuffle_key(seed, group.key))
    parts = _deal(order, shares)
    total = sum(len(group.frames) for group in groups)
    largest = max(shares, key=lambda name: shares[name])
    if len(parts[largest]) < 0.5 * shares[largest] * total:
        order = sorted(order, key=lambda group: -len(group.frames))
        parts = _deal(order, shares)
    return parts


def by_block(
    groups: Sequence[Group],
    shares: Mapping[str, float],
    seed: int,
    *,
    gap: Gap = None,
) -> dict[str, Index]:
    """Cut every group into contiguous blocks, one a part, with gaps between.

    Args:
        groups: Trajectories, in the order of time.
        shares: Share of each part.
        seed: Decides which part comes first in each trajectory.
        gap: What lies between two blocks; None = a hundredth of the trajectory.

    Raises:
        DatasetError: If a gap in fs is asked for, and a file tells no time step.
    """
    return _cut(
        [
            (
                group,
                sorted(shares, key=lambda n: _shuffle_key(seed, f"{group.key} {n}")),
            )
            for group in groups
        ],
        shares,
        gap,
    )


def by_time(
    groups: Sequence[Group], shares: Mapping[str, float], *, gap: Gap = None
) -> dict[str, Index]:
    """Cut every group in the order of the parts: the first frames to the first part.

    Args:
        groups: Trajectories, in the order of time.
        shares: Share of each part; their order is the order in time.
        gap: What lies between two blocks; None = a hundredth of the trajectory.

    Raises:
        DatasetError: If a gap in fs is asked for, and a file tells no time step.
    """
    return _cut([(group, list(shares)) for group in groups], shares, gap)


def by_frame(
    frames: Index,
    shares: Mapping[str, float],
    seed: int,
    *,
    digests: NDArray[np.uint8],
    unit_of: Index,
) -> dict[str, Index]:
    """Deal single frames at random; frames of one unit go together.

    Args:
        frames: The frames to deal.
        shares: Share of each part.
        seed: Seed of the order.
        digests: (frame, 32), digests of all frames of the version: dealing by content
            does not depend on the order of ingest.
        unit_of: (frame), unit of every frame of the version.
    """
    order = frames[np.argsort(as_keys(digests[frames]), kind="stable")]
    _, first, inverse, sizes = np.unique(
        unit_of[order], return_index=True, return_inverse=True, return_counts=True
    )
    # Units are numbered by their first frame in the order of digests, then shuffled.
    rank = np.empty(len(first), dtype=np.int64)
    rank[np.argsort(first)] = np.random.default_rng(seed).permutation(len(first))
    shuffled = np.empty(len(first), dtype=np.int64)
    shuffled[rank] = sizes
    edges = np.cumsum(_whole_numbers(list(shares.values()), len(frames)))[:-1]
    part_of_rank = np.searchsorted(edges, np.cumsum(shuffled) - shuffled, side="right")
    if len(first) >= len(shares):
        part_of_rank = _fill(part_of_rank, len(shares))
    part_of = part_of_rank[rank][inverse.reshape(-1)]
    return {name: order[part_of == i] for i, name in enumerate(shares)}


def _fill(part_of: Index, n_parts: int) -> Index:
    """Give a part that large units have crowded out one unit of its neighbour."""
    counts = np.bincount(part_of, minlength=n_parts)
    while (counts == 0).any():
        empty = int(np.flatnonzero(counts == 0)[0])
        part_of[np.flatnonzero(part_of == int(counts.argmax()))[-1]] = empty
        counts = np.bincount(part_of, minlength=n_parts)
    return part_of


def _deal(order: Sequence[Group], shares: Mapping[str, float]) -> dict[str, Index]:
    total = sum(len(group.frames) for group in order)
    dealt: dict[str, list[Index]] = {name: [] for name in shares}
    sizes = dict.fromkeys(shares, 0)
    for position, group in enumerate(order):
        empty = [name for name in shares if not dealt[name]]
        must_fill = len(order) - position <= len(empty)
        open_parts = empty if must_fill else list(shares)
        lacks = {name: shares[name] * total - sizes[name] for name in open_parts}
        name = max(lacks, key=lambda part: lacks[part])
        dealt[name].append(group.frames)
        sizes[name] += len(group.frames)
    return _joined(dealt)


def _cut(
    ordered: Sequence[tuple[Group, Sequence[str]]],
    shares: Mapping[str, float],
    gap: Gap,
) -> dict[str, Index]:
    parts: dict[str, list[Index]] = {name: [] for name in shares}
    for group, names in ordered:
        width = _width(group, gap)
        for name, block in _blocks(group.frames, names, shares, width).items():
            parts[name].append(block)
    return _joined(parts)


def _width(group: Group, gap: Gap) -> int | None:
    """Turn a time into frames; a number of frames stays what it is."""
    if not isinstance(gap, Duration):
        return gap
    if len(group.frames) == 1:
        return 1
    if group.spacing is None:
        raise DatasetError(
            f"gap of {gap}: {group.path} tells no time step; expected one from every "
            "trajectory. Give the gap in frames."
        )
    if group.spacing <= 0:
        return len(group.frames)
    return max(1, int(np.ceil(gap.fs / group.spacing)))


def _blocks(
    frames: Index, names: Sequence[str], shares: Mapping[str, float], gap: int | None
) -> dict[str, Index]:
    """Cut frames into blocks in the order of ``names``.

    A trajectory that is too short for the gap that was asked for goes whole to the
    largest part; where none was asked for, its blocks have no gap.
    """
    n_gaps = len(names) - 1
    width = int(np.ceil(GAP_FRACTION * len(frames))) if gap is None else gap
    if len(frames) < 2 * len(names) + n_gaps * width:
        if gap:
            return {max(shares, key=lambda name: shares[name]): frames}
        width = 0
    usable = len(frames) - n_gaps * width
    counts = _whole_numbers([shares[name] for name in names], usable)
    blocks, start = {}, 0
    for name, count in zip(names, counts, strict=True):
        blocks[name] = frames[start : start + count]
        start += count + width
    return blocks


def _whole_numbers(shares: Sequence[float], total: int) -> list[int]:
    """Round shares of ``total`` so that they sum to it, none zero if that can be."""
    floor = 1 if total >= len(shares) else 0
    counts = [max(floor, int(share * total)) for share in shares]
    largest = int(np.argmax(shares))
    counts[largest] += total - sum(counts)
    return counts


def _joined(parts: Mapping[str, Sequence[Index]]) -> dict[str, Index]:
    none = np.zeros(0, dtype=np.int64)
    return {name: np.concatenate([none, *frames]) for name, frames in parts.items()}


def _shuffle_key(seed: int, key: str) -> bytes:
    return hashlib.sha256(f"{seed}:{key}".encode()).digest()
