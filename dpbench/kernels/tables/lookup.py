"""Look-up of one argument in a table, and its adjoint, compiled by numba.

A piece is c[0..5] by channel, (6, channel); x is the argument's place in it. Loops run
over channels, contiguous, and vectorise.
"""

from numba import njit

_FAST = {"reassoc", "contract", "nsz"}


@njit(cache=True, nogil=True, fastmath=_FAST, forceinline=True)
def value(piece, x, g):  # type: ignore[no-untyped-def]
    """Write G."""
    c0, c1, c2, c3, c4, c5 = piece[0], piece[1], piece[2], piece[3], piece[4], piece[5]
    for c in range(len(g)):
        g[c] = c0[c] + x * (c1[c] + x * (c2[c] + x * (c3[c] + x * (c4[c] + x * c5[c]))))


@njit(cache=True, nogil=True, fastmath=_FAST, forceinline=True)
def polynomial(c0, c1, c2, c3, c4, c5, x):  # type: ignore[no-untyped-def]
    """Return a polynomial of numbers and its slope by x."""
    now = c5
    slope = now
    now = now * x + c4
    slope = slope * x + now
    now = now * x + c3
    slope = slope * x + now
    now = now * x + c2
    slope = slope * x + now
    now = now * x + c1
    slope = slope * x + now
    return now * x + c0, slope


@njit(cache=True, nogil=True, fastmath=_FAST, forceinline=True)
def value_and_slope(piece, x, inverse, g, dg):  # type: ignore[no-untyped-def]
    """Write G and dG/ds; ``inverse`` is one over the width of the piece."""
    c0, c1, c2, c3, c4, c5 = piece[0], piece[1], piece[2], piece[3], piece[4], piece[5]
    for c in range(len(g)):
        now, slope = polynomial(c0[c], c1[c], c2[c], c3[c], c4[c], c5[c], x)
        g[c] = now
        dg[c] = slope * inverse


@njit(cache=True, nogil=True, fastmath=_FAST, forceinline=True)
def add_powers(x, inverse, grads, total):  # type: ignore[no-untyped-def]
    """Add the gradients by G and dG/ds, times x^n and n x^(n-1), to ``total`` (6)."""
    kind = total.dtype.type
    to_value, to_slope = grads
    power, slope = kind(1), kind(0)
    for n in range(6):
        row = total[n]
        by_slope = slope * inverse
        for c in range(len(row)):
            row[c] += power * to_value[c] + by_slope * to_slope[c]
        slope = kind(n + 1) * power
        power = power * x
