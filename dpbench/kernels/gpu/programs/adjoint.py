"""P4: the gradient by the tables' coefficients, as sums over edges of one interval.

Edges are ordered by interval beforehand and cut into runs of bounded length, because
near the cutoff one interval may hold a fifth of all edges. One program sums one run,
another adds up the runs of an interval, in order.
"""

import triton
import triton.language as tl

from dpbench.kernels.gpu.programs.lookup import load_rows


@triton.jit
def adjoint_runs(
    grad_x, grad_dot, rows, rows_dot, x, edge_row, order, run_start, run_stop,
    run_inverse, out,
    WIDTH: tl.constexpr, LANES: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Write what the edges of one run add to the six coefficients of each channel."""
    run = tl.program_id(0).to(tl.int64)
    channel = tl.arange(0, LANES)
    is_channel = channel < WIDTH
    kind = grad_x.dtype.element_ty
    zero = tl.zeros((BLOCK, LANES), kind)
    c0, c1, c2, c3, c4, c5 = zero, zero, zero, zero, zero, zero
    start = tl.load(run_start + run)
    stop = tl.load(run_stop + run)
    inverse = tl.load(run_inverse + run).to(kind)
    for block in range(start, stop, BLOCK):
        slot = block + tl.arange(0, BLOCK)
        keep = slot < stop
        edge = tl.load(order + slot, mask=keep, other=0).to(tl.int64)
        both = keep[:, None] & is_channel[None, :]
        to_value, to_slope = _pull_edges(
            grad_x, grad_dot, rows, rows_dot, edge_row, edge, keep, channel, both, WIDTH
        )
        t = tl.load(x + edge, mask=keep, other=0.0)[:, None]
        to_slope = to_slope * inverse
        c0 += to_value
        c1 += t * to_value + to_slope
        power = t
        c2 += power * (t * to_value + 2.0 * to_slope)
        power = power * t
        c3 += power * (t * to_value + 3.0 * to_slope)
        power = power * t
        c4 += power * (t * to_value + 4.0 * to_slope)
        power = power * t
        c5 += power * (t * to_value + 5.0 * to_slope)
    to = out + run * (6 * WIDTH) + channel
    tl.store(to, tl.sum(c0, axis=0), mask=is_channel)
    tl.store(to + WIDTH, tl.sum(c1, axis=0), mask=is_channel)
    tl.store(to + 2 * WIDTH, tl.sum(c2, axis=0), mask=is_channel)
    tl.store(to + 3 * WIDTH, tl.sum(c3, axis=0), mask=is_channel)
    tl.store(to + 4 * WIDTH, tl.sum(c4, axis=0), mask=is_channel)
    tl.store(to + 5 * WIDTH, tl.sum(c5, axis=0), mask=is_channel)


@triton.jit
def _pull_edges(
    grad_x, grad_dot, rows, rows_dot, edge_row, edge, keep, channel, both,
    WIDTH: tl.constexpr,
):  # fmt: skip
    """Return the gradients by G and by dG/ds of a block of edges, (edge, channel)."""
    row = tl.load(edge_row + edge, mask=keep, other=0).to(tl.int64)
    r0, r1, r2, r3 = load_rows(rows, edge, keep)
    p0, p1, p2, p3 = load_rows(rows_dot, edge, keep)
    at = row[:, None] * (4 * WIDTH) + channel[None, :]
    y0 = tl.load(grad_dot + at, mask=both, other=0.0)
    along = r0[:, None] * y0
    direct = p0[:, None] * y0
    y1 = tl.load(grad_dot + at + WIDTH, mask=both, other=0.0)
    along += r1[:, None] * y1
    direct += p1[:, None] * y1
    y2 = tl.load(grad_dot + at + 2 * WIDTH, mask=both, other=0.0)
    along += r2[:, None] * y2
    direct += p2[:, None] * y2
    y3 = tl.load(grad_dot + at + 3 * WIDTH, mask=both, other=0.0)
    along += r3[:, None] * y3
    direct += p3[:, None] * y3
    direct += r0[:, None] * tl.load(grad_x + at, mask=both, other=0.0)
    direct += r1[:, None] * tl.load(grad_x + at + WIDTH, mask=both, other=0.0)
    direct += r2[:, None] * tl.load(grad_x + at + 2 * WIDTH, mask=both, other=0.0)
    direct += r3[:, None] * tl.load(grad_x + at + 3 * WIDTH, mask=both, other=0.0)
    return direct, along * p0[:, None]


@triton.jit
def add_runs(partial, run_offset, out, NUMBERS: tl.constexpr, LANES: tl.constexpr):
    """Write the sum of the runs of one interval; zero where it has none."""
    interval = tl.program_id(0).to(tl.int64)
    number = tl.arange(0, LANES)
    keep = number < NUMBERS
    total = tl.zeros((LANES,), out.dtype.element_ty)
    for run in range(
        tl.load(run_offset + interval), tl.load(run_offset + interval + 1)
    ):
        total += tl.load(partial + run * NUMBERS + number, mask=keep, other=0.0)
    tl.store(out + interval * NUMBERS + number, total, mask=keep)
