"""Segments in an object store: uploading, fetching, checking, reading their arrays.

A segment is uploaded file by file and its manifest last. Every file is read back and
hashed before the manifest is written, so that a segment with a manifest is whole; what
a killed upload leaves is named by nothing.
"""

import hashlib
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from dpbench.errors import DatasetError, WorkspaceError
from dpbench.store.files import disk_errors, fsync_tree, sha256_of_file
from dpbench.store.remote.store import RemoteStore
from dpbench.store.segment import layout, manifest

TRANSFERS = 8
"""Files that are sent or fetched at the same time."""

TEMPORARY = ".fetch"
"""Ending of a file that is being fetched."""

Progress = Callable[[int], None]
"""Called with the bytes of each file that has arrived."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RemoteFile:
    """One file of a remote segment, as it should be."""

    remote: RemoteStore
    """Where it is."""
    key: str
    """Its key."""
    sha256: str
    """What the manifest says of it."""

    @property
    def where(self) -> str:
        """Its URL, for messages."""
        return f"{self.remote.url}/{self.key}"

    def problem(self) -> str | None:
        """Read it and say what is wrong: ``missing``, ``changed``, or nothing."""
        digest = _digest(self.remote.blocks(self.key))
        if digest is None:
            return "missing"
        return None if digest == self.sha256 else "changed"


def remote_files(remote: RemoteStore, content: dict[str, Any]) -> list[RemoteFile]:
    """List the files of a segment by its manifest; the manifest itself has no hash."""
    prefix = manifest.segment_key(content["id"])
    return [
        RemoteFile(remote=remote, key=f"{prefix}/{name}", sha256=digest)
        for name, digest in content["files"].items()
    ]


def upload(remote: RemoteStore, folder: Path) -> None:
    """Upload a sealed segment unless it is there; a second try goes on with the first.

    Args:
        remote: Where to.
        folder: The segment's folder, named by its id.

    Raises:
        WorkspaceError: If the store cannot be written, or holds other bytes already.
    """
    key = f"{manifest.segment_key(folder.name)}/{manifest.NAME}"
    if remote.read(key) is not None:
        return
    files = remote_files(remote, manifest.read_manifest_in(folder))
    with ThreadPoolExecutor(max_workers=TRANSFERS) as pool:
        for _ in pool.map(lambda file: _send(folder, file), files):
            pass  # an error of any of them rises here
    remote.create(key, (folder / manifest.NAME).read_bytes())


def fetch_arrays(
    remote: RemoteStore, folder: Path, content: dict[str, Any], progress: Progress
) -> None:
    """Bring a segment's arrays into its folder, where they can be mapped.

    Whole files of an earlier try are kept; the Zarr group appears when all are there.

    Raises:
        DatasetError: If a file is missing or damaged in the store.
        WorkspaceError: If the store cannot be reached, or the disk not written.
    """
    target = folder / layout.GROUP
    if target.is_dir():
        return
    part = folder / f"{layout.GROUP}.part"
    start = len(f"{manifest.segment_key(folder.name)}/{layout.GROUP}/")
    files = [
        file
        for file in remote_files(remote, content)
        if manifest.is_array_file(
            file.key[len(manifest.segment_key(folder.name)) + 1 :]
        )
    ]
    with disk_errors(part):
        try:
            with ThreadPoolExecutor(max_workers=TRANSFERS) as pool:
                paths = [part / file.key[start:] for file in files]
                for size in pool.map(partial(_receive, folder), files, paths):
                    progress(size)
            fsync_tree(part)
            part.rename(target)
        except OSError:
            if not target.is_dir():  # another process has brought it meanwhile
                raise
        for path in folder.glob(f"*{TEMPORARY}"):
            path.unlink(missing_ok=True)


def adopt(folder: Path, target: Path) -> None:
    """Keep what was uploaded as the local copy, if that is what the store has.

    Args:
        folder: The staged segment.
        target: The folder of the copy, which has the store's manifest.
    """
    mine, theirs = map(manifest.read_manifest_in, (folder, target))
    staged, arrays = folder / layout.GROUP, target / layout.GROUP
    is_new = staged.is_dir() and not arrays.exists()
    if is_new and mine["files"] == theirs["files"]:
        with disk_errors(target):
            staged.rename(arrays)


def check_presence(remote: RemoteStore, content: dict[str, Any]) -> None:
    """Make sure by one listing that a segment lacks no file.

    zarr-python reads a missing one as fill values.

    Raises:
        DatasetError: If a file is missing.
        WorkspaceError: If the store cannot be reached.
    """
    there = set(remote.keys(manifest.segment_key(content["id"])))
    for file in remote_files(remote, content):
        if file.key not in there:
            raise _lacking(file, "is missing")


def _lacking(file: RemoteFile, found: str) -> DatasetError:
    return DatasetError(
        f"{file.where}: {found}; expected the file that the segment's manifest names. "
        "Restore it from a copy of the store, or ingest its sources again."
    )


def _send(folder: Path, file: RemoteFile) -> None:
    """Upload one file and read it back; what arrived otherwise is removed again."""
    name = file.key.removeprefix(f"{manifest.segment_key(folder.name)}/")
    data = (folder / name).read_bytes()
    if hashlib.sha256(data).hexdigest() != file.sha256:
        raise WorkspaceError(
            f"{folder / name}: has changed since it was written; nothing was added to "
            "the dataset. Check the disk, and run the ingest again."
        )
    is_mine = file.remote.create(file.key, data)
    problem = file.problem()
    if problem is None:
        return
    if is_mine:
        file.remote.remove(file.key)
        raise WorkspaceError(
            f"{file.where}: was {problem} when it was read back; nothing was added to "
            "the dataset. Check the object store, and run the ingest again."
        )
    raise WorkspaceError(
        f"{file.where}: holds other bytes than {folder / name}, and its segment has no "
        "manifest: another machine is uploading it, or was killed. Wait for it, or "
        f"remove {file.remote.url}/{manifest.segment_key(folder.name)}, which nothing "
        "names, and run the ingest again."
    )


def _receive(folder: Path, file: RemoteFile, path: Path) -> int:
    """Fetch one file, checked, unless it is there; return its bytes.

    It is written beside the arrays, where a killed fetch leaves nothing among them.
    """
    if path.is_file() and sha256_of_file(path) == file.sha256:
        return path.stat().st_size
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = folder / f"{uuid.uuid4().hex}{TEMPORARY}"
    try:
        with temporary.open("xb") as output:
            digest = _digest(_written(file.remote.blocks(file.key), output))
        if digest != file.sha256:
            found = "is missing" if digest is None else "has changed"
            raise _lacking(file, found)
        size = temporary.stat().st_size
        temporary.replace(path)
        return size
    finally:
        temporary.unlink(missing_ok=True)


def _written(blocks: Iterator[bytes], output: Any) -> Iterator[bytes]:
    for block in blocks:
        output.write(block)
        yield block


def _digest(blocks: Iterator[bytes]) -> str | None:
    """Hash a stream; None if there was no object at all."""
    digest, is_there = hashlib.sha256(), False
    for block in blocks:
        digest.update(block)
        is_there = True
    return digest.hexdigest() if is_there else None
