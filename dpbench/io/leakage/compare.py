"""What two sets of frames have in common, on three levels.

- **exact**: the same structure as it is written, whatever its labels.
- **invariant**: the same structure, turned, mirrored, shifted, with atoms in another
  order or in other cell vectors. Exact copies are not counted again.
- **same trajectory**: another frame of the same trajectory and composition, with the
  number of steps between the two. Exact copies count here too: 0 steps.

Exact and invariant need the frames' arrays; the third needs the facts alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpbench.errors import DatasetError
from dpbench.io.leakage.prints import Prints, prints_of
from dpbench.io.leakage.steps import nearest_codes, version_codes
from dpbench.io.leakage.windows import twins_between, twins_within
from dpbench.io.quality.twins import Pairs
from dpbench.store.dataset import DatasetVersion
from dpbench.store.digests import as_keys
from dpbench.store.splits.trajectories import find_trajectories

Index = NDArray[np.int64]

MOST_PAIRS = 5
"""Pairs of each level that ``to_json`` names unless told otherwise."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Level:
    """The frames of B that have a partner in A, one partner each."""

    a: Index
    """(found), frame of A in version order."""
    b: Index
    """(found), frame of B in version order, rising."""
    distance: NDArray[np.float64]
    """(found): 0 (exact), difference of fingerprints (twins), steps (trajectory)."""

    @property
    def count(self) -> int:
        """Frames of B that have a partner."""
        return len(self.b)


@dataclass(frozen=True, kw_only=True, slots=True)
class Leakage:
    """What frames of B have in common with frames of A."""

    a: DatasetVersion
    """Version of A."""
    b: DatasetVersion
    """Version of B."""
    n_a: int
    """Frames of A."""
    n_b: int
    """Frames of B."""
    exact: Level | None
    """Equal structures; None = not checked."""
    n_equal_labels: int | None
    """How many of them have equal labels too."""
    invariant: Level | None
    """Twins; None = not checked."""
    same_trajectory: Level
    """Frames of trajectories that A has frames of."""
    why_not: str = ""
    """Why a level was not checked."""

    def facts(self) -> dict[str, Any]:
        """Return the counts, as splits and records keep them."""
        steps = self.same_trajectory.distance
        return {
            "n_a": self.n_a,
            "n_b": self.n_b,
            "exact": None if self.exact is None else self.exact.count,
            "equal_labels": self.n_equal_labels,
            "invariant": None if self.invariant is None else self.invariant.count,
            "same_trajectory": self.same_trajectory.count,
            "nearest_steps": int(steps.min()) if len(steps) else None,
            "why_not": self.why_not,
        }

    def to_json(self, most: int = MOST_PAIRS) -> dict[str, Any]:
        """Return counts, fractions of B, and the first pairs of each level."""
        levels: dict[str, Any] = {}
        for name in ("exact", "invariant", "same_trajectory"):
            level: Level | None = getattr(self, name)
            levels[name] = level and {
                "frames": level.count,
                "fraction": level.count / self.n_b if self.n_b else 0.0,
                "nearest": float(level.distance.min()) if level.count else None,
                "pairs": [self._pair(level, i) for i in range(min(most, level.count))],
            }
        if levels["exact"] is not None:
            levels["exact"]["equal_labels"] = self.n_equal_labels
        return {
            "n_a": self.n_a,
            "n_b": self.n_b,
            "why_not": self.why_not,
            "levels": levels,
        }

    def _pair(self, level: Level, number: int) -> dict[str, Any]:
        return {
            "a": _place(self.a, int(level.a[number])),
            "b": _place(self.b, int(level.b[number])),
            "distance": float(level.distance[number]),
        }


def leakage(
    a: DatasetVersion,
    a_frames: NDArray[np.integer] | Sequence[int],
    b: DatasetVersion,
    b_frames: NDArray[np.integer] | Sequence[int],
    *,
    most: int | None = None,
) -> Leakage:
    """Find what frames of ``b`` have in common with frames of ``a``.

    Where frames cannot be read, exact and invariant overlap are not checked, and the
    answer says so.

    Args:
        a: A version, such as the one that a model was trained on.
        a_frames: Its frames, in version order.
        b: A version, such as the one that it is tested on; may be the same.
        b_frames: Its frames.
        most: Frames of either to fingerprint for which the caller has time; above it
            twins are not looked for, and the answer says so. None = any number.
    """
    one, two = np.asarray(a_frames, np.int64), np.asarray(b_frames, np.int64)
    try:
        prints = prints_of(a, one, most=most), prints_of(b, two, most=most)
    except DatasetError as error:
        return compare((a, one, None), (b, two, None), why_not=str(error))
    is_whole = all(p.invariant is not None for p in prints)
    return compare(
        (a, one, prints[0]),
        (b, two, prints[1]),
        why_not="" if is_whole else too_many(most),
    )


def too_many(most: int | None) -> str:
    """Say why twins were not looked for."""
    return (
        f"twins were not looked for among more than {most} new frames; 'dpbench "
        "dataset leakage' and 'dpbench dataset split' do it for any number"
    )


def compare(
    a: tuple[DatasetVersion, Index, Prints | None],
    b: tuple[DatasetVersion, Index, Prints | None],
    *,
    why_not: str = "",
) -> Leakage:
    """Compare frames whose prints are there already, or cannot be had.

    Args:
        a: Version, frames and their prints.
        b: Likewise.
        why_not: Why there are no prints.
    """
    (of_a, one, prints_a), (of_b, two, prints_b) = a, b
    exact = invariant = n_equal = None
    if prints_a is not None and prints_b is not None:
        exact, n_equal = _exact(one, prints_a, two, prints_b)
        if prints_a.invariant is not None and prints_b.invariant is not None:
            twins = twins_between(prints_a.invariant, prints_b.invariant)
            invariant = _invariant(one, two, twins, exact)
    return Leakage(
        a=of_a,
        b=of_b,
        n_a=len(one),
        n_b=len(two),
        exact=exact,
        n_equal_labels=n_equal,
        invariant=invariant,
        same_trajectory=_same_trajectory(of_a, one, of_b, two),
        why_not=why_not,
    )


def twin_pairs(prints: Prints) -> Index:
    """Chain all frames that are one structure, exactly or up to a turn.

    Returns:
        (pair, 2), positions among the prints.
    """
    keys = as_keys(prints.structure)
    order = np.argsort(keys, kind="stable")
    same = np.flatnonzero(keys[order[1:]] == keys[order[:-1]])
    exact = np.stack([order[same], order[same + 1]], axis=1)
    pairs: Index = exact.astype(np.int64)
    if prints.invariant is not None:
        twins = twins_within(prints.invariant)
        pairs = np.concatenate([pairs, np.stack([twins.i, twins.j], axis=1)])
    return pairs


def _exact(
    one: Index, prints_a: Prints, two: Index, prints_b: Prints
) -> tuple[Level, int]:
    place = _first_at(prints_a.structure, prints_b.structure)
    found = np.flatnonzero(place >= 0)
    n_equal = int((_first_at(prints_a.content, prints_b.content) >= 0).sum())
    return _level(one[place[found]], two[found], np.zeros(len(found))), n_equal


def _invariant(one: Index, two: Index, twins: Pairs, exact: Level) -> Level:
    is_new = ~np.isin(two[twins.j], exact.b)
    i, j, distance = twins.i[is_new], twins.j[is_new], twins.distance[is_new]
    nearest = np.lexsort((i, distance, j))
    nearest = nearest[np.unique(j[nearest], return_index=True)[1]]
    return _level(one[i[nearest]], two[j[nearest]], distance[nearest])


def _same_trajectory(
    a: DatasetVersion, one: Index, b: DatasetVersion, two: Index
) -> Level:
    """For each frame of b in a trajectory that a has too, find the nearest step."""
    both = find_trajectories(a, b)
    number: dict[tuple[int, str], int] = {}
    known = version_codes(a, one, both, number)
    wanted = version_codes(b, two, both, number)
    found, partner, steps = nearest_codes(known, wanted)
    return _level(one[partner], two[found], steps)


def _first_at(known: NDArray[np.uint8], wanted: NDArray[np.uint8]) -> Index:
    """(wanted), first place of each digest in ``known``; -1 = nowhere."""
    if not len(known):
        return np.full(len(wanted), -1, dtype=np.int64)
    keys, first = np.unique(as_keys(known), return_index=True)
    asked = as_keys(wanted)
    at = np.minimum(np.searchsorted(keys, asked), len(keys) - 1)
    return np.where(keys[at] == asked, first[at], -1).astype(np.int64)


def _level(a: Index, b: Index, distance: NDArray[np.float64]) -> Level:
    order = np.argsort(b, kind="stable")
    return Level(a=a[order], b=b[order], distance=distance[order])


def _place(version: DatasetVersion, frame: int) -> dict[str, Any]:
    source = version.sources[int(version.source_of[frame])]
    return {
        "dataset": version.label,
        "frame": frame,
        "path": source.path,
        "member": source.member,
        "step": int(version.step[frame]),
    }
