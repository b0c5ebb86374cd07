"""Writing files so that a crash leaves either the whole file or none of it."""

import hashlib
import os
import shutil
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

from dpbench.errors import WorkspaceError

FSYNC_THREADS = 16
"""Files forced to disk at the same time."""

READ_SIZE = 1 << 20
"""Bytes per read while hashing: large enough that hashlib lets other threads run."""


@contextmanager
def disk_errors(where: Path) -> Iterator[None]:
    """Turn an operating system error of a write below ``where`` into one clear line.

    Raises:
        WorkspaceError: On a full or read-only disk, missing rights, and the like.
    """
    try:
        yield
    except OSError as error:
        name = error.filename or where
        raise WorkspaceError(
            f"{name}: cannot be written ({error.strerror or error}); nothing was "
            "added to the dataset. Free the disk, or name another --workspace."
        ) from error


def write_atomically(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path`` at once: readers see the old file or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _write_temporary(path, data)
    temporary.replace(path)
    fsync_folder(path.parent)


def write_exclusively(path: Path, data: bytes) -> bool:
    """Write ``data`` to ``path`` at once, unless the file is there already.

    Returns:
        Whether this call made the file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _write_temporary(path, data)
    try:
        path.hardlink_to(temporary)
    except FileExistsError:
        # A network file system whose answer got lost asks again, and then finds its
        # own link.
        return temporary.stat().st_nlink > 1
    finally:
        temporary.unlink()
    fsync_folder(path.parent)
    return True


def fsync_folder(folder: Path) -> None:
    """Make the names inside ``folder`` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def fsync_tree(root: Path) -> None:
    """Make every file and folder below ``root`` survive a power cut.

    Many at once: a journalling file system then writes its journal a few times instead
    of once a file.
    """
    paths = [
        Path(folder) / name for folder, _, names in os.walk(root) for name in names
    ]
    folders = [Path(folder) for folder, _, _ in os.walk(root)]
    with ThreadPoolExecutor(max_workers=FSYNC_THREADS) as pool:
        for _ in pool.map(fsync_folder, paths + folders):
            pass  # an error of any of them rises here


def sha256_of_file(path: Path) -> str:
    """Return the sha256 of a file as hex digits; OSError if it cannot be read."""
    digest = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        while block := file.read(READ_SIZE):
            digest.update(block)
    return digest.hexdigest()


def sha256_of_tree(root: Path) -> dict[str, str]:
    """Return {path relative to ``root``: sha256} of all files, by path."""
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {path.relative_to(root).as_posix(): sha256_of_file(path) for path in files}


def remove_tree(root: Path) -> None:
    """Remove a folder if it is there; what cannot be removed stays."""
    shutil.rmtree(root, ignore_errors=True)


def _write_temporary(path: Path, data: bytes) -> Path:
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        with suppress(OSError):
            temporary.unlink()
        raise
    return temporary
