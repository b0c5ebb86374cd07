"""Groups of frames that a split must not part."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import PurePath

import numpy as np
from numpy.typing import NDArray

from dpbench.errors import DatasetError
from dpbench.store.dataset import DatasetVersion, SourceRecord

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
    """Group frames by trajectory: by file; one-frame files of a folder together."""
    return _by_source(version, frames, _place)


def find_sources(version: DatasetVersion, frames: Index) -> list[Group]:
    """Group frames by source file, files of one frame too."""
    return _by_source(version, frames, _file)


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


def _by_source(
    version: DatasetVersion, frames: Index, place: Callable[[SourceRecord], str]
) -> list[Group]:
    """Group frames by the place of their source."""
    members: dict[str, list[SourceRecord]] = {}
    for source in version.sources:
        members.setdefault(place(source), []).append(source)
    key_of = {name: _content_key(sources) for name, sources in members.items()}
    keys = [key_of[place(source)] for source in version.sources]
    frames_of: dict[str, list[Index]] = {}
    for chunk in _chunks(version, frames):
        key = keys[int(version.source_of[chunk[0]])]
        frames_of.setdefault(key, []).append(chunk)
    return [
        Group(
            key=key,
            frames=np.concatenate(chunks),
            path=version.sources[int(version.source_of[chunks[0][0]])].path,
            spacing=_spacing(version, chunks[0]) if len(chunks) == 1 else None,
        )
        for key, chunks in sorted(frames_of.items())
    ]


def _spacing(version: DatasetVersion, frames: Index) -> float | None:
    """Return the least time between two frames of one source, fs."""
    time_step = version.sources[int(version.source_of[frames[0]])].time_step
    stride = np.diff(version.step[frames])
    if time_step is None or not len(stride):
        return None
    return float(time_step * stride.min())


def _chunks(version: DatasetVersion, frames: Index) -> list[Index]:
    """Frames of each source in the order of time; sources in the order of names.

    A folder of one-frame files is a trajectory too: ``scf2`` comes before ``scf10``.
    """
    source_of = version.source_of[frames]
    order = np.lexsort((version.step[frames], source_of))
    edges = np.flatnonzero(np.diff(source_of[order])) + 1
    chunks = [frames[part] for part in np.split(order, edges) if len(part)]
    sources = version.sources

    def name(chunk: Index) -> tuple[list[tuple[int, str]], str]:
        source = sources[int(version.source_of[chunk[0]])]
        return _natural(source.path), source.sha256

    return sorted(chunks, key=name)


def _natural(path: str) -> list[tuple[int, str]]:
    """Sort the numbers of a path by size."""
    return [
        (int(word), "") if word.isdigit() else (-1, word)
        for word in re.split(r"([0-9]+)", path)
    ]


def _place(source: SourceRecord) -> str:
    """Name what a source shares with those it must not be parted from."""
    path = PurePath(source.path)
    # A large DeePMD system is read in parts, each named by its first set.
    is_part = source.format.startswith("deepmd/") and path.name.startswith("set.")
    if source.n_read == 1 or is_part:
        return str(path.parent)
    return _file(source)


def _file(source: SourceRecord) -> str:
    return f"{source.sha256}#{source.member}"


def _content_key(sources: Sequence[SourceRecord]) -> str:
    """Name a group by its files' content: moving the files changes no split."""
    return " ".join(sorted(f"{s.sha256}#{s.member}" for s in sources))


def _fits(path: str, pattern: str) -> bool:
    parts = PurePath(path).parts
    tails = ["/".join(parts[i:]) for i in range(len(parts))]
    return any(fnmatchcase(text, pattern) for text in (path, *tails))
