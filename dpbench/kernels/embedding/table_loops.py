"""Look-up of an embedding table at many points, and its adjoint, compiled by numba."""

import numpy as np
from numba import njit

_FAST = {"reassoc", "contract", "nsz"}


@njit(cache=True, nogil=True)
def place(s, lower, step, count, piece, x):  # type: ignore[no-untyped-def]
    """Find the piece of each argument and its place in it; a NaN stays one."""
    for e in range(len(s)):
        at = (s[e] - lower) / step
        k = 0
        if at > 0.0:
            k = min(int(min(at, 2147483000.0)), count - 1)
        piece[e] = k
        x[e] = at - k


@njit(cache=True, nogil=True, fastmath=_FAST)
def lookup(piece, x, inverse, coefficients, value, slope):  # type: ignore[no-untyped-def]
    """Write G and dG/ds of each point, (point, channel)."""
    for e in range(len(x)):
        t, row = x[e], coefficients[piece[e]]
        c0, c1, c2, c3, c4, c5 = row[0], row[1], row[2], row[3], row[4], row[5]
        g, dg = value[e], slope[e]
        for c in range(len(g)):
            v = c5[c]
            d = v
            v = v * t + c4[c]
            d = d * t + v
            v = v * t + c3[c]
            d = d * t + v
            v = v * t + c2[c]
            d = d * t + v
            v = v * t + c1[c]
            d = d * t + v
            g[c] = v * t + c0[c]
            dg[c] = d * inverse


@njit(cache=True, nogil=True, fastmath=_FAST)
def scatter(piece, x, inverse, grads, out):  # type: ignore[no-untyped-def]
    """Add the gradients by G and dG/ds to those by the coefficients, piece by piece."""
    to_value, to_slope = grads
    first = np.zeros(len(out) + 1, np.int64)
    for e in range(len(x)):
        first[piece[e] + 1] += 1
    for k in range(len(out)):
        first[k + 1] += first[k]
    order, at = np.empty(len(x), np.int64), first[:-1].copy()
    for e in range(len(x)):
        order[at[piece[e]]] = e
        at[piece[e]] += 1
    kind = out.dtype.type
    for k in range(len(out)):
        for slot in range(first[k], first[k + 1]):
            e = order[slot]
            v, d = to_value[e], to_slope[e]
            power, slope = kind(1), kind(0)
            for n in range(6):
                total, by_slope = out[k, n], slope * inverse
                for c in range(len(v)):
                    total[c] += power * v[c] + by_slope * d[c]
                slope = kind(n + 1) * power
                power = power * x[e]
