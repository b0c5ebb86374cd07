"""Frames of trajectories laid into a bounded number of rows, and columns as text."""

import base64
import binascii
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MOST_ROWS = 1024
"""Most rows: blocks need tens of them, not more, and a record stays small."""

NUMBER = np.dtype("<f4")
"""How a number of a column lies in its bytes."""

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


def pack_column(column: NDArray[np.float64]) -> str:
    """Write numbers, (row), as base64 of float32; one number where all are equal."""
    with np.errstate(over="ignore"):  # an error beyond float32 is infinite for all uses
        numbers = column.astype(NUMBER)
    if len(numbers) and (numbers == numbers[0]).all():
        numbers = numbers[:1]
    return base64.b64encode(numbers.tobytes()).decode()


def unpack_column(text: str, nrows: int) -> NDArray[np.float64]:
    """Read numbers back, (row).

    Args:
        text: As ``pack_column`` wrote it.
        nrows: Rows there must be.

    Raises:
        ValueError: If it is something else.
    """
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        data = b""
    if len(data) not in (NUMBER.itemsize, NUMBER.itemsize * nrows):
        raise ValueError(
            f"holds {len(data)} bytes; expected base64 of {nrows} float32 numbers, or "
            "of one"
        )
    numbers = np.frombuffer(data, NUMBER).astype(np.float64)
    if np.isnan(numbers).any():
        raise ValueError(
            "holds numbers that are none; expected finite or infinite ones"
        )
    return np.broadcast_to(numbers, (nrows,)).copy()
