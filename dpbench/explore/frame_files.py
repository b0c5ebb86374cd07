"""Frames of an exploration on disk: one ``.npz`` without pickles, written at once."""

from dataclasses import fields
from io import BytesIO
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from dpbench.errors import WorkspaceError
from dpbench.frames import Frames
from dpbench.store.files import disk_errors, write_atomically


def save_frames(path: Path, frames: Frames, **more: Any) -> None:
    """Write frames, and arrays of numbers that go with them.

    Args:
        path: The file; its folder is made.
        frames: All of them, labels or NaN.
        **more: Further arrays by name; none of a field of ``Frames``.

    Raises:
        WorkspaceError: If it cannot be written.
    """
    arrays = {field.name: getattr(frames, field.name) for field in fields(Frames)}
    if frames.aparam is None:
        del arrays["aparam"]
    buffer = BytesIO()
    np.savez(buffer, **arrays, **more)
    with disk_errors(path):
        write_atomically(path, buffer.getvalue())


def load_frames(path: Path) -> tuple[Frames, dict[str, Any]]:
    """Read frames, and the further arrays of the file.

    Raises:
        WorkspaceError: If the file is missing or damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        names = [field.name for field in fields(Frames) if field.name != "aparam"]
        own = {name: arrays.pop(name) for name in names}
        return Frames(**own, aparam=arrays.pop("aparam", None)), arrays
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        raise WorkspaceError(
            f"{path}: cannot be read ({error}); expected the frames of an exploration. "
            "Remove the file: the same command makes them again."
        ) from error
