"""Environment rows from edge vectors, and their tangents."""

import triton
import triton.language as tl

from dpbench.kernels.gpu.programs.lookup import (
    load_constants,
    load_triple,
    place,
    radial_terms,
)


@triton.jit
def prepare(
    vec, rows, radial, interval, x_out, outside_out,
    row_offset, row_type, net_of, davg, inverse_std, mask, lower, step, first,
    nrows, NTYPES: tl.constexpr, NETS: tl.constexpr, MASKED: tl.constexpr,
    RCUT: tl.constexpr, RCUT_SMTH: tl.constexpr, PROTECTION: tl.constexpr,
    BLOCK: tl.constexpr,
):  # fmt: skip
    """Fill R, radial, interval and x of the edges of one row; count those outside."""
    row = tl.program_id(0).to(tl.int64)
    centre = tl.load(row_type + row)
    a0, a1, a2, a3, i0, i1, i2, i3 = load_constants(davg, inverse_std, centre)
    outside_count = tl.zeros((BLOCK,), tl.int32)
    for t in range(NTYPES):
        net = tl.load(net_of + centre * NTYPES + t)
        start = tl.load(row_offset + t * (nrows + 1) + row)
        stop = tl.load(row_offset + t * (nrows + 1) + row + 1)
        weight = 1.0
        if MASKED:
            weight = tl.load(mask + centre * NTYPES + t)
        for block in range(start, stop, BLOCK):
            edge = block + tl.arange(0, BLOCK)
            keep = edge < stop
            dx, dy, dz = load_triple(vec, edge, keep)
            r = tl.sqrt(dx * dx + dy * dy + dz * dz)
            # Lanes without an edge would divide by zero.
            f, h, df, dh = radial_terms(
                tl.where(keep, r, RCUT), RCUT, RCUT_SMTH, PROTECTION
            )
            r0 = (f - a0) * i0 * weight
            tl.store(rows + edge * 4, r0, mask=keep)
            tl.store(rows + edge * 4 + 1, (h * dx - a1) * i1 * weight, mask=keep)
            tl.store(rows + edge * 4 + 2, (h * dy - a2) * i2 * weight, mask=keep)
            tl.store(rows + edge * 4 + 3, (h * dz - a3) * i3 * weight, mask=keep)
            tl.store(radial + edge * 3, h * weight, mask=keep)
            tl.store(radial + edge * 3 + 1, df * weight, mask=keep)
            tl.store(radial + edge * 3 + 2, dh * weight, mask=keep)
            piece, x, outside = place(r0, lower, step, first, net, NETS)
            tl.store(interval + edge, piece, mask=keep)
            tl.store(x_out + edge, x, mask=keep)
            outside_count += (outside & keep).to(tl.int32)
    tl.store(outside_out + row, tl.sum(outside_count, axis=0))


@triton.jit
def tangent_rows(
    vec, radial, edge_i, edge_j, edge_row, row_type, frame_idx, inverse_std,
    atom_dot, strain, row_offset, out, end_index,
    STRAINED: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Write R' = J d' with d' = u_j - u_i - d S of a block of edges."""
    edge = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    # The number of edges lies on the device: capacity is what the grid covers.
    keep = edge < tl.load(row_offset + end_index)
    dx, dy, dz = load_triple(vec, edge, keep)
    h, df, dh = load_triple(radial, edge, keep)
    i = tl.load(edge_i + edge, mask=keep, other=0).to(tl.int64)
    j = tl.load(edge_j + edge, mask=keep, other=0).to(tl.int64)
    row = tl.load(edge_row + edge, mask=keep, other=0).to(tl.int64)
    centre = tl.load(row_type + row)
    ix, iy, iz = load_triple(atom_dot, i, keep)
    jx, jy, jz = load_triple(atom_dot, j, keep)
    tx = (jx - ix).to(dx.dtype)
    ty = (jy - iy).to(dx.dtype)
    tz = (jz - iz).to(dx.dtype)
    if STRAINED:
        base = strain + tl.load(frame_idx + i, mask=keep, other=0).to(tl.int64) * 9
        tx -= _tilt(base, dx, dy, dz, keep, 0)
        ty -= _tilt(base, dx, dy, dz, keep, 1)
        tz -= _tilt(base, dx, dy, dz, keep, 2)
    along = dx * tx + dy * ty + dz * tz
    radial_dot = dh * along
    i0 = tl.load(inverse_std + centre * 4, mask=keep, other=0.0)
    i1 = tl.load(inverse_std + centre * 4 + 1, mask=keep, other=0.0)
    i2 = tl.load(inverse_std + centre * 4 + 2, mask=keep, other=0.0)
    i3 = tl.load(inverse_std + centre * 4 + 3, mask=keep, other=0.0)
    tl.store(out + edge * 4, df * along * i0, mask=keep)
    tl.store(out + edge * 4 + 1, (h * tx + radial_dot * dx) * i1, mask=keep)
    tl.store(out + edge * 4 + 2, (h * ty + radial_dot * dy) * i2, mask=keep)
    tl.store(out + edge * 4 + 3, (h * tz + radial_dot * dz) * i3, mask=keep)


@triton.jit
def _tilt(base, dx, dy, dz, keep, column):
    """Return column ``column`` of d S."""
    a = tl.load(base + column, mask=keep, other=0.0).to(dx.dtype)
    b = tl.load(base + 3 + column, mask=keep, other=0.0).to(dx.dtype)
    c = tl.load(base + 6 + column, mask=keep, other=0.0).to(dx.dtype)
    return dx * a + dy * b + dz * c
