"""The neighbour list by bins: count, then fill. One program an atom."""

import triton
import triton.language as tl


@triton.jit
def walk(
    coord, box, bin_of, slot_of, atype, first, row_of, row_offset,
    counts, neighbour, image, distance, periodic,
    natoms, nrows, nx, ny, nz, reach_x, reach_y, reach_z,
    RADIUS: tl.constexpr, NTYPES: tl.constexpr, TYPES: tl.constexpr,
    BLOCK: tl.constexpr, FILL: tl.constexpr,
):  # fmt: skip
    """Count the neighbours of one atom by type, or write them.

    ``coord`` are wrapped, (replica * natoms, 3); ``slot_of`` are atoms by bin. TYPES is
    NTYPES rounded up to a power of two. Images are those of the wrapped atoms: how far
    an atom has wandered is not in them, so ten bits hold any.
    """
    i = tl.program_id(0).to(tl.int64)
    replica = i // natoms
    cell = box + replica * 9
    kinds = tl.arange(0, TYPES)
    row = tl.load(row_of + i).to(tl.int64)
    place = kinds.to(tl.int64)
    if FILL:
        at = row_offset + kinds * (nrows + 1) + row
        place = tl.load(at, mask=kinds < NTYPES, other=0)
    found = tl.zeros((TYPES,), tl.int64)
    home = tl.load(bin_of + i) - replica * nx * ny * nz
    bx = home // (ny * nz)
    by = (home // nz) % ny
    bz = home % nz
    for ox in range(-reach_x, reach_x + 1):
        sx = _floor_divide(bx + ox, nx)
        open_x = (sx == 0) | (tl.load(periodic) != 0)
        for oy in range(-reach_y, reach_y + 1):
            sy = _floor_divide(by + oy, ny)
            open_y = open_x & ((sy == 0) | (tl.load(periodic + 1) != 0))
            for oz in range(-reach_z, reach_z + 1):
                sz = _floor_divide(bz + oz, nz)
                is_open = open_y & ((sz == 0) | (tl.load(periodic + 2) != 0))
                line = (bx + ox - sx * nx) * ny + by + oy - sy * ny
                slot = line * nz + bz + oz - sz * nz + replica * nx * ny * nz
                start = tl.load(first + slot, mask=is_open, other=0)
                stop = tl.load(first + slot + 1, mask=is_open, other=0)
                for block in range(start, stop, BLOCK):
                    found += _take(
                        coord, cell, slot_of, atype, neighbour, image, distance,
                        i, sx, sy, sz, block, stop, place + found, kinds,
                        RADIUS, NTYPES, BLOCK, FILL,
                    )  # fmt: skip
    if not FILL:
        tl.store(counts + kinds * nrows + row, found, mask=kinds < NTYPES)


@triton.jit
def _floor_divide(a, n):
    """Divide towards minus infinity; Triton's own division truncates."""
    return (a + 1024 * n) // n - 1024


@triton.jit
def _take(
    coord, cell, slot_of, atype, neighbour, image, distance,
    i, sx, sy, sz, block, stop, place, kinds,
    RADIUS: tl.constexpr, NTYPES: tl.constexpr, BLOCK: tl.constexpr,
    FILL: tl.constexpr,
):  # fmt: skip
    """Return how many atoms of one block of a bin are near, by type; write them."""
    slot = block + tl.arange(0, BLOCK)
    keep = slot < stop
    j = tl.load(slot_of + slot, mask=keep, other=0)
    square = tl.zeros((BLOCK,), tl.float64)
    for k in tl.static_range(3):
        offset = sx.to(tl.float64) * tl.load(cell + k)
        offset += sy.to(tl.float64) * tl.load(cell + 3 + k)
        offset += sz.to(tl.float64) * tl.load(cell + 6 + k)
        d = tl.load(coord + j * 3 + k, mask=keep, other=0.0) + offset
        d -= tl.load(coord + i * 3 + k)
        square += d * d
    is_self = (j == i) & (sx == 0) & (sy == 0) & (sz == 0)
    near = keep & (square < RADIUS * RADIUS) & (1 - is_self.to(tl.int32)).to(tl.int1)
    kind = tl.load(atype + j, mask=keep, other=0)
    hot = ((kind[:, None] == kinds[None, :]) & near[:, None]).to(tl.int64)
    if FILL:
        rank = tl.cumsum(hot, axis=0) - hot
        to = tl.sum((rank + place[None, :]) * hot, axis=1)
        tl.store(neighbour + to, j.to(tl.int32), mask=near)
        code = (sx + 512) | ((sy + 512) << 10) | ((sz + 512) << 20)
        codes = tl.zeros((BLOCK,), tl.int32) + code.to(tl.int32)
        tl.store(image + to, codes, mask=near)
        tl.store(distance + to, tl.sqrt(square).to(tl.float32), mask=near)
    return tl.sum(hot, axis=0)


@triton.jit
def farthest(coord, then, out, size, BLOCK: tl.constexpr):
    """Write the largest squared displacement of a block of atoms; NaN stays NaN."""
    atom = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    keep = atom < size
    square = tl.zeros((BLOCK,), tl.float64)
    for k in tl.static_range(3):
        d = tl.load(coord + atom * 3 + k, mask=keep, other=0.0)
        d -= tl.load(then + atom * 3 + k, mask=keep, other=0.0)
        square += d * d
    # A maximum may drop a NaN; infinity says the same to whoever compares.
    square = tl.where(square == square, square, float("inf"))
    tl.store(out + tl.program_id(0), tl.max(square, axis=0))
