"""Cutting the surroundings of one atom out of a frame."""

import numpy as np

from dpbench.frames import Frames, uniform
from dpbench.kernels.neighbours import find_neighbours


def cut_cluster(frames: Frames, frame_idx: int, atom: int, *, cutoff: float) -> Frames:
    """Cut out what lies around an atom: a frame without a cell, the atom first.

    Periodic images within the cutoff are atoms of their own.

    Args:
        frames: Structures.
        frame_idx: Which of them.
        atom: Number of the atom in its frame.
        cutoff: Å; atoms up to this far from it are taken.
    """
    rows = frames.atoms_of(frame_idx)
    coord = frames.coord[rows].astype(np.float64)
    pbc = frames.pbc[frame_idx]
    box = np.where(pbc[:, None], frames.box[frame_idx], 0.0)
    found = find_neighbours(coord, box, pbc, cutoff)
    mine = found.edge_i == atom
    others = coord[found.edge_j[mine]] + found.shift[mine] @ box
    distance = np.linalg.norm(others - coord[atom], axis=1)
    # Of equal distances any order would do; this one is always the same.
    order = np.lexsort((*others.T, np.round(distance, 9)))
    z = frames.z[rows]
    return uniform(
        z=np.concatenate([z[[atom]], z[found.edge_j[mine]][order]]),
        coord=np.concatenate([coord[[atom]], others[order]])[None],
    )
