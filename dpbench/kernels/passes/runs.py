"""Edges of one row in one piece of a table, taken together; compiled by numba.

G is a polynomial in an edge's place x. What an edge has of dE/dX is a polynomial in x,
too: its 24 coefficients c[n] . dX[k] are those of the piece and serve all edges of the
run. Such a run costs little more than one edge. The helpers are inlined: passing arrays
to them costs as much as what they do.
"""

import numpy as np
from numba import njit

_FAST = {"reassoc", "contract", "nsz"}


@njit(cache=True, nogil=True)
def sort_rows(interval, row_offset, edge_row, pieces, order):  # type: ignore[no-untyped-def]
    """Write to ``order`` the edges of each row and neighbour type, sorted by piece."""
    sorted_edges = np.empty(len(order), np.int32)
    first, cursor = np.empty(pieces + 1, np.int32), row_offset.copy()
    for t in range(row_offset.shape[0]):
        begin, end = row_offset[t, 0], row_offset[t, row_offset.shape[1] - 1]
        first[:] = 0
        for e in range(begin, end):
            first[interval[e] + 1] += 1
        for k in range(pieces):
            first[k + 1] += first[k]
        for e in range(begin, end):
            slot = first[interval[e]]
            sorted_edges[slot] = e
            first[interval[e]] = slot + 1
        for slot in range(end - begin):
            e = sorted_edges[slot]
            a = edge_row[e]
            order[cursor[t, a]] = e
            cursor[t, a] += 1


@njit(cache=True, nogil=True, forceinline=True)
def run_end(interval, place, order, slot, stop):  # type: ignore[no-untyped-def]
    """Return where the run of edges in one piece that begins at ``slot`` ends.

    An edge far outside the tables, or that is NaN, is a run of its own: powers of its
    place might overflow.
    """
    piece, inside = interval[order[slot]], abs(place[order[slot]]) <= 2
    slot += 1
    while (
        inside
        and slot < stop
        and interval[order[slot]] == piece
        and abs(place[order[slot]]) <= 2
    ):
        slot += 1
    return slot


@njit(cache=True, nogil=True, fastmath=_FAST, forceinline=True)
def project_run(grad_x, piece, sums):  # type: ignore[no-untyped-def]
    """Write c[n] . dX[k] to ``sums`` (6, 4)."""
    zero = sums.dtype.type(0)
    x0, x1, x2, x3 = grad_x[0], grad_x[1], grad_x[2], grad_x[3]
    for n in range(0, 6, 3):
        c0, c1, c2 = piece[n], piece[n + 1], piece[n + 2]
        a0, a1, a2, a3 = zero, zero, zero, zero
        b0, b1, b2, b3 = zero, zero, zero, zero
        d0, d1, d2, d3 = zero, zero, zero, zero
        for c in range(len(x0)):
            a0 += c0[c] * x0[c]
            a1 += c0[c] * x1[c]
            a2 += c0[c] * x2[c]
            a3 += c0[c] * x3[c]
            b0 += c1[c] * x0[c]
            b1 += c1[c] * x1[c]
            b2 += c1[c] * x2[c]
            b3 += c1[c] * x3[c]
            d0 += c2[c] * x0[c]
            d1 += c2[c] * x1[c]
            d2 += c2[c] * x2[c]
            d3 += c2[c] * x3[c]
        sums[n, 0], sums[n, 1], sums[n, 2], sums[n, 3] = a0, a1, a2, a3
        sums[n + 1, 0], sums[n + 1, 1], sums[n + 1, 2], sums[n + 1, 3] = b0, b1, b2, b3
        sums[n + 2, 0], sums[n + 2, 1], sums[n + 2, 2], sums[n + 2, 3] = d0, d1, d2, d3


@njit(cache=True, nogil=True, fastmath=_FAST, forceinline=True)
def edge_of_run(sums, row, x, inverse):  # type: ignore[no-untyped-def]
    """Return dE/dR of one edge of a run, that through G included."""
    p0, p1, p2, p3 = sums[5, 0], sums[5, 1], sums[5, 2], sums[5, 3]
    r0, r1, r2, r3 = row[0], row[1], row[2], row[3]
    slope0, slope1, slope2, slope3 = p0, p1, p2, p3
    for m in range(5):
        n = 4 - m
        p0, p1 = p0 * x + sums[n, 0], p1 * x + sums[n, 1]
        p2, p3 = p2 * x + sums[n, 2], p3 * x + sums[n, 3]
        if n > 0:
            slope0, slope1 = slope0 * x + p0, slope1 * x + p1
            slope2, slope3 = slope2 * x + p2, slope3 * x + p3
    along = r0 * slope0 + r1 * slope1 + r2 * slope2 + r3 * slope3
    return p0 + along * inverse, p1, p2, p3


@njit(cache=True, nogil=True, fastmath=_FAST, forceinline=True)
def project_edge(grad_x, row, piece, x, inverse):  # type: ignore[no-untyped-def]
    """Return dE/dR of one edge, that through G included."""
    c0, c1, c2, c3, c4, c5 = piece[0], piece[1], piece[2], piece[3], piece[4], piece[5]
    x0, x1, x2, x3 = grad_x[0], grad_x[1], grad_x[2], grad_x[3]
    r0, r1 = row[0] * inverse, row[1] * inverse
    r2, r3 = row[2] * inverse, row[3] * inverse
    zero = piece.dtype.type(0)
    p0, p1, p2, p3 = zero, zero, zero, zero
    for c in range(len(x0)):
        now = c5[c]
        slope = now
        now = now * x + c4[c]
        slope = slope * x + now
        now = now * x + c3[c]
        slope = slope * x + now
        now = now * x + c2[c]
        slope = slope * x + now
        now = now * x + c1[c]
        slope = slope * x + now
        now = now * x + c0[c]
        along = r0 * x0[c] + r1 * x1[c] + r2 * x2[c] + r3 * x3[c]
        p0 += x0[c] * now + along * slope
        p1 += x1[c] * now
        p2 += x2[c] * now
        p3 += x3[c] * now
    return p0, p1, p2, p3


@njit(cache=True, nogil=True, fastmath=_FAST, forceinline=True)
def pull_vector(to_row, std, vec, radial, out):  # type: ignore[no-untyped-def]
    """Write dE/dd of one edge from dE/dR to ``out`` (3)."""
    p0, p1, p2, p3 = to_row
    p1, p2, p3 = p1 * std[1], p2 * std[2], p3 * std[3]
    x, y, z = vec[0], vec[1], vec[2]
    h = radial[0]
    q = p0 * std[0] * radial[1] + (p1 * x + p2 * y + p3 * z) * radial[2]
    out[0] = p1 * h + q * x
    out[1] = p2 * h + q * y
    out[2] = p3 * h + q * z
