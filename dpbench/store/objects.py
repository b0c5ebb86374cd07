"""Immutable, content-addressed JSON objects: the truth that SQL only indexes.

``objects/KIND/ab/abcd....json`` holds the canonical JSON of one object; the name is
the sha256 of those bytes, so that an object can neither change nor be mistaken.
``objects/refs/NAME/NUMBER`` names the object of version NUMBER of dataset NAME, and
making that file is the one moment at which a version comes to be.
"""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args

from dpbench.config import canonical_json
from dpbench.errors import DatasetError
from dpbench.store.files import disk_errors, write_atomically, write_exclusively
from dpbench.store.workspace import Workspace

Kind = Literal["version", "split", "theory", "model", "run", "result"]

KINDS: tuple[Kind, ...] = get_args(Kind)
"""All kinds of objects."""


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
    path = _path(workspace, kind, digest)
    with disk_errors(path):
        if not path.exists():
            write_atomically(path, canonical_json(payload))
    return digest


def get(workspace: Workspace, kind: Kind, digest: str) -> dict[str, Any]:
    """Read an object and check that it is the one that was written.

    Raises:
        DatasetError: If it is missing or damaged.
    """
    path = _path(workspace, kind, digest)
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
    payload: dict[str, Any] = json.loads(data)
    return payload


def digests(workspace: Workspace, kind: Kind) -> list[str]:
    """List the objects of a kind, sorted, without reading them."""
    return sorted(p.stem for p in (workspace.objects / kind).glob("??/[!.]*.json"))


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
    path = reference_path(workspace, name, number)
    with disk_errors(path):
        return write_exclusively(path, digest.encode())


def reference_path(workspace: Workspace, name: str, number: int) -> Path:
    """Return where the reference of a version is, or would be."""
    return workspace.objects / "refs" / name / str(number)


def version_numbers(workspace: Workspace, name: str) -> list[int]:
    """List the versions of a dataset, oldest first; empty if there is no such."""
    folder = workspace.objects / "refs" / name
    return sorted(int(p.name) for p in folder.glob("*") if p.name.isdigit())


def version_digest(workspace: Workspace, name: str, number: int) -> str:
    """Return the object digest of an existing version.

    Raises:
        DatasetError: If the reference cannot be read.
    """
    path = reference_path(workspace, name, number)
    try:
        return path.read_text().strip()
    except OSError as error:
        raise DatasetError(
            f"{path}: cannot be read ({error.strerror}); expected the reference of "
            f"{name}-v{number}. Restore it from a copy of the workspace."
        ) from error


def dataset_names(workspace: Workspace) -> list[str]:
    """List the datasets by name."""
    folder = workspace.objects / "refs"
    return sorted(p.name for p in folder.glob("*") if any(p.glob("[0-9]*")))


def all_versions(workspace: Workspace) -> Iterator[tuple[str, int, str]]:
    """Yield (dataset, number, object digest) of every version."""
    for name in dataset_names(workspace):
        for number in version_numbers(workspace, name):
            yield name, number, version_digest(workspace, name, number)


def _path(workspace: Workspace, kind: Kind, digest: str) -> Path:
    return workspace.objects / kind / digest[:2] / f"{digest}.json"
