"""Cutting the surroundings of one atom out of a frame."""

import numpy as np
from numpy.typing import NDArray

from dpbench.frames import Frames, uniform
from dpbench.io.quality.environments import covalent_radii
from dpbench.kernels.neighbours import find_neighbours

BONDED = 1.2
"""Atoms nearer than this times the sum of their covalent radii are bonded."""


def cut_cluster(
    frames: Frames,
    frame_idx: int,
    atom: int,
    *,
    cutoff: float,
    hard: float | None = None,
) -> Frames:
    """Cut out what lies around an atom: a frame without a cell, the atom first.

    Periodic images within the cutoff are atoms of their own. With ``hard`` molecules
    stay whole: what is bonded to an atom that is taken is taken, too, up to there.

    Args:
        frames: Structures.
        frame_idx: Which of them.
        atom: Number of the atom in its frame.
        cutoff: Å; atoms up to this far from it are taken.
        hard: Å; nothing farther is taken. None = molecules are cut at the cutoff.
    """
    rows = frames.atoms_of(frame_idx)
    coord = frames.coord[rows].astype(np.float64)
    z = frames.z[rows]
    pbc = frames.pbc[frame_idx]
    box = np.where(pbc[:, None], frames.box[frame_idx], 0.0)
    found = find_neighbours(coord, box, pbc, cutoff if hard is None else hard)
    mine = found.edge_i == atom
    shift = np.concatenate([np.zeros((1, 3), np.int64), found.shift[mine]])
    index = np.concatenate([[atom], found.edge_j[mine]]).astype(np.int64)
    position = coord[index] + shift @ box
    distance = np.linalg.norm(position - coord[atom], axis=1)
    is_taken = distance <= cutoff
    if hard is not None:
        is_taken = _with_bonded(position, z[index], is_taken)
    kept = np.flatnonzero(is_taken)
    # Of equal distances any order would do; this one is always the same.
    order = kept[np.lexsort((*position[kept].T, np.round(distance[kept], 9)))]
    return uniform(z=z[index[order]], coord=position[order][None])


def _with_bonded(
    position: NDArray[np.float64], z: NDArray[np.uint8], is_taken: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """(atom), whether it is taken, or bonded to what is, over any number of atoms."""
    radius = covalent_radii()[z]
    longest = float(2 * BONDED * radius.max())
    bonds = find_neighbours(position, np.zeros((3, 3)), np.zeros(3, np.bool_), longest)
    i, j = bonds.edge_i, bonds.edge_j
    length = np.linalg.norm(position[j] - position[i], axis=1)
    is_bond = length < BONDED * (radius[i] + radius[j])
    i, j = i[is_bond], j[is_bond]
    while True:
        grown = is_taken.copy()
        grown[j[is_taken[i]]] = True
        if (grown == is_taken).all():
            return grown
        is_taken = grown
