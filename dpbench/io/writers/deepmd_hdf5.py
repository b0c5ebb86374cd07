"""Writer of ``deepmd/hdf5``: the arrays of ``deepmd/npy`` in one file.

Each system is a group.

Source: DeePMD-kit documentation, "Formats of a system", HDF5 format, and dpdata 1.1.
"""

from pathlib import Path
from typing import Any

import h5py
import numpy as np

from dpbench.io.exchange_content import Content
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

FILE = "data.hdf5"
"""Name of the file; DeePMD-kit names a system in it ``data.hdf5#/GROUP``."""


def write(folder: Path, content: Content) -> Written:
    """Write all frames into ``folder / FILE``."""
    systems = find_systems(content, mixed=False)
    # no times in the file: the same data gives the same bytes
    with h5py.File(folder / FILE, "w", track_order=False, libver="v110") as file:
        for system in systems:
            group = file.create_group(system.name)
            group.create_dataset("type.raw", data=system.types)
            names = np.array(content.elements, dtype="S")
            group.create_dataset("type_map.raw", data=names)
            if not system.has_cell:
                group.create_dataset("nopbc", data=True)
            for frame_set in sets_of(system):
                _write_set(group, system, frame_set, content)
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
