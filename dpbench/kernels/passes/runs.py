"""Edges of one row in one piece of a table, taken together; compiled by numba.

G is a polynomial in an edge's place x. What an edge has of dE/dX is a polynomial in x,
too: its 24 coefficients c[n] . dX[k] are those of the piece and serve all edges of the
run. Such a run costs little more than one edge. In the same way its gradient by c[n] is
W[n] . dX + W'[n] . dX' with sums of rows times powers of x. Small helpers are inlined:
passing arrays to them costs as much as what they do.
"""

import numpy as np
from numba import njit

from dpbench.kernels.tables.lookup import polynomial

FEW = 2
"""Edges in one piece that P4 takes one by one; more are taken together."""

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
        now, slope = polynomial(c0[c], c1[c], c2[c], c3[c], c4[c], c5[c], x)
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


@njit(cache=True, nogil=True, fastmath=_FAST, forceinline=True)
def weigh(edges, rows, place, weights):  # type: ignore[no-untyped-def]
    """Write sum_e x^n R to ``weights`` (6, 4)."""
    kind = weights.dtype.type
    weights[:] = 0
    for e in edges:
        r0, r1, r2, r3 = rows[e, 0], rows[e, 1], rows[e, 2], rows[e, 3]
        power = kind(1)
        for n in range(6):
            weights[n, 0] += power * r0
            weights[n, 1] += power * r1
            weights[n, 2] += power * r2
            weights[n, 3] += power * r3
            power *= place[e]


@njit(cache=True, nogil=True, fastmath=_FAST, forceinline=True)
def weigh_tangent(edges, rows, rows_dot, place, inverse, weights):  # type: ignore[no-untyped-def]
    """Write sum_e x^n R' + n x^(n-1) R s' / step to ``weights`` (6, 4)."""
    kind = weights.dtype.type
    weights[:] = 0
    for e in edges:
        p0, p1, p2, p3 = rows_dot[e, 0], rows_dot[e, 1], rows_dot[e, 2], rows_dot[e, 3]
        along = p0 * inverse
        r0, r1 = rows[e, 0] * along, rows[e, 1] * along
        r2, r3 = rows[e, 2] * along, rows[e, 3] * along
        power, slope = kind(1), kind(0)
        for n in range(6):
            weights[n, 0] += power * p0 + slope * r0
            weights[n, 1] += power * p1 + slope * r1
            weights[n, 2] += power * p2 + slope * r2
            weights[n, 3] += power * p3 + slope * r3
            slope = kind(n + 1) * power
            power *= place[e]


@njit(cache=True, nogil=True, fastmath=_FAST, forceinline=True)
def pull_run(weights, tangents, grad_x, grad_dot, out):  # type: ignore[no-untyped-def]
    """Add W[n] . dX + W'[n] . dX' to ``out`` (6, width)."""
    x0, x1, x2, x3 = grad_x[0], grad_x[1], grad_x[2], grad_x[3]
    y0, y1, y2, y3 = grad_dot[0], grad_dot[1], grad_dot[2], grad_dot[3]
    for n in range(6):
        total = out[n]
        w0, w1, w2, w3 = weights[n, 0], weights[n, 1], weights[n, 2], weights[n, 3]
        v0, v1, v2, v3 = tangents[n, 0], tangents[n, 1], tangents[n, 2], tangents[n, 3]
        for c in range(len(total)):
            direct = w0 * x0[c] + w1 * x1[c] + w2 * x2[c] + w3 * x3[c]
            total[c] += direct + (v0 * y0[c] + v1 * y1[c] + v2 * y2[c] + v3 * y3[c])


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
