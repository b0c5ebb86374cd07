"""What passes with and without the types' share do alike, compiled by numba.

X is (4, width); R and R' are (4); G and G' are (width). The sums of the other passes
stand in their loops: as functions of an edge they were a third slower.
"""

import numpy as np
from numba import njit

_FAST = {"reassoc", "contract", "nsz"}


@njit(cache=True, nogil=True, fastmath=_FAST, forceinline=True)
def project(x0, x1, x2, x3, row, g, dg):  # type: ignore[no-untyped-def]
    """Return dE/dR of one edge, that through G included."""
    zero = g.dtype.type(0)
    r0, r1, r2, r3 = row[0], row[1], row[2], row[3]
    p0, p1, p2, p3 = zero, zero, zero, zero
    for c in range(len(g)):
        along = r0 * x0[c] + r1 * x1[c] + r2 * x2[c] + r3 * x3[c]
        p0 += x0[c] * g[c] + along * dg[c]
        p1 += x1[c] * g[c]
        p2 += x2[c] * g[c]
        p3 += x3[c] * g[c]
    return p0, p1, p2, p3


@njit(cache=True, nogil=True, forceinline=True)
def by_piece(interval, row_offset, start, stop, first):  # type: ignore[no-untyped-def]
    """Sort the edges of rows start..stop by piece of the tables (counting sort).

    Fills ``first`` (piece + 1); returns the edges in order, and row and neighbour type
    of each.
    """
    first[:] = 0
    for t in range(row_offset.shape[0]):
        for e in range(row_offset[t, start], row_offset[t, stop]):
            first[interval[e] + 1] += 1
    for k in range(len(first) - 1):
        first[k + 1] += first[k]
    count = first[len(first) - 1]
    order, centre = np.empty(count, np.int64), np.empty((count, 2), np.int64)
    for t in range(row_offset.shape[0]):
        for a in range(start, stop):
            for e in range(row_offset[t, a], row_offset[t, a + 1]):
                slot = first[interval[e]]
                order[slot] = e
                centre[slot, 0] = a
                centre[slot, 1] = t
                first[interval[e]] = slot + 1
    # Each entry now says where its piece ends, which is where the next one begins.
    for k in range(len(first) - 1, 0, -1):
        first[k] = first[k - 1]
    first[0] = 0
    return order, centre


@njit(cache=True, nogil=True, fastmath=_FAST, forceinline=True)
def pull_edge(row, dot, grad_x, grad_dot, outs):  # type: ignore[no-untyped-def]
    """Write the gradients by G and by G' of one edge to ``outs``."""
    to_value, to_slope = outs
    x0, x1, x2, x3 = grad_x[0], grad_x[1], grad_x[2], grad_x[3]
    y0, y1, y2, y3 = grad_dot[0], grad_dot[1], grad_dot[2], grad_dot[3]
    r0, r1, r2, r3 = row[0], row[1], row[2], row[3]
    p0, p1, p2, p3 = dot[0], dot[1], dot[2], dot[3]
    for c in range(len(to_value)):
        along = r0 * y0[c] + r1 * y1[c] + r2 * y2[c] + r3 * y3[c]
        direct = r0 * x0[c] + r1 * x1[c] + r2 * x2[c] + r3 * x3[c]
        direct += p0 * y0[c] + p1 * y1[c] + p2 * y2[c] + p3 * y3[c]
        to_value[c] = direct
        to_slope[c] = along * p0
