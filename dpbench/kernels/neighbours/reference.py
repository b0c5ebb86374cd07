"""Reference neighbour search: every pair, every image, plain numpy."""

import numpy as np

from dpbench.kernels.neighbours.cell import Lattice, Neighbours


def brute_force(lattice: Lattice, rcut: float) -> Neighbours:
    """Find all neighbours by trying all pairs and images; O(atoms^2 images).

    Args:
        lattice: Cell and wrapped atoms.
        rcut: Cutoff radius, Å.
    """
    reach = lattice.images(rcut)
    ranges = [np.arange(-n, n + 1, dtype=np.int32) for n in reach]
    shifts = np.stack(np.meshgrid(*ranges, indexing="ij"), axis=-1).reshape(-1, 3)
    coord = lattice.coord
    pair = coord[np.newaxis] - coord[:, np.newaxis]
    vector = pair[:, np.newaxis] + (shifts @ lattice.box)[:, np.newaxis]
    is_near = (vector**2).sum(axis=-1) < rcut**2
    home = len(shifts) // 2  # the zero shift stands in the middle
    atoms = np.arange(len(coord))
    is_near[atoms, home, atoms] = False
    i, s, j = np.nonzero(is_near)
    shift = shifts[s] + lattice.wrap[i] - lattice.wrap[j]
    return Neighbours(edge_i=i.astype(np.int32), edge_j=j.astype(np.int32), shift=shift)
