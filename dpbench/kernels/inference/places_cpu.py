"""Between the order of the atoms and that of the list's slots, compiled by numba."""

import math

from numba import njit


@njit(cache=True, nogil=True)
def place_atoms(coord, order, wrap, box, out):  # type: ignore[no-untyped-def]
    """Write coord - wrap @ box by slot; return the number of slots that are not finite.

    ``box`` is that of each replica; atoms of a replica follow each other in ``coord``.
    """
    natoms = len(coord) // len(box)
    bad = 0
    for slot in range(len(order)):
        i = order[slot]
        b = box[i // natoms]
        w0, w1, w2 = wrap[slot, 0], wrap[slot, 1], wrap[slot, 2]
        for k in range(3):
            value = coord[i, k] - (w0 * b[0, k] + w1 * b[1, k] + w2 * b[2, k])
            out[slot, k] = value
            bad += not math.isfinite(value)
    return bad


@njit(cache=True, nogil=True)
def gather_forces(force, order, out):  # type: ignore[no-untyped-def]
    """Sum the workers' forces and write them in the order of the atoms."""
    for slot in range(len(order)):
        i = order[slot]
        for k in range(3):
            total = 0.0
            for w in range(len(force)):
                total += force[w, slot, k]
            out[i, k] = total
