"""Verifying datasets: everything is read again, and every digest made again.

In this order: objects and references, the files of every segment against the hashes in
its manifest, the frames against their digests, the versions against theirs, and the
registry against the files. What is damaged does not stop the rest.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpbench.errors import WorkspaceError
from dpbench.store import objects
from dpbench.store.digests import version_digest
from dpbench.store.events import existing_key, find_version, name_of
from dpbench.store.masks import kept_rows
from dpbench.store.references import DatasetReference
from dpbench.store.segment import layout
from dpbench.store.segment.chunks import Place, frames_of
from dpbench.store.segment.manifest import NAME, manifest_text, segment_folder
from dpbench.store.shelf import FolderShelf, RemoteShelf, Shelf, shelf_of
from dpbench.store.verify.content import Content, verify_content
from dpbench.store.verify.files import verify_files, verify_manifest
from dpbench.store.verify.findings import Finding, Findings
from dpbench.store.verify.objects import (
    Objects,
    verify_events,
    verify_links,
    verify_names,
    verify_references,
)
from dpbench.store.verify.registry import split_ids, verify_index, verify_rows
from dpbench.store.workspace import Workspace

ROLES = ("data", "quarantine")

Payload = dict[str, Any]
Progress = Callable[[str], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Verified:
    """What verifying came to."""

    findings: tuple[Finding, ...]
    """The faults; none = everything is as it was written."""
    n_versions: int
    """Versions that were verified."""
    n_segments: int
    """Segments that were read."""
    n_files: int
    """Files that were read."""
    n_bytes: int
    """Their size."""
    n_frames: int
    """Frames whose digests were made again."""


def verify(
    workspace: Workspace,
    reference: DatasetReference | None,
    progress: Progress = lambda _: None,
) -> Verified:
    """Read everything of a dataset, a version, or (None) the workspace again.

    Args:
        workspace: Where it is.
        reference: A dataset, perhaps one version; None = everything.
        progress: Called with the id of each segment before it is read.

    Raises:
        DatasetError: If there is no such dataset or version.
    """
    shelf, findings = shelf_of(workspace), Findings()
    found = Objects(shelf=shelf, findings=findings)
    if reference is None:
        found.take_all()
        versions = verify_references(shelf, found, key=None)
        verify_rows(workspace, shelf, findings)
    else:
        versions = _versions_of(workspace, shelf, found, reference)
    verify_links(found, versions)
    verify_events(found, found.found.get("version", {}))
    verify_names(found, objects.dataset_names(workspace))
    users = _users(versions)
    segments = _all_segments(shelf) if reference is None else []
    ids = [*users, *(name for name in segments if name not in users)]
    contents: dict[str, NDArray[np.uint8] | None] = {}
    for segment_id in ids:
        progress(segment_id)
        contents[segment_id] = _segment(
            workspace, shelf, segment_id, findings, users.get(segment_id, ())
        )
    for label, payload in versions.items():
        _version(shelf, label, payload, contents, findings)
    if reference is None and not findings.faults:
        verify_index(workspace, findings)
    return Verified(
        findings=tuple(findings.faults),
        n_versions=len(versions),
        n_segments=len(ids),
        n_files=findings.n_files,
        n_bytes=findings.n_bytes,
        n_frames=findings.n_frames,
    )


def _versions_of(
    workspace: Workspace, shelf: Shelf, found: Objects, reference: DatasetReference
) -> dict[str, Payload]:
    """Follow the references of a dataset, and read its splits."""
    key = existing_key(workspace, reference.name)
    if reference.number is not None:
        wanted = replace(reference, part=None)
        find_version(workspace, wanted, allow_retracted=True)
    versions = verify_references(shelf, found, key=key)
    if reference.number is not None:
        label = f"{key}-v{reference.number}"
        versions = {name: p for name, p in versions.items() if name == label}
    digests = {payload["digest"] for payload in versions.values()}
    try:
        for digest in split_ids(workspace, digests):
            found.take("split", digest, needed_by="the registry")
    except WorkspaceError as error:
        found.findings.add("registry", str(error))
    for digest in objects.digests(workspace, "event"):
        found.take("event", digest)
    called = name_of(workspace, key)
    return {f"{called}-v{p['number']}": p for p in versions.values()}


def _users(versions: dict[str, Payload]) -> dict[str, tuple[str, ...]]:
    """Return the versions that use each segment."""
    users: dict[str, list[str]] = {}
    for label, payload in versions.items():
        for role in ROLES:
            for entry in payload[role]:
                users.setdefault(entry["id"], []).append(label)
    return {name: tuple(labels) for name, labels in users.items()}


def _all_segments(shelf: Shelf) -> list[str]:
    """List the segments that are there; staging folders are another process's."""
    keys = [key.split("/") for key in shelf.keys("stores")]
    names = {parts[1] for parts in keys}
    if isinstance(shelf, RemoteShelf):
        # Without a manifest it is what a killed upload has left; no version names it.
        names = {parts[1] for parts in keys if parts[2:] == [NAME]}
    return sorted(name for name in names if not name.endswith((".tmp", ".lock")))


def _segment(
    workspace: Workspace,
    shelf: Shelf,
    segment_id: str,
    findings: Findings,
    users: tuple[str, ...],
) -> NDArray[np.uint8] | None:
    """Verify one segment; return its frames' digests, None if anything is wrong."""
    first = len(findings.faults)
    manifest = verify_manifest(shelf, segment_id, findings)
    content: Content | None = None
    if manifest is not None:
        verify_files(shelf, segment_id, manifest, findings)
        _copies(workspace, segment_id, manifest, findings)
        content = verify_content(workspace, segment_id, findings)
    mine = findings.faults[first:]
    if content is not None:
        mine = [_with_chunk(fault, content) for fault in mine]
    findings.faults[first:] = [replace(fault, versions=users) for fault in mine]
    return content.digests if content is not None and not mine else None


def _copies(
    workspace: Workspace, segment_id: str, manifest: Payload, findings: Findings
) -> None:
    """Verify what the workspace has copied of a remote segment."""
    if not workspace.is_remote:
        return
    folder, shelf = segment_folder(workspace, segment_id), FolderShelf(workspace)
    text = hashlib.sha256(manifest_text(manifest).encode()).hexdigest()
    for name, expected in {NAME: text, **manifest["files"]}.items():
        if not (folder / name).exists():
            continue
        digest = shelf.digest(f"stores/{segment_id}/{name}")
        if digest is None or digest[0] != expected:
            found = "is a copy that differs from the object store; remove the folder"
            findings.add(str(folder / name), found)


def _with_chunk(fault: Finding, content: Content) -> Finding:
    """Name the chunk of a changed file in a segment that keeps no checksums of chunks.

    The frames whose digest differs tell where the change is.
    """
    has_checksums = "chunks" in content.segment.manifest
    rows = content.differing
    if has_checksums or fault.array is None or fault.chunk is not None or not len(rows):
        return fault
    size = layout.CHUNK_ROWS
    offset = content.segment.atom_offset
    is_atoms = fault.array.startswith("atoms/")
    row = int(offset[rows[0]]) if is_atoms else int(rows[0])
    place = Place(part="chunk", first=row // size, last=row // size, rows=size)
    return replace(
        fault,
        found=f"chunk {place.first}: {fault.found}",
        chunk=place.first,
        frames=frames_of(place, fault.array, offset),
    )


def _version(
    shelf: Shelf,
    label: str,
    payload: Payload,
    contents: dict[str, NDArray[np.uint8] | None],
    findings: Findings,
) -> None:
    """Make a version's digest again from those of its frames."""
    digest = objects.digest_of(payload)
    where = shelf.where(f"objects/version/{digest[:2]}/{digest}.json")
    parts = []
    counts = {}
    for role in ROLES:
        counts[role] = 0
        for entry in payload[role]:
            digests = contents[entry["id"]]
            if digests is None:
                return  # the segment's own finding says why
            if len(digests) != entry["n_frames"]:
                found = (
                    f"has {len(digests)} frames; {label} expects {entry['n_frames']}"
                )
                findings.add(shelf.where(f"stores/{entry['id']}"), found)
                return
            rows = kept_rows(len(digests), entry["excluded"])
            parts.append(digests[rows])
            counts[role] += len(rows)
    expected = {
        "data": payload["n_frames"],
        "quarantine": sum(payload["quarantined"].values()),
    }
    if counts != expected:
        findings.add(where, f"{label}: holds {counts} frames; expected {expected}")
    made = version_digest(np.concatenate([*parts, np.zeros((0, 32), dtype=np.uint8)]))
    if made != payload["digest"]:
        findings.add(
            where,
            f"{label}: its frames make the digest {made}; expected {payload['digest']}",
        )
