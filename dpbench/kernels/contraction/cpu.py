"""The products over edges, compiled by numba: no padding, one pass over the features.

Written so that the inner loops run over features, contiguous, and vectorise. Reordering
sums is allowed (``reassoc``); nothing that would hide a NaN is.
"""

from numba import njit

_FAST = {"reassoc", "contract", "nsz"}


@njit(cache=True, nogil=True, fastmath=_FAST)
def moments(rows, features, starts, out):  # type: ignore[no-untyped-def]
    """Write sum_e R[e] (x) G[e] of each atom to ``out`` (atom, 4, M)."""
    width = features.shape[1]
    for a in range(len(starts) - 1):
        x0, x1, x2, x3 = out[a, 0], out[a, 1], out[a, 2], out[a, 3]
        for c in range(width):
            x0[c] = 0
            x1[c] = 0
            x2[c] = 0
            x3[c] = 0
        for e in range(starts[a], starts[a + 1]):
            r0, r1, r2, r3 = rows[e, 0], rows[e, 1], rows[e, 2], rows[e, 3]
            g = features[e]
            for c in range(width):
                x0[c] += r0 * g[c]
                x1[c] += r1 * g[c]
                x2[c] += r2 * g[c]
                x3[c] += r3 * g[c]


@njit(cache=True, nogil=True, fastmath=_FAST)
def spread(rows, moment, starts, out):  # type: ignore[no-untyped-def]
    """Write R[e] . X[a] of each edge to ``out`` (edge, M)."""
    width = moment.shape[2]
    for a in range(len(starts) - 1):
        x0, x1, x2, x3 = moment[a, 0], moment[a, 1], moment[a, 2], moment[a, 3]
        for e in range(starts[a], starts[a + 1]):
            r0, r1, r2, r3 = rows[e, 0], rows[e, 1], rows[e, 2], rows[e, 3]
            g = out[e]
            for c in range(width):
                g[c] = r0 * x0[c] + r1 * x1[c] + r2 * x2[c] + r3 * x3[c]


@njit(cache=True, nogil=True, fastmath=_FAST)
def row_gradient(moment, rows, features, starts, out):  # type: ignore[no-untyped-def]
    """Write X[a] . G[e] + e_0 (R[e] . X[a] . G'[e]) to ``out`` (edge, 4)."""
    values, slopes = features
    width = values.shape[1]
    zero = values.dtype.type(0)
    for a in range(len(starts) - 1):
        x0, x1, x2, x3 = moment[a, 0], moment[a, 1], moment[a, 2], moment[a, 3]
        for e in range(starts[a], starts[a + 1]):
            r0, r1, r2, r3 = rows[e, 0], rows[e, 1], rows[e, 2], rows[e, 3]
            g, dg = values[e], slopes[e]
            p0, p1, p2, p3 = zero, zero, zero, zero
            for c in range(width):
                along = r0 * x0[c] + r1 * x1[c] + r2 * x2[c] + r3 * x3[c]
                p0 += x0[c] * g[c] + along * dg[c]
                p1 += x1[c] * g[c]
                p2 += x2[c] * g[c]
                p3 += x3[c] * g[c]
            out[e, 0] = p0
            out[e, 1] = p1
            out[e, 2] = p2
            out[e, 3] = p3


@njit(cache=True, nogil=True, fastmath=_FAST)
def row_gradient_adjoint(grad, moment, rows, features, starts, outs):  # type: ignore[no-untyped-def]
    """Write the gradients by X (atom, 4, M), G and G' (edge, M) to ``outs``."""
    values, slopes = features
    to_moment, to_values, to_slopes = outs
    width = values.shape[1]
    for a in range(len(starts) - 1):
        x0, x1, x2, x3 = moment[a, 0], moment[a, 1], moment[a, 2], moment[a, 3]
        t0, t1, t2, t3 = (
            to_moment[a, 0],
            to_moment[a, 1],
            to_moment[a, 2],
            to_moment[a, 3],
        )
        for e in range(starts[a], starts[a + 1]):
            h0, h1, h2, h3 = grad[e, 0], grad[e, 1], grad[e, 2], grad[e, 3]
            # What reaches R . X . G' comes through the first column alone.
            r0, r1, r2, r3 = (
                h0 * rows[e, 0],
                h0 * rows[e, 1],
                h0 * rows[e, 2],
                h0 * rows[e, 3],
            )
            g, dg, to_g, to_dg = values[e], slopes[e], to_values[e], to_slopes[e]
            for c in range(width):
                to_g[c] = h0 * x0[c] + h1 * x1[c] + h2 * x2[c] + h3 * x3[c]
                to_dg[c] = r0 * x0[c] + r1 * x1[c] + r2 * x2[c] + r3 * x3[c]
                t0[c] += h0 * g[c] + r0 * dg[c]
                t1[c] += h1 * g[c] + r1 * dg[c]
                t2[c] += h2 * g[c] + r2 * dg[c]
                t3[c] += h3 * g[c] + r3 * dg[c]
