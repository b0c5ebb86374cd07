"""Twins in a split: frames that are one structure must lie on one side.

Pairs of twins come from elsewhere (``io.leakage`` finds them); here they are chained
to units. Groups that share many twins are dealt as one. A few twins, such as the first
frame that runs at several temperatures have in common, do not bind whole trajectories
together: where such a unit lies in several parts, it stays in the last of them, so that
training gives way to tests, and its other frames belong to no part.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from dpbench.store.splits.groups import Group, Index
from dpbench.store.splits.units import units

JOIN_SHARE = 0.5
"""Share of the smaller group's frames with twins in the other that makes them one."""


def join_groups(groups: Sequence[Group], unit_of: Index) -> list[Group]:
    """Make one group of those that share many twins.

    Args:
        groups: Disjoint groups.
        unit_of: (frame), as ``units`` gives it.
    """
    group_of = np.full(len(unit_of), -1, dtype=np.int64)
    for number, group in enumerate(groups):
        group_of[group.frames] = number
    pairs = _binding(group_of, unit_of, [len(group.frames) for group in groups])
    merged: dict[int, list[Group]] = {}
    for number, root in enumerate(units(len(groups), pairs).tolist()):
        merged.setdefault(root, []).append(groups[number])
    return [
        members[0]
        if len(members) == 1
        else Group(
            key=" + ".join(sorted(group.key for group in members)),
            frames=np.concatenate([group.frames for group in members]),
        )
        for members in merged.values()
    ]


def set_aside(
    parts: Mapping[str, Index], unit_of: Index
) -> tuple[dict[str, Index], int]:
    """Take frames out of a part whose twin lies in a later one.

    Args:
        parts: Frames of each part; the order of the parts says which gives way.
        unit_of: (frame), as ``units`` gives it.

    Returns:
        The parts, and how many frames were taken out.
    """
    last = np.full(len(unit_of), -1, dtype=np.int64)
    for number, index in enumerate(parts.values()):
        np.maximum.at(last, unit_of[index], number)
    kept = {
        name: index[last[unit_of[index]] == number]
        for number, (name, index) in enumerate(parts.items())
    }
    n_out = sum(len(index) for index in parts.values())
    return kept, n_out - sum(len(index) for index in kept.values())


def _binding(group_of: Index, unit_of: Index, sizes: Sequence[int]) -> Index:
    """(pair, 2), groups of which the smaller has enough twins in the other."""
    size = np.bincount(unit_of, minlength=len(unit_of))
    dealt = np.flatnonzero((group_of >= 0) & (size[unit_of] > 1))
    dealt = dealt[np.argsort(unit_of[dealt], kind="stable")]
    edges = np.flatnonzero(np.diff(unit_of[dealt])) + 1
    shared: dict[tuple[int, int], list[int]] = {}
    for members in np.split(dealt, edges):
        if len(members) < 2:
            continue
        there, counts = np.unique(group_of[members], return_counts=True)
        for i in range(len(there)):
            for j in range(i + 1, len(there)):
                both = shared.setdefault((int(there[i]), int(there[j])), [0, 0])
                both[0] += int(counts[i])
                both[1] += int(counts[j])
    binding = [
        pair
        for pair, counts in shared.items()
        if counts[int(sizes[pair[1]] < sizes[pair[0]])]
        >= JOIN_SHARE * min(sizes[pair[0]], sizes[pair[1]])
    ]
    return np.array(sorted(binding), dtype=np.int64).reshape(-1, 2)
