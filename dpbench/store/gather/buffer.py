"""Arrays that one batch after another is read into."""

from collections.abc import Callable
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from dpbench.frames import ATOM_FIELDS, FRAME_FIELDS
from dpbench.store.gather.table import FIELDS, FRAME_COLUMN

Allocate = Callable[[int], NDArray[np.uint8]]
"""Gives so many bytes of memory, e.g. pinned memory of torch seen as a numpy array."""

_KINDS = {"z": "u1", "pbc": "?"}
_FLOAT32_ALLOWED = ("coord", "force")


def plain_memory(size: int) -> NDArray[np.uint8]:
    """Allocate ``size`` bytes of ordinary memory."""
    return np.empty(size, dtype=np.uint8)


@final
class FrameBuffer:
    """Memory for one batch, which ``DatasetVersion.read`` fills again and again.

    It grows to the largest batch and stays there: fresh memory costs more to touch
    than a batch to copy. The frames that were read last are views of it, and change
    with the next read into it. It widens to float64 where data asks for it, and stays
    so.
    """

    def __init__(self, allocate: Allocate = plain_memory) -> None:
        """Set up an empty buffer.

        Args:
            allocate: Where its memory comes from.
        """
        self._allocate = allocate
        self._memory: dict[str, NDArray[Any]] = {}
        self._offset = np.zeros(1, dtype=np.int64)
        self.target = np.zeros(len(FIELDS), dtype=np.uint64)
        """(field), where each array lies."""
        self.widest = np.zeros(len(FIELDS), dtype=np.int64)
        """(field), bytes of a number that the segments at hand need."""
        self._width = np.zeros(len(FIELDS), dtype=np.int64)
        self._room = (-1, -1)

    def offset(self, nframes: int) -> NDArray[np.int64]:
        """(frame + 1), room for the offsets of a batch."""
        if len(self._offset) <= nframes:
            self._offset = self._take(nframes + 1, np.dtype(np.int64))
        return self._offset[: nframes + 1]

    def arrays(self, nframes: int, natoms: int) -> dict[str, NDArray[Any]]:
        """Make room for a batch, numbers as wide as ``widest`` says.

        Returns:
            The arrays of ``Frames`` by name, without the offsets.
        """
        fits = nframes <= self._room[0] and natoms <= self._room[1]
        if not fits or (self.widest > self._width).any():
            self._grow(nframes, natoms)
        self.widest[:] = self._width
        memory = self._memory
        out = {name: memory[name][:natoms] for name in ATOM_FIELDS}
        for name in FRAME_FIELDS:
            out[name] = memory[name][:nframes]
        return out

    def _grow(self, nframes: int, natoms: int) -> None:
        """Take memory for the arrays that are too short or too narrow."""
        for field, (name, shape) in enumerate(FIELDS.items()):
            rows = natoms if field < FRAME_COLUMN else nframes
            held = self._memory.get(name)
            single = name in _FLOAT32_ALLOWED and self.widest[field] == 4
            dtype = np.dtype(_KINDS.get(name, "<f4" if single else "<f8"))
            if held is not None:
                dtype = max(dtype, held.dtype, key=lambda d: d.itemsize)
            if held is None or len(held) < rows or held.dtype != dtype:
                held = self._take(rows, dtype, shape)
                self._memory[name] = held
                self.target[field] = held.ctypes.data
                self._width[field] = held.itemsize
        rooms = {name: len(array) for name, array in self._memory.items()}
        self._room = (
            min(rooms[name] for name in FRAME_FIELDS),
            min(rooms[name] for name in ATOM_FIELDS),
        )

    def _take(
        self, rows: int, dtype: np.dtype[Any], shape: tuple[int, ...] = ()
    ) -> NDArray[Any]:
        room = max(1, rows + rows // 4)
        size = room * int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        memory = self._allocate(size)
        if (
            memory.dtype != np.uint8
            or memory.shape != (size,)
            or (memory.ctypes.data % dtype.itemsize)
        ):
            raise ValueError(
                f"a buffer needs {size} bytes as an aligned array of uint8; got shape "
                f"{memory.shape} of {memory.dtype}"
            )
        return memory.view(dtype).reshape(room, *shape)
