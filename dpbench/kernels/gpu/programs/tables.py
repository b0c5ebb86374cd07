"""Embedding nets as tables: jets through tanh layers, Hermite's formula, and back.

A jet is a value with its first and second derivative by the net's one input; the three
stand behind each other, (3, point, n). All in float64.
"""

import triton
import triton.language as tl

from dpbench.kernels.gpu.programs.elementwise import tanh


@triton.jit
def jet_forward(
    z, bias, idt, x, value, out, size,
    N: tl.constexpr, REPEATS: tl.constexpr, HAS_IDT: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Turn z = x W of all jets into the layer's output jets; keep y = tanh(a)."""
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    keep = at < size
    column = at % N
    a1 = tl.load(z + size + at, mask=keep, other=0.0)
    a2 = tl.load(z + 2 * size + at, mask=keep, other=0.0)
    a = tl.load(z + at, mask=keep, other=0.0)
    y = tanh(a + tl.load(bias + column, mask=keep, other=0.0))
    slope = 1.0 - y * y
    tl.store(value + at, y, mask=keep)
    y1 = slope * a1
    y2 = slope * (a2 - 2.0 * y * a1 * a1)
    if HAS_IDT:
        scale = tl.load(idt + column, mask=keep, other=0.0)
        y = y * scale
        y1 = y1 * scale
        y2 = y2 * scale
    if REPEATS > 0:
        width = N // REPEATS
        source = (at // N) * width + column % width
        points = size // REPEATS
        y += tl.load(x + source, mask=keep, other=0.0)
        y1 += tl.load(x + points + source, mask=keep, other=0.0)
        y2 += tl.load(x + 2 * points + source, mask=keep, other=0.0)
    tl.store(out + at, y, mask=keep)
    tl.store(out + size + at, y1, mask=keep)
    tl.store(out + 2 * size + at, y2, mask=keep)


@triton.jit
def jet_backward(
    grad, z, value, idt, grad_z, grad_idt, size,
    N: tl.constexpr, HAS_IDT: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Turn the gradients by output jets into those by z and, by point, idt."""
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    keep = at < size
    g0 = tl.load(grad + at, mask=keep, other=0.0)
    g1 = tl.load(grad + size + at, mask=keep, other=0.0)
    g2 = tl.load(grad + 2 * size + at, mask=keep, other=0.0)
    a1 = tl.load(z + size + at, mask=keep, other=0.0)
    a2 = tl.load(z + 2 * size + at, mask=keep, other=0.0)
    y = tl.load(value + at, mask=keep, other=0.0)
    slope = 1.0 - y * y
    bend = -2.0 * y * slope
    third = slope * (6.0 * y * y - 2.0)
    if HAS_IDT:
        scale = tl.load(idt + at % N, mask=keep, other=0.0)
        own = g0 * y + g1 * slope * a1 + g2 * (bend * a1 * a1 + slope * a2)
        tl.store(grad_idt + at, own, mask=keep)
        g0, g1, g2 = g0 * scale, g1 * scale, g2 * scale
    to_a = g0 * slope + g1 * bend * a1 + g2 * (third * a1 * a1 + bend * a2)
    tl.store(grad_z + at, to_a, mask=keep)
    tl.store(grad_z + size + at, g1 * slope + 2.0 * g2 * bend * a1, mask=keep)
    tl.store(grad_z + 2 * size + at, g2 * slope, mask=keep)


@triton.jit
def hermite(
    jets, left, right, step, out, points,
    CHANNELS: tl.constexpr, WIDTH: tl.constexpr, LANES: tl.constexpr,
):  # fmt: skip
    """Write one row of coefficients: a piece between two knots, or a line from one."""
    row = tl.program_id(0).to(tl.int64)
    channel = tl.arange(0, LANES)
    i = tl.load(left + row)
    j = tl.load(right + row)
    width = tl.load(step + row)
    # A row of a net without edges has no knots, and is zero.
    keep = (channel < CHANNELS) & (i >= 0)
    size = points * CHANNELS
    v0 = tl.load(jets + i * CHANNELS + channel, mask=keep, other=0.0)
    s0 = tl.load(jets + size + i * CHANNELS + channel, mask=keep, other=0.0) * width
    piece = keep & (i != j)
    at = 2 * size + channel
    half = 0.5 * width * width
    b0 = tl.load(jets + at + i * CHANNELS, mask=piece, other=0.0) * half
    v1 = tl.load(jets + j * CHANNELS + channel, mask=piece, other=0.0)
    s1 = tl.load(jets + size + j * CHANNELS + channel, mask=piece, other=0.0) * width
    b1 = tl.load(jets + at + j * CHANNELS, mask=piece, other=0.0) * half
    # A line has no terms beyond the second: let both ends cancel.
    w0 = tl.where(piece, v0, 0.0)
    t0 = tl.where(piece, s0, 0.0)
    c3 = 10.0 * (v1 - w0) - 6.0 * t0 - 4.0 * s1 - 3.0 * b0 + b1
    c4 = 15.0 * (w0 - v1) + 8.0 * t0 + 7.0 * s1 + 3.0 * b0 - 2.0 * b1
    c5 = 6.0 * (v1 - w0) - 3.0 * (t0 + s1) - b0 + b1
    to = out + row * (6 * WIDTH) + channel
    is_stored = channel < WIDTH
    tl.store(to, v0, mask=is_stored)
    tl.store(to + WIDTH, s0, mask=is_stored)
    tl.store(to + 2 * WIDTH, b0, mask=is_stored)
    tl.store(to + 3 * WIDTH, c3, mask=is_stored)
    tl.store(to + 4 * WIDTH, c4, mask=is_stored)
    tl.store(to + 5 * WIDTH, c5, mask=is_stored)


@triton.jit
def hermite_adjoint(
    grad, as_left, as_right, as_line, step, out, points, rows,
    CHANNELS: tl.constexpr, WIDTH: tl.constexpr, LANES: tl.constexpr,
):  # fmt: skip
    """Gather the gradient by the jets at one knot from the rows that use it."""
    knot = tl.program_id(0).to(tl.int64)
    channel = tl.arange(0, LANES)
    width = tl.load(step + knot)
    g0, g1, g2, g3, g4, g5 = _row(grad, as_left, knot, rows, channel, CHANNELS, WIDTH)
    value = g0 - 10.0 * g3 + 15.0 * g4 - 6.0 * g5
    slope = g1 - 6.0 * g3 + 8.0 * g4 - 3.0 * g5
    bend = g2 - 3.0 * g3 + 3.0 * g4 - g5
    g0, g1, g2, g3, g4, g5 = _row(grad, as_right, knot, rows, channel, CHANNELS, WIDTH)
    value += 10.0 * g3 - 15.0 * g4 + 6.0 * g5
    slope += 7.0 * g4 - 4.0 * g3 - 3.0 * g5
    bend += g3 - 2.0 * g4 + g5
    g0, g1, g2, g3, g4, g5 = _row(grad, as_line, knot, rows, channel, CHANNELS, WIDTH)
    value += g0
    slope += g1
    keep = channel < CHANNELS
    size = points * CHANNELS
    to = out + knot * CHANNELS + channel
    tl.store(to, value, mask=keep)
    tl.store(to + size, slope * width, mask=keep)
    tl.store(to + 2 * size, bend * (0.5 * width * width), mask=keep)


@triton.jit
def _row(grad, index, knot, rows, channel, CHANNELS: tl.constexpr, WIDTH: tl.constexpr):
    """Return the six gradients of the row ``index[knot]``; zeros where it is none."""
    row = tl.load(index + knot)
    keep = (channel < CHANNELS) & (row >= 0) & (row < rows)
    at = grad + row * (6 * WIDTH) + channel
    g0 = tl.load(at, mask=keep, other=0.0).to(tl.float64)
    g1 = tl.load(at + WIDTH, mask=keep, other=0.0).to(tl.float64)
    g2 = tl.load(at + 2 * WIDTH, mask=keep, other=0.0).to(tl.float64)
    g3 = tl.load(at + 3 * WIDTH, mask=keep, other=0.0).to(tl.float64)
    g4 = tl.load(at + 4 * WIDTH, mask=keep, other=0.0).to(tl.float64)
    g5 = tl.load(at + 5 * WIDTH, mask=keep, other=0.0).to(tl.float64)
    return g0, g1, g2, g3, g4, g5
