"""Frames of trajectories laid into a bounded number of rows."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MOST_ROWS = 1024
"""Most rows: blocks need tens of them, not more, and a record stays small."""

Index = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Rows:
    """How frames are laid into rows; whole numbers alone, so that it can be kept."""

    lengths: tuple[int, ...]
    """Frames of each trajectory, one after the other. Where there are more than
    ``MOST_ROWS`` trajectories, neighbours are taken together."""
    stride: int
    """Consecutive frames of a trajectory in one row; the last row may hold fewer."""

    @property
    def per_trajectory(self) -> Index:
        """(trajectory), rows of each trajectory."""
        return -(-np.asarray(self.lengths, np.int64) // self.stride)

    @property
    def count(self) -> int:
        """Number of rows."""
        return int(self.per_trajectory.sum())

    @property
    def trajectory(self) -> Index:
        """(row), trajectory of each row."""
        return np.repeat(np.arange(len(self.lengths)), self.per_trajectory)

    @property
    def of_frame(self) -> Index:
        """(frame), row of each frame."""
        lengths = np.asarray(self.lengths, np.int64)
        first = np.cumsum(self.per_trajectory) - self.per_trajectory
        start = np.cumsum(lengths) - lengths
        inside = np.arange(int(lengths.sum())) - np.repeat(start, lengths)
        return np.repeat(first, lengths) + inside // self.stride


def lay_rows(trajectory: NDArray[np.integer], *, most: int = MOST_ROWS) -> Rows:
    """Lay frames into at most ``most`` rows.

    Args:
        trajectory: (frame), trajectory of each frame; frames of one follow each other.
        most: Most rows.
    """
    change = np.flatnonzero(trajectory[1:] != trajectory[:-1]) + 1
    lengths = np.diff(np.concatenate([[0], change, [len(trajectory)]]))
    lengths = lengths[lengths > 0]
    if len(lengths) > most:
        together = np.arange(len(lengths)) * most // len(lengths)
        lengths = np.bincount(together, lengths).astype(np.int64)
    stride = max(1, int(lengths.sum()) // most)
    while int((-(-lengths // stride)).sum()) > most:
        stride += 1 + stride // 16  # a little too coarse does not matter
    return Rows(lengths=tuple(int(length) for length in lengths), stride=stride)
