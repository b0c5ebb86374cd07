"""The folder where an ingest prepares segments, and the sweeping of dead ones."""

import fcntl
import logging
import os
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from dpbench.errors import DatasetError
from dpbench.store.file_systems import is_network
from dpbench.store.files import (
    disk_errors,
    remove_tree,
    sha256_of_file,
    write_atomically,
    write_exclusively,
)
from dpbench.store.lease import (
    BEAT,
    Beat,
    Heart,
    Watch,
    first_beat,
    read_beat,
    this_owner,
)
from dpbench.store.remote.segments import adopt, upload
from dpbench.store.remote.store import remote_of
from dpbench.store.segment.manifest import NAME as MANIFEST
from dpbench.store.segment.manifest import (
    manifest_digest,
    read_manifest,
    read_manifest_in,
    segment_folder,
)
from dpbench.store.segment.write import move_into_place
from dpbench.store.workspace import Workspace

logger = logging.getLogger(__name__)

MISSED_BEATS = 30
"""Looks that must find the heart of a staging folder still before it is swept: a
folder holds hours of work, and waits for nobody."""


@contextmanager
def staging_folder(workspace: Workspace) -> Iterator[Path]:
    """Make ``stores/ID.tmp`` for this process and remove it at the end.

    ``stores/ID.lock`` tells that the process lives. On a local disk it is locked, and
    the kernel unlocks it however the process ends. On a network file system it beats
    (``store.lease``), and is dead when nobody has seen it beat for long.

    Raises:
        WorkspaceError: If it cannot be made.
    """
    with disk_errors(workspace.stores):
        sweep(workspace)
        name = uuid.uuid4().hex
        lock = workspace.stores / f"{name}.lock"
        folder = workspace.stores / f"{name}.tmp"
        let_go = _keep_alive(lock, is_shared=is_network(workspace.stores))
    done = threading.Event()
    janitor = threading.Thread(target=_watch, args=(folder, done), daemon=True)
    janitor.start()
    try:
        with disk_errors(folder):
            folder.mkdir()
        yield folder
    finally:
        done.set()
        janitor.join()
        remove_tree(folder)
        lock.unlink(missing_ok=True)
        let_go()


def publish(workspace: Workspace, folder: Path) -> None:
    """Put a staged segment where versions may name it.

    One that is there already holds the same content and stays, unless its files are
    damaged: then this one takes its place.

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
    elif not folder.is_symlink():  # else the commit has had to start again
        with disk_errors(workspace.stores):
            if target.exists():
                if _is_whole(target):
                    return
                _put_aside(target, folder)
            move_into_place(folder, target)
            folder.symlink_to(target.absolute())


def _is_whole(segment: Path) -> bool:
    """Hash every file of a segment and its manifest."""
    content = _whole_manifest(segment)
    try:
        return content is not None and all(
            sha256_of_file(segment / name) == expected
            for name, expected in content["files"].items()
        )
    except OSError:
        return False


def _whole_manifest(segment: Path) -> dict[str, Any] | None:
    """Read a segment's manifest; None if it is missing or damaged."""
    try:
        content = read_manifest_in(segment)
        is_whole = content["manifest_digest"] == manifest_digest(content)
    except (DatasetError, LookupError, TypeError):
        return None
    return content if is_whole else None


def _put_aside(target: Path, fresh: Path) -> None:
    """Move a damaged segment to where the fresh one was staged, which is removed.

    Who has mapped its files keeps them until the end; who opens it now finds it whole
    or, for a moment, missing.
    """
    logger.warning("%s: is damaged; what was just read takes its place", target)
    old = _whole_manifest(target)
    if old is not None and old["files"] == read_manifest_in(fresh)["files"]:
        # The registry's rows were made from the old one, and say its paths.
        write_atomically(fresh / MANIFEST, (target / MANIFEST).read_bytes())
    target.rename(fresh.with_name(f"{fresh.name}.{uuid.uuid4().hex}.damaged"))


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
        beat = read_beat(lock)
        is_dead = _is_free(lock) if beat is None else _has_ended(beat)
        if is_dead:
            _remove(folder)
            removed.append(folder)
    return removed


def _remove(folder: Path) -> None:
    remove_tree(folder)
    folder.with_suffix(".lock").unlink(missing_ok=True)


def _has_ended(beat: Beat) -> bool:
    return not beat.is_held or beat.owner.is_gone


def _watch(mine: Path, done: threading.Event) -> None:
    """Watch the hearts of other staging folders for as long as this process stages."""
    watches: dict[Path, Watch] = {}
    while True:
        hearts = {}
        for folder in mine.parent.glob("*.tmp"):
            beat = read_beat(folder.with_suffix(".lock"))
            if beat is not None and folder != mine:
                hearts[folder] = beat
        for folder, beat in hearts.items():
            watch = watches.setdefault(folder, Watch())
            watch.look(beat)
            if watch.missed >= MISSED_BEATS:
                _remove(folder)
        if not hearts or done.wait(BEAT):
            return


def _keep_alive(lock: Path, *, is_shared: bool) -> Callable[[], None]:
    """Make the file that tells that this process lives; return what lets it go."""
    if not is_shared:
        descriptor = os.open(lock, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        except OSError:  # a file system without locks that we do not know by name
            os.close(descriptor)
            lock.unlink()
        else:
            return partial(os.close, descriptor)
    owner = this_owner()
    write_exclusively(lock, first_beat(owner))
    return Heart(lock, owner).stop


def _is_free(path: Path) -> bool:
    """Tell whether nobody holds the lock; a lock file that is gone is free."""
    try:
        descriptor = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return True
    except PermissionError:
        return False  # another user's, and theirs to sweep
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False  # held, or a file system that cannot tell: leave it alone
    finally:
        os.close(descriptor)
    return True
