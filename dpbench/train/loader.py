"""Frames for the loop, and one prefetch thread.

Frames do not move while training, so that batches are made once and stay in memory as
far as the budget goes (``resident``). What does not fit is read again and its
neighbours are found again, in the prefetch thread: frame by frame where files are
mapped, in blocks where they are remote or compressed (``order.Shuffle``).
"""

import os
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, TypeVar, final

import numpy as np
from numpy.typing import NDArray

from dpbench.errors import TrainingError
from dpbench.frames import Frames, concatenate
from dpbench.kernels.neighbours import Neighbours, find_neighbours
from dpbench.store.gather.buffer import FrameBuffer
from dpbench.train.order import BLOCK_FRAMES

MEMORY_BUDGET = 2 * 1024**3
"""Bytes that the frames of one part may take, unless it is stated."""

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
    """The frames of one part of a split.

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
        numb_aparam: int = 0,
        memory_budget: int = MEMORY_BUDGET,
        block_frames: int = BLOCK_FRAMES,
    ) -> None:
        """Set up the cache; nothing is read yet.

        Args:
            reader: Where the frames are.
            indices: (frame), frames of the part.
            natoms: (frame), their numbers of atoms.
            rcut: Cutoff radius, Å.
            numb_aparam: Numbers of each atom that are read with it, at most.
            memory_budget: Bytes; frames that take no more than half of it are kept
                as they were read, too.
            block_frames: Frames of a block that ``hold`` reads.
        """
        self._reader, self._indices, self._rcut = reader, indices, rcut
        self.natoms = natoms
        self._frames: Frames | None = None
        atom_bytes = _BYTES_PER_ATOM + 8 * numb_aparam
        self.frame_bytes = (
            int(natoms.sum()) * atom_bytes + len(indices) * _BYTES_PER_FRAME
        )
        """Bytes of all frames as they are read."""
        self.keeps_frames = self.frame_bytes <= memory_budget // 2
        """Whether all frames stay in memory: then any order is as fast."""
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

    def name_of(self, position: int) -> str:
        """Name a frame as its dataset numbers it, for errors."""
        return f"frame {self._indices[position]} of the dataset"

    def read(
        self, positions: NDArray[np.int64], out: FrameBuffer | None = None
    ) -> tuple[Frames, tuple[Neighbours, ...]]:
        """Return frames and their neighbours, in the order of ``positions``.

        Args:
            positions: Which frames.
            out: Where frames that are read from disk go; with it, the frames that are
                returned hold until the next call.

        Raises:
            TrainingError: If a frame's positions or cell are no numbers.
        """
        frames = self.frames_at(positions, out)
        found = (
            self._find(frames, row, position)
            for row, position in enumerate(positions.tolist())
        )
        return frames, tuple(found)

    def frames_at(
        self, positions: NDArray[np.int64], out: FrameBuffer | None = None
    ) -> Frames:
        """Return frames alone; see ``read``."""
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

    def _find(self, frames: Frames, row: int, position: int) -> Neighbours:
        coord = frames.coord[frames.atoms_of(row)]
        try:
            return find_neighbours(coord, frames.box[row], frames.pbc[row], self._rcut)
        except ValueError as error:
            raise TrainingError(
                f"{self.name_of(position)}: {error}. Leave it out of the split, or "
                "ingest it again; see 'dpbench dataset verify'."
            ) from error


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
