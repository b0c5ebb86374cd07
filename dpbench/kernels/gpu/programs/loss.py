"""The loss and its derivatives by energies, forces and virials, in one program.

Everything is float64. A weight holds whether a label is there, over the number of such
labels; ``course`` is (step, COURSE): learning rate, then the prefactors of this step.
"""

import triton
import triton.language as tl


@triton.jit
def loss(
    energy, energy_label, energy_weight, natoms, force, force_label, force_weight,
    virial, virial_label, virial_weight, course, count,
    eps, minus_v, strain, ring, nframes, ncomponents, steps,
    CAPACITY: tl.constexpr, COURSE: tl.constexpr, WITH_VIRIAL: tl.constexpr,
    BLOCK: tl.constexpr,
):  # fmt: skip
    """Write eps, -dL/dF and dL/dXi; put loss and errors into the ring buffer."""
    done = tl.load(count)
    # Warming up before a recording may run past the end of the course.
    row = course + tl.minimum(done, steps - 1) * COURSE
    zero = tl.zeros((BLOCK,), tl.float64)
    loss_e, mse_e, has_e = zero, zero, zero
    for block in range(0, nframes, BLOCK):
        at = block + tl.arange(0, BLOCK)
        keep = at < nframes
        weight = tl.load(energy_weight + at, mask=keep, other=0.0)
        size = tl.load(natoms + at, mask=keep, other=1.0)
        off = _off(energy, energy_label, at, keep, weight) / size
        tl.store(eps + at, 2.0 * tl.load(row + 1) * weight * off, mask=keep)
        loss_e += weight * off * off * size
        mse_e += weight * off * off
        has_e += weight
    mse_f, has_f = zero, zero
    for block in range(0, ncomponents, BLOCK):
        at = block + tl.arange(0, BLOCK)
        keep = at < ncomponents
        weight = tl.load(force_weight + at // 3, mask=keep, other=0.0)
        off = _off(force, force_label, at, keep, weight)
        tl.store(minus_v + at, -2.0 * tl.load(row + 2) * weight * off, mask=keep)
        mse_f += weight * off * off
        has_f += weight
    loss_v, mse_v, has_v = zero, zero, zero
    if WITH_VIRIAL:
        for block in range(0, nframes * 9, BLOCK):
            at = block + tl.arange(0, BLOCK)
            keep = at < nframes * 9
            weight = tl.load(virial_weight + at // 9, mask=keep, other=0.0)
            size = tl.load(natoms + at // 9, mask=keep, other=1.0)
            off = _off(virial, virial_label, at, keep, weight) / size
            tl.store(strain + at, 2.0 * tl.load(row + 3) * weight * off, mask=keep)
            loss_v += weight * off * off * size
            mse_v += weight * off * off
            has_v += weight
    total = tl.load(row + 1) * tl.sum(loss_e, axis=0)
    total += tl.load(row + 2) * tl.sum(mse_f, axis=0)
    total += tl.load(row + 3) * tl.sum(loss_v, axis=0)
    to = ring + (done % CAPACITY) * 4
    tl.store(to, total)
    tl.store(to + 1, _mean(mse_e, has_e))
    tl.store(to + 2, _mean(mse_f, has_f))
    tl.store(to + 3, _mean(mse_v, has_v))


@triton.jit
def _off(found, label, at, keep, weight):
    """Return found - label; zero where there is no label, even if found is NaN."""
    difference = tl.load(found + at, mask=keep, other=0.0)
    difference -= tl.load(label + at, mask=keep, other=0.0)
    return tl.where(weight > 0.0, difference, 0.0)


@triton.jit
def _mean(total, weight):
    """Return the mean that was summed, NaN where nothing was labelled."""
    return tl.where(tl.sum(weight, axis=0) > 0.0, tl.sum(total, axis=0), float("nan"))
