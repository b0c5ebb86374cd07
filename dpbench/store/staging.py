"""The folder where an ingest prepares segments, and the sweeping of dead ones."""

import fcntl
import os
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from dpbench.store.files import disk_errors, remove_tree
from dpbench.store.manifest import read_manifest, segment_folder
from dpbench.store.remote import remote_of
from dpbench.store.remote_segments import adopt, upload
from dpbench.store.segments import move_into_place
from dpbench.store.workspace import Workspace


@contextmanager
def staging_folder(workspace: Workspace) -> Iterator[Path]:
    """Make ``stores/ID.tmp`` for this process and remove it at the end.

    ``stores/ID.lock`` is locked while the process lives; the kernel unlocks it however
    the process ends, which is how the next ingest knows that a folder is dead.

    Raises:
        WorkspaceError: If it cannot be made.
    """
    with disk_errors(workspace.stores):
        sweep(workspace)
        name = uuid.uuid4().hex
        lock = workspace.stores / f"{name}.lock"
        folder = workspace.stores / f"{name}.tmp"
        descriptor = _make_locked(lock)
    try:
        with disk_errors(folder):
            folder.mkdir()
        yield folder
    finally:
        remove_tree(folder)
        lock.unlink(missing_ok=True)
        os.close(descriptor)


def publish(workspace: Workspace, folder: Path) -> None:
    """Put a staged segment where versions may name it.

    Args:
        workspace: Where to; a remote one keeps a copy.
        folder: The sealed segment, named by its id.

    Raises:
        WorkspaceError: If the disk or the object store cannot be written.
        DatasetError: If the store has a segment of that name that is damaged.
    """
    target = segment_folder(workspace, folder.name)
    remote = remote_of(workspace)
    if remote is not None:
        upload(remote, folder)
        read_manifest(workspace, folder.name)
        adopt(folder, target)
    elif not target.exists():
        with disk_errors(workspace.stores):
            move_into_place(folder, target)


def upload_early(workspace: Workspace, folders: Iterable[Path]) -> None:
    """Upload staged segments before the registry's lock is taken: it may take hours.

    Raises:
        WorkspaceError: If the object store cannot be written.
    """
    remote = remote_of(workspace)
    if remote is not None:
        for folder in folders:
            upload(remote, folder)


def sweep(workspace: Workspace) -> list[Path]:
    """Remove staging folders whose process is gone; return what was removed."""
    removed = []
    for folder in workspace.stores.glob("*.tmp"):
        lock = folder.with_suffix(".lock")
        if _is_free(lock):
            remove_tree(folder)
            removed.append(folder)
            lock.unlink(missing_ok=True)
    return removed


def _make_locked(path: Path) -> int:
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o644)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    return descriptor


def _is_free(path: Path) -> bool:
    """Tell whether nobody holds the lock; a lock file that is gone is free."""
    try:
        descriptor = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False  # held, or a file system that cannot tell: leave it alone
    finally:
        os.close(descriptor)
    return True
