"""How frames are cut into calls of a backend, and elements told by its types."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from dpbench.elements import SYMBOLS
from dpbench.frames import Frames


def type_columns(type_map: tuple[str, ...]) -> NDArray[np.int64]:
    """Return the model's type of each atomic number; -1 where it knows none."""
    columns = np.full(256, -1, np.int64)
    for column, symbol in reversed(list(enumerate(type_map))):
        if symbol in SYMBOLS:
            columns[SYMBOLS.index(symbol)] = column
    return columns


def calls(frames: Frames, atoms_per_call: int) -> Iterator[NDArray[np.int64]]:
    """Gather frames that share atom types and periodicity; cut them to size.

    Args:
        frames: Of any compositions.
        atoms_per_call: Most atoms of one call, one frame at least.

    Yields:
        (frame of this call), where each stands in ``frames``.
    """
    groups: dict[tuple[bytes, bytes], list[int]] = {}
    bounds = frames.atom_offset.tolist()
    for index in range(frames.nframes):
        z = frames.z[bounds[index] : bounds[index + 1]].tobytes()
        groups.setdefault((z, frames.pbc[index].tobytes()), []).append(index)
    for (z, _), members in groups.items():
        most = max(1, atoms_per_call // max(1, len(z)))
        for first in range(0, len(members), most):
            yield np.array(members[first : first + most], np.int64)


def rows_of(frames: Frames, index: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the rows of frames of one size in per-atom arrays, (frame, atom)."""
    first, end = frames.atom_offset[index[0]], frames.atom_offset[index[0] + 1]
    rows: NDArray[np.int64] = frames.atom_offset[index][:, None] + np.arange(
        end - first
    )
    return rows
