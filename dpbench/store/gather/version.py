"""The compiled gather over the segments of one version."""

import threading
from collections.abc import Sequence
from typing import final

import numpy as np
from numpy.typing import NDArray

from dpbench.frames import Frames
from dpbench.store.gather.buffer import FrameBuffer
from dpbench.store.gather.runs import read_aparam
from dpbench.store.gather.table import GatherTable
from dpbench.store.segment.read import Segment


@final
class VersionGather:
    """Reads frames of a version into buffers; opens segments as they are needed.

    Threads may read at the same time, each into its own buffer.
    """

    def __init__(
        self,
        segments: Sequence[Segment],
        *,
        segment: NDArray[np.int64],
        row: NDArray[np.int64],
        atom: NDArray[np.int64],
        natoms: NDArray[np.int64],
    ) -> None:
        """Set up the tables; no array is opened.

        Args:
            segments: The segments of the version.
            segment: (frame), number of the segment of each frame.
            row: (frame), its row there.
            atom: (frame), its first atom row there.
            natoms: (frame), its atoms.
        """
        # Imported here: numba takes its time, and what lists or plans does without.
        from dpbench.store.gather import compiled as gather

        self._kernels = gather
        self._segments = tuple(segments)
        self._table = GatherTable(segment, row, atom, natoms)
        self._has_aparam = any(segment.numb_aparam for segment in segments)
        self._lock = threading.Lock()

    def read(self, index: NDArray[np.int64], buffer: FrameBuffer) -> Frames | None:
        """Read frames into a buffer.

        Args:
            index: (picked), frame indices in any order.
            buffer: Where they go.

        Returns:
            The frames, views of the buffer (not the numbers of atoms, which few data
            have); None where an index is out of bounds or a
            segment is not mapped: then nothing is read.

        Raises:
            DatasetError: If a file is missing, cut or damaged.
        """
        table, kernels = self._table, self._kernels
        offset = buffer.offset(len(index))
        while True:
            found = kernels.measure(
                index, table.places, table.itemsize, offset, buffer.widest
            )
            if found == 0:
                break
            closed = kernels.FIRST_CLOSED - found
            if closed < 0 or not self._open(closed):
                return None
        arrays = buffer.arrays(len(index), int(offset[-1]))
        kernels.copy(
            index,
            table.places,
            offset,
            (table.itemsize, table.first, table.shard_rows),
            table.address,
            table.items,
            buffer.widest,
            buffer.target,
        )
        aparam = None
        if self._has_aparam:
            which, rows = table.places[index, :2].T
            aparam = read_aparam(self._segments, which, rows, offset)
        return Frames(atom_offset=offset, **arrays, aparam=aparam)

    def _open(self, number: int) -> bool:
        """Map a segment and enter it, one thread at a time; False if it is not mapped.

        Two at once would give one place in the table to two segments.
        """
        with self._lock:
            return self._table.enter(number, self._segments[number].arrays)
