"""Cell-list neighbour search, compiled by numba.

Atoms are sorted into bins along the cell vectors. A bin is as wide as the cutoff where
the cell allows it; in a small cell the search walks over several images of its bins.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from dpbench.kernels.neighbours.cell import Lattice, Neighbours


def cell_list(lattice: Lattice, rcut: float) -> Neighbours:
    """Find all neighbours with a cell list; O(atoms).

    Args:
        lattice: Cell and wrapped atoms.
        rcut: Cutoff radius, Å.
    """
    natoms = len(lattice.coord)
    low, extent = _range(lattice)
    # More bins than atoms only cost memory: think of two atoms a metre apart.
    most = 2 * int(np.ceil(max(natoms, 1) ** (1 / 3))) + 1
    nbins = np.clip(np.floor(extent / rcut), 1, most).astype(np.int64)
    reach = np.ceil(np.minimum(rcut * nbins / extent, 1e9)).astype(np.int64)
    reach = np.where(lattice.periodic, reach, np.minimum(reach, nbins - 1))
    span = np.where(lattice.periodic, 1.0, extent)
    scaled = (lattice.frac - low) / span * nbins
    bins = np.clip(scaled.astype(np.int64), 0, nbins - 1)
    first, order = _sort_into_bins(bins, nbins)
    search = (
        lattice.coord,
        lattice.box,
        bins,
        first,
        order,
        nbins,
        reach,
        lattice.periodic,
        float(rcut) ** 2,
    )
    counts = np.zeros(natoms, dtype=np.int64)
    none = np.zeros(0, dtype=np.int32)
    no_shift = np.zeros((0, 3), dtype=np.int32)
    _walk(search, counts, np.zeros(natoms, dtype=np.int64), none, no_shift)
    start = np.cumsum(counts) - counts
    edge_j = np.empty(int(counts.sum()), dtype=np.int32)
    shift = np.empty((len(edge_j), 3), dtype=np.int32)
    _walk(search, counts, start, edge_j, shift)
    edge_i = np.repeat(np.arange(natoms, dtype=np.int32), counts)
    shift += lattice.wrap[edge_i] - lattice.wrap[edge_j]
    return Neighbours(edge_i=edge_i, edge_j=edge_j, shift=shift)


def _range(lattice: Lattice) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the lower bound (fractional) and extent (Å) of the bins, each (3).

    Along open directions the completed cell vector has length 1 Å, so that fractional
    coordinates are Å there.
    """
    if not len(lattice.frac):
        return np.zeros(3), np.ones(3)
    low = np.where(lattice.periodic, 0.0, lattice.frac.min(axis=0))
    high = np.where(lattice.periodic, 1.0, lattice.frac.max(axis=0))
    # Atoms in one plane have no extent; any positive one puts them into one bin.
    extent = np.where(lattice.periodic, lattice.height, np.maximum(high - low, 1e-9))
    return low, extent


def _sort_into_bins(
    bins: NDArray[np.int64], nbins: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the first slot of each bin (bin + 1) and the atoms by bin (atom)."""
    flat = (bins[:, 0] * nbins[1] + bins[:, 1]) * nbins[2] + bins[:, 2]
    order = np.argsort(flat, kind="stable")
    first = np.zeros(int(np.prod(nbins)) + 1, dtype=np.int64)
    np.cumsum(np.bincount(flat, minlength=len(first) - 1), out=first[1:])
    return first, order


@njit(cache=True, nogil=True)
def _walk(search, counts, start, edge_j, shift):  # type: ignore[no-untyped-def]
    """Count the neighbours of each atom; write them too if ``edge_j`` has room."""
    coord, box, bins, first, order, nbins, reach, periodic, rcut2 = search
    is_writing = len(edge_j) > 0
    for i in range(len(coord)):
        found = 0
        for ox in range(-reach[0], reach[0] + 1):
            bx = bins[i, 0] + ox
            sx = bx // nbins[0]
            if sx != 0 and not periodic[0]:
                continue
            for oy in range(-reach[1], reach[1] + 1):
                by = bins[i, 1] + oy
                sy = by // nbins[1]
                if sy != 0 and not periodic[1]:
                    continue
                for oz in range(-reach[2], reach[2] + 1):
                    bz = bins[i, 2] + oz
                    sz = bz // nbins[2]
                    if sz != 0 and not periodic[2]:
                        continue
                    row = (bx - sx * nbins[0]) * nbins[1] + by - sy * nbins[1]
                    cell = row * nbins[2] + bz - sz * nbins[2]
                    tx = sx * box[0, 0] + sy * box[1, 0] + sz * box[2, 0] - coord[i, 0]
                    ty = sx * box[0, 1] + sy * box[1, 1] + sz * box[2, 1] - coord[i, 1]
                    tz = sx * box[0, 2] + sy * box[1, 2] + sz * box[2, 2] - coord[i, 2]
                    is_home = sx == 0 and sy == 0 and sz == 0
                    for slot in range(first[cell], first[cell + 1]):
                        j = order[slot]
                        dx = coord[j, 0] + tx
                        dy = coord[j, 1] + ty
                        dz = coord[j, 2] + tz
                        if dx * dx + dy * dy + dz * dz >= rcut2:
                            continue
                        if is_home and j == i:
                            continue
                        if is_writing:
                            edge = start[i] + found
                            edge_j[edge] = j
                            shift[edge, 0] = sx
                            shift[edge, 1] = sy
                            shift[edge, 2] = sz
                        found += 1
        counts[i] = found
