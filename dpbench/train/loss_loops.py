"""The loss of a batch and its derivatives in one pass, compiled by numba."""

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def count(has_energy, has_force, has_virial, natoms, out):  # type: ignore[no-untyped-def]
    """Write the labelled frames, atoms and frames with a virial to ``out`` (3)."""
    out[:] = 0.0
    for f in range(len(natoms)):
        out[0] += has_energy[f]
        out[1] += natoms[f] * has_force[f]
        out[2] += has_virial[f]


@njit(cache=True, nogil=True)
def compare(found, labels, has, frame, counts, prefactors, weights, terms):  # type: ignore[no-untyped-def]
    """Fill the derivatives, and ``terms``: loss and the three mean squares.

    A mean over nothing is NaN, and adds nothing to the loss.
    """
    energy, force, virial = found
    energy_label, force_label, virial_label = labels
    has_energy, has_force, has_virial = has
    natoms, frame_idx = frame
    to_energy, to_force, to_virial = weights
    n_energy, n_force, n_virial = counts
    p_energy, p_force, p_virial = prefactors
    loss_energy, loss_virial = 0.0, 0.0
    sums = np.zeros(3)
    for f in range(len(natoms)):
        n = natoms[f]
        to_energy[f] = 0.0
        if has_energy[f]:
            off = energy[f] - energy_label[f]
            loss_energy += off * off / n
            sums[0] += off * off / (n * n)
            to_energy[f] = 2 * p_energy * off / (n * n_energy)
        for k in range(9):
            to_virial[f, k // 3, k % 3] = 0.0
            if has_virial[f]:
                off = virial[f, k // 3, k % 3] - virial_label[f, k // 3, k % 3]
                loss_virial += off * off / (9 * n)
                sums[2] += off * off / (9 * n * n)
                to_virial[f, k // 3, k % 3] = 2 * p_virial * off / (9 * n * n_virial)
    for i in range(len(frame_idx)):
        is_labelled = has_force[frame_idx[i]]
        for k in range(3):
            off = force[i, k] - force_label[i, k] if is_labelled else 0.0
            sums[1] += off * off / 3
            to_force[i, k] = 2 * p_force * off / (3 * n_force) if is_labelled else 0.0
    terms[0] = 0.0
    parts = (loss_energy, sums[1], loss_virial)
    for k in range(3):
        if counts[k] > 0:
            if prefactors[k] != 0:
                terms[0] += prefactors[k] * parts[k] / counts[k]
            terms[k + 1] = sums[k] / counts[k]
        else:
            terms[k + 1] = np.nan
