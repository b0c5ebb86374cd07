"""Opening versions of datasets, and reading their frames in any order."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from dpbench.elements import symbols_of
from dpbench.errors import DatasetError
from dpbench.frames import Frames, empty, offsets
from dpbench.store import objects
from dpbench.store.events import find_version, name_of
from dpbench.store.formulas import elements_of
from dpbench.store.gather.buffer import FrameBuffer
from dpbench.store.gather.runs import read_runs
from dpbench.store.gather.version import VersionGather
from dpbench.store.masks import kept_rows
from dpbench.store.references import DatasetReference, parse_reference, refuse_part
from dpbench.store.segment import layout
from dpbench.store.segment.manifest import copy_ahead
from dpbench.store.segment.read import Segment
from dpbench.store.workspace import Workspace

LOOK_EVERY = 1.0
"""Seconds between two looks at the lengths of mapped files; or longer, so that looking
takes no more than a hundredth of the time."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceRecord:
    """Where frames of a version come from."""

    id: str
    """Identity: digest of the files' content, the reader and its version."""
    path: str
    """Where the main file was: a hint, not an identity."""
    sha256: str
    """Digest of the files' content (of one file: its sha256)."""
    member: str
    """Which system inside the file, for a format that holds several; else ""."""
    format: str
    """Format of the file the labels were read from."""
    code: str
    """Program that made the labels."""
    code_version: str | None
    """Its version, as the file prints it."""
    theory: dict[str, Any]
    """Level of theory; empty = undeclared."""
    theory_id: str
    """Fingerprint of the level of theory."""
    complete: bool
    """Whether the program's own end marker was found."""
    n_frames: int
    """Frames of this source in the version."""
    n_read: int
    """Frames that were read from it, quarantined and repeated ones counted."""
    quarantined: dict[str, int]
    """Frames kept out, by reason."""
    notes: tuple[str, ...]
    """What the reader had to say."""
    time_step: float | None = None
    """fs between two steps of molecular dynamics; None = none, or unknown."""
    origin: dict[str, Any] = field(default_factory=dict)
    """Where the calculation comes from, e.g. iteration and walk of an exploration;
    empty where nothing is known."""


@dataclass(frozen=True, kw_only=True, slots=True)
class QuarantinedFrames:
    """Frames that were kept out of a version, readable all the same."""

    frames: Frames
    """The frames; a missing or broken value is NaN."""
    reasons: tuple[str, ...]
    """(frame), why."""
    paths: tuple[str, ...]
    """(frame), path of the source: a hint."""
    step: NDArray[np.int32]
    """(frame), position in the source."""


@final
class DatasetVersion:
    """One immutable version of a dataset.

    Only manifests and per-frame facts are read at first. The arrays of a segment are
    opened when ``read`` first asks for one of its frames, so a process that never
    reads the frames of a part does not need their files.
    """

    def __init__(self, workspace: Workspace, object_id: str) -> None:
        """Read the version's object; DatasetError if it is missing or damaged."""
        payload = objects.get(workspace, "version", object_id)
        self.workspace = workspace
        self.object_id = object_id
        self.payload = payload
        self.key: str = payload["dataset"]
        self.name = name_of(workspace, self.key)
        self.number: int = payload["number"]
        self.label = f"{self.name}-v{self.number}"
        self.digest: str = payload["digest"]
        self.nframes: int = payload["n_frames"]
        self._next_look = time.monotonic() + LOOK_EVERY
        self.theories: dict[str, dict[str, Any]] = {
            key: objects.get(workspace, "theory", key) for key in payload["theories"]
        }

    @property
    def mixed_theory(self) -> tuple[dict[str, Any], ...]:
        """What contradicts in the levels of theory, where it was let in on request."""
        return tuple(self.payload.get("mixed_theory") or ())

    @cached_property
    def segments(self) -> tuple[Segment, ...]:
        """The segments that hold the version's frames."""
        entries = self.payload["data"]
        copy_ahead(self.workspace, [entry["id"] for entry in entries])
        return tuple(Segment(self.workspace, entry["id"]) for entry in entries)

    @cached_property
    def _rows(self) -> tuple[NDArray[np.int64], ...]:
        """Rows of each segment that belong to the version."""
        pairs = zip(self.segments, self.payload["data"], strict=True)
        return tuple(kept_rows(s.nframes, e["excluded"]) for s, e in pairs)

    @cached_property
    def _segment_of(self) -> NDArray[np.int64]:
        counts = [len(rows) for rows in self._rows]
        return np.repeat(np.arange(len(counts)), counts)

    @cached_property
    def _row_of(self) -> NDArray[np.int64]:
        return np.concatenate([*self._rows, np.zeros(0, dtype=np.int64)])

    @property
    def places(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(frame) position in ``segments``, and (frame) row in that segment."""
        return self._segment_of, self._row_of

    @cached_property
    def facts(self) -> NDArray[Any]:
        """(frame), records of ``layout.FACTS_DTYPE``; ids count within the segment."""
        pairs = zip(self.segments, self._rows, strict=True)
        parts = [segment.facts[rows] for segment, rows in pairs]
        return np.concatenate([*parts, np.zeros(0, dtype=layout.FACTS_DTYPE)])

    @cached_property
    def natoms(self) -> NDArray[np.int64]:
        """(frame), number of atoms of each frame."""
        return self.facts["natoms"].astype(np.int64)

    @property
    def frame_digests(self) -> NDArray[np.uint8]:
        """(frame, 32), digest of each frame."""
        digests: NDArray[np.uint8] = self.facts["hash"]
        return digests

    @property
    def step(self) -> NDArray[np.int32]:
        """(frame), position of each frame in its source."""
        step: NDArray[np.int32] = self.facts["step"]
        return step

    @property
    def charge(self) -> NDArray[np.float64]:
        """(frame), total charge of each frame, e; NaN where its source tells none."""
        charge: NDArray[np.float64] = self.facts["charge"]
        return charge

    @property
    def multiplicity(self) -> NDArray[np.int16]:
        """(frame), spin multiplicity 2S + 1 of each frame; -1 = unknown."""
        multiplicity: NDArray[np.int16] = self.facts["multiplicity"]
        return multiplicity

    @property
    def temperature(self) -> NDArray[np.float64]:
        """(frame), kinetic temperature of each frame, K; NaN = unknown."""
        temperature: NDArray[np.float64] = self.facts["temperature"]
        return temperature

    @cached_property
    def source_of(self) -> NDArray[np.int32]:
        """(frame), index of each frame's source into ``sources``."""
        counts = [len(segment.manifest["sources"]) for segment in self.segments]
        start = offsets(counts)[self._segment_of]
        index: NDArray[np.int64] = start + self.facts["source_id"]
        return index.astype(np.int32)

    @cached_property
    def sources(self) -> tuple[SourceRecord, ...]:
        """The sources of the version's frames, in version order."""
        entries = [s for seg in self.segments for s in seg.manifest["sources"]]
        counts = np.bincount(self.source_of, minlength=len(entries))
        return tuple(
            self._record(entry, int(n))
            for entry, n in zip(entries, counts, strict=True)
        )

    @cached_property
    def formulas(self) -> tuple[str, ...]:
        """(frame), Hill formula of each frame."""
        names: list[str] = []
        for segment, rows in zip(self.segments, self._rows, strict=True):
            known = segment.manifest["compositions"]
            names += [known[i] for i in segment.facts["system_id"][rows].tolist()]
        return tuple(names)

    @property
    def compositions(self) -> dict[str, int]:
        """Frames by Hill formula."""
        names, counts = np.unique(
            np.array(self.formulas, dtype=str), return_counts=True
        )
        return dict(zip(names.tolist(), counts.tolist(), strict=True))

    @property
    def symbols(self) -> tuple[str, ...]:
        """Elements that occur, by atomic number."""
        numbers = {z for formula in self.compositions for z in elements_of(formula)}
        return symbols_of(sorted(numbers))

    @cached_property
    def is_mapped(self) -> bool:
        """Whether all frames lie in mapped files: any frame is as near as the next.

        False where a segment is remote, compressed or laid out otherwise: then frames
        are read in blocks. Segments whose files are not here do not count.
        """
        return all(map(_is_mapped_or_missing, self.segments))

    @cached_property
    def _gather(self) -> VersionGather:
        """What reads into buffers."""
        where = np.concatenate(
            [
                np.zeros(0, dtype=np.int64),
                *(
                    segment.atom_offset[rows]
                    for segment, rows in zip(self.segments, self._rows, strict=True)
                ),
            ]
        )
        return VersionGather(
            self.segments,
            segment=self._segment_of,
            row=self._row_of,
            atom=where,
            natoms=self.natoms,
        )

    def read(
        self,
        indices: Sequence[int] | NDArray[np.integer],
        out: FrameBuffer | None = None,
    ) -> Frames:
        """Read frames, in the order of ``indices``, repeated ones repeatedly.

        Args:
            indices: Frame indices in version order, 0 to ``nframes`` - 1.
            out: Where to put them, for batch after batch: the frames are then views of
                the buffer, and change with the next read into it. This way is
                compiled, and loads numba; it gives the same numbers.

        Raises:
            DatasetError: If an index is out of bounds, or a file missing or damaged.
        """
        index = np.ascontiguousarray(indices, dtype=np.int64).reshape(-1)
        if len(index) == 0:
            return empty()
        self._look_at_files()
        if out is not None:
            frames = self._gather.read(index, out)
            if frames is not None:
                return frames
        low, high = int(index.min()), int(index.max())
        if low < 0 or high >= self.nframes:
            raise DatasetError(
                f"{self.label}: frame {low if low < 0 else high} was asked for; "
                f"expected 0 to {self.nframes - 1}. Use the split of this version."
            )
        which, rows = self._segment_of[index], self._row_of[index]
        return read_runs(self.segments, which, rows, out=out)

    def _look_at_files(self) -> None:
        """Look from time to time whether mapped files are still whole."""
        started = time.monotonic()
        if started < self._next_look:
            return
        for segment in self.segments:
            segment.check_files()
        took = time.monotonic() - started
        self._next_look = started + max(LOOK_EVERY, 100 * took)

    def blocks(self, size: int) -> Iterator[tuple[NDArray[np.int64], Frames]]:
        """Yield (frame indices, frames) in version order, ``size`` frames at a time."""
        for start in range(0, self.nframes, size):
            index = np.arange(start, min(start + size, self.nframes))
            yield index, self.read(index)

    def quarantine(self) -> QuarantinedFrames:
        """Read the frames that were kept out.

        Raises:
            DatasetError: If a file is missing or damaged.
        """
        segments, rows = self._quarantine_rows()
        counts = [len(r) for r in rows]
        which = np.repeat(np.arange(len(counts)), counts)
        at = np.concatenate([*rows, np.zeros(0, dtype=np.int64)])
        frames = read_runs(segments, which, at) if len(at) else empty()
        reasons, paths, steps = [], [], []
        for segment, kept in zip(segments, rows, strict=True):
            sources = segment.manifest["sources"]
            facts, names = segment.facts, segment.reasons
            reasons += [names[i] for i in kept]
            paths += [sources[i]["path"] for i in facts["source_id"][kept]]
            steps.append(facts["step"][kept])
        return QuarantinedFrames(
            frames=frames,
            reasons=tuple(reasons),
            paths=tuple(paths),
            step=np.concatenate([*steps, np.zeros(0, dtype=np.int32)]),
        )

    def quarantine_facts(self) -> NDArray[Any]:
        """Read the facts of the frames that were kept out."""
        segments, rows = self._quarantine_rows()
        parts = [s.facts[r] for s, r in zip(segments, rows, strict=True)]
        return np.concatenate([*parts, np.zeros(0, dtype=layout.FACTS_DTYPE)])

    def _quarantine_rows(self) -> tuple[list[Segment], list[NDArray[np.int64]]]:
        entries = self.payload["quarantine"]
        segments = [Segment(self.workspace, entry["id"]) for entry in entries]
        rows = [
            kept_rows(segment.nframes, entry["excluded"])
            for segment, entry in zip(segments, entries, strict=True)
        ]
        return segments, rows

    def _record(self, entry: dict[str, Any], n_frames: int) -> SourceRecord:
        return SourceRecord(
            id=entry["id"],
            path=entry["path"],
            sha256=entry["sha256"],
            member=entry["member"],
            format=entry["format"],
            code=entry["code"],
            code_version=entry["code_version"],
            theory=self.theories[entry["theory"]],
            theory_id=entry["theory"],
            complete=entry["complete"],
            n_frames=n_frames,
            n_read=entry["n_read"],
            quarantined=entry["quarantined"],
            notes=tuple(entry["notes"]),
            time_step=entry.get("time_step"),
            origin=dict(entry.get("origin", {})),
        )


def open_dataset(
    workspace: Workspace,
    reference: str | DatasetReference,
    *,
    allow_retracted: bool = False,
    with_part: bool = False,
) -> DatasetVersion:
    """Open ``water`` (the newest version that is not retracted) or ``water-v2``.

    Args:
        workspace: Where it is.
        reference: Dataset, perhaps with a version.
        allow_retracted: Open a version named by its number although it was taken back.
        with_part: Let a part (``water-v2:test``) be named: the caller picks its frames.

    Raises:
        ConfigError: If the reference is not of the form NAME[-vN].
        DatasetError: If there is no such dataset or version, or it was retracted.
    """
    if isinstance(reference, str):
        reference = parse_reference(reference)
    if not with_part:
        refuse_part(reference)
    object_id = find_version(workspace, reference, allow_retracted=allow_retracted)
    return DatasetVersion(workspace, object_id)


def _is_mapped_or_missing(segment: Segment) -> bool:
    try:
        return segment.is_mapped
    except DatasetError:
        return True  # reading its frames says what is wrong; nobody may ever do so
