"""All pairs of a frame, compiled by numba: for cells no thinner than the cutoff.

An image within the cutoff lies less than cutoff/height away in each fractional
coordinate. So along a cell vector whose height is at least twice the cutoff only the
nearest image counts, and along one of at least the cutoff the nearest two. Up to some
thousands of pairs an atom this is faster than a cell list: the distances of one atom to
all others are one vectorised loop, and edges are written without a branch.
"""

from typing import Any

import numpy as np
from numba import njit

from dpbench.kernels.neighbours.cell import Lattice, Neighbours

MOST_TRIALS = 3000
"""Images tried for each atom, up to which this is faster than a cell list."""

_FIRST_ROOM = 64
"""Neighbours of an atom that memory is taken for at first; it grows."""


def serves(lattice: Lattice, rcut: float) -> bool:
    """Say whether the cell is thick enough, and the atoms are not too many."""
    if not (lattice.height >= rcut).all():
        return False
    trials = len(lattice.coord) * 2 ** int((lattice.height < 2 * rcut).sum())
    return bool(trials <= MOST_TRIALS)


def all_pairs(lattice: Lattice, rcut: float) -> Neighbours:
    """Find all neighbours where ``serves`` is true; O(atoms^2).

    Args:
        lattice: Cell and wrapped atoms.
        rcut: Cutoff radius, Å.
    """
    is_twofold = lattice.periodic & (lattice.height < 2 * rcut)
    count, edges, shift = _search(
        np.ascontiguousarray(lattice.frac.T),
        lattice.box,
        lattice.wrap,
        (lattice.periodic, is_twofold),
        float(rcut) ** 2,
        _FIRST_ROOM,
    )
    return Neighbours(
        edge_i=edges[0, :count].copy(),
        edge_j=edges[1, :count].copy(),
        shift=shift[:count].copy(),
    )


_compiled: Any = njit(cache=True, nogil=True)


@_compiled
def _search(frac, box, wrap, directions, rcut2, room):  # type: ignore[no-untyped-def]
    """Return the number of edges, (2, room) their atoms and (room, 3) their shifts."""
    periodic, is_twofold = directions
    natoms = frac.shape[1]
    edges = np.empty((2, room * natoms + natoms), dtype=np.int32)
    shift = np.empty((room * natoms + natoms, 3), dtype=np.int32)
    # Fractional vector and image of each neighbour along each direction.
    near, far = np.empty((3, natoms)), np.empty((3, natoms))
    squared = np.empty(natoms)
    found = 0
    for i in range(natoms):
        for k in range(3):
            _images(frac[k], frac[k, i], periodic[k], near[k], far[k])
        for choice in range(8):
            x, y, z = near[0], near[1], near[2]
            if choice & 1:
                x = far[0]
            if choice & 2:
                y = far[1]
            if choice & 4:
                z = far[2]
            is_tried = True
            for k in range(3):
                if choice >> k & 1 and not is_twofold[k]:
                    is_tried = False
            if not is_tried:
                continue
            _distances(x, y, z, box, squared)
            if choice == 0:
                squared[i] = np.inf
            if found + natoms > edges.shape[1]:
                edges, shift = _grown(edges, shift, found)
            first = found
            for j in range(natoms):
                # Written over by the next one if this one is too far.
                edges[1, found] = j
                found += squared[j] < rcut2
            for e in range(first, found):
                j = edges[1, e]
                edges[0, e] = i
                shift[e, 0] = _image(x[j], frac[0, j] - frac[0, i])
                shift[e, 1] = _image(y[j], frac[1, j] - frac[1, i])
                shift[e, 2] = _image(z[j], frac[2, j] - frac[2, i])
    for e in range(found):
        i, j = edges[0, e], edges[1, e]
        for k in range(3):
            shift[e, k] += wrap[i, k] - wrap[j, k]
    return found, edges, shift


@_compiled
def _images(frac, origin, is_periodic, near, far):  # type: ignore[no-untyped-def]
    """Write the fractional vectors to the nearest image, and to the next one."""
    if not is_periodic:
        for j in range(len(frac)):
            near[j] = frac[j] - origin
        return
    for j in range(len(frac)):
        difference = frac[j] - origin
        difference -= np.floor(difference + 0.5)
        near[j] = difference
        far[j] = difference + (-1.0 if difference > 0 else 1.0)


@_compiled
def _image(vector, difference):  # type: ignore[no-untyped-def]
    """Return the number of cell vectors between two fractional vectors."""
    return np.int32(np.floor(vector - difference + 0.5))


@_compiled
def _distances(x, y, z, box, squared):  # type: ignore[no-untyped-def]
    """Write the squared lengths of fractional vectors, Å^2."""
    a, b, c = box[0], box[1], box[2]
    for j in range(len(x)):
        dx = x[j] * a[0] + y[j] * b[0] + z[j] * c[0]
        dy = x[j] * a[1] + y[j] * b[1] + z[j] * c[1]
        dz = x[j] * a[2] + y[j] * b[2] + z[j] * c[2]
        squared[j] = dx * dx + dy * dy + dz * dz


@_compiled
def _grown(edges, shift, found):  # type: ignore[no-untyped-def]
    """Return room for twice as many edges, with those found so far."""
    more = np.empty((2, 2 * edges.shape[1]), dtype=np.int32)
    more[:, :found] = edges[:, :found]
    more_shift = np.empty((2 * len(shift), 3), dtype=np.int32)
    more_shift[:found] = shift[:found]
    return more, more_shift
