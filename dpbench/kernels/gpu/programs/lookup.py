"""What the passes over edges do with one block of edges."""

import triton
import triton.language as tl


@triton.jit
def quintic(coefficients, interval, x, channel, keep, WIDTH: tl.constexpr):
    """Return G and dG/dx of a block, (edge, channel), in one Horner pass."""
    start = interval.to(tl.int64)[:, None] * (6 * WIDTH) + channel[None, :]
    t = x[:, None]
    value = tl.load(coefficients + start + 5 * WIDTH, mask=keep, other=0.0)
    slope = tl.zeros_like(value)
    for k in tl.static_range(5):
        c = tl.load(coefficients + start + (4 - k) * WIDTH, mask=keep, other=0.0)
        slope = slope * t + value
        value = value * t + c
    return value, slope


@triton.jit
def load_rows(rows, edge, keep):
    """Return the four columns of R of a block of edges."""
    r0 = tl.load(rows + edge * 4, mask=keep, other=0.0)
    r1 = tl.load(rows + edge * 4 + 1, mask=keep, other=0.0)
    r2 = tl.load(rows + edge * 4 + 2, mask=keep, other=0.0)
    r3 = tl.load(rows + edge * 4 + 3, mask=keep, other=0.0)
    return r0, r1, r2, r3


@triton.jit
def load_triple(array, index, keep):
    """Return the three columns of rows of an (n, 3) array."""
    a = tl.load(array + index * 3, mask=keep, other=0.0)
    b = tl.load(array + index * 3 + 1, mask=keep, other=0.0)
    c = tl.load(array + index * 3 + 2, mask=keep, other=0.0)
    return a, b, c


@triton.jit
def load_constants(davg, inverse_std, centre):
    """Return davg and 1/dstd of a centre type, four numbers each."""
    a0 = tl.load(davg + centre * 4)
    a1 = tl.load(davg + centre * 4 + 1)
    a2 = tl.load(davg + centre * 4 + 2)
    a3 = tl.load(davg + centre * 4 + 3)
    i0 = tl.load(inverse_std + centre * 4)
    i1 = tl.load(inverse_std + centre * 4 + 1)
    i2 = tl.load(inverse_std + centre * 4 + 2)
    i3 = tl.load(inverse_std + centre * 4 + 3)
    return a0, a1, a2, a3, i0, i1, i2, i3


@triton.jit
def radial_terms(
    r, RCUT: tl.constexpr, RCUT_SMTH: tl.constexpr, PROTECTION: tl.constexpr
):
    """Return f, h, f'/r and h'/r of distances; see ``kernels.switch``."""
    u = (r - RCUT_SMTH) / (RCUT - RCUT_SMTH)
    u = tl.minimum(tl.maximum(u, 0.0), 1.0)
    w = u * u * u * ((15.0 - 6.0 * u) * u - 10.0) + 1.0
    v = u * (1.0 - u)
    dw = (-30.0 / (RCUT - RCUT_SMTH)) * v * v
    q = 1.0 / (r + PROTECTION)
    f = w * q
    h = f * q
    df = dw * q - h
    dh = (df - h) * q
    return f, h, df / r, dh / r


@triton.jit
def place(s, lower, step, first, net, NETS: tl.constexpr):
    """Return the row of the table and the place inside it of each s, in float64.

    Behind the intervals stand two lines for each net, below its lower end and above
    its upper one. The third result says which edges lie on them, but for rounding,
    which a polynomial of s in float32 does not keep below 1e-5 of a step.
    """
    begin = tl.load(first + net)
    count = tl.load(first + net + 1) - begin
    lines = tl.load(first + NETS) + 2 * net
    position = (s.to(tl.float64) - tl.load(lower + net)) / tl.load(step + net)
    # A NaN gets the first interval, and x = NaN carries it on.
    whole = tl.where(position == position, tl.floor(position), 0.0)
    end = count.to(tl.float64)
    whole = tl.minimum(tl.maximum(whole, 0.0), tl.maximum(end - 1.0, 0.0))
    below = position < 0.0
    above = position > end
    row = tl.where(below, lines, begin + whole.to(tl.int64))
    row = tl.where(above, lines + 1, row)
    x = tl.where(below, position, tl.where(above, position - end, position - whole))
    slack: tl.constexpr = 1e-6 if s.dtype == tl.float64 else 1e-3
    outside = (position < -slack) | (position > end + slack)
    return row.to(tl.int32), x, outside


@triton.jit
def pull_back(g0, g1, g2, g3, dx, dy, dz, h, df, dh):
    """Return J^T g: from dE/dR, already divided by dstd, to dE/dd."""
    radial = g0 * df + (g1 * dx + g2 * dy + g3 * dz) * dh
    return g1 * h + radial * dx, g2 * h + radial * dy, g3 * h + radial * dz
