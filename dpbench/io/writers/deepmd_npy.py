"""Writer of ``deepmd/npy``: a folder a system, ``set.NNN`` of ``.npy`` files in it.

Source: DeePMD-kit documentation, "Formats of a system" (doc/data/system.md).
"""

from contextlib import ExitStack
from pathlib import Path
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from dpbench.io.exchange.content import Content
from dpbench.io.writers import Written
from dpbench.io.writers.systems import (
    FrameSet,
    System,
    columns_of,
    find_systems,
    loses_cells,
    real_types,
    rows_of,
    sets_of,
    system_notes,
)


def write(folder: Path, content: Content, *, mixed: bool = False) -> Written:
    """Write all frames below ``folder``; ``mixed``: as mixed type."""
    systems = find_systems(content, mixed=mixed)
    for system in systems:
        path = folder / system.name
        path.mkdir()
        _write_types(path, system, content)
        for frame_set in sets_of(system):
            _write_set(path / frame_set.name, system, frame_set, content, mixed=mixed)
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


def _write_types(path: Path, system: System, content: Content) -> None:
    types = "".join(f"{kind}\n" for kind in system.types.tolist())
    (path / "type.raw").write_text(types)
    names = "".join(f"{name}\n" for name in content.elements)
    (path / "type_map.raw").write_text(names)
    if not system.has_cell:
        (path / "nopbc").touch()


def _write_set(
    path: Path, system: System, frame_set: FrameSet, content: Content, *, mixed: bool
) -> None:
    path.mkdir()
    nframes = len(frame_set.positions)
    with ExitStack() as stack:
        files = {
            name: stack.enter_context(
                NpyFile(path / f"{name}.npy", dtype=dtype, shape=(nframes, size))
            )
            for name, (dtype, size) in columns_of(system, content).items()
        }
        if mixed:
            types = stack.enter_context(
                NpyFile(
                    path / "real_atom_types.npy",
                    dtype=np.dtype(np.int32),
                    shape=(nframes, system.natoms),
                )
            )
        for _, frames in content.blocks(frame_set.positions):
            for name, file in files.items():
                file.append(rows_of(name, frames))
            if mixed:
                types.append(real_types(frames, content.elements))


@final
class NpyFile:
    """A ``.npy`` file that is written row by row.

    Not through a memory map: a full disk would end the process, not raise an error.
    """

    def __init__(
        self, path: Path, *, dtype: np.dtype[Any], shape: tuple[int, ...]
    ) -> None:
        """Write the header of an array of this type and shape."""
        self._dtype = dtype.newbyteorder("<")
        self._file = path.open("xb")
        header = {
            "descr": np.lib.format.dtype_to_descr(self._dtype),
            "fortran_order": False,
            "shape": shape,
        }
        np.lib.format.write_array_header_1_0(self._file, header)

    def __enter__(self) -> "NpyFile":
        """Return the file itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file."""
        self._file.close()

    def append(self, rows: NDArray[Any]) -> None:
        """Write rows behind those that are there."""
        self._file.write(np.ascontiguousarray(rows, dtype=self._dtype).data)
