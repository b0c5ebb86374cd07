"""What stands between two matrix products of a fitting net, and the optimiser's step.

Arrays are (atom, n), contiguous. The shortcut adds x, whose width n_in divides n, to
each of n's parts; ``REPEATS`` is 0 where there is none. Slope and curvature of tanh
follow from its value y: 1 - y^2 and -2 y (1 - y^2).
"""

import triton
import triton.language as tl


@triton.jit
def tanh(a):
    """Evaluate 2 / (1 + exp(-2 a)) - 1, right within a rounding of one."""
    return 2.0 / (1.0 + tl.exp(-2.0 * a)) - 1.0


@triton.jit
def tanh_forward(
    argument, idt, x, value, out, size,
    N: tl.constexpr, REPEATS: tl.constexpr, HAS_IDT: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Write y = tanh(a) and y idt + shortcut(x)."""
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    keep = at < size
    y = tanh(tl.load(argument + at, mask=keep, other=0.0))
    tl.store(value + at, y, mask=keep)
    _store_output(out, y, idt, x, at, keep, N, REPEATS, HAS_IDT)


@triton.jit
def tanh_backward(
    grad, value, idt, delta, size,
    N: tl.constexpr, HAS_IDT: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Write delta = g idt (1 - y^2)."""
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    keep = at < size
    y = tl.load(value + at, mask=keep, other=0.0)
    found = tl.load(grad + at, mask=keep, other=0.0) * (1.0 - y * y)
    if HAS_IDT:
        found *= tl.load(idt + at % N, mask=keep, other=0.0)
    tl.store(delta + at, found, mask=keep)


@triton.jit
def tanh_tangent(
    inner, value, idt, x_dot, out, size,
    N: tl.constexpr, REPEATS: tl.constexpr, HAS_IDT: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Write y' = (1 - y^2) a' idt + shortcut(x')."""
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    keep = at < size
    y = tl.load(value + at, mask=keep, other=0.0)
    change = (1.0 - y * y) * tl.load(inner + at, mask=keep, other=0.0)
    _store_output(out, change, idt, x_dot, at, keep, N, REPEATS, HAS_IDT)


@triton.jit
def tanh_tangent_backward(
    grad_dot, grad, inner, value, idt, delta, size,
    N: tl.constexpr, HAS_IDT: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Write delta' = (g' f'(a) + g f''(a) a') idt."""
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    keep = at < size
    y = tl.load(value + at, mask=keep, other=0.0)
    slope = 1.0 - y * y
    bend = -2.0 * y * slope * tl.load(inner + at, mask=keep, other=0.0)
    found = tl.load(grad_dot + at, mask=keep, other=0.0) * slope
    found += tl.load(grad + at, mask=keep, other=0.0) * bend
    if HAS_IDT:
        found *= tl.load(idt + at % N, mask=keep, other=0.0)
    tl.store(delta + at, found, mask=keep)


@triton.jit
def _store_output(
    out, y, idt, x, at, keep,
    N: tl.constexpr, REPEATS: tl.constexpr, HAS_IDT: tl.constexpr,
):  # fmt: skip
    column = at % N
    if HAS_IDT:
        y = y * tl.load(idt + column, mask=keep, other=0.0)
    if REPEATS > 0:
        width = N // REPEATS
        source = (at // N) * width + column % width
        y = y + tl.load(x + source, mask=keep, other=0.0)
    tl.store(out + at, y, mask=keep)


@triton.jit
def weigh(
    delta, delta_dot, eps, value, grad, grad_dot, inner, both, bias_part, idt_part,
    natoms,
    N: tl.constexpr, HAS_IDT: tl.constexpr, PARTS: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """Write delta' + eps delta, its sum over a part of the atoms, and that by idt."""
    column = tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS)
    part = tl.program_id(1)
    length = (natoms + PARTS - 1) // PARTS
    stop = tl.minimum((part + 1) * length, natoms)
    kind = delta.dtype.element_ty
    bias = tl.zeros((ROWS, COLUMNS), kind)
    step = tl.zeros((ROWS, COLUMNS), kind)
    for block in range(part * length, stop, ROWS):
        row = block + tl.arange(0, ROWS)
        weight = tl.load(eps + row, mask=row < stop, other=0.0)[:, None]
        keep = (row < stop)[:, None] & (column < N)[None, :]
        at = row.to(tl.int64)[:, None] * N + column[None, :]
        d = tl.load(delta + at, mask=keep, other=0.0)
        total = tl.load(delta_dot + at, mask=keep, other=0.0) + weight * d
        tl.store(both + at, total, mask=keep)
        bias += total
        if HAS_IDT:
            y = tl.load(value + at, mask=keep, other=0.0)
            g = tl.load(grad + at, mask=keep, other=0.0)
            h = tl.load(grad_dot + at, mask=keep, other=0.0)
            a = tl.load(inner + at, mask=keep, other=0.0)
            step += (h + weight * g) * y + g * (1.0 - y * y) * a
    to = part * N + column
    tl.store(bias_part + to, tl.sum(bias, axis=0), mask=column < N)
    if HAS_IDT:
        tl.store(idt_part + to, tl.sum(step, axis=0), mask=column < N)


@triton.jit
def adam(
    parameter, gradient, mean, square, course, count, scale, size, steps,
    BETA1: tl.constexpr, BETA2: tl.constexpr, EPSILON: tl.constexpr,
    COURSE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Take Adam's step; learning rate and step count lie on the device.

    ``course`` is (step, COURSE) float64, its first column the learning rate; ``count``
    is the number of steps done; ``scale`` multiplies the gradient (clipping).
    """
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    keep = at < size
    done = tl.load(count)
    # Warming up before a recording may run past the end of the course.
    rate = tl.load(course + tl.minimum(done, steps - 1) * COURSE)
    number = (done + 1).to(tl.float64)
    # 1 - beta^k as -expm1 would be better only where k (1 - beta) is tiny; k >= 1 here.
    first = 1.0 - tl.exp(number * tl.log(tl.full((), BETA1, tl.float64)))
    second = 1.0 - tl.exp(number * tl.log(tl.full((), BETA2, tl.float64)))
    kind = parameter.dtype.element_ty
    g = tl.load(gradient + at, mask=keep, other=0.0) * tl.load(scale).to(kind)
    m = tl.load(mean + at, mask=keep, other=0.0)
    v = tl.load(square + at, mask=keep, other=0.0)
    m = m + (g - m) * (1.0 - BETA1)
    v = v * BETA2 + g * g * (1.0 - BETA2)
    root = tl.sqrt(v) / tl.sqrt(second).to(kind) + EPSILON
    p = tl.load(parameter + at, mask=keep, other=0.0)
    p = p - (rate / first).to(kind) * (m / root)
    tl.store(parameter + at, p, mask=keep)
    tl.store(mean + at, m, mask=keep)
    tl.store(square + at, v, mask=keep)
