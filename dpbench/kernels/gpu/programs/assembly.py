"""Forces and virials from the edges' gradients, by gathering: nothing is scattered."""

import triton
import triton.language as tl

from dpbench.kernels.gpu.programs.lookup import load_triple


@triton.jit
def assemble(
    grad, vec, row_of, row_offset, incoming, incoming_offset, force, virial,
    nrows, NTYPES: tl.constexpr, BLOCK: tl.constexpr,
    WITH_VIRIAL: tl.constexpr,
):  # fmt: skip
    """Write sum_out g - sum_in g and sum_out -d (x) g of one atom, in float64."""
    atom = tl.program_id(0).to(tl.int64)
    zero = tl.zeros((BLOCK,), tl.float64)
    fx, fy, fz = zero, zero, zero
    x0, x1, x2, y0, y1, y2, z0, z1, z2 = (
        zero, zero, zero, zero, zero, zero, zero, zero, zero,
    )  # fmt: skip
    row = tl.load(row_of + atom).to(tl.int64)
    for t in range(NTYPES):
        line = t * (nrows + 1) + row
        start = tl.load(row_offset + line, mask=row >= 0, other=0)
        stop = tl.load(row_offset + line + 1, mask=row >= 0, other=0)
        for block in range(start, stop, BLOCK):
            edge = block + tl.arange(0, BLOCK)
            keep = edge < stop
            gx, gy, gz = load_wide(grad, edge, keep)
            fx += gx
            fy += gy
            fz += gz
            if WITH_VIRIAL:
                dx, dy, dz = load_wide(vec, edge, keep)
                x0, x1, x2 = x0 - dx * gx, x1 - dx * gy, x2 - dx * gz
                y0, y1, y2 = y0 - dy * gx, y1 - dy * gy, y2 - dy * gz
                z0, z1, z2 = z0 - dz * gx, z1 - dz * gy, z2 - dz * gz
    start = tl.load(incoming_offset + atom)
    stop = tl.load(incoming_offset + atom + 1)
    for block in range(start, stop, BLOCK):
        slot = block + tl.arange(0, BLOCK)
        keep = slot < stop
        edge = tl.load(incoming + slot, mask=keep, other=0).to(tl.int64)
        gx, gy, gz = load_wide(grad, edge, keep)
        fx -= gx
        fy -= gy
        fz -= gz
    store_sums(force + atom * 3, fx, fy, fz)
    if WITH_VIRIAL:
        store_sums(virial + atom * 9, x0, x1, x2)
        store_sums(virial + atom * 9 + 3, y0, y1, y2)
        store_sums(virial + atom * 9 + 6, z0, z1, z2)


@triton.jit
def load_wide(array, index, keep):
    """Return the three columns of rows of an (n, 3) array, in float64."""
    a, b, c = load_triple(array, index, keep)
    return a.to(tl.float64), b.to(tl.float64), c.to(tl.float64)


@triton.jit
def store_sums(to, a, b, c):
    """Write the sums of three blocks behind each other."""
    tl.store(to, tl.sum(a, axis=0))
    tl.store(to + 1, tl.sum(b, axis=0))
    tl.store(to + 2, tl.sum(c, axis=0))


@triton.jit
def segment_sum(
    values, offset, partial, COLUMNS: tl.constexpr, LANES: tl.constexpr,
    PARTS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Write the sum of one of PARTS equal runs of the rows of one segment, float64."""
    segment = tl.program_id(0).to(tl.int64)
    part = tl.program_id(1)
    column = tl.arange(0, LANES)
    start = tl.load(offset + segment)
    end = tl.load(offset + segment + 1)
    length = (end - start + PARTS - 1) // PARTS
    first = tl.minimum(start + part * length, end)
    stop = tl.minimum(first + length, end)
    total = tl.zeros((BLOCK, LANES), tl.float64)
    for block in range(first, stop, BLOCK):
        line = block + tl.arange(0, BLOCK)
        keep = (line < stop)[:, None] & (column < COLUMNS)[None, :]
        at = line[:, None] * COLUMNS + column[None, :]
        total += tl.load(values + at, mask=keep, other=0.0).to(tl.float64)
    to = partial + (segment * PARTS + part) * COLUMNS + column
    tl.store(to, tl.sum(total, axis=0), mask=column < COLUMNS)
