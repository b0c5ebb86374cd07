"""The parts of a table between the matrix products, compiled by numba.

A quintic spline is sum_k b[k] B(t - k) with the bell B of six pieces. Its values at the
knots are (b[k-2] + 26 b[k-1] + 66 b[k] + 26 b[k+1] + b[k+2]) / 120, which is solved for
b; below, b stands for b / 120. All coefficients of a piece but the value follow from
five differences of b. They are taken in float64 and then cast: what float32 loses is a
digit of the slope's last, not of the value's.

Arrays are (point, channel), contiguous, float64; the table's own may be float32. Rows
are taken as one flat array each, because a compiler sees two of them apart sooner than
eleven.
"""

import numpy as np
from numba import njit

_FAST = {"reassoc", "contract", "nsz"}


@njit(cache=True, nogil=True, fastmath=_FAST)
def tanh_layer(values, idt, x, out):  # type: ignore[no-untyped-def]
    """Turn sigmoid(2 a) into tanh(a) in place; write tanh(a) idt + shortcut(x).

    Arrays are (net, point, n), ``idt`` (net, n); an ``x`` of no columns means no
    shortcut. Columns of ``out`` beyond the layer's are zeroed.
    """
    n_in, n_out = x.shape[2], idt.shape[1]
    for net in range(values.shape[0]):
        scale = idt[net]
        for e in range(values.shape[1]):
            v, y, source = values[net, e], out[net, e], x[net, e]
            for c in range(n_out):
                t = v[c] + v[c] - 1.0
                v[c] = t
                y[c] = t * scale[c]
            y[n_out:] = 0
            if n_in > 0:
                for start in range(0, n_out, n_in):
                    part = y[start : start + n_in]
                    for c in range(n_in):
                        part[c] += source[c]


@njit(cache=True, nogil=True, fastmath=_FAST)
def tanh_adjoint(grad, values, idt, delta, to_b, to_idt):  # type: ignore[no-untyped-def]
    """Write delta = g idt (1 - tanh(a)^2), its sum, and the sum of g tanh(a).

    Sums are over points, (net, n); columns of ``grad`` beyond the layer's are ignored.
    """
    to_b[:] = 0
    to_idt[:] = 0
    for net in range(values.shape[0]):
        scale, by_b, by_idt = idt[net], to_b[net], to_idt[net]
        for e in range(values.shape[1]):
            g, v, d = grad[net, e], values[net, e], delta[net, e]
            for c in range(len(scale)):
                t = v[c]
                inner = g[c] * scale[c] * (1.0 - t * t)
                d[c] = inner
                by_b[c] += inner
                by_idt[c] += g[c] * t


@njit(cache=True, nogil=True, fastmath=_FAST)
def tabulate(values, first, out, lines):  # type: ignore[no-untyped-def]
    """Write the pieces of the spline through ``values``.

    The two outermost knots of either end take 120 b for the value: an error of second
    order, which falls by 0.43 with each knot further in.

    Args:
        values: Values at the knots, (point, channel).
        first: Which point is the lower end of the first piece; at least 4, and as many
            points follow the upper end of the last.
        out: The pieces, (piece, 6, channel).
        lines: Value and slope at both ends, (2, 6, channel).
    """
    npieces, width = out.shape[0], out.shape[2]
    points = len(values)
    near, far, inverse = _factors(points)
    b = np.empty_like(values)
    differences = np.empty(values.shape, out.dtype)
    for k in range(points):
        row, value = b[k], values[k]
        if k < 2 or k >= points - 2:
            row[:] = value / 120.0
            continue
        one, two, by_one, by_two = b[k - 1], b[k - 2], near[k], far[k]
        for c in range(width):
            row[c] = value[c] - (by_one * one[c] + by_two * two[c])
    end = np.empty((6, width), out.dtype)
    for k in range(points - 3, first - 3, -1):
        row, one, two, below = b[k], b[k + 1], b[k + 2], differences[k]
        scale, by_one, by_two = inverse[k], near[k + 1], far[k + 2]
        for c in range(width):
            value = row[c] * scale - (by_one * one[c] + by_two * two[c])
            row[c] = value
            below[c] = one[c] - value
        piece = k + 2 - first
        if piece <= npieces:
            target = out[piece] if piece < npieces else end
            _write_piece(values[k + 2], differences[k : k + 5], target)
    lines[:] = 0
    lines[0, :2] = out[0, :2]
    lines[1, :2] = end[:2]


@njit(cache=True, nogil=True, fastmath=_FAST)
def tabulate_adjoint(grad, lines, first, to_values):  # type: ignore[no-untyped-def]
    """Write the gradient by the values to ``to_values``; see ``tabulate``."""
    npieces, width = grad.shape[0], grad.shape[2]
    points = len(to_values)
    near, far, inverse = _factors(points)
    by_difference = np.zeros((points, width), grad.dtype)
    end = np.zeros((6, width), grad.dtype)
    to_values[: first - 2] = 0
    for k in range(first - 2, points):
        piece = k + 2 - first
        if piece <= npieces:
            source = grad[piece] if 0 < piece < npieces else end
            if piece == 0:
                source[:] = grad[0]
                source[:2] += lines[0, :2]
            if piece == npieces:
                source[:] = 0
                source[:2] = lines[1, :2]
            _read_piece(source, by_difference[k : k + 5])
        row, one, two = to_values[k], to_values[k - 1], to_values[k - 2]
        here, before = by_difference[k], by_difference[k - 1]
        by_one, by_two = near[k], far[k]
        for c in range(width):
            direct = float(before[c]) - float(here[c])
            row[c] = direct - (by_one * one[c] + by_two * two[c])
    edge = to_values[points - 2 :] / 120.0
    to_values[points - 2 :] = 0
    for k in range(points - 3, -1, -1):
        row, one, two = to_values[k], to_values[k + 1], to_values[k + 2]
        scale, by_one, by_two = inverse[k], near[k + 1], far[k + 2]
        for c in range(width):
            row[c] = row[c] * scale - (by_one * one[c] + by_two * two[c])
    to_values[:2] /= 120.0
    to_values[points - 2 :] = edge
    for k in range(npieces):
        to_values[first + k] += grad[k, 0]
    to_values[first] += lines[0, 0]
    to_values[first + npieces] += lines[1, 0]


@njit(cache=True, nogil=True, forceinline=True)
def _factors(points):  # type: ignore[no-untyped-def]
    """Return L's two diagonals and 1 / D of the band matrix, by row.

    Row k has 1, 26, 66, 26, 1 around the diagonal. The first two rows are unknowns
    already known: they enter the next two with the matrix's own numbers.
    """
    near, far, inverse = np.zeros(points), np.zeros(points), np.ones(points)
    near[2], far[2], inverse[2] = 26.0, 1.0, 1.0 / 66.0
    near[3], far[3] = 26.0 * inverse[2], 1.0
    inverse[3] = 1.0 / (66.0 - 26.0 * near[3])
    for k in range(4, points):
        far[k] = inverse[k - 2]
        near[k] = (26.0 - near[k - 1]) * inverse[k - 1]
        inverse[k] = 1.0 / (66.0 - near[k] * near[k] / inverse[k - 1] - far[k])
    near[points - 1] = 0.0
    return near, far, inverse


@njit(cache=True, nogil=True, fastmath=_FAST, forceinline=True)
def _write_piece(value, differences, piece):  # type: ignore[no-untyped-def]
    """Write c[0..5] from the value at the lower end and five differences of b."""
    width = len(value)
    kind = piece.dtype.type
    five, ten, fifteen = kind(5), kind(10), kind(15)
    thirty, many = kind(30), kind(55)
    d, out = differences.reshape(5 * width), piece.reshape(6 * width)
    for c in range(width):
        out[c] = value[c]
    for c in range(width):
        d0, d1, d2 = d[c], d[width + c], d[2 * width + c]
        d3, d4 = d[3 * width + c], d[4 * width + c]
        p, q, r, s = d3 + d0, d2 + d1, d3 - d0, d2 - d1
        out[width + c] = five * p + many * q
        out[2 * width + c] = ten * r + thirty * s
        out[3 * width + c] = ten * (p - q)
        out[4 * width + c] = five * r - fifteen * s
        out[5 * width + c] = d4 + d0 + d2 + d2 + kind(4) * (d2 - d1 - d3)


@njit(cache=True, nogil=True, fastmath=_FAST, forceinline=True)
def _read_piece(piece, to_differences):  # type: ignore[no-untyped-def]
    """Add the gradient by five differences of b of one piece."""
    width = piece.shape[1]
    kind = piece.dtype.type
    four, five, ten = kind(4), kind(5), kind(10)
    fifteen, thirty, many = kind(15), kind(30), kind(55)
    g, d = piece.reshape(6 * width), to_differences.reshape(5 * width)
    for c in range(width):
        g1, g2, g3 = g[width + c], g[2 * width + c], g[3 * width + c]
        g4, g5 = g[4 * width + c], g[5 * width + c]
        even, odd = five * g1 + ten * g3, ten * g2 + five * g4
        d[c] += even - odd + g5
        d[3 * width + c] += even + odd - four * g5
        even, odd = many * g1 - ten * g3, thirty * g2 - fifteen * g4
        d[width + c] += even - odd - four * g5
        d[2 * width + c] += even + odd + kind(6) * g5
        d[4 * width + c] = g5
