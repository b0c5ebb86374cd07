"""P1 and P2 of moving atoms: rows and places are formed from positions, never stored.

An edge is eight bytes: the neighbour, and the image as three numbers of ten bits. The
edges of an atom to one type are sorted by their distance when the list was made, so
that blocks beyond the cutoff stand together and are left out. An edge at or beyond the
cutoff counts as an empty slot, which has the same row.
"""

import triton
import triton.language as tl

from dpbench.kernels.gpu.programs.assembly import load_wide, store_sums
from dpbench.kernels.gpu.programs.lookup import (
    load_constants,
    load_triple,
    place,
    pull_back,
    quintic,
    radial_terms,
)


@triton.jit
def edge_vectors(coord, cell, own, neighbour, image, edge, keep):
    """Return d of a block of edges in float64, (edge) each.

    ``cell`` points at the nine numbers of the replica's cell, ``own`` at the centre.
    """
    j = tl.load(neighbour + edge, mask=keep, other=0).to(tl.int64)
    code = tl.load(image + edge, mask=keep, other=0)
    sx = ((code & 1023) - 512).to(tl.float64)
    sy = (((code >> 10) & 1023) - 512).to(tl.float64)
    sz = (((code >> 20) & 1023) - 512).to(tl.float64)
    x, y, z = load_triple(coord, j, keep)
    dx = x - tl.load(own) + sx * tl.load(cell) + sy * tl.load(cell + 3)
    dy = y - tl.load(own + 1) + sx * tl.load(cell + 1) + sy * tl.load(cell + 4)
    dz = z - tl.load(own + 2) + sx * tl.load(cell + 2) + sy * tl.load(cell + 5)
    dx += sz * tl.load(cell + 6)
    dy += sz * tl.load(cell + 7)
    dz += sz * tl.load(cell + 8)
    return dx, dy, dz


@triton.jit
def moving_moments(
    coord, box, atom_of, replica_of, neighbour, image, row_offset, row_type, net_of,
    davg, inverse_std, mask, lower, step, first, coefficients, out, empty, flags,
    nrows, NTYPES: tl.constexpr, NETS: tl.constexpr, WIDTH: tl.constexpr,
    LANES: tl.constexpr, BLOCK: tl.constexpr,
    RCUT: tl.constexpr, RCUT_SMTH: tl.constexpr, PROTECTION: tl.constexpr,
):  # fmt: skip
    """Write sum_e R (x) G of one row; minus its neighbours by type; edges extended."""
    row = tl.program_id(0).to(tl.int64)
    own = coord + tl.load(atom_of + row) * 3
    cell = box + tl.load(replica_of + row) * 9
    centre = tl.load(row_type + row)
    a0, a1, a2, a3, i0, i1, i2, i3 = load_constants(davg, inverse_std, centre)
    channel = tl.arange(0, LANES)
    is_channel = channel < WIDTH
    kind = coefficients.dtype.element_ty
    zero = tl.zeros((BLOCK, LANES), kind)
    m0, m1, m2, m3 = zero, zero, zero, zero
    extended = tl.zeros((BLOCK,), tl.int32)
    for t in range(NTYPES):
        net = tl.load(net_of + centre * NTYPES + t)
        weight = tl.load(mask + centre * NTYPES + t)
        start = tl.load(row_offset + t * (nrows + 1) + row)
        stop = tl.load(row_offset + t * (nrows + 1) + row + 1)
        count = tl.zeros((BLOCK,), tl.int32)
        for block in range(start, stop, BLOCK):
            edge = block + tl.arange(0, BLOCK)
            keep = edge < stop
            dx, dy, dz = edge_vectors(coord, cell, own, neighbour, image, edge, keep)
            r = tl.sqrt(dx * dx + dy * dy + dz * dz)
            # Not r < RCUT: a NaN has to stay.
            near = keep & (1 - (r >= RCUT).to(tl.int32)).to(tl.int1)
            count += near.to(tl.int32)
            if tl.max(near.to(tl.int32), axis=0) > 0:
                f, h, _, _ = radial_terms(
                    tl.where(near, r, RCUT).to(kind), RCUT, RCUT_SMTH, PROTECTION
                )
                r0 = tl.where(near, (f - a0) * i0 * weight, 0.0)
                piece, at, outside = place(r0, lower, step, first, net, NETS)
                extended += (outside & near & (at > 0.0)).to(tl.int32)
                both = near[:, None] & is_channel[None, :]
                value, _ = quintic(
                    coefficients, piece, at.to(kind), channel, both, WIDTH
                )
                m0 += r0[:, None] * value
                r1 = (h * dx.to(kind) - a1) * i1 * weight
                m1 += tl.where(near, r1, 0.0)[:, None] * value
                r2 = (h * dy.to(kind) - a2) * i2 * weight
                m2 += tl.where(near, r2, 0.0)[:, None] * value
                r3 = (h * dz.to(kind) - a3) * i3 * weight
                m3 += tl.where(near, r3, 0.0)[:, None] * value
        tl.store(empty + row * NTYPES + t, -tl.sum(count, axis=0))
    tl.store(flags + row, tl.sum(extended, axis=0))
    _store_moments(out + row * (4 * WIDTH) + channel, m0, m1, m2, m3, is_channel, WIDTH)


@triton.jit
def _store_moments(to, m0, m1, m2, m3, keep, WIDTH: tl.constexpr):
    tl.store(to, tl.sum(m0, axis=0), mask=keep)
    tl.store(to + WIDTH, tl.sum(m1, axis=0), mask=keep)
    tl.store(to + 2 * WIDTH, tl.sum(m2, axis=0), mask=keep)
    tl.store(to + 3 * WIDTH, tl.sum(m3, axis=0), mask=keep)


@triton.jit
def moving_gradient(
    coord, box, atom_of, replica_of, neighbour, image, row_offset, row_type, net_of,
    davg, inverse_std, mask, lower, step, first, coefficients, grad_x, out,
    nrows, NTYPES: tl.constexpr, NETS: tl.constexpr, WIDTH: tl.constexpr,
    LANES: tl.constexpr, BLOCK: tl.constexpr,
    RCUT: tl.constexpr, RCUT_SMTH: tl.constexpr, PROTECTION: tl.constexpr,
):  # fmt: skip
    """Write g_e of the edges of one row; zero beyond the cutoff."""
    row = tl.program_id(0).to(tl.int64)
    own = coord + tl.load(atom_of + row) * 3
    cell = box + tl.load(replica_of + row) * 9
    centre = tl.load(row_type + row)
    channel = tl.arange(0, LANES)
    kind = coefficients.dtype.element_ty
    source = grad_x + row * (4 * WIDTH) + channel
    zero = tl.zeros((BLOCK,), kind)
    for t in range(NTYPES):
        net = tl.load(net_of + centre * NTYPES + t)
        weight = tl.load(mask + centre * NTYPES + t)
        start = tl.load(row_offset + t * (nrows + 1) + row)
        stop = tl.load(row_offset + t * (nrows + 1) + row + 1)
        for block in range(start, stop, BLOCK):
            edge = block + tl.arange(0, BLOCK)
            keep = edge < stop
            dx, dy, dz = edge_vectors(coord, cell, own, neighbour, image, edge, keep)
            r = tl.sqrt(dx * dx + dy * dy + dz * dz)
            near = keep & (1 - (r >= RCUT).to(tl.int32)).to(tl.int1)
            gx, gy, gz = zero, zero, zero
            if tl.max(near.to(tl.int32), axis=0) > 0:
                gx, gy, gz = _pull_block(
                    dx.to(kind), dy.to(kind), dz.to(kind), r.to(kind), near, weight,
                    davg, inverse_std, centre, lower, step, first, net, coefficients,
                    source, channel, NETS, WIDTH, RCUT, RCUT_SMTH, PROTECTION,
                )  # fmt: skip
            tl.store(out + edge * 3, gx, mask=keep)
            tl.store(out + edge * 3 + 1, gy, mask=keep)
            tl.store(out + edge * 3 + 2, gz, mask=keep)


@triton.jit
def _pull_block(
    dx, dy, dz, r, near, weight, davg, inverse_std, centre, lower, step, first, net,
    coefficients, source, channel, NETS: tl.constexpr, WIDTH: tl.constexpr,
    RCUT: tl.constexpr, RCUT_SMTH: tl.constexpr, PROTECTION: tl.constexpr,
):  # fmt: skip
    """Return g of a block of edges; zero for those that are not near."""
    a0, a1, a2, a3, i0, i1, i2, i3 = load_constants(davg, inverse_std, centre)
    f, h, df, dh = radial_terms(tl.where(near, r, RCUT), RCUT, RCUT_SMTH, PROTECTION)
    r0 = tl.where(near, (f - a0) * i0 * weight, 0.0)
    piece, at, _ = place(r0, lower, step, first, net, NETS)
    is_channel = channel < WIDTH
    both = near[:, None] & is_channel[None, :]
    value, slope = quintic(coefficients, piece, at.to(dx.dtype), channel, both, WIDTH)
    slope *= (1.0 / tl.load(step + net)).to(dx.dtype)
    y0 = tl.load(source, mask=is_channel, other=0.0)[None, :]
    y1 = tl.load(source + WIDTH, mask=is_channel, other=0.0)[None, :]
    y2 = tl.load(source + 2 * WIDTH, mask=is_channel, other=0.0)[None, :]
    y3 = tl.load(source + 3 * WIDTH, mask=is_channel, other=0.0)[None, :]
    along = r0[:, None] * y0 + ((h * dx - a1) * i1 * weight)[:, None] * y1
    along += ((h * dy - a2) * i2 * weight)[:, None] * y2
    along += ((h * dz - a3) * i3 * weight)[:, None] * y3
    g0 = tl.sum(value * y0 + along * slope, axis=1) * i0 * weight
    g1 = tl.sum(value * y1, axis=1) * i1 * weight
    g2 = tl.sum(value * y2, axis=1) * i2 * weight
    g3 = tl.sum(value * y3, axis=1) * i3 * weight
    gx, gy, gz = pull_back(g0, g1, g2, g3, dx, dy, dz, h, df, dh)
    return tl.where(near, gx, 0.0), tl.where(near, gy, 0.0), tl.where(near, gz, 0.0)


@triton.jit
def gather_forces(
    coord, box, replica_of, neighbour, image, row_of, row_offset, incoming,
    incoming_offset, grad, force, virial, nrows,
    NTYPES: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Write sum_out g - sum_in g and sum_out -d (x) g of one atom, in float64."""
    atom = tl.program_id(0).to(tl.int64)
    own = coord + atom * 3
    cell = box + tl.load(replica_of + atom) * 9
    row = tl.load(row_of + atom).to(tl.int64)
    zero = tl.zeros((BLOCK,), tl.float64)
    fx, fy, fz = zero, zero, zero
    x0, x1, x2, y0, y1, y2, z0, z1, z2 = (
        zero, zero, zero, zero, zero, zero, zero, zero, zero,
    )  # fmt: skip
    for t in range(NTYPES):
        start = tl.load(row_offset + t * (nrows + 1) + row)
        stop = tl.load(row_offset + t * (nrows + 1) + row + 1)
        for block in range(start, stop, BLOCK):
            edge = block + tl.arange(0, BLOCK)
            keep = edge < stop
            gx, gy, gz = load_wide(grad, edge, keep)
            fx, fy, fz = fx + gx, fy + gy, fz + gz
            dx, dy, dz = edge_vectors(coord, cell, own, neighbour, image, edge, keep)
            x0, x1, x2 = x0 - dx * gx, x1 - dx * gy, x2 - dx * gz
            y0, y1, y2 = y0 - dy * gx, y1 - dy * gy, y2 - dy * gz
            z0, z1, z2 = z0 - dz * gx, z1 - dz * gy, z2 - dz * gz
    start = tl.load(incoming_offset + atom)
    stop = tl.load(incoming_offset + atom + 1)
    for block in range(start, stop, BLOCK):
        slot = block + tl.arange(0, BLOCK)
        edge = tl.load(incoming + slot, mask=slot < stop, other=0).to(tl.int64)
        gx, gy, gz = load_wide(grad, edge, slot < stop)
        fx, fy, fz = fx - gx, fy - gy, fz - gz
    store_sums(force + atom * 3, fx, fy, fz)
    store_sums(virial + atom * 9, x0, x1, x2)
    store_sums(virial + atom * 9 + 3, y0, y1, y2)
    store_sums(virial + atom * 9 + 6, z0, z1, z2)
