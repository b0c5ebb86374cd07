"""Where the slices of sorted batches go in the merged one."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dpbench.kernels.batch import Batch


@dataclass(frozen=True, kw_only=True, slots=True)
class MergePlan:
    """Places of rows and edges; all arrays int64, on the host."""

    first: NDArray[np.int64]
    """(part, type + 1), first row of each type in each part."""
    rows: NDArray[np.int64]
    """(part, type), rows of each type."""
    row_start: NDArray[np.int64]
    """(part, type), where those rows begin in the whole."""
    lengths: NDArray[np.int64]
    """(part, neighbour type, centre type), edges."""
    block: NDArray[np.int64]
    """(part, neighbour type, centre type), where those edges begin in the whole."""
    atom_start: NDArray[np.int64]
    """(part), first atom of each part in the whole."""
    atom_type_offset: tuple[int, ...]
    """Field of the merged batch."""
    pair_offset: tuple[tuple[int, ...], ...]
    """Field of the merged batch."""
    most_neighbours: tuple[int, ...]
    """Field of the merged batch."""

    @property
    def natoms(self) -> int:
        """Atoms of the whole."""
        return int(self.rows.sum())

    @property
    def nedges(self) -> int:
        """Edges of the whole."""
        return int(self.lengths.sum())


def plan_merge(parts: Sequence[Batch]) -> MergePlan:
    """Find the place of every slice: by types first, then by part.

    Raises:
        ValueError: If there is no part, or the parts know different types.
    """
    if len({len(part.atom_type_offset) for part in parts}) != 1:
        raise ValueError(
            f"{len(parts)} batches of one model expected, at least one; their numbers "
            f"of types are {sorted({len(p.atom_type_offset) - 1 for p in parts})}"
        )
    first = np.array([part.atom_type_offset for part in parts], dtype=np.int64)
    rows = np.diff(first, axis=1)
    pair_ends = np.array([part.pair_offset for part in parts], dtype=np.int64)
    lengths = pair_ends[:, :, 1:] - pair_ends[:, :, :-1]
    row_start = _starts(rows.T).T
    block = np.moveaxis(_starts(np.moveaxis(lengths, 0, -1)), -1, 0)
    natoms = rows.sum(axis=1)
    pairs = lengths.sum(axis=0)
    # A neighbour type begins where the one before it ends.
    ends = np.cumsum(pairs).reshape(pairs.shape)
    pair_offset = np.concatenate([(ends - pairs)[:, :1], ends], axis=1)
    most = np.array([part.most_neighbours for part in parts]).max(axis=0)
    return MergePlan(
        first=first,
        rows=rows,
        row_start=np.ascontiguousarray(row_start),
        lengths=lengths,
        block=np.ascontiguousarray(block),
        atom_start=np.cumsum(natoms) - natoms,
        atom_type_offset=(0, *np.cumsum(rows.sum(axis=0)).tolist()),
        pair_offset=tuple(map(tuple, pair_offset.tolist())),
        most_neighbours=tuple(most.tolist()),
    )


def _starts(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return where each item begins when all lie behind each other, in C order."""
    flat = np.ascontiguousarray(lengths).ravel()
    return (np.cumsum(flat) - flat).reshape(lengths.shape)
