"""From moments to the descriptor D = X^T X_< and back, padding included.

One program an atom. X is (row, 4, WIDTH), of which CHANNELS count; D is (row, CHANNELS,
AXIS). Lanes beyond are masked.
"""

import triton
import triton.language as tl


@triton.jit
def finish_moments(
    x, empty, row_type, empty_rows, piece, powers, coefficients,
    SCALE: tl.constexpr, NTYPES: tl.constexpr, WIDTH: tl.constexpr,
    LANES: tl.constexpr, PADDED: tl.constexpr,
):  # fmt: skip
    """Add the empty slots' (sel_t - n_t) R0 (x) G_t(s0) to X, and scale it."""
    row = tl.program_id(0).to(tl.int64)
    channel = tl.arange(0, LANES)
    keep = channel < WIDTH
    to = x + row * (4 * WIDTH) + channel
    total = tl.zeros((LANES,), x.dtype.element_ty)
    centre = tl.load(row_type + row)
    if PADDED:
        for t in range(NTYPES):
            pair = centre * NTYPES + t
            at = coefficients + tl.load(piece + pair) * (6 * WIDTH) + channel
            weight = tl.load(empty + row * NTYPES + t)
            for n in tl.static_range(6):
                power = tl.load(powers + pair * 6 + n)
                c = tl.load(at + n * WIDTH, mask=keep, other=0.0)
                total += (weight * power) * c
    for k in tl.static_range(4):
        own = tl.load(to + k * WIDTH, mask=keep, other=0.0)
        if PADDED:
            own += tl.load(empty_rows + centre * 4 + k) * total
        tl.store(to + k * WIDTH, own * SCALE, mask=keep)


@triton.jit
def add_padding_adjoint(
    total, empty_rows, piece, powers, by_piece, pairs,
    NTYPES: tl.constexpr, WIDTH: tl.constexpr, LANES: tl.constexpr,
):  # fmt: skip
    """Add what the empty slots send to the tables; one program, pair after pair.

    ``total`` is (centre type, neighbour type, 4, WIDTH), the sum of empty slots times
    dL/dX. Two pairs may share a row of the table: hence no second program.
    """
    channel = tl.arange(0, LANES)
    keep = channel < WIDTH
    for pair in range(pairs):
        row = tl.load(piece + pair)
        to_value = tl.zeros((LANES,), by_piece.dtype.element_ty)
        for k in tl.static_range(4):
            part = tl.load(
                total + (pair * 4 + k) * WIDTH + channel, mask=keep, other=0.0
            )
            to_value += tl.load(empty_rows + (pair // NTYPES) * 4 + k) * part
        for n in tl.static_range(6):
            to = by_piece + row * (6 * WIDTH) + n * WIDTH + channel
            own = tl.load(to, mask=keep, other=0.0)
            power = tl.load(powers + pair * 6 + n)
            tl.store(to, own + power * to_value, mask=keep)


@triton.jit
def gram(
    x, y, out,
    CHANNELS: tl.constexpr, WIDTH: tl.constexpr, LANES: tl.constexpr,
    AXIS: tl.constexpr, AXES: tl.constexpr, BOTH: tl.constexpr,
):  # fmt: skip
    """Write x^T y_<, with BOTH also y^T x_<: D, or its change along X'."""
    row = tl.program_id(0).to(tl.int64)
    channel = tl.arange(0, LANES)
    axis = tl.arange(0, AXES)
    total = tl.zeros((LANES, AXES), x.dtype.element_ty)
    for k in tl.static_range(4):
        at = (row * 4 + k) * WIDTH
        left = tl.load(x + at + channel, mask=channel < CHANNELS, other=0.0)
        right = tl.load(y + at + axis, mask=axis < AXIS, other=0.0)
        total += left[:, None] * right[None, :]
        if BOTH:
            left = tl.load(y + at + channel, mask=channel < CHANNELS, other=0.0)
            right = tl.load(x + at + axis, mask=axis < AXIS, other=0.0)
            total += left[:, None] * right[None, :]
    to = out + row * (CHANNELS * AXIS) + channel[:, None] * AXIS + axis[None, :]
    keep = (channel < CHANNELS)[:, None] & (axis < AXIS)[None, :]
    tl.store(to, total, mask=keep)


@triton.jit
def gram_adjoint(
    grad, x, grad_dot, x_dot, base, eps, out,
    SCALE: tl.constexpr, CHANNELS: tl.constexpr, WIDTH: tl.constexpr,
    LANES: tl.constexpr, AXIS: tl.constexpr, AXES: tl.constexpr,
    TANGENT: tl.constexpr,
):  # fmt: skip
    """Write SCALE times dE/dX; with TANGENT its change along X', plus eps times base.

    ``base`` is an earlier result, so it carries SCALE already.
    """
    row = tl.program_id(0).to(tl.int64)
    channel = tl.arange(0, LANES)
    axis = tl.arange(0, AXES)
    keep = (channel < CHANNELS)[:, None] & (axis < AXIS)[None, :]
    at = row * (CHANNELS * AXIS) + channel[:, None] * AXIS + axis[None, :]
    first = tl.load(grad + at, mask=keep, other=0.0)
    if TANGENT:
        second = tl.load(grad_dot + at, mask=keep, other=0.0)
        weight = tl.load(eps + row)
    for k in tl.static_range(4):
        start = (row * 4 + k) * WIDTH
        if TANGENT:
            total = _bilinear(second, x + start, channel, axis, CHANNELS, AXIS)
            total += _bilinear(first, x_dot + start, channel, axis, CHANNELS, AXIS)
        else:
            total = _bilinear(first, x + start, channel, axis, CHANNELS, AXIS)
        total *= SCALE
        if TANGENT:
            own = tl.load(base + start + channel, mask=channel < WIDTH, other=0.0)
            total += weight * own
        tl.store(out + start + channel, total, mask=channel < WIDTH)


@triton.jit
def _bilinear(grad, x, channel, axis, CHANNELS: tl.constexpr, AXIS: tl.constexpr):
    """Return grad x_< + (grad^T x)_<, by channel."""
    wide = tl.load(x + channel, mask=channel < CHANNELS, other=0.0)
    short = tl.load(x + axis, mask=axis < AXIS, other=0.0)
    through = tl.sum(grad * wide[:, None], axis=0)
    spread = tl.where(channel[:, None] == axis[None, :], through[None, :], 0.0)
    return tl.sum(grad * short[None, :] + spread, axis=1)
