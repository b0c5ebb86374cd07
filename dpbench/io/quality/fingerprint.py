"""Fingerprints of structures that do not depend on how a structure was written.

Equal for all descriptions of one structure: any order of its atoms, atoms moved by
cell vectors, the whole moved, rotated or reflected, the same lattice spanned by other
cell vectors. A supercell has another number of atoms and is another frame.

A fingerprint is a vector of order statistics of per-atom invariants. Order statistics
of values that change by at most d change by at most d, so nearby structures have
nearby fingerprints: they are compared with a tolerance (``twins``), never hashed.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dpbench.frames import Frames
from dpbench.io.quality.environments import ATOM_FEATURES, describe
from dpbench.io.quality.lattice import reduced_boxes
from dpbench.store.segment.write import compositions

SCHEME = 1
"""Version of the way fingerprints are made; those of two schemes do not compare."""

QUANTILES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
"""Which order statistics of each per-atom feature are kept."""

GLOBALS = 4
"""Numbers of the whole frame: three lattice lengths, and the radius of gyration."""

WIDTH = len(QUANTILES) * ATOM_FEATURES + GLOBALS
"""Numbers of a fingerprint."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Fingerprints:
    """Fingerprints of frames, all of one scheme."""

    vectors: NDArray[np.float32]
    """(frame, value); a lattice length counts in Å, a feature of an atom changes by
    about 1 per Å that a neighbour moves."""
    keys: NDArray[np.str_]
    """(frame), composition and number of periodic directions: twins share it."""
    scheme: int = SCHEME
    """Version of the way they were made."""

    @property
    def nframes(self) -> int:
        """Number of frames."""
        return len(self.keys)

    def select(self, indices: NDArray[np.integer]) -> "Fingerprints":
        """Return the fingerprints at ``indices``, in that order."""
        return Fingerprints(
            vectors=self.vectors[indices], keys=self.keys[indices], scheme=self.scheme
        )


def invariant_fingerprints(frames: Frames) -> Fingerprints:
    """Fingerprint structures; labels are not looked at.

    About 2 ms for 100 atoms on one core, and 304 bytes a frame. Large versions go
    block by block: ``join([invariant_fingerprints(b) for _, b in v.blocks(512)])``.

    Raises:
        ValueError: If a coordinate is not finite or a periodic cell is flat.
    """
    return fingerprints_of(frames, describe(frames).features)


def fingerprints_of(frames: Frames, features: NDArray[np.float64]) -> Fingerprints:
    """Fingerprint structures whose surroundings are described already.

    Args:
        frames: Structures.
        features: (atom, feature), as ``describe`` gives them.
    """
    vectors = np.zeros((frames.nframes, WIDTH), dtype=np.float32)
    natoms = frames.natoms
    for count in np.unique(natoms[natoms > 0]):
        which = np.flatnonzero(natoms == count)
        rows = frames.atom_offset[which][:, None] + np.arange(count)
        ordered = np.sort(features[rows], axis=1)
        at = np.rint(np.array(QUANTILES) * (count - 1)).astype(np.int64)
        vectors[which, :-GLOBALS] = ordered[:, at].reshape(len(which), -1)
    for frame_idx, box in enumerate(reduced_boxes(frames)):
        lengths = np.sqrt((box**2).sum(axis=1))
        vectors[frame_idx, WIDTH - GLOBALS : WIDTH - GLOBALS + len(box)] = lengths
        if not len(box):
            vectors[frame_idx, -1] = _gyration(frames, frame_idx)
    return Fingerprints(vectors=vectors, keys=_keys(frames))


def join(parts: Sequence[Fingerprints]) -> Fingerprints:
    """Put fingerprints behind each other; none give no frames."""
    none = np.zeros((0, WIDTH), dtype=np.float32)
    return Fingerprints(
        vectors=np.concatenate([none, *(part.vectors for part in parts)]),
        keys=np.concatenate([np.zeros(0, dtype="U1"), *(p.keys for p in parts)]),
    )


def _keys(frames: Frames) -> NDArray[np.str_]:
    if not frames.nframes:
        return np.zeros(0, dtype="U1")
    position, formulas = compositions(frames)
    rank = frames.pbc.sum(axis=1)
    names = np.array(
        [f"{name} {count}d" for name in formulas for count in range(4)], dtype=np.str_
    )
    keys: NDArray[np.str_] = names[position * 4 + rank]
    return keys


def _gyration(frames: Frames, frame_idx: int) -> float:
    """Return the radius of gyration of a frame without a cell, Å, masses alike."""
    coord = frames.coord[frames.atoms_of(frame_idx)].astype(np.float64)
    if not len(coord):
        return 0.0
    return float(np.sqrt(((coord - coord.mean(axis=0)) ** 2).sum(axis=1).mean()))
