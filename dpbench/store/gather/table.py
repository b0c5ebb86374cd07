"""Where the rows of a version lie in memory, as tables for the compiled gather."""

from collections.abc import Mapping
from typing import final

import numpy as np
from numpy.typing import NDArray

from dpbench.errors import DatasetError
from dpbench.frames import ATOM_FIELDS, FRAME_FIELDS
from dpbench.store.segment.direct import MappedArray, RowReader

FIELDS: dict[str, tuple[int, ...]] = ATOM_FIELDS | FRAME_FIELDS
"""The arrays that are gathered, and the shape of a row; those of atoms come first."""

NFIELDS = len(FIELDS)
"""Number of arrays."""

FRAME_COLUMN = len(ATOM_FIELDS)
"""First of the arrays with one row a frame."""


@final
class GatherTable:
    """The mapped segments of a version, entered one by one as they are opened."""

    def __init__(
        self,
        segment: NDArray[np.int64],
        row: NDArray[np.int64],
        atom: NDArray[np.int64],
        natoms: NDArray[np.int64],
    ) -> None:
        """Start with no segment open.

        Args:
            segment: (frame), number of the segment of each frame.
            row: (frame), its row there.
            atom: (frame), its first atom row there.
            natoms: (frame), its atoms.
        """
        self.places: NDArray[np.int64] = np.stack([segment, row, atom, natoms], axis=1)
        """(frame, 4), the arguments, side by side: one look into memory a frame."""
        count = int(segment.max()) + 1 if len(segment) else 0
        shape = (count, NFIELDS)
        self.itemsize = np.zeros(shape, dtype=np.int64)
        """(segment, field), bytes of a number; 0 = not open."""
        self.first = np.zeros(shape, dtype=np.int64)
        """(segment, field), place of the first shard in ``address``."""
        self.shard_rows = np.ones(shape, dtype=np.int64)
        """(segment, field), rows of each shard but the last."""
        self.address = np.zeros(0, dtype=np.uint64)
        """(shard), where each mapped shard lies."""
        self.items = np.array(
            [np.prod(row, dtype=np.int64) for row in FIELDS.values()], dtype=np.int64
        )
        """(field), numbers in a row."""
        self._atoms = _needed(segment, atom + natoms, count)
        self._frames = _needed(segment, row + 1, count)
        self._held: list[list[MappedArray]] = []

    def enter(self, number: int, arrays: Mapping[str, RowReader]) -> bool:
        """Enter an open segment; False if any of its arrays is not mapped.

        One thread at a time; others may read what is entered meanwhile.

        Raises:
            DatasetError: If an array has fewer rows than the version's frames need.
        """
        if self.itemsize[number, 0]:
            return True  # another thread was here first
        mapped = [a for a in arrays.values() if isinstance(a, MappedArray)]
        if len(mapped) < len(arrays) or not _are_plain(arrays):
            return False
        addresses: list[int] = []
        for field, name in enumerate(FIELDS):
            array = mapped[list(arrays).index(name)]
            needed = (self._atoms if field < FRAME_COLUMN else self._frames)[number]
            if array.rows < needed:
                raise DatasetError(
                    f"segment {number}, {name}: has {array.rows} rows; the version's "
                    f"frames need {needed}. Restore the segment from a copy, or ingest "
                    "its sources again."
                )
            self.first[number, field] = len(self.address) + len(addresses)
            self.shard_rows[number, field] = array.shard_rows
            addresses += [int(view.ctypes.data) for view in array.views]
        self.address = np.append(self.address, np.array(addresses, dtype=np.uint64))
        self._held.append(mapped)  # the maps live as long as their addresses
        sizes = [arrays[name].dtype.itemsize for name in FIELDS]
        self.itemsize[number, 1:] = sizes[1:]
        self.itemsize[number, 0] = sizes[0]  # last: this one says that it is open
        return True


def _are_plain(arrays: Mapping[str, RowReader]) -> bool:
    """Tell whether every array has a type that the compiled gather copies."""
    types = {"z": ("|u1",), "pbc": ("|b1",)}
    floats = ("<f4", "<f8")
    return all(a.dtype.str in types.get(name, floats) for name, a in arrays.items())


def _needed(
    segment: NDArray[np.int64], stop: NDArray[np.int64], count: int
) -> NDArray[np.int64]:
    """(segment), rows that the frames of each segment reach to."""
    needed = np.zeros(count, dtype=np.int64)
    np.maximum.at(needed, segment, stop)
    return needed
