"""P1, P2 and P3: sums over the neighbours of an atom, and the edges' gradients."""

import triton
import triton.language as tl

from dpbench.kernels.gpu.programs.lookup import (
    load_constants,
    load_rows,
    load_triple,
    pull_back,
    quintic,
)


@triton.jit
def moments(
    rows, rows_dot, interval, x, coefficients, step, row_offset, row_type, net_of, out,
    nrows, NTYPES: tl.constexpr, WIDTH: tl.constexpr,
    LANES: tl.constexpr, BLOCK: tl.constexpr, TANGENT: tl.constexpr,
):  # fmt: skip
    """Write sum_e R (x) G, or sum_e R' (x) G + R (x) G' s', of one row."""
    row = tl.program_id(0).to(tl.int64)
    centre = tl.load(row_type + row)
    channel = tl.arange(0, LANES)
    is_channel = channel < WIDTH
    kind = coefficients.dtype.element_ty
    m0 = tl.zeros((BLOCK, LANES), kind)
    m1 = tl.zeros((BLOCK, LANES), kind)
    m2 = tl.zeros((BLOCK, LANES), kind)
    m3 = tl.zeros((BLOCK, LANES), kind)
    for t in range(NTYPES):
        net = tl.load(net_of + centre * NTYPES + t)
        inverse = (1.0 / tl.load(step + net)).to(kind)
        start = tl.load(row_offset + t * (nrows + 1) + row)
        stop = tl.load(row_offset + t * (nrows + 1) + row + 1)
        for block in range(start, stop, BLOCK):
            edge = block + tl.arange(0, BLOCK)
            keep = edge < stop
            piece = tl.load(interval + edge, mask=keep, other=0)
            at = tl.load(x + edge, mask=keep, other=0.0)
            both = keep[:, None] & is_channel[None, :]
            value, slope = quintic(coefficients, piece, at, channel, both, WIDTH)
            r0, r1, r2, r3 = load_rows(rows, edge, keep)
            if TANGENT:
                p0, p1, p2, p3 = load_rows(rows_dot, edge, keep)
                slope = slope * (p0 * inverse)[:, None]
                m0 += p0[:, None] * value + r0[:, None] * slope
                m1 += p1[:, None] * value + r1[:, None] * slope
                m2 += p2[:, None] * value + r2[:, None] * slope
                m3 += p3[:, None] * value + r3[:, None] * slope
            else:
                m0 += r0[:, None] * value
                m1 += r1[:, None] * value
                m2 += r2[:, None] * value
                m3 += r3[:, None] * value
    to = out + row * (4 * WIDTH) + channel
    tl.store(to, tl.sum(m0, axis=0), mask=is_channel)
    tl.store(to + WIDTH, tl.sum(m1, axis=0), mask=is_channel)
    tl.store(to + 2 * WIDTH, tl.sum(m2, axis=0), mask=is_channel)
    tl.store(to + 3 * WIDTH, tl.sum(m3, axis=0), mask=is_channel)


@triton.jit
def edge_gradient(
    grad_x, vec, rows, radial, interval, x, coefficients, step,
    row_offset, row_type, net_of, inverse_std, out,
    nrows, NTYPES: tl.constexpr, WIDTH: tl.constexpr,
    LANES: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Write g_e = dE/dd of the edges of one row."""
    row = tl.program_id(0).to(tl.int64)
    centre = tl.load(row_type + row)
    channel = tl.arange(0, LANES)
    is_channel = channel < WIDTH
    kind = coefficients.dtype.element_ty
    source = grad_x + row * (4 * WIDTH) + channel
    y0 = tl.load(source, mask=is_channel, other=0.0)[None, :]
    y1 = tl.load(source + WIDTH, mask=is_channel, other=0.0)[None, :]
    y2 = tl.load(source + 2 * WIDTH, mask=is_channel, other=0.0)[None, :]
    y3 = tl.load(source + 3 * WIDTH, mask=is_channel, other=0.0)[None, :]
    _, _, _, _, i0, i1, i2, i3 = load_constants(inverse_std, inverse_std, centre)
    for t in range(NTYPES):
        net = tl.load(net_of + centre * NTYPES + t)
        inverse = (1.0 / tl.load(step + net)).to(kind)
        start = tl.load(row_offset + t * (nrows + 1) + row)
        stop = tl.load(row_offset + t * (nrows + 1) + row + 1)
        for block in range(start, stop, BLOCK):
            edge = block + tl.arange(0, BLOCK)
            keep = edge < stop
            piece = tl.load(interval + edge, mask=keep, other=0)
            at = tl.load(x + edge, mask=keep, other=0.0)
            both = keep[:, None] & is_channel[None, :]
            value, slope = quintic(coefficients, piece, at, channel, both, WIDTH)
            r0, r1, r2, r3 = load_rows(rows, edge, keep)
            along = r0[:, None] * y0 + r1[:, None] * y1
            along += r2[:, None] * y2 + r3[:, None] * y3
            g0 = tl.sum(value * y0 + along * (slope * inverse), axis=1) * i0
            g1 = tl.sum(value * y1, axis=1) * i1
            g2 = tl.sum(value * y2, axis=1) * i2
            g3 = tl.sum(value * y3, axis=1) * i3
            dx, dy, dz = load_triple(vec, edge, keep)
            h, df, dh = load_triple(radial, edge, keep)
            gx, gy, gz = pull_back(g0, g1, g2, g3, dx, dy, dz, h, df, dh)
            tl.store(out + edge * 3, gx, mask=keep)
            tl.store(out + edge * 3 + 1, gy, mask=keep)
            tl.store(out + edge * 3 + 2, gz, mask=keep)
