"""Which frames each step sees: a pure function of seed and step.

Nothing has to be stored to resume: epoch ``e`` of seed ``s`` is the permutation drawn
from the generator seeded by (s, e), cut into batches from its front.
"""

from itertools import pairwise
from typing import Literal, final

import numpy as np
from numpy.typing import NDArray

from dpbench.errors import TrainingError


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
    ) -> None:
        """Set up the order.

        Args:
            natoms: (frame), atoms of each training frame.
            counted: What ``size`` counts.
            size: Frames, or least number of atoms, of a batch.
            seed: Seed of the permutations.

        Raises:
            TrainingError: If there is no frame.
        """
        if len(natoms) == 0:
            raise TrainingError("train: the split has no training frame.")
        self._weights = np.ones_like(natoms) if counted == "frames" else natoms
        self._size, self._seed = size, seed
        self._epoch = -1
        self._first_step = 0
        self._batches: list[NDArray[np.int64]] = []

    def frames_of(self, step: int) -> NDArray[np.int64]:
        """Positions (into the training frames) of the batch of ``step``."""
        if step < self._first_step:
            self._epoch, self._first_step, self._batches = -1, 0, []
        while step >= self._first_step + len(self._batches):
            self._first_step += len(self._batches)
            self._epoch += 1
            self._batches = self._cut(self._epoch)
        return self._batches[step - self._first_step]

    def steps_per_epoch(self) -> int:
        """Batches of the first epoch; others differ if frames differ in size."""
        return len(self._cut(0))

    def _cut(self, epoch: int) -> list[NDArray[np.int64]]:
        generator = np.random.default_rng([self._seed, epoch])
        order = generator.permutation(len(self._weights))
        filled = np.cumsum(self._weights[order])
        edges = [0]
        while edges[-1] < len(order):
            before = filled[edges[-1] - 1] if edges[-1] else 0
            end = int(np.searchsorted(filled, before + self._size)) + 1
            edges.append(min(end, len(order)))
        rest = filled[-1] - (filled[edges[-2] - 1] if edges[-2] else 0)
        if len(edges) > 2 and 2 * rest < self._size:
            del edges[-2]
        return [order[first:last] for first, last in pairwise(edges)]
