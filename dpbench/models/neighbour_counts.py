"""How many neighbours there are, of which types: what sizes a model by its data."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dpbench.frames import Frames
from dpbench.kernels.batch import Batch
from dpbench.kernels.neighbours import Neighbours
from dpbench.models.geometry import atom_types, frame_geometry


@dataclass(frozen=True, kw_only=True, slots=True)
class NeighbourCounts:
    """What sizes ``sel`` and bounds the distances a model has seen; mergeable."""

    most: NDArray[np.int64]
    """(type), largest number of neighbours of that type around any atom."""
    min_distance: float
    """Å, shortest distance; infinity where no atom has a neighbour."""
    within: NDArray[np.int64]
    """(cutoff, type + 1), the same as ``most`` within each cutoff that was asked for,
    then the largest number of neighbours of any type."""
    pairs: NDArray[np.bool_]
    """(centre type, neighbour type), which pairs of types occur."""

    def __add__(self, other: "NeighbourCounts") -> "NeighbourCounts":
        """Merge two shards."""
        return NeighbourCounts(
            most=np.maximum(self.most, other.most),
            min_distance=min(self.min_distance, other.min_distance),
            within=np.maximum(self.within, other.within),
            pairs=self.pairs | other.pairs,
        )


def neighbour_counts(
    frames: Frames,
    neighbours: Sequence[Neighbours],
    type_map: Sequence[str],
    *,
    cutoffs: Sequence[float] = (),
) -> NeighbourCounts:
    """Count the neighbours per type of all atoms of ``frames``.

    Args:
        frames: Frames of any composition.
        neighbours: One per frame, found with the largest cutoff.
        type_map: The model's elements.
        cutoffs: Radii, Å, within which to count too: those of a hybrid's parts.
    """
    # numba takes half a second to import: only who measures data pays for it.
    from dpbench.kernels.assembly.sums import count_neighbours

    types, ntypes = atom_types(frames.z, type_map), len(type_map)
    most, shortest = np.zeros(ntypes, dtype=np.int64), float("inf")
    within = np.zeros((len(cutoffs), ntypes + 1), dtype=np.int64)
    pairs = np.zeros((ntypes, ntypes), dtype=np.bool_)
    radii = np.array(cutoffs, dtype=np.float64)
    for index, found in enumerate(neighbours):
        nearest = count_neighbours(
            types[frames.atoms_of(index)],
            (found.edge_i, found.edge_j, found.shift),
            frame_geometry(frames, index),
            radii,
            (most, within, pairs),
        )
        shortest = min(shortest, float(nearest))
    return NeighbourCounts(most=most, min_distance=shortest, within=within, pairs=pairs)


def occurring_pairs(batch: Batch) -> NDArray[np.bool_]:
    """Return (centre type, neighbour type): which pairs of types a batch has edges of.

    Only their nets need tables. Read from offsets that lie on the host: nothing waits
    for the device.
    """
    edges = np.diff(np.array(batch.pair_offset, dtype=np.int64), axis=1)
    found: NDArray[np.bool_] = edges.T > 0
    return found


def occurring_nets(
    pairs: NDArray[np.bool_], *, type_one_side: bool
) -> NDArray[np.bool_]:
    """Return (net), which embedding nets serve ``pairs`` (centre, neighbour).

    Nets are counted as ``parameters.embedding_nets`` lists them.
    """
    return np.asarray(pairs.any(axis=0) if type_one_side else pairs.T.ravel())
