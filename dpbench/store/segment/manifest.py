"""A segment's manifest: what it holds, from which sources, and its files' hashes."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from dpbench.config import canonical_json
from dpbench.errors import DatasetError
from dpbench.store.digests import SCHEME
from dpbench.store.files import disk_errors, write_atomically
from dpbench.store.remote.store import RemoteStore, remote_of
from dpbench.store.segment import layout
from dpbench.store.workspace import Workspace

NAME = "segment.json"
"""File name of the manifest in a segment's folder."""

REQUESTS = 16
"""Segments whose small files are asked for at the same time."""


def segment_folder(workspace: Workspace, segment_id: str) -> Path:
    """Return the folder of a sealed segment, or of what is copied of a remote one."""
    return workspace.stores / segment_id


def segment_key(segment_id: str) -> str:
    """Return the key below which a remote segment's files lie."""
    return f"stores/{segment_id}"


def is_array_file(name: str) -> bool:
    """Tell whether a file of a segment belongs to its Zarr group."""
    return name.startswith(f"{layout.GROUP}/")


def read_manifest(workspace: Workspace, segment_id: str) -> dict[str, Any]:
    """Read the manifest of a sealed segment; of a remote one, copy it and the facts.

    Raises:
        DatasetError: If it is missing or damaged.
        WorkspaceError: If a remote store cannot be reached.
    """
    folder = segment_folder(workspace, segment_id)
    remote = remote_of(workspace)
    if remote is not None and not (folder / NAME).exists():
        _copy_small_files(remote, segment_id, folder)
    return read_manifest_in(folder)


def copy_ahead(workspace: Workspace, segment_ids: Iterable[str]) -> None:
    """Copy the manifests and facts of remote segments that are not here, many at once.

    Raises:
        DatasetError: If one is missing or damaged.
        WorkspaceError: If the store cannot be reached.
    """
    remote = remote_of(workspace)
    if remote is None:
        return
    folders = [segment_folder(workspace, name) for name in segment_ids]
    missing = [folder for folder in folders if not (folder / NAME).exists()]
    with ThreadPoolExecutor(max_workers=REQUESTS) as pool:
        jobs = [pool.submit(_copy_small_files, remote, f.name, f) for f in missing]
        for job in jobs:
            job.result()


def read_manifest_in(folder: Path) -> dict[str, Any]:
    """Read the manifest in a segment's folder.

    Raises:
        DatasetError: If it is missing or damaged.
    """
    path = folder / NAME
    try:
        manifest: dict[str, Any] = json.loads(path.read_bytes())
    except OSError as error:
        raise DatasetError(
            f"{path}: cannot be read ({error.strerror}); expected the manifest of a "
            "segment. Restore it from a copy, or ingest its sources again."
        ) from error
    except ValueError as error:
        raise DatasetError(
            f"{path}: is not JSON; expected the manifest of a segment. "
            "Restore it from a copy, or ingest its sources again."
        ) from error
    # The first segments have no digest of the whole manifest; newer formats, which the
    # caller refuses by their number, may make it otherwise.
    is_known = manifest.get("format", 0) <= layout.FORMAT
    told = manifest.get("manifest_digest") if is_known else None
    if told not in (None, manifest_digest(manifest)):
        raise DatasetError(
            f"{path}: its content does not fit its digest; it is damaged. Restore it "
            "from a copy (with a remote store: remove it, it is copied again)."
        )
    return manifest


def read_remote_manifest(remote: RemoteStore, segment_id: str) -> dict[str, Any]:
    """Read the manifest of a segment from the object store.

    Raises:
        DatasetError: If it is missing or damaged.
        WorkspaceError: If the store cannot be reached.
    """
    return _parse_remote(remote, segment_id)[0]


def segment_name(content: Mapping[str, Any]) -> str:
    """Name a segment by what its manifest says that it holds, and how it is packed.

    The sources alone would not do: what is read of one changes with the files beside
    it (potentials, k-points) and with the library that reads it. Segments that were
    written before ``frames_digest`` are named by their sources all the same.
    """
    identity: dict[str, Any] = {
        "format": content["format"],
        "role": content["role"],
        "sources": [source["id"] for source in content["sources"]],
    }
    if content.get("frames_digest") is not None:
        identity["frames"] = content["frames_digest"]
        identity["theories"] = [
            [source["theory"], source.get("theory_aside")]
            for source in content["sources"]
        ]
    if content.get("packed") is not None:
        identity["packed"] = content["packed"]
    return hashlib.sha256(canonical_json(identity)).hexdigest()


def storage_digest(files: Mapping[str, str]) -> str:
    """Digest {path: sha256}: says whether the files are those that were written."""
    content = canonical_json(dict(files))
    return f"{SCHEME}:{hashlib.sha256(content).hexdigest()}"


def manifest_digest(content: Mapping[str, Any]) -> str:
    """Digest all of a manifest but this digest itself."""
    told = {key: value for key, value in content.items() if key != "manifest_digest"}
    return f"{SCHEME}:{hashlib.sha256(canonical_json(told)).hexdigest()}"


def manifest_text(content: Mapping[str, Any]) -> str:
    """Write a manifest as it lies in its file; no other text says the same."""
    return json.dumps(content, indent=1, sort_keys=True, allow_nan=False) + "\n"


def _copy_small_files(remote: RemoteStore, segment_id: str, folder: Path) -> None:
    """Copy everything but the arrays, checked; the manifest last."""
    manifest, data = _parse_remote(remote, segment_id)
    for name, expected in manifest["files"].items():
        if is_array_file(name):
            continue
        key = f"{segment_key(segment_id)}/{name}"
        content = remote.read(key)
        if content is None or hashlib.sha256(content).hexdigest() != expected:
            found = "is missing" if content is None else "has changed"
            raise DatasetError(
                f"{remote.url}/{key}: {found}; expected the file that the manifest "
                "names. Restore it from a copy, or ingest its sources again."
            )
        with disk_errors(folder):
            write_atomically(folder / name, content)
    with disk_errors(folder):
        write_atomically(folder / NAME, data)


def _parse_remote(remote: RemoteStore, segment_id: str) -> tuple[dict[str, Any], bytes]:
    key = f"{segment_key(segment_id)}/{NAME}"
    data = remote.read(key)
    try:
        if data is None:
            raise ValueError("there is no such object")
        manifest: dict[str, Any] = json.loads(data)
        is_whole = manifest["storage_digest"] == storage_digest(manifest["files"])
        # The first segments have no digest of the whole manifest.
        told = manifest.get("manifest_digest")
        is_whole = is_whole and told in (None, manifest_digest(manifest))
        if not is_whole or manifest["id"] != segment_id:
            raise ValueError("its digests do not fit each other")
    except (ValueError, KeyError, TypeError) as error:
        raise DatasetError(
            f"{remote.url}/{key}: {error}; expected the manifest of a segment. "
            "Restore it from a copy, or ingest its sources again."
        ) from error
    return manifest, data
