"""Writer of ``deepmd/hdf5``: the arrays of ``deepmd/npy`` in one file.

Each system is a group.

Source: DeePMD-kit documentation, "Formats of a system", HDF5 format, and dpdata 1.1.
"""

import io
import os
from pathlib import Path
from typing import Any, final

import h5py
import numpy as np

from dpbench.io.exchange.content import Content
from dpbench.io.writers import Written
from dpbench.io.writers.systems import (
    FrameSet,
    System,
    columns_of,
    find_systems,
    loses_cells,
    rows_of,
    sets_of,
    system_notes,
)

Buffer = bytearray | memoryview
"""What HDF5 reads into and writes from."""

FILE = "data.hdf5"
"""Name of the file; DeePMD-kit names a system in it ``data.hdf5#/GROUP``."""


def write(folder: Path, content: Content) -> Written:
    """Write all frames into ``folder / FILE``."""
    systems = find_systems(content, mixed=False)
    with (folder / FILE).open("x+b", buffering=0) as plain:
        target = _PatientFile(plain)
        _write_file(target, content, systems)
        target.check()
    return Written(
        positions=[p for system in systems for p in system.positions.tolist()],
        extra={
            "systems": [
                {"path": system.name, "n_frames": len(system.positions)}
                for system in systems
            ]
        },
        is_lossless=not loses_cells(content),
        notes=system_notes(content, systems),
    )


def _write_file(
    target: "_PatientFile", content: Content, systems: list[System]
) -> None:
    with h5py.File(target, "w", libver="v110") as file:
        for system in systems:
            group = file.create_group(system.name)
            group.create_dataset("type.raw", data=system.types)
            names = np.array(content.elements, dtype="S")
            group.create_dataset("type_map.raw", data=names)
            if not system.has_cell:
                group.create_dataset("nopbc", data=True)
            for frame_set in sets_of(system):
                _write_set(group, system, frame_set, content)
                target.check()


def _write_set(
    group: Any, system: System, frame_set: FrameSet, content: Content
) -> None:
    nframes = len(frame_set.positions)
    folder = group.create_group(frame_set.name)
    datasets = {
        name: folder.create_dataset(f"{name}.npy", shape=(nframes, size), dtype=dtype)
        for name, (dtype, size) in columns_of(system, content).items()
    }
    start = 0
    for chunk, frames in content.blocks(frame_set.positions):
        for name, dataset in datasets.items():
            dataset[start : start + len(chunk)] = rows_of(name, frames)
        start += len(chunk)


@final
class _PatientFile:
    """A file that keeps the first error to itself until ``check`` is called.

    HDF5 ends the process if it cannot write while it closes a file on a full disk.
    """

    def __init__(self, file: io.FileIO) -> None:
        self._file = file
        self._error: OSError | None = None

    def check(self) -> None:
        """Raise the first error that occurred."""
        if self._error is not None:
            raise self._error

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move; as of any file."""
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """Return the position; as of any file."""
        return self._file.tell()

    def read(self, size: int = -1) -> bytes:
        """Read; as of any file."""
        return self._file.read(size)

    def readinto(self, buffer: Buffer) -> int:
        """Read into a buffer, zeros where nothing could be written."""
        view = memoryview(buffer).cast("B")
        count = self._file.readinto(view)
        view[count:] = bytes(len(view) - count)
        return len(view)

    def write(self, data: Buffer) -> int:
        """Write all of ``data``, or remember why not."""
        view = memoryview(data).cast("B")
        done = 0
        try:
            while done < len(view) and self._error is None:
                done += self._file.write(view[done:])
        except OSError as error:
            self._error = error
        return len(view)

    def truncate(self, size: int | None = None) -> int:
        """Set the size, or remember why not."""
        try:
            self._file.truncate(size)
        except OSError as error:
            self._error = self._error or error
        return self._file.tell() if size is None else size

    def flush(self) -> None:
        """Do nothing: writes are not buffered."""
