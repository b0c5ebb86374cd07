"""Groups of frames that a split must not part."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import PurePath

import numpy as np
from numpy.typing import NDArray

from dpbench.errors import DatasetError
from dpbench.store.dataset import DatasetVersion
from dpbench.store.splits.trajectories import Trajectories, find_trajectories

Index = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Group:
    """Frames that depend on each other: a trajectory, a file, a composition."""

    key: str
    """Names the group by content, so that dealing does not depend on order."""
    frames: Index
    """Frame indices in version order, in the order of time."""
    path: str = ""
    """One of its files: a hint."""
    spacing: float | None = None
    """The least time between two frames, fs; None = the files do not tell it."""


def find_groups(version: DatasetVersion, frames: Index) -> list[Group]:
    """Group frames by trajectory, as ``trajectories`` explains."""
    return _by_trajectory(version, frames, find_trajectories(version))


def find_sources(version: DatasetVersion, frames: Index) -> list[Group]:
    """Group frames by source file, files of one frame too; a file that grew is one."""
    return _by_trajectory(version, frames, find_trajectories(version, by_folder=False))


def find_compositions(version: DatasetVersion, frames: Index) -> list[Group]:
    """Group frames by composition, whatever files they come from."""
    formulas = np.array(version.formulas, dtype=str)[frames]
    names, inverse = np.unique(formulas, return_inverse=True)
    of_frame = inverse.reshape(-1)
    order = np.argsort(of_frame, kind="stable")
    edges = np.searchsorted(of_frame[order], np.arange(1, len(names)))
    return [
        Group(key=str(name), frames=frames[part])
        for name, part in zip(names, np.split(order, edges), strict=True)
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


def _by_trajectory(
    version: DatasetVersion, frames: Index, found: Trajectories
) -> list[Group]:
    """Group frames by trajectory, in the order of time."""
    if not len(frames):
        return []
    number, position = (of_frame[frames] for of_frame in found.of(version))
    members: dict[int, set[tuple[str, str]]] = {}
    for file, trajectory in found.of_file.items():
        members.setdefault(trajectory, set()).add(file)
    order = np.lexsort((version.source_of[frames], position, number))
    edges = np.flatnonzero(np.diff(number[order])) + 1
    groups = []
    for part in np.split(order, edges):
        mine = frames[part]
        # Named by the files' content: moving the files changes no split.
        files = sorted(members[int(number[part[0]])])
        groups.append(
            Group(
                key=" ".join(f"{sha256}#{member}" for sha256, member in files),
                frames=mine,
                path=version.sources[int(version.source_of[mine[0]])].path,
                spacing=_spacing(version, mine, position[part]),
            )
        )
    return sorted(groups, key=lambda group: group.key)


def _spacing(version: DatasetVersion, frames: Index, position: Index) -> float | None:
    """Return the least time between two frames of one trajectory, fs."""
    sources = np.unique(version.source_of[frames]).tolist()
    time_steps = {version.sources[i].time_step for i in sources}
    time_step = time_steps.pop()
    stride = np.diff(position)
    if time_steps or time_step is None or not len(stride):
        return None
    return float(time_step * stride.min())


def _fits(path: str, pattern: str) -> bool:
    parts = PurePath(path).parts
    tails = ["/".join(parts[i:]) for i in range(len(parts))]
    return any(fnmatchcase(text, pattern) for text in (path, *tails))
