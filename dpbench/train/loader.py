"""Ready batches for the loop: cached neighbour lists and one prefetch thread.

Frames do not move while training, so that their neighbours are found once. Frames and
neighbour lists stay in memory as far as the budget goes; beyond it they are read and
found again, in the prefetch thread: frame by frame where files are mapped, in blocks
where they are remote or compressed (``order.Shuffle``).
"""

import os
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields, replace
from typing import Any, Protocol, TypeVar, final

import numpy as np
import torch
from numpy.typing import NDArray

from dpbench.frames import Frames, concatenate
from dpbench.kernels.batch import Batch
from dpbench.kernels.neighbours import Neighbours, find_neighbours
from dpbench.models.batching import make_batch
from dpbench.store.gather.buffer import FrameBuffer
from dpbench.train.order import BLOCK_FRAMES

MEMORY_BUDGET = 2 * 1024**3
"""Bytes that frames and neighbour lists of one part may take."""

PREFETCH = 4
"""Batches that wait ready for the loop."""

CACHED_SHARE = 0.8
"""Share of the machine's memory that the system may use to keep files at hand."""

_BYTES_PER_ATOM = 2 * 3 * 8 + 1
_BYTES_PER_FRAME = 2 * 9 * 8 + 8 + 8 + 3

Item = TypeVar("Item")


class FrameReader(Protocol):
    """Where frames come from: a dataset version, or frames in memory."""

    def read(
        self, indices: NDArray[np.int64], out: FrameBuffer | None = None
    ) -> Frames:
        """Return the frames at ``indices``, in that order, in ``out`` if given."""


@final
class FramesInMemory:
    """A ``FrameReader`` over frames that lie in memory."""

    def __init__(self, frames: Frames) -> None:
        """Serve ``frames``."""
        self._frames = frames

    def read(
        self, indices: NDArray[np.int64], out: FrameBuffer | None = None
    ) -> Frames:
        """Return the frames at ``indices``, in that order; always in fresh memory."""
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
        block_frames: int = BLOCK_FRAMES,
    ) -> None:
        """Set up the cache; nothing is read yet.

        Args:
            reader: Where the frames are.
            indices: (frame), frames of the part.
            natoms: (frame), their numbers of atoms.
            rcut: Cutoff radius, Å.
            memory_budget: Bytes to stay within.
            block_frames: Frames of a block that ``hold`` reads.
        """
        self._reader, self._indices, self._rcut = reader, indices, rcut
        self.natoms = natoms
        self._budget = memory_budget
        self._neighbours: dict[int, Neighbours] = {}
        self._frames: Frames | None = None
        size = int(natoms.sum()) * _BYTES_PER_ATOM + len(indices) * _BYTES_PER_FRAME
        self.keeps_frames = size <= memory_budget // 2
        """Whether all frames stay in memory: then any order is as fast."""
        if self.keeps_frames:
            self._budget -= size
        self._block_frames = block_frames
        self._blocks: dict[int, Frames] = {}

    def __len__(self) -> int:
        """Number of frames."""
        return len(self._indices)

    def hold(self, blocks: Sequence[int]) -> None:
        """Have these blocks of neighbouring frames in memory, and no others.

        Block b is the positions from b times ``block_frames`` on. Where all frames are
        kept there is nothing to do.
        """
        if self.keeps_frames:
            return
        self._blocks = {b: self._blocks[b] for b in blocks if b in self._blocks}
        size = self._block_frames
        for block in blocks:
            if block not in self._blocks:
                part = self._indices[block * size : (block + 1) * size]
                self._blocks[block] = self._reader.read(part)

    def read(
        self, positions: NDArray[np.int64], out: FrameBuffer | None = None
    ) -> tuple[Frames, tuple[Neighbours, ...]]:
        """Return frames and their neighbours, in the order of ``positions``.

        Args:
            positions: Which frames.
            out: Where frames that are read from disk go; with it, the frames that are
                returned hold until the next call.
        """
        frames = self._frames_at(positions, out)
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

    def _frames_at(
        self, positions: NDArray[np.int64], out: FrameBuffer | None
    ) -> Frames:
        if self.keeps_frames and self._frames is None:
            self._frames = self._reader.read(self._indices)
        if self._frames is not None:
            return self._frames.select(positions)
        blocks = positions // self._block_frames
        used = np.unique(blocks).tolist()
        if not used or not self._blocks.keys() >= set(used):
            return self._reader.read(self._indices[positions], out)
        parts, order = [], np.argsort(blocks, kind="stable")
        for block in used:
            rows = positions[blocks == block] - block * self._block_frames
            parts.append(self._blocks[block].select(rows))
        return concatenate(parts).select(np.argsort(order, kind="stable"))

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
        self._buffer = FrameBuffer()

    def __call__(self, positions: NDArray[np.int64]) -> Batch:
        """Return the batch of the frames at ``positions``."""
        frames, neighbours = self._cache.read(positions, self._buffer)
        batch = make_batch(frames, neighbours, self._type_map, dtype=self._dtype)
        if self._device.type == "cpu":
            return batch
        if self._device.type == "cuda":
            # Only from pinned memory is a copy to the device no wait for this thread.
            batch = pinned(batch)
        return batch.to(self._device, self._dtype)


def pinned(batch: Batch) -> Batch:
    """Copy a batch to pinned memory of the host, which torch keeps and gives again."""
    tensors: dict[str, Any] = {
        field.name: value.pin_memory()
        for field in fields(batch)
        if isinstance(value := getattr(batch, field.name), torch.Tensor)
    }
    return replace(batch, **tensors)


def stays_cached(n_bytes: int) -> bool:
    """Tell whether files of this size stay in memory once they were read."""
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return True  # a system that does not tell
    return n_bytes <= CACHED_SHARE * total


def prefetch(
    make: Callable[[int], Item],
    first: int,
    stop: int,
    *,
    depth: int = PREFETCH,
) -> Iterator[Item]:
    """Yield ``make(first) ... make(stop - 1)``, made ahead in one thread.

    The thread ends when the iterator is closed. What ``make`` raises is raised where
    the item would have come.

    Args:
        make: Makes the item of a step.
        first: The first step.
        stop: The step after the last.
        depth: Items that wait ready.
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
