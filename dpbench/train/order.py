"""Which frames each step sees: a pure function of seed and step.

Nothing has to be stored to resume: epoch ``e`` of seed ``s`` is the permutation drawn
from the generator seeded by (s, e), cut into batches from its front.

Where frames are far away, in compressed or remote stores, one frame costs as much as
its whole chunk. Then blocks of neighbouring frames are shuffled, and the frames of some
blocks at a time: each block is read once an epoch.
"""

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal, final

import numpy as np
from numpy.typing import NDArray

from dpbench.errors import TrainingError

BLOCK_FRAMES = 256
"""Neighbouring frames that are read together."""

BUFFER_BLOCKS = 16
"""Blocks that are shuffled into each other: they come from as many places, because
neighbouring frames of a trajectory are much alike."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Shuffle:
    """How the frames of an epoch are put in order; part of what a run records."""

    kind: Literal["global", "block"] = "global"
    """``global``: any order is as likely as any other. ``block``: see the module."""
    block_frames: int = BLOCK_FRAMES
    """Frames of a block."""
    buffer_blocks: int = BUFFER_BLOCKS
    """Blocks of a buffer."""


def choose_shuffle(setting: str, *, is_near: bool) -> Shuffle:
    """Choose the kind of shuffle.

    Args:
        setting: ``auto``, ``global`` or ``block``.
        is_near: Whether any frame is read as fast as the next: from memory, or from
            mapped files.
    """
    if setting == "block" or (setting == "auto" and not is_near):
        return Shuffle(kind="block")
    return Shuffle(kind="global")


@final
class BatchOrder:
    """The endless sequence of batches over the training frames.

    Every frame occurs once an epoch. A batch is closed by the frame that fills it; a
    rest of less than half a batch at the end of an epoch joins the batch before it.
    """

    def __init__(
        self,
        natoms: NDArray[np.int64],
        *,
        counted: Literal["frames", "atoms"],
        size: int,
        seed: int,
        shuffle: Shuffle | None = None,
        least_frames: int = 1,
    ) -> None:
        """Set up the order.

        Args:
            natoms: (frame), atoms of each training frame.
            counted: What ``size`` counts.
            size: Frames, or least number of atoms, of a batch.
            seed: Seed of the permutations.
            shuffle: Kind of the permutations; None = global.
            least_frames: A batch is not closed with fewer frames: one for each rank.

        Raises:
            TrainingError: If there is no frame.
        """
        if len(natoms) == 0:
            raise TrainingError("train: the split has no training frame.")
        self._weights = np.ones_like(natoms) if counted == "frames" else natoms
        self._size, self._seed = size, seed
        self._least = least_frames
        self.shuffle = shuffle or Shuffle()
        self._draw = lru_cache(maxsize=2)(self._draw_epoch)
        self._epoch = -1
        self._first_step = 0
        self._edges: list[int] = [0]

    def frames_of(self, step: int) -> NDArray[np.int64]:
        """Positions (into the training frames) of the batch of ``step``."""
        if step < self._first_step:
            self._epoch, self._first_step, self._edges = -1, 0, [0]
        while step >= self._first_step + len(self._edges) - 1:
            self._first_step += len(self._edges) - 1
            self._epoch += 1
            self._edges = self._cut(self._epoch)
        number = step - self._first_step
        start, stop = self._edges[number : number + 2]
        return self._draw(self._epoch).order[start:stop]

    @property
    def is_single(self) -> bool:
        """Whether every frame fills a batch by itself."""
        return self._least == 1 and bool(self._weights.min() >= self._size)

    def steps_per_epoch(self) -> int:
        """Batches of the first epoch; others differ if frames differ in size."""
        return len(self._cut(0)) - 1

    def blocks_of(self, step: int) -> list[int]:
        """Blocks that shall be in memory at ``step``: in use, or soon.

        The blocks of the next buffer are named one by one while this one is used up,
        so that no step waits for all of them. None with a global shuffle.
        """
        self.frames_of(step)
        drawn, number = self._draw(self._epoch), step - self._first_step
        if not drawn.buffers:
            return []
        start, stop = self._edges[number : number + 2]
        first, last = np.searchsorted(drawn.edges, [start, stop - 1], side="right") - 1
        begin, end = drawn.edges[last : last + 2]
        if last + 1 < len(drawn.buffers):
            coming = drawn.buffers[last + 1]
        else:
            coming = self._draw(self._epoch + 1).buffers[0]
        soon = coming[: int(np.ceil((stop - begin) / (end - begin) * len(coming)))]
        held = [block for buffer in drawn.buffers[first : last + 1] for block in buffer]
        return list(dict.fromkeys([*held, *soon]))

    def _cut(self, epoch: int) -> list[int]:
        """Edges of the batches of an epoch, in its order."""
        order = self._draw(epoch).order
        filled = np.cumsum(self._weights[order])
        edges = self._uniform_edges(len(order))
        while edges[-1] < len(order):
            before = filled[edges[-1] - 1] if edges[-1] else 0
            end = int(np.searchsorted(filled, before + self._size)) + 1
            edges.append(min(max(end, edges[-1] + self._least), len(order)))
        rest = filled[-1] - (filled[edges[-2] - 1] if edges[-2] else 0)
        is_short = edges[-1] - edges[-2] < self._least
        if len(edges) > 2 and (2 * rest < self._size or is_short):
            del edges[-2]
        return edges

    def _uniform_edges(self, count: int) -> list[int]:
        """Return all edges where frames weigh the same; else the first one alone.

        Looking for each edge takes seconds for a million frames.
        """
        weight = int(self._weights[0])
        if weight == 0 or bool((self._weights != weight).any()):
            return [0]
        return [*range(0, count, max(-(-self._size // weight), self._least)), count]

    def _draw_epoch(self, epoch: int) -> "_Epoch":
        generator = np.random.default_rng([self._seed, epoch])
        count, size = len(self._weights), self.shuffle.block_frames
        if self.shuffle.kind == "global":
            return _Epoch(order=generator.permutation(count))
        blocks = generator.permutation(-(-count // size)).tolist()
        many = self.shuffle.buffer_blocks
        buffers = [blocks[i : i + many] for i in range(0, len(blocks), many)]
        parts = []
        for buffer in buffers:
            frames = [np.arange(b * size, min((b + 1) * size, count)) for b in buffer]
            parts.append(generator.permutation(np.concatenate(frames)))
        return _Epoch(
            order=np.concatenate(parts),
            buffers=buffers,
            edges=np.cumsum([0, *map(len, parts)]),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Epoch:
    """The order of one epoch."""

    order: NDArray[np.int64]
    """(frame), positions."""
    buffers: list[list[int]] = field(default_factory=list)
    """Blocks of each buffer."""
    edges: NDArray[np.int64] = field(default_factory=lambda: np.zeros(1, np.int64))
    """(buffer + 1), place of each buffer's first frame in ``order``."""
