"""Which sources are one trajectory, and where each of them stands in it.

A trajectory is usually a source file, known by its content. Several are one where

- they are the one-frame files of a folder, or the parts of a large DeePMD system: they
  follow each other in the order of the numbers in their names;
- they are snapshots of one run in the training and the test file of an mlearn set;
- they hold the same frames: a run that was ingested again when it had grown, or whose
  pieces overlap. Frames that a version leaves out as repeated count here.

This is the one answer for splits and for leakage, of one version or between several.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpbench.errors import DatasetError
from dpbench.store import objects
from dpbench.store.dataset import DatasetVersion, SourceRecord
from dpbench.store.segment.read import Segment
from dpbench.store.splits.units import units

Index = NDArray[np.int64]
File = tuple[str, str]
"""sha256 and member of a source: two readers of one file do not make two."""

SAME_SHARE = 0.5
"""Share of the smaller file's frames in the other that makes the two one trajectory;
the first frame that runs at several temperatures have in common does not."""

SAME_FRAMES = 10
"""As many frames in common do so too, however large the files are."""

MOST_HOLDERS = 16
"""Files with the same frame, beyond which each is compared with the next ones only."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Trajectories:
    """Trajectories of the sources of some versions."""

    of_file: dict[File, int]
    """Number of the trajectory of each file."""
    start: dict[File, int]
    """What a frame's step in its file lacks to its position in the trajectory."""

    def of(self, version: DatasetVersion) -> tuple[Index, Index]:
        """(frame) trajectory and (frame) position of all frames of a version."""
        files = [file_of(source) for source in version.sources]
        number = np.array([self.of_file[file] for file in files], dtype=np.int64)
        start = np.array([self.start[file] for file in files], dtype=np.int64)
        where = version.source_of
        return number[where], start[where] + version.step


def file_of(source: SourceRecord) -> File:
    """Name a source by its content."""
    return source.sha256, source.member


def find_trajectories(
    *versions: DatasetVersion, by_folder: bool = True
) -> Trajectories:
    """Find which sources of some versions are one trajectory.

    Args:
        versions: The versions; the same one may come twice.
        by_folder: Whether the one-frame files of a folder are one trajectory.
    """
    different = list({version.object_id: version for version in versions}.values())
    series = _series(different, by_folder=by_folder)
    number = {file: i for i, files in enumerate(series) for file in files}
    start: dict[File, int] = {}
    for files in series:
        at = 0
        for file, n_read in files.items():
            start[file] = at
            at += n_read
    pairs, shift = _shared(different, number, start)
    of_series = units(len(series), pairs)
    moved = _aligned(len(series), pairs, shift, of_series)
    return Trajectories(
        of_file={file: int(of_series[i]) for file, i in number.items()},
        start={file: at + int(moved[number[file]]) for file, at in start.items()},
    )


def natural(path: str) -> list[tuple[int, str]]:
    """Sort the numbers of a path by size: ``scf2`` comes before ``scf10``."""
    return [
        (int(word), "") if word.isdigit() else (-1, word)
        for word in re.split(r"([0-9]+)", path)
    ]


def _series(
    versions: Sequence[DatasetVersion], *, by_folder: bool
) -> list[dict[File, int]]:
    """Files that follow each other, in their order, with the frames read of each."""
    at: dict[tuple[str, ...], list[SourceRecord]] = {}
    place_of: dict[File, tuple[str, ...]] = {}
    for version in versions:
        for source in version.sources:
            # The same folder of another dataset may be another one.
            place = _place(source, version.key, by_folder=by_folder)
            place = place_of.setdefault(file_of(source), place)
            at.setdefault(place, []).append(source)
    series = []
    for sources in at.values():
        ordered = sorted(
            sources, key=lambda s: (natural(s.path), natural(s.member), s.sha256)
        )
        # Snapshots are numbered along their run, in whichever file they are.
        series.append(
            {file_of(s): 0 if _is_snapshots(s) else s.n_read for s in ordered}
        )
    return series


def _is_snapshots(source: SourceRecord) -> bool:
    """Whether a source is snapshots of a run that is dealt to several files.

    The mlearn set deals the same runs to its training and test files; a member whose
    name has a colon is a run.
    """
    return source.format == "mlearn" and ": " in source.member


def _place(source: SourceRecord, dataset: str, *, by_folder: bool) -> tuple[str, ...]:
    path = PurePath(source.path)
    # A large DeePMD system is read in parts, each named by its first set.
    if source.format.startswith("deepmd/") and path.name.startswith("set."):
        return dataset, str(path.parent)
    if _is_snapshots(source):
        return dataset, str(path.parent), source.member
    if source.n_read == 1 and by_folder and source.format != "mlearn":
        return dataset, str(path.parent)
    return "", *file_of(source)


def _shared(
    versions: Sequence[DatasetVersion], number: dict[File, int], start: dict[File, int]
) -> tuple[Index, Index]:
    """(pair, 2) series that hold the same frames, and (pair) how far they lie apart.

    The second of a pair stands that much further on than the first.
    """
    none = np.zeros((0, 2), dtype=np.int64), np.zeros(0, dtype=np.int64)
    entries = list(_entries(versions))
    if len(versions) == 1 and not any(
        e["excluded"].get("repeated") for _, e in entries
    ):
        return none  # no frame is twice in one version
    found = [_rows(version, e["id"], number, start) for version, e in entries]
    key, series, at = (
        np.concatenate([np.zeros(0, dtype), *(rows[i] for rows in found)])
        for i, dtype in enumerate((np.uint64, np.int64, np.int64))
    )
    order = np.lexsort((at, series, key))
    key, series, at = key[order], series[order], at[order]
    is_new = np.ones(len(key), dtype=np.bool_)
    is_new[1:] = (key[1:] != key[:-1]) | (series[1:] != series[:-1])
    key, series, at = key[is_new], series[is_new], at[is_new]
    size = np.bincount(series, minlength=len(number))
    one, two, apart = [], [], []
    for lag in range(1, min(MOST_HOLDERS, len(key))):
        same = np.flatnonzero(key[lag:] == key[:-lag])
        if not len(same):
            break
        one.append(series[same])
        two.append(series[same + lag])
        apart.append(at[same] - at[same + lag])
    if not one:
        return none
    pair = np.stack([np.concatenate(one), np.concatenate(two)], axis=1)
    unique, of_row, counts = np.unique(
        pair, axis=0, return_inverse=True, return_counts=True
    )
    difference = np.concatenate(apart)
    rank = np.lexsort((difference, of_row.reshape(-1)))
    middle = difference[rank[np.cumsum(counts) - counts + counts // 2]]
    is_same = (counts >= SAME_FRAMES) | (
        counts >= SAME_SHARE * size[unique].min(axis=1)
    )
    return unique[is_same], middle[is_same]


def _entries(
    versions: Sequence[DatasetVersion],
) -> Iterator[tuple[DatasetVersion, dict[str, Any]]]:
    """Segments of versions and of those before them, as the versions list them.

    Packing a version leaves repeated frames out; the version before it has them, if it
    is still there.
    """
    seen: set[str] = set()
    for version in versions:
        payload = version.payload
        while True:
            for entry in payload["data"]:
                if entry["id"] not in seen:
                    yield version, entry
                seen.add(entry["id"])
            parent = payload["parent"]
            if parent is None or parent in seen:
                break
            seen.add(parent)
            try:
                payload = objects.get(version.workspace, "version", parent)
            except DatasetError:
                break


def _rows(
    version: DatasetVersion,
    segment_id: str,
    number: dict[File, int],
    start: dict[File, int],
) -> tuple[NDArray[np.uint64], Index, Index]:
    """Start of digest, series and position of a segment's frames, masked or not."""
    mine = [segment for segment in version.segments if segment.id == segment_id]
    try:
        segment = mine[0] if mine else Segment(version.workspace, segment_id)
        facts = segment.facts
    except DatasetError:
        if mine:
            raise
        none = np.zeros(0, dtype=np.int64)  # of a version before, and taken away
        return none.astype(np.uint64), none, none
    files = [(s["sha256"], s["member"]) for s in segment.manifest["sources"]]
    of_source = np.array([number.get(file, -1) for file in files], dtype=np.int64)
    at = np.array([start.get(file, 0) for file in files], dtype=np.int64)
    series = of_source[facts["source_id"]]
    known = series >= 0
    # Eight of 32 bytes: that two of a million frames agree in them by chance is 1 in
    # 10 million, and one frame joins nothing but files of two.
    digest = np.ascontiguousarray(facts["hash"][:, :8]).view(np.uint64).reshape(-1)
    position = at[facts["source_id"]] + facts["step"]
    return digest[known], series[known], position[known]


def _aligned(nseries: int, pairs: Index, shift: Index, unit_of: Index) -> Index:
    """(series), what to add to its positions, so that shared frames coincide."""
    moved = np.zeros(nseries, dtype=np.int64)
    beside: dict[int, list[tuple[int, int]]] = {}
    for (i, j), by in zip(pairs.tolist(), shift.tolist(), strict=True):
        beside.setdefault(i, []).append((j, by))
        beside.setdefault(j, []).append((i, -by))
    done: set[int] = set()
    for first in beside:
        waiting = [] if first in done else [first]
        done.add(first)
        while waiting:
            here = waiting.pop()
            for there, by in beside[here]:
                if there not in done:
                    done.add(there)
                    moved[there] = moved[here] + by
                    waiting.append(there)
    lowest = np.zeros(nseries, dtype=np.int64)
    np.minimum.at(lowest, unit_of, moved)
    result: Index = moved - lowest[unit_of]
    return result
