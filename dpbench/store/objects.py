"""Immutable, content-addressed JSON objects: the truth that SQL only indexes.

``objects/KIND/ab/abcd....json`` holds the canonical JSON of one object; the name is
the sha256 of those bytes, so that an object can neither change nor be mistaken.
``objects/refs/NAME/NUMBER`` names the object of version NUMBER of dataset NAME, and
making that file is the one moment at which a version comes to be.

With a remote store the same keys lie below its URL. Objects are then copied into the
workspace as they are read; references are always asked for.
"""

import hashlib
import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any, Literal, get_args

from dpbench.config import canonical_json
from dpbench.errors import DatasetError
from dpbench.store.files import disk_errors, write_atomically, write_exclusively
from dpbench.store.remote.store import RemoteStore, remote_of
from dpbench.store.workspace import Workspace

Kind = Literal["version", "split", "theory", "model", "run", "result", "event"]

KINDS: tuple[Kind, ...] = get_args(Kind)
"""All kinds of objects."""

REFERENCES = "references.json"
"""File beside the copies: what each remote reference says, by its tag."""

REQUESTS = 16
"""References that are asked for at the same time."""

_OBJECT_NAME = re.compile(r"[0-9a-f]{64}\.json")


def digest_of(payload: dict[str, Any]) -> str:
    """Return the name of an object: the sha256 of its canonical JSON, as hex digits.

    Raises:
        ValueError: If the payload holds NaN or infinity; absent values are null.
    """
    return hashlib.sha256(canonical_json(payload)).hexdigest()


def put(workspace: Workspace, kind: Kind, payload: dict[str, Any]) -> str:
    """Write an object, unless it is there already, and return its digest.

    Raises:
        WorkspaceError: If it cannot be written.
        ValueError: If the payload holds NaN or infinity; absent values are null.
    """
    digest = digest_of(payload)
    data = canonical_json(payload)
    remote = remote_of(workspace)
    if remote is not None:
        remote.create(_key(kind, digest), data)  # one that is there says the same
    path = workspace.truth / _key(kind, digest)
    with disk_errors(path):
        if not path.exists():
            write_atomically(path, data)
    return digest


def get(workspace: Workspace, kind: Kind, digest: str) -> dict[str, Any]:
    """Read an object and check that it is the one that was written.

    Raises:
        DatasetError: If it is missing or damaged.
        WorkspaceError: If a remote store cannot be reached.
    """
    remote = remote_of(workspace)
    if remote is not None:
        return _loads(_copied(workspace, remote, _key(kind, digest)))
    path = workspace.truth / _key(kind, digest)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DatasetError(
            f"{path}: cannot be read ({error.strerror}); the {kind} {digest[:12]} "
            "is missing. Restore the file from a copy of the workspace."
        ) from error
    if hashlib.sha256(data).hexdigest() != digest:
        raise DatasetError(
            f"{path}: the content does not fit its name; the file is damaged. "
            "Restore it from a copy of the workspace."
        )
    return _loads(data)


def digests(workspace: Workspace, kind: Kind) -> list[str]:
    """List the objects of a kind, sorted, without reading them."""
    remote = remote_of(workspace)
    if remote is not None:
        paths = [PurePosixPath(key) for key in remote.keys(f"objects/{kind}")]
        return sorted(path.stem for path in paths if is_object(path.name))
    files = (workspace.objects / kind).glob("??/*.json")
    return sorted(path.stem for path in files if is_object(path.name))


def is_object(name: str) -> bool:
    """Tell whether a file is named as objects are: 64 hex digits and ``.json``."""
    return _OBJECT_NAME.fullmatch(name) is not None


def all_of(workspace: Workspace, kind: Kind) -> dict[str, dict[str, Any]]:
    """Read all objects of a kind: {digest: payload}, sorted by digest.

    Raises:
        DatasetError: If one is damaged.
    """
    return {digest: get(workspace, kind, digest) for digest in digests(workspace, kind)}


def claim_version(workspace: Workspace, name: str, *, number: int, digest: str) -> bool:
    """Make version ``number`` of dataset ``name`` be the object ``digest``.

    Returns:
        False if another process has taken that number.

    Raises:
        WorkspaceError: If the reference cannot be written.
    """
    remote = remote_of(workspace)
    if remote is not None:
        key = _reference_key(name, number)
        # An answer that got lost makes the client ask again: then the one who was
        # first is this process itself.
        return remote.create(key, digest.encode()) or _is_ours(remote, key, digest)
    path = reference_path(workspace, name, number)
    with disk_errors(path):
        return write_exclusively(path, digest.encode())


def release_version(workspace: Workspace, name: str, *, number: int) -> None:
    """Take back a claim of this process whose version could not be indexed.

    Only for a caller who still keeps all other writers out: somebody may have built on
    the version otherwise. There it stays, and is indexed later.
    """
    reference_path(workspace, name, number).unlink(missing_ok=True)


def reference_path(workspace: Workspace, name: str, number: int) -> Path:
    """Return where the reference of a version is, or would be."""
    return workspace.truth / _reference_key(name, number)


def version_numbers(workspace: Workspace, name: str) -> list[int]:
    """List the versions of a dataset, oldest first; empty if there is no such."""
    remote = remote_of(workspace)
    if remote is not None:
        names = remote.names(f"objects/refs/{name}")
    else:
        names = [p.name for p in (workspace.objects / "refs" / name).glob("*")]
    return sorted(int(number) for number in names if number.isdigit())


def version_digest(workspace: Workspace, name: str, number: int) -> str:
    """Return the object digest of an existing version.

    Raises:
        DatasetError: If the reference cannot be read.
    """
    remote = remote_of(workspace)
    if remote is not None:
        key = _reference_key(name, number)
        data = remote.read(key)
        if data is None:
            raise _no_reference(f"{remote.url}/{key}", "no such object", name, number)
        return data.decode().strip()
    path = reference_path(workspace, name, number)
    try:
        return path.read_text().strip()
    except OSError as error:
        raise _no_reference(str(path), error.strerror or "", name, number) from error


def dataset_names(workspace: Workspace) -> list[str]:
    """List the datasets by name."""
    remote = remote_of(workspace)
    if remote is not None:
        return sorted({_parts(key)[0] for key in remote.tags("objects/refs")})
    folder = workspace.objects / "refs"
    return sorted(p.name for p in folder.glob("*") if any(p.glob("[0-9]*")))


def all_versions(workspace: Workspace) -> Iterator[tuple[str, int, str]]:
    """Yield (dataset, number, object digest) of every version."""
    remote = remote_of(workspace)
    if remote is not None:
        yield from _remote_versions(workspace, remote)
        return
    for name in dataset_names(workspace):
        for number in version_numbers(workspace, name):
            yield name, number, version_digest(workspace, name, number)


def _loads(data: bytes) -> dict[str, Any]:
    payload: dict[str, Any] = json.loads(data)
    return payload


def _key(kind: Kind, digest: str) -> str:
    return f"objects/{kind}/{digest[:2]}/{digest}.json"


def _reference_key(name: str, number: int) -> str:
    return f"objects/refs/{name}/{number}"


def _copied(workspace: Workspace, remote: RemoteStore, key: str) -> bytes:
    """Read a remote object, from the copy if it is whole; make the copy if not."""
    path = workspace.truth / key
    digest = path.stem
    with suppress(OSError):
        data = path.read_bytes()
        if hashlib.sha256(data).hexdigest() == digest:
            return data
    fresh = remote.read(key)
    where = f"{remote.url}/{key}"
    if fresh is None:
        raise DatasetError(
            f"{where}: there is no such object; expected it because another one names "
            "it. Restore it from a copy of the store."
        )
    if hashlib.sha256(fresh).hexdigest() != digest:
        raise DatasetError(
            f"{where}: the content does not fit its name; the object is damaged. "
            "Restore it from a copy of the store."
        )
    with disk_errors(path):
        write_atomically(path, fresh)
    return fresh


def _remote_versions(
    workspace: Workspace, remote: RemoteStore
) -> list[tuple[str, int, str]]:
    """List (dataset, number, object digest) by one listing, asking for new ones only.

    What a reference says is remembered with the tag that the listing gives it.
    """
    tags = remote.tags("objects/refs")
    path = workspace.truth / REFERENCES
    known: dict[str, list[str]] = {}
    with suppress(OSError, ValueError):
        known = json.loads(path.read_bytes())
    unknown = [key for key, tag in tags.items() if known.get(key, [None])[0] != tag]
    with ThreadPoolExecutor(max_workers=REQUESTS) as pool:
        contents = list(pool.map(remote.read, unknown))
    for key, data in zip(unknown, contents, strict=True):
        if data is None:
            where = f"{remote.url}/{key}"
            raise _no_reference(where, "it has just gone", *_parts(key))
        known[key] = [tags[key], data.decode().strip()]
    if unknown:
        with disk_errors(path):
            write_atomically(path, canonical_json({key: known[key] for key in tags}))
    return sorted((*_parts(key), known[key][1]) for key in tags)


def _parts(key: str) -> tuple[str, int]:
    """Take dataset and number from a reference's key."""
    path = PurePosixPath(key)
    return path.parent.name, int(path.name)


def _is_ours(remote: RemoteStore, key: str, digest: str) -> bool:
    return remote.read(key) == digest.encode()


def _no_reference(where: str, found: str, name: str, number: int) -> DatasetError:
    return DatasetError(
        f"{where}: cannot be read ({found}); expected the reference of "
        f"{name}-v{number}. Restore it from a copy of the workspace."
    )
