"""Making the next version of a dataset out of sealed segments.

Truth is files: a version exists from the moment its reference is made, which is one
exclusive link, and everything that it names is on disk by then. The SQL rows follow in
the same write transaction; a process killed in between leaves rows to be added later,
never half a version.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection

from dpbench.errors import WorkspaceError
from dpbench.store import layout, objects
from dpbench.store.catalog.engine import transaction
from dpbench.store.catalog.index import catch_up, index_version
from dpbench.store.dataset import DatasetVersion
from dpbench.store.digests import repeated, version_digest
from dpbench.store.manifest import read_manifest_in
from dpbench.store.masks import to_ranges
from dpbench.store.staging import publish, upload_early
from dpbench.store.theory import Conflict, Level, fingerprint, refuse_mixture
from dpbench.store.theory_levels import levels_of
from dpbench.store.workspace import Workspace

ROLES = ("data", "quarantine")
"""Roles of segments, and keys of a version's payload."""

CLAIM_TRIES = 20
"""Times that a commit to a remote store starts again after another machine's."""

Facts = NDArray[Any]
Entry = dict[str, Any]


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


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What committing came to."""

    version: DatasetVersion | None
    """The newest version; None if the dataset has none."""
    is_new: bool
    """Whether this call has made it."""
    n_added: int
    """Frames that it has more than its parent."""
    n_repeated: int
    """Frames left out because they are there already."""


def newest_version(workspace: Workspace, name: str) -> DatasetVersion | None:
    """Open the newest version of a dataset; None if there is no such dataset."""
    numbers = objects.version_numbers(workspace, name)
    if not numbers:
        return None
    digest = objects.version_digest(workspace, name, numbers[-1])
    return DatasetVersion(workspace, digest)


def commit_version(
    workspace: Workspace,
    name: str,
    content: NewContent,
    *,
    created_at: str,
    note: str = "",
    allow_mixed_theory: bool = False,
) -> Outcome:
    """Add segments to a dataset as its next version; nothing new makes none.

    Frames whose digest is in the dataset already, or earlier in ``content``, are
    masked. Two processes may do this at once: one waits for the other's version.

    Raises:
        DatasetError: If levels of theory would mix, or the dataset is damaged.
        WorkspaceError: If the disk or the registry cannot be written.
    """
    upload_early(workspace, _news_of(workspace, name, content))
    for _ in range(CLAIM_TRIES if workspace.is_remote else 1):
        try:
            return _commit_once(
                workspace,
                name,
                content,
                created_at=created_at,
                note=note,
                allow_mixed_theory=allow_mixed_theory,
            )
        except _TakenError as error:
            taken = error  # by a machine with another registry: go on from its version
    raise taken


class _TakenError(WorkspaceError):
    """Another process has made the version of that number."""


def _commit_once(
    workspace: Workspace,
    name: str,
    content: NewContent,
    *,
    created_at: str,
    note: str,
    allow_mixed_theory: bool,
) -> Outcome:
    claimed: int | None = None
    try:
        with transaction(workspace, write=True) as connection:
            catch_up(connection, workspace)
            head = newest_version(workspace, name)
            draft = _Draft(head, content)
            if not draft.has_news:
                return Outcome(
                    version=head, is_new=False, n_added=0, n_repeated=draft.n_repeated
                )
            mixed = refuse_mixture(
                name, draft.levels(content.staging), allow=allow_mixed_theory
            )
            payload = draft.payload(
                name, created_at=created_at, note=note, mixed_theory=mixed
            )
            claimed = _publish(workspace, content, draft, payload)
            version = _index(workspace, connection, payload)
    except BaseException:
        if claimed is not None:
            objects.release_version(workspace, name, number=claimed)
        raise
    return Outcome(
        version=version,
        is_new=True,
        n_added=version.nframes - (head.nframes if head else 0),
        n_repeated=draft.n_repeated,
    )


class _Draft:
    """A version in the making: which rows of which segments it takes."""

    def __init__(self, head: DatasetVersion | None, content: NewContent) -> None:
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
        segments = head.segments if head else ()
        sources = [source for s in segments for source in s.manifest["sources"]]
        there = {entry["id"] for entry in self.entries["data"]}
        for name in self.segments:
            if name in there:
                sources += read_manifest_in(staging / name)["sources"]
        known = dict(head.theories) if head else {}
        return levels_of(sources, known | {fingerprint(t): t for t in self.theories})

    def payload(
        self,
        name: str,
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
            "format": layout.FORMAT,
            "dataset": name,
            "number": head.number + 1 if head else 1,
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

    def _take_head(self, head: DatasetVersion) -> None:
        for role in ROLES:
            self.entries[role] = list(head.payload[role])
        self.facts["data"].append(head.facts)
        self.facts["quarantine"].append(head.quarantine_facts())
        self.reasons = dict(head.payload["quarantined"])

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


def _publish(
    workspace: Workspace, content: NewContent, draft: _Draft, payload: dict[str, Any]
) -> int:
    """Put everything in its place, the version's reference last; return its number."""
    for segment_id in draft.segments:
        publish(workspace, content.staging / segment_id)
    for theory in draft.theories:
        objects.put(workspace, "theory", theory)
    digest = objects.put(workspace, "version", payload)
    name, number = payload["dataset"], int(payload["number"])
    if not objects.claim_version(workspace, name, number=number, digest=digest):
        raise _TakenError(
            f"{name}-v{number}: another process has made it without this registry's "
            "lock; expected one registry a workspace. Run the ingest again."
        )
    return number


def _news_of(workspace: Workspace, name: str, content: NewContent) -> list[Path]:
    """List the staged segments that a version of now would name."""
    if not workspace.is_remote:
        return []
    draft = _Draft(newest_version(workspace, name), content)
    return [content.staging / segment_id for segment_id in draft.segments]


def _index(
    workspace: Workspace, connection: Connection, payload: dict[str, Any]
) -> DatasetVersion:
    digest = objects.digest_of(payload)
    if workspace.is_remote:
        catch_up(connection, workspace)  # its parent may be news to this registry too
    index_version(connection, workspace, digest, payload)
    return DatasetVersion(workspace, digest)


def _no_facts() -> Facts:
    return np.zeros(0, dtype=layout.FACTS_DTYPE)
