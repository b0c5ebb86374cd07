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
def project(moment, features, starts, out):  # type: ignore[no-untyped-def]
    """Write X[a] . G[e] of each edge to ``out`` (edge, 4)."""
    width = features.shape[1]
    zero = features.dtype.type(0)
    for a in range(len(starts) - 1):
        x0, x1, x2, x3 = moment[a, 0], moment[a, 1], moment[a, 2], moment[a, 3]
        for e in range(starts[a], starts[a + 1]):
            g = features[e]
            p0, p1, p2, p3 = zero, zero, zero, zero
            for c in range(width):
                p0 += x0[c] * g[c]
                p1 += x1[c] * g[c]
                p2 += x2[c] * g[c]
                p3 += x3[c] * g[c]
            out[e, 0] = p0
            out[e, 1] = p1
            out[e, 2] = p2
            out[e, 3] = p3


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
