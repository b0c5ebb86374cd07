"""The loops of the passes with the types' share, compiled by numba.

Each edge's features are weighted in place; what follows is that of ``passes.loops``.
"""

import numpy as np
from numba import njit, prange

from dpbench.kernels.passes.runs import pull_edge
from dpbench.kernels.tables.lookup import add_powers, value_and_slope

_FAST = {"reassoc", "contract", "nsz"}


@njit(cache=True, nogil=True, fastmath=_FAST, forceinline=True)
def _share(weight, t, g, dg):  # type: ignore[no-untyped-def]
    """Turn G and G' into G (1 + w T) and G' (1 + w T) + G T dw/ds."""
    one, w, b = g.dtype.type(1), weight[0], weight[1]
    for c in range(len(g)):
        factor = one + w * t[c]
        dg[c] = dg[c] * factor + g[c] * t[c] * b
        g[c] = g[c] * factor


@njit(cache=True, nogil=True, fastmath=_FAST, forceinline=True)
def _pull_share(weight, t, g, dg, grads, total):  # type: ignore[no-untyped-def]
    """Turn ``grads`` into the gradients by the nets' G and G'; add that by T."""
    one, w, b = g.dtype.type(1), weight[0], weight[1]
    to_value, to_slope = grads
    for c in range(len(g)):
        u, v = to_value[c], to_slope[c]
        factor = one + w * t[c]
        total[c] += u * g[c] * w + v * (dg[c] * w + g[c] * b)
        to_value[c] = u * factor + v * t[c] * b
        to_slope[c] = v * factor


@njit(cache=True, nogil=True, fastmath=_FAST, forceinline=True)
def _project(x0, x1, x2, x3, row, g, dg):  # type: ignore[no-untyped-def]
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
def _by_piece(interval, row_offset, start, stop, first):  # type: ignore[no-untyped-def]
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


@njit(cache=True, nogil=True, fastmath=_FAST, parallel=True, forceinline=True)
def moments(edges, layout, share, inverse, coefficients, out, workers):  # type: ignore[no-untyped-def]
    """P1: write X of each row to ``out`` (row, 4, width)."""
    rows, interval, place, weight = edges
    row_offset, row_type = layout
    nrows, width = row_offset.shape[1] - 1, coefficients.shape[2]
    for worker in prange(workers):
        g, dg = np.empty(width, out.dtype), np.empty(width, out.dtype)
        for a in range(nrows * worker // workers, nrows * (worker + 1) // workers):
            x0, x1, x2, x3 = out[a, 0], out[a, 1], out[a, 2], out[a, 3]
            x0[:] = 0
            x1[:] = 0
            x2[:] = 0
            x3[:] = 0
            for t in range(row_offset.shape[0]):
                own = share[row_type[a], t]
                for e in range(row_offset[t, a], row_offset[t, a + 1]):
                    value_and_slope(
                        coefficients[interval[e]], place[e], inverse[0], g, dg
                    )
                    _share(weight[e], own, g, dg)
                    r0, r1, r2, r3 = rows[e, 0], rows[e, 1], rows[e, 2], rows[e, 3]
                    for c in range(width):
                        x0[c] += r0 * g[c]
                        x1[c] += r1 * g[c]
                        x2[c] += r2 * g[c]
                        x3[c] += r3 * g[c]


@njit(cache=True, nogil=True, fastmath=_FAST, parallel=True, forceinline=True)
def edge_gradient(  # type: ignore[no-untyped-def]
    edges, layout, share, scales, coefficients, grad_x, out, workers
):
    """P2: write dE/dd of each edge to ``out`` (edge, 3)."""
    vec, rows, radial, interval, place, weight = edges
    row_offset, row_type = layout
    inverse_std, inverse = scales
    nrows, width = row_offset.shape[1] - 1, coefficients.shape[2]
    for worker in prange(workers):
        g, dg = np.empty(width, out.dtype), np.empty(width, out.dtype)
        for a in range(nrows * worker // workers, nrows * (worker + 1) // workers):
            x0, x1, x2, x3 = grad_x[a, 0], grad_x[a, 1], grad_x[a, 2], grad_x[a, 3]
            std = inverse_std[row_type[a]]
            for t in range(row_offset.shape[0]):
                own = share[row_type[a], t]
                for e in range(row_offset[t, a], row_offset[t, a + 1]):
                    value_and_slope(
                        coefficients[interval[e]], place[e], inverse[0], g, dg
                    )
                    _share(weight[e], own, g, dg)
                    p0, p1, p2, p3 = _project(x0, x1, x2, x3, rows[e], g, dg)
                    p1, p2, p3 = p1 * std[1], p2 * std[2], p3 * std[3]
                    d0, d1, d2 = vec[e, 0], vec[e, 1], vec[e, 2]
                    along = p1 * d0 + p2 * d1 + p3 * d2
                    h = radial[e, 0]
                    q = p0 * std[0] * radial[e, 1] + along * radial[e, 2]
                    out[e, 0] = p1 * h + q * d0
                    out[e, 1] = p2 * h + q * d1
                    out[e, 2] = p3 * h + q * d2


@njit(cache=True, nogil=True, fastmath=_FAST, parallel=True, forceinline=True)
def tangent_moments(edges, layout, share, inverse, coefficients, out, workers):  # type: ignore[no-untyped-def]
    """P3: write X' of each row to ``out`` (row, 4, width)."""
    rows, rows_dot, interval, place, weight = edges
    row_offset, row_type = layout
    nrows, width = row_offset.shape[1] - 1, coefficients.shape[2]
    for worker in prange(workers):
        g, dg = np.empty(width, out.dtype), np.empty(width, out.dtype)
        for a in range(nrows * worker // workers, nrows * (worker + 1) // workers):
            x0, x1, x2, x3 = out[a, 0], out[a, 1], out[a, 2], out[a, 3]
            x0[:] = 0
            x1[:] = 0
            x2[:] = 0
            x3[:] = 0
            for t in range(row_offset.shape[0]):
                own = share[row_type[a], t]
                for e in range(row_offset[t, a], row_offset[t, a + 1]):
                    value_and_slope(
                        coefficients[interval[e]], place[e], inverse[0], g, dg
                    )
                    _share(weight[e], own, g, dg)
                    d = rows_dot[e, 0]
                    p0, p1, p2, p3 = d, rows_dot[e, 1], rows_dot[e, 2], rows_dot[e, 3]
                    r0, r1 = rows[e, 0] * d, rows[e, 1] * d
                    r2, r3 = rows[e, 2] * d, rows[e, 3] * d
                    for c in range(width):
                        x0[c] += p0 * g[c] + r0 * dg[c]
                        x1[c] += p1 * g[c] + r1 * dg[c]
                        x2[c] += p2 * g[c] + r2 * dg[c]
                        x3[c] += p3 * g[c] + r3 * dg[c]


@njit(cache=True, nogil=True, fastmath=_FAST, parallel=True, forceinline=True)
def adjoint(edges, layout, share, tables, grads, out, block_rows):  # type: ignore[no-untyped-def]
    """P4: add the gradients by coefficients and by T to ``out``, per worker.

    The edges of a block of rows are taken piece by piece of the table.
    """
    rows, rows_dot, interval, place, weight = edges
    row_offset, row_type = layout
    inverse, coefficients = tables
    grad_x, grad_dot = grads
    by_table, by_share = out
    nrows, workers = row_offset.shape[1] - 1, by_table.shape[0]
    width, kind = coefficients.shape[2], by_table.dtype
    for worker in prange(workers):
        begin, end = nrows * worker // workers, nrows * (worker + 1) // workers
        total, pulled = np.empty((6, width), kind), np.empty((2, width), kind)
        g, dg = np.empty(width, kind), np.empty(width, kind)
        own_grads = (pulled[0], pulled[1])
        first = np.empty(by_table.shape[1] + 1, np.int64)
        for start in range(begin, end, block_rows):
            stop = min(start + block_rows, end)
            order, centre = _by_piece(interval, row_offset, start, stop, first)
            for k in range(by_table.shape[1]):
                if first[k + 1] == first[k]:
                    continue
                total[:] = 0
                for slot in range(first[k], first[k + 1]):
                    e, a, t = order[slot], centre[slot, 0], centre[slot, 1]
                    i = row_type[a]
                    value_and_slope(coefficients[k], place[e], inverse[0], g, dg)
                    pull_edge(rows[e], rows_dot[e], grad_x[a], grad_dot[a], own_grads)
                    by_type = by_share[worker, i, t]
                    _pull_share(weight[e], share[i, t], g, dg, own_grads, by_type)
                    add_powers(place[e], inverse[0], own_grads, total)
                target = by_table[worker, k]
                for n in range(6):
                    for c in range(width):
                        target[n, c] += total[n, c]
