"""Sums over the edges of a frame that size a model by its data, compiled by numba."""

from typing import Any

import numpy as np
from numba import njit

_compiled: Any = njit(cache=True, nogil=True, error_model="numpy")


@_compiled
def sum_rows(atype, edges, geometry, switch, mask, sums):  # type: ignore[no-untyped-def]
    """Add up environment rows that are not normalised, by the centre's type.

    Args:
        atype: (atom), int64.
        edges: (edge_i, edge_j (edge), shift (edge, 3)).
        geometry: (coord (atom, 3), box (3, 3)), float64; no NaN.
        switch: (rcut, rcut_smth, protection), Å.
        mask: (type, type), zero for pairs that do not see each other.
        sums: (total, squares), each (type, 2), added to: the radial column, and the
            three angular columns together.
    """
    edge_i, edge_j, shift = edges
    coord, box = geometry
    rcut, rcut_smth, protection = switch
    total, squares = sums
    for e in range(len(edge_i)):
        i, j = edge_i[e], edge_j[e]
        centre = atype[i]
        x, y, z = _vector(coord, box, shift, e, i, j)
        r = np.sqrt(x * x + y * y + z * z)
        u = min(max((r - rcut_smth) / (rcut - rcut_smth), 0.0), 1.0)
        weight = u * u * u * (-6 * u * u + 15 * u - 10) + 1
        weight *= mask[centre, atype[j]]
        radial = weight / (r + protection)
        angular = radial / (r + protection)
        total[centre, 0] += radial
        total[centre, 1] += angular * (x + y + z)
        squares[centre, 0] += radial * radial
        squares[centre, 1] += angular * angular * r * r


@_compiled
def count_neighbours(atype, edges, geometry, cutoffs, most):  # type: ignore[no-untyped-def]
    """Find the largest numbers of neighbours, and the shortest distance.

    Args:
        atype: (atom), int64.
        edges: As in ``sum_rows``; centres ascending.
        geometry: As in ``sum_rows``.
        cutoffs: (cutoff), Å.
        most: (most (type), within (cutoff, type + 1), pairs (type, type)), raised to
            what this frame has; see ``models.neighbour_counts``.

    Returns:
        Å, the shortest distance; infinity without edges.
    """
    edge_i, edge_j, shift = edges
    coord, box = geometry
    all_most, within, pairs = most
    ntypes, shortest = len(all_most), np.inf
    counts = np.zeros((len(cutoffs) + 1, ntypes), dtype=np.int64)
    for e in range(len(edge_i)):
        i, j = edge_i[e], edge_j[e]
        x, y, z = _vector(coord, box, shift, e, i, j)
        r = np.sqrt(x * x + y * y + z * z)
        shortest = min(shortest, r)
        kind = atype[j]
        pairs[atype[i], kind] = True
        counts[0, kind] += 1
        for row in range(len(cutoffs)):
            if r < cutoffs[row]:
                counts[row + 1, kind] += 1
        if e + 1 == len(edge_i) or edge_i[e + 1] != i:
            for t in range(ntypes):
                all_most[t] = max(all_most[t], counts[0, t])
            for row in range(len(cutoffs)):
                of_all = 0
                for t in range(ntypes):
                    within[row, t] = max(within[row, t], counts[row + 1, t])
                    of_all += counts[row + 1, t]
                within[row, ntypes] = max(within[row, ntypes], of_all)
            counts[:] = 0
    return shortest


@_compiled
def _vector(coord, box, shift, e, i, j):  # type: ignore[no-untyped-def]
    """Return coord[j] + shift @ box - coord[i], Å."""
    a, b, c = shift[e, 0], shift[e, 1], shift[e, 2]
    x = a * box[0, 0] + b * box[1, 0] + c * box[2, 0]
    y = a * box[0, 1] + b * box[1, 1] + c * box[2, 1]
    z = a * box[0, 2] + b * box[1, 2] + c * box[2, 2]
    return (
        coord[j, 0] - coord[i, 0] + x,
        coord[j, 1] - coord[i, 1] + y,
        coord[j, 2] - coord[i, 2] + z,
    )
