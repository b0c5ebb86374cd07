"""The files of a workspace's truth by key, in its folder or in an object store."""

import hashlib
import os
from collections.abc import Iterator
from typing import Protocol, final

from dpbench.store.files import READ_SIZE
from dpbench.store.remote.store import RemoteStore, remote_of
from dpbench.store.workspace import Workspace


class Shelf(Protocol):
    """Reads files by their keys, ``objects/version/ab/abcd.json``, past every cache."""

    def where(self, key: str) -> str:
        """Return path or URL of a file, for messages."""

    def read(self, key: str) -> bytes | None:
        """Read a file; None if it is not there or cannot be read."""

    def digest(self, key: str) -> tuple[str, int] | None:
        """Return (sha256, bytes) of a file; None if it is not there."""

    def keys(self, prefix: str) -> list[str]:
        """List the files below a folder, sorted, without those being written."""


def shelf_of(workspace: Workspace) -> Shelf:
    """Return where the truth of a workspace is."""
    remote = remote_of(workspace)
    return FolderShelf(workspace) if remote is None else RemoteShelf(remote)


@final
class FolderShelf:
    """Files in the workspace's folder, or the copies there of remote ones."""

    def __init__(self, workspace: Workspace) -> None:
        """Read below ``workspace.truth``."""
        self._root = workspace.truth

    def where(self, key: str) -> str:
        """Return the path of a file."""
        return str(self._root / key)

    def read(self, key: str) -> bytes | None:
        """Read a file; None if it is not there or cannot be read."""
        try:
            return (self._root / key).read_bytes()
        except OSError:
            return None

    def digest(self, key: str) -> tuple[str, int] | None:
        """Return (sha256, bytes) of a file; None if it is not there."""
        content, size = hashlib.sha256(), 0
        try:
            with (self._root / key).open("rb", buffering=0) as file:
                while block := file.read(READ_SIZE):
                    content.update(block)
                    size += len(block)
        except OSError:
            return None
        return content.hexdigest(), size

    def keys(self, prefix: str) -> list[str]:
        """List the files below a folder, sorted, without those being written."""
        return sorted(self._walk(prefix))

    def _walk(self, prefix: str) -> Iterator[str]:
        root = self._root / prefix
        for folder, _, names in os.walk(root):
            for name in names:
                is_temporary = name.startswith(".") and name.endswith(".tmp")
                if not is_temporary:
                    path = os.path.relpath(f"{folder}/{name}", self._root)
                    yield path.replace(os.sep, "/")


@final
class RemoteShelf:
    """Objects of an object store."""

    def __init__(self, remote: RemoteStore) -> None:
        """Read below the store's URL."""
        self._remote = remote

    def where(self, key: str) -> str:
        """Return the URL of an object."""
        return f"{self._remote.url}/{key}"

    def read(self, key: str) -> bytes | None:
        """Read an object; None if it is not there."""
        return self._remote.read(key)

    def digest(self, key: str) -> tuple[str, int] | None:
        """Return (sha256, bytes) of an object; None if it is not there."""
        content, size, is_there = hashlib.sha256(), 0, False
        for block in self._remote.blocks(key):
            content.update(block)
            size, is_there = size + len(block), True
        return (content.hexdigest(), size) if is_there else None

    def keys(self, prefix: str) -> list[str]:
        """List the objects below a folder, sorted."""
        return self._remote.keys(prefix)
