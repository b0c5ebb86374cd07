"""A version in the making: which rows of which segments it takes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpbench.errors import DatasetError
from dpbench.store.dataset import DatasetVersion
from dpbench.store.digests import repeated, version_digest
from dpbench.store.masks import from_ranges, to_ranges
from dpbench.store.segment import layout
from dpbench.store.segment.manifest import read_manifest_in
from dpbench.store.theory.levels import levels_of
from dpbench.store.theory.mixture import Conflict, Level, conflicts, fingerprint

ROLES = ("data", "quarantine")
"""Roles of segments, and keys of a version's payload."""

Facts = NDArray[Any]
Entry = dict[str, Any]
Payload = dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class NewContent:
    """What an ingest brings: sealed segments in a staging folder, in version order."""

    staging: Path
    """Folder that holds ``ID/`` of each segment."""
    data: tuple[str, ...]
    """Segments of good frames."""
    quarantine: tuple[str, ...]
    """Segments of frames that are kept out."""
    theories: tuple[dict[str, Any], ...]
    """Levels of theory of their sources."""


class Draft:
    """A version in the making: which rows of which segments it takes."""

    def __init__(self, head: DatasetVersion | None, content: NewContent) -> None:
        """Add ``content`` to ``head``; to nothing if that is None."""
        self._head = head
        self.segments: list[str] = []
        self.theories: list[dict[str, Any]] = []
        self.entries: dict[str, list[Entry]] = {"data": [], "quarantine": []}
        self.facts: dict[str, list[Facts]] = {"data": [], "quarantine": []}
        self.n_repeated = 0
        self.reasons: dict[str, int] = {}
        if head is not None:
            self._take_head(head)
        self._take_new("data", content.staging, content.data)
        self._take_new("quarantine", content.staging, content.quarantine)
        used = self._theories_of(content.staging)
        self.theories = [t for t in content.theories if fingerprint(t) in used]

    @property
    def has_news(self) -> bool:
        """Whether any frame is new."""
        return bool(self.segments)

    def levels(self, staging: Path) -> tuple[Level, ...]:
        """Return the distinct levels of theory of the sources of good frames."""
        head = self._head
        sources = _sources_of(head, head.source_of) if head else []
        there = {entry["id"] for entry in self.entries["data"]}
        for name in self.segments:
            if name in there:
                sources += read_manifest_in(staging / name)["sources"]
        known = dict(head.theories) if head else {}
        return levels_of(sources, known | {fingerprint(t): t for t in self.theories})

    def payload(
        self,
        key: str,
        number: int,
        *,
        created_at: str,
        note: str,
        mixed_theory: Sequence[Conflict] = (),
    ) -> dict[str, Any]:
        """Write the version's object."""
        head = self._head
        data = np.concatenate([_no_facts(), *self.facts["data"]])
        kept_out = np.concatenate([_no_facts(), *self.facts["quarantine"]])
        known = list(head.theories) if head else []
        mixture = [c.to_json() for c in mixed_theory]
        return {
            "format": layout.FORMAT_PLAIN,
            "dataset": key,
            "number": number,
            "digest": version_digest(np.concatenate([data["hash"], kept_out["hash"]])),
            "parent": head.object_id if head else None,
            "n_frames": len(data),
            "n_atoms": int(data["natoms"].sum(dtype=np.int64)),
            **self.entries,
            "quarantined": self.reasons,
            "theories": sorted({*known, *map(fingerprint, self.theories)}),
            "created_at": created_at,
            "note": note,
            **({"mixed_theory": mixture} if mixture else {}),
        }

    def take_quarantine(self, head: DatasetVersion) -> None:
        """Take the frames that are kept out of another version, and their reasons."""
        self.entries["quarantine"] = list(head.payload["quarantine"])
        self.facts["quarantine"].append(head.quarantine_facts())
        self.reasons = dict(head.payload["quarantined"])

    def _take_head(self, head: DatasetVersion) -> None:
        self.entries["data"] = list(head.payload["data"])
        self.facts["data"].append(head.facts)
        self.take_quarantine(head)

    def _take_new(self, role: str, staging: Path, ids: Sequence[str]) -> None:
        """Take the rows that are neither in the head nor earlier among the new."""
        there = {entry["id"] for entry in self.entries[role]}
        new: list[Facts] = [
            layout.as_facts(np.load(staging / name / layout.FACTS, allow_pickle=False))
            for name in ids
        ]
        known = np.concatenate([_no_facts(), *self.facts[role]])["hash"]
        everything = np.concatenate([_no_facts(), *new])["hash"]
        is_repeat = repeated(known, everything)
        edges = np.cumsum([len(facts) for facts in new])[:-1]
        parts = np.split(is_repeat, edges) if new else []
        for segment_id, facts, repeats in zip(ids, new, parts, strict=True):
            self.n_repeated += int(repeats.sum())
            if repeats.all() or segment_id in there:
                continue
            ranges = to_ranges(np.flatnonzero(repeats))
            self.entries[role].append(
                {
                    "id": segment_id,
                    "n_frames": len(facts),
                    "excluded": {"repeated": ranges} if ranges else {},
                }
            )
            self.facts[role].append(facts[~repeats])
            self.segments.append(segment_id)
            names = ["", *read_manifest_in(staging / segment_id)["reasons"]]
            for code in facts["reason"][~repeats].tolist():
                if code:
                    self.reasons[names[code]] = self.reasons.get(names[code], 0) + 1

    def _theories_of(self, staging: Path) -> set[str]:
        manifests = [read_manifest_in(staging / name) for name in self.segments]
        return {source["theory"] for m in manifests for source in m["sources"]}


def without_frames(
    head: DatasetVersion,
    exclude: Mapping[str, NDArray[np.int64]],
    *,
    created_at: str,
    note: str,
) -> Payload:
    """Write the payload of a version that leaves frames of ``head`` out.

    Raises:
        DatasetError: If there is nothing to leave out, or nothing would be left, or a
            frame does not exist.
    """
    reason_of = _first_reasons(head, exclude)
    kept = np.flatnonzero(reason_of == 0)
    facts = head.facts[kept]
    hashes = np.concatenate([facts["hash"], head.quarantine_facts()["hash"]])
    sources = _sources_of(head, head.source_of[kept])
    mixed = conflicts(levels_of(sources, head.theories))
    payload = {k: v for k, v in head.payload.items() if k != "mixed_theory"}
    return {
        **payload,
        "digest": version_digest(hashes),
        "parent": head.object_id,
        "n_frames": len(kept),
        "n_atoms": int(facts["natoms"].sum(dtype=np.int64)),
        "data": _masked(head, reason_of, list(exclude)),
        "created_at": created_at,
        "note": note,
        **({"mixed_theory": [c.to_json() for c in mixed]} if mixed else {}),
    }


def _sources_of(head: DatasetVersion, used: NDArray[np.integer]) -> list[Entry]:
    """Return the manifests' entries of the sources with these indices."""
    entries = [s for segment in head.segments for s in segment.manifest["sources"]]
    return [entries[i] for i in np.unique(used).tolist()]


def _first_reasons(
    head: DatasetVersion, exclude: Mapping[str, NDArray[np.int64]]
) -> NDArray[np.int64]:
    """(frame), 1 + position of the first reason that names each frame; 0 = kept."""
    reason_of = np.zeros(head.nframes, dtype=np.int64)
    for position, (reason, frames) in enumerate(exclude.items()):
        index = np.asarray(frames, dtype=np.int64)
        if len(index) and not 0 <= index.min() <= index.max() < head.nframes:
            raise DatasetError(
                f"{head.label}: '{reason}' names frame {index.max()}; expected 0 to "
                f"{head.nframes - 1}."
            )
        free = index[reason_of[index] == 0]
        reason_of[free] = position + 1
    n_out = int(np.count_nonzero(reason_of))
    if n_out in (0, head.nframes):
        found = "no frame" if n_out == 0 else f"all {n_out} frames"
        raise DatasetError(
            f"{head.label}: {found} would be left out for {', '.join(exclude)}; "
            "expected some. No version was made."
        )
    return reason_of


def _masked(
    head: DatasetVersion, reason_of: NDArray[np.int64], reasons: Sequence[str]
) -> list[Entry]:
    """Write the entries of the segments with the rows that are left out."""
    entries = []
    segment, row = head.places
    for number, entry in enumerate(head.payload["data"]):
        mine = segment == number
        excluded = dict(entry["excluded"])
        for position, reason in enumerate(reasons):
            rows = row[mine & (reason_of == position + 1)]
            if len(rows):
                before = from_ranges(excluded.get(reason, ()))
                excluded[reason] = to_ranges(np.union1d(before, rows))
        # Kept even if no row is left: its sources stay known, and are not read again.
        entries.append({**entry, "excluded": excluded})
    return entries


def _no_facts() -> Facts:
    return np.zeros(0, dtype=layout.FACTS_DTYPE)
