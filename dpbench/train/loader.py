"""Ready batches for the loop: cached neighbour lists and one prefetch thread.

Frames do not move while training, so that their neighbours are found once. Frames and
neighbour lists stay in memory as far as the budget goes; beyond it they are read and
found again, in the prefetch thread.
"""

import queue
import threading
from collections.abc import Callable, Iterator
from typing import Protocol, TypeVar, final

import numpy as np
import torch
from numpy.typing import NDArray

from dpbench.frames import Frames
from dpbench.kernels.batch import Batch
from dpbench.kernels.neighbours import Neighbours, find_neighbours
from dpbench.models.batching import make_batch

MEMORY_BUDGET = 2 * 1024**3
"""Bytes that frames and neighbour lists of one part may take."""

PREFETCH = 4
"""Batches that wait ready for the loop."""

_BYTES_PER_ATOM = 2 * 3 * 8 + 1
_BYTES_PER_FRAME = 2 * 9 * 8 + 8 + 8 + 3

Item = TypeVar("Item")


class FrameReader(Protocol):
    """Where frames come from: a dataset version, or frames in memory."""

    def read(self, indices: NDArray[np.int64]) -> Frames:
        """Return the frames at ``indices``, in that order."""


@final
class FramesInMemory:
    """A ``FrameReader`` over frames that lie in memory."""

    def __init__(self, frames: Frames) -> None:
        """Serve ``frames``."""
        self._frames = frames

    def read(self, indices: NDArray[np.int64]) -> Frames:
        """Return the frames at ``indices``, in that order."""
        return self._frames.select(indices)


@final
class FrameCache:
    """The frames of one part of a split, and their neighbours.

    A position counts within the part; it is ``indices[position]`` of the reader. Only
    frames named by ``indices`` are ever read.
    """

    def __init__(
        self,
        reader: FrameReader,
        indices: NDArray[np.int64],
        *,
        natoms: NDArray[np.int64],
        rcut: float,
        memory_budget: int = MEMORY_BUDGET,
    ) -> None:
        """Set up the cache; nothing is read yet.

        Args:
            reader: Where the frames are.
            indices: (frame), frames of the part.
            natoms: (frame), their numbers of atoms.
            rcut: Cutoff radius, Å.
            memory_budget: Bytes to stay within.
        """
        self._reader, self._indices, self._rcut = reader, indices, rcut
        self.natoms = natoms
        self._budget = memory_budget
        self._neighbours: dict[int, Neighbours] = {}
        self._frames: Frames | None = None
        size = int(natoms.sum()) * _BYTES_PER_ATOM + len(indices) * _BYTES_PER_FRAME
        self._keeps_frames = size <= memory_budget // 2
        if self._keeps_frames:
            self._budget -= size

    def __len__(self) -> int:
        """Number of frames."""
        return len(self._indices)

    def read(
        self, positions: NDArray[np.int64]
    ) -> tuple[Frames, tuple[Neighbours, ...]]:
        """Return frames and their neighbours, in the order of ``positions``."""
        if self._keeps_frames and self._frames is None:
            self._frames = self._reader.read(self._indices)
        if self._frames is not None:
            frames = self._frames.select(positions)
        else:
            frames = self._reader.read(self._indices[positions])
        found = []
        for row, position in enumerate(positions.tolist()):
            neighbours = self._neighbours.get(position)
            if neighbours is None:
                neighbours = self._find(frames, row)
                size = _bytes_of(neighbours)
                if size <= self._budget:
                    self._budget -= size
                    self._neighbours[position] = neighbours
            found.append(neighbours)
        return frames, tuple(found)

    def _find(self, frames: Frames, row: int) -> Neighbours:
        coord = frames.coord[frames.atoms_of(row)]
        return find_neighbours(coord, frames.box[row], frames.pbc[row], self._rcut)


@final
class BatchMaker:
    """Turns positions of a cache into batches for one model."""

    def __init__(
        self,
        cache: FrameCache,
        type_map: tuple[str, ...],
        *,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        """Make batches of ``cache`` on ``device``, edges in ``dtype``."""
        self._cache, self._type_map = cache, type_map
        self._device, self._dtype = device, dtype

    def __call__(self, positions: NDArray[np.int64]) -> Batch:
        """Return the batch of the frames at ``positions``."""
        frames, neighbours = self._cache.read(positions)
        return make_batch(
            frames,
            neighbours,
            self._type_map,
            device=self._device,
            dtype=self._dtype,
        )


def prefetch(
    make: Callable[[int], Item], first: int, stop: int, *, depth: int = PREFETCH
) -> Iterator[Item]:
    """Yield ``make(first) ... make(stop - 1)``, made ahead in one thread.

    The thread ends when the iterator is closed. What ``make`` raises is raised where
    the item would have come.
    """
    ready: queue.Queue[Item | _Failure] = queue.Queue(maxsize=depth)
    closed = threading.Event()

    def hand_over(item: "Item | _Failure") -> None:
        while not closed.is_set():
            try:
                return ready.put(item, timeout=0.1)
            except queue.Full:
                continue
        return None

    def work() -> None:
        try:
            for step in range(first, stop):
                if closed.is_set():
                    return
                hand_over(make(step))
        except BaseException as error:  # raised again in the consumer
            hand_over(_Failure(error))

    thread = threading.Thread(target=work, name="dpbench-prefetch", daemon=True)
    thread.start()
    try:
        for _ in range(first, stop):
            item = ready.get()
            if isinstance(item, _Failure):
                raise item.error
            yield item
    finally:
        closed.set()
        thread.join()


class _Failure:
    """What the prefetch thread raised."""

    def __init__(self, error: BaseException) -> None:
        self.error = error


def _bytes_of(neighbours: Neighbours) -> int:
    arrays = (neighbours.edge_i, neighbours.edge_j, neighbours.shift)
    return sum(array.nbytes for array in arrays)
