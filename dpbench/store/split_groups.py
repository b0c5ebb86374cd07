"""Dealing trajectories to the parts of a split."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import PurePath

import numpy as np
from numpy.typing import NDArray

from dpbench.errors import DatasetError
from dpbench.store.dataset import DatasetVersion, SourceRecord

Index = NDArray[np.int64]

GAP_FRACTION = 0.01
"""Share of a trajectory's frames between two blocks."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Group:
    """Frames that depend on each other: one trajectory."""

    key: str
    """Names the group by content, so that dealing does not depend on order."""
    frames: Index
    """Frame indices in version order, rising."""


def find_groups(version: DatasetVersion, frames: Index) -> list[Group]:
    """Group frames by source; the one-frame sources of a folder are one group."""
    members: dict[str, list[SourceRecord]] = {}
    for source in version.sources:
        members.setdefault(_place(source), []).append(source)
    key_of = {place: _content_key(sources) for place, sources in members.items()}
    keys = [key_of[_place(source)] for source in version.sources]
    frames_of: dict[str, list[Index]] = {}
    source_of = version.source_of[frames]
    order = np.argsort(source_of, kind="stable")
    edges = np.flatnonzero(np.diff(source_of[order])) + 1
    for chunk in np.split(order, edges):
        if len(chunk):
            key = keys[int(source_of[chunk[0]])]
            frames_of.setdefault(key, []).append(frames[chunk])
    return [
        Group(key=key, frames=np.sort(np.concatenate(parts)))
        for key, parts in sorted(frames_of.items())
    ]


def held_out_frames(
    version: DatasetVersion, hold_out: Mapping[str, Sequence[str]]
) -> dict[str, Index]:
    """Find the frames of the sources whose path fits a pattern, by part.

    A pattern (``*``, ``?``, ``[...]``) is held against the path, its tails and its
    file name: ``*_900K*``, ``md/run3/*``.

    Raises:
        DatasetError: If a pattern fits nothing, or a source fits two parts.
    """
    part_of: dict[int, str] = {}
    for part, patterns in hold_out.items():
        for pattern in patterns:
            fitting = [
                i for i, s in enumerate(version.sources) if _fits(s.path, pattern)
            ]
            if not fitting:
                name = PurePath(version.sources[0].path).name
                raise DatasetError(
                    f"hold-out {part}={pattern}: fits no source of {version.label}; "
                    f"expected a pattern such as '*{name}'. "
                    f"See 'dpbench dataset show {version.label}'."
                )
            for i in fitting:
                if part_of.setdefault(i, part) != part:
                    raise DatasetError(
                        f"hold-out {part}={pattern}: fits {version.sources[i].path}, "
                        f"which is in part '{part_of[i]}' already; expected disjoint "
                        "patterns."
                    )
    source_of = version.source_of
    return {
        part: np.flatnonzero(
            np.isin(source_of, [i for i, p in part_of.items() if p == part])
        )
        for part in hold_out
    }


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
    groups: Sequence[Group], shares: Mapping[str, float], seed: int
) -> dict[str, Index]:
    """Cut every group into contiguous blocks, one a part, with gaps between."""
    parts: dict[str, list[Index]] = {name: [] for name in shares}
    for group in groups:
        names = sorted(
            shares, key=lambda name: _shuffle_key(seed, f"{group.key} {name}")
        )
        for name, block in _blocks(group.frames, names, shares).items():
            parts[name].append(block)
    none = np.zeros(0, dtype=np.int64)
    return {name: np.concatenate([none, *blocks]) for name, blocks in parts.items()}


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
    none = np.zeros(0, dtype=np.int64)
    return {name: np.concatenate([none, *frames]) for name, frames in dealt.items()}


def _blocks(
    frames: Index, names: Sequence[str], shares: Mapping[str, float]
) -> dict[str, Index]:
    """Cut frames into blocks in the order of ``names``; short groups have no gap."""
    n_gaps = len(names) - 1
    gap = int(np.ceil(GAP_FRACTION * len(frames)))
    if len(frames) < 2 * len(names) + n_gaps * gap:
        gap = 0
    usable = len(frames) - n_gaps * gap
    counts = _whole_numbers([shares[name] for name in names], usable)
    blocks, start = {}, 0
    for name, count in zip(names, counts, strict=True):
        blocks[name] = frames[start : start + count]
        start += count + gap
    return blocks


def _whole_numbers(shares: Sequence[float], total: int) -> list[int]:
    """Round shares of ``total`` so that they sum to it, none zero if that can be."""
    floor = 1 if total >= len(shares) else 0
    counts = [max(floor, int(share * total)) for share in shares]
    largest = int(np.argmax(shares))
    counts[largest] += total - sum(counts)
    return counts


def _place(source: SourceRecord) -> str:
    """Name what a source shares with those it must not be parted from."""
    if source.n_read == 1:
        return str(PurePath(source.path).parent)
    return f"{source.sha256}#{source.member}"


def _content_key(sources: Sequence[SourceRecord]) -> str:
    """Name a group by its files' content: moving the files changes no split."""
    return " ".join(sorted(f"{s.sha256}#{s.member}" for s in sources))


def _fits(path: str, pattern: str) -> bool:
    parts = PurePath(path).parts
    tails = ["/".join(parts[i:]) for i in range(len(parts))]
    return any(fnmatchcase(text, pattern) for text in (path, *tails))


def _shuffle_key(seed: int, key: str) -> bytes:
    return hashlib.sha256(f"{seed}:{key}".encode()).digest()
