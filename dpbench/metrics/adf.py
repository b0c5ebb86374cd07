"""Distributions of the angles between bonds, and how far two of them are apart."""

import numpy as np
from numpy.typing import NDArray

from dpbench.metrics.periodic import image_shifts, wrapped_differences
from dpbench.metrics.wasserstein import wasserstein

Array = NDArray[np.float64]

NBINS = 180
"""Bins from 0 to 180 degrees."""


def adf(
    coord: Array, box: Array | None, *, cutoff: Array, nbins: int = NBINS
) -> tuple[Array, Array] | None:
    """Return the time-averaged distribution of bond angles.

    Each atom gives one angle for every unordered pair of its bonds; atoms, and their
    images, are bonded where they are nearer than the cutoff of their elements.

    Args:
        coord: (frame, atom, 3), Å.
        box: (frame, 3, 3), Å; None without a cell.
        cutoff: (atom, atom), Å, longest bond of each pair.
        nbins: Bins.

    Returns:
        Middle of each bin, degrees, and density of unit area; None if no atom has two
        bonds.

    Source:
        Matbench Discovery, ``metrics/md.py``: cutoffs are 1.25 times the sum of two
        covalent radii. There cutoffs end at half the shortest lattice vector; here
        images are looked for, so small cells keep their bonds.
    """
    edges = np.linspace(0.0, 180.0, nbins + 1)
    counts = np.zeros(nbins)
    for index, place in enumerate(coord):
        cell = None if box is None else box[index]
        counts += np.histogram(_angles(place, cell, cutoff), bins=edges)[0]
    if not counts.any():
        return None
    return (edges[:-1] + edges[1:]) / 2, counts / (counts.sum() * np.diff(edges))


def adf_error(angle: Array, reference: Array, predicted: Array) -> float | None:
    """Return the error of a distribution of bond angles, percent.

        100 min(1, W1(reference, predicted) / W1(reference, sin(theta)))

    Args:
        angle: (bin), degrees, of both.
        reference: (bin), density.
        predicted: (bin), density.

    Returns:
        0 for the same, 100 for as far off as neighbours at random; None where the
        reference itself is those.

    Raises:
        ValueError: If a density is no number, negative or zero everywhere.

    Source:
        Matbench Discovery, MD task, ``calc_adf_error``.
    """
    random = wasserstein(angle, reference, np.sin(np.radians(angle)))
    if random == 0:
        return None
    return 100.0 * min(1.0, wasserstein(angle, reference, predicted) / random)


def _angles(coord: Array, cell: Array | None, cutoff: Array) -> Array:
    """All bond angles of one frame, degrees."""
    centre, arm = _bonds(coord, cell, cutoff)
    order = np.argsort(centre, kind="stable")
    centre, arm = centre[order], arm[order]
    counts = np.bincount(centre, minlength=len(coord))
    most = int(counts.max(initial=0))
    if most < 2:
        return np.zeros(0)
    # One row of arms for each atom, filled up with zeros that no angle is made of.
    slot = np.arange(len(centre)) - np.repeat(np.cumsum(counts) - counts, counts)
    arms = np.zeros((len(coord), most, 3))
    arms[centre, slot] = arm / np.linalg.norm(arm, axis=1)[:, None]
    first, second = np.triu_indices(most, k=1)
    cosine = np.einsum("apk,apk->ap", arms[:, first], arms[:, second])
    is_angle = second[None, :] < counts[:, None]
    angles: Array = np.degrees(np.arccos(np.clip(cosine[is_angle], -1, 1)))
    return angles


def _bonds(
    coord: Array, cell: Array | None, cutoff: Array
) -> tuple[NDArray[np.int64], Array]:
    """Centre of each bond, and the vector from it, Å."""
    if cell is None:
        between = coord[None, :, :] - coord[:, None, :]
        shifts = np.zeros((1, 3))
    else:
        between = wrapped_differences(coord, cell)
        shifts = image_shifts(cell, float(cutoff.max()))
    centres, arms = [], []
    for shift in shifts:
        vector = between + shift
        distance = np.linalg.norm(vector, axis=-1)
        rows, columns = np.nonzero((distance > 1e-9) & (distance <= cutoff))
        centres.append(rows)
        arms.append(vector[rows, columns])
    return np.concatenate(centres), np.concatenate(arms)
