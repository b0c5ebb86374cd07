"""Look-up of an embedding table at many points, and its adjoint, compiled by numba."""

import numpy as np
from numba import njit

from dpbench.kernels.tables.lookup import add_powers, value_and_slope

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
        value_and_slope(coefficients[piece[e]], x[e], inverse, value[e], slope[e])


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
    for k in range(len(out)):
        for slot in range(first[k], first[k + 1]):
            e = order[slot]
            add_powers(x[e], inverse, (to_value[e], to_slope[e]), out[k])
