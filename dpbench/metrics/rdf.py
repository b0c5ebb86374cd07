"""Radial distribution functions, and how far two of them are apart."""

import numpy as np
from numpy.typing import NDArray

from dpbench.metrics.periodic import (
    half_shortest,
    image_shifts,
    wrapped_differences,
)

Array = NDArray[np.float64]

NBINS = 500
"""Bins from zero to the largest radius."""


def rdf(
    coord: Array,
    box: Array,
    *,
    r_max: float | None = None,
    nbins: int = NBINS,
    chosen: tuple[NDArray[np.bool_], NDArray[np.bool_]] | None = None,
) -> tuple[Array, Array]:
    """Return the time-averaged radial distribution function g(r) of a periodic run.

        g(r) = <pairs in the shell> / (N (N - 1) / 2 * 4 pi r^2 dr <1 / V>)

    An ideal gas of any number of atoms has g = 1. Within half the shortest lattice
    vector an atom meets one image of each other atom at most; beyond, all images count
    but an atom's own, which stand still.

    Args:
        coord: (frame, atom, 3), Å.
        box: (frame, 3, 3), Å.
        r_max: Å; None: half the shortest lattice vector of all frames.
        nbins: Bins.
        chosen: (atom), (atom): pairs of one of the first with one of the second only;
            None = all.

    Returns:
        Middle of each bin, Å, and g there.

    Raises:
        ValueError: If there is no frame, or fewer than one pair.

    Source:
        Matbench Discovery, ``metrics/md.py`` (there N^2 / 2 pairs, so an ideal gas of N
        atoms has g = 1 - 1/N).
    """
    if r_max is None:
        r_max = half_shortest(box)
    is_pair = _pairs(coord.shape[1], chosen)
    npairs = int(is_pair.sum())
    if not len(coord) or not npairs:
        raise ValueError("expected at least one frame and one pair of atoms")
    edges = np.linspace(0.0, r_max, nbins + 1)
    counts, inverse_volume = np.zeros(nbins), 0.0
    for place, cell in zip(coord, box, strict=True):
        between = wrapped_differences(place, cell)[is_pair]
        # One image after the other, so that memory stays that of the pairs.
        for shift in image_shifts(cell, r_max):
            distance = np.linalg.norm(between + shift, axis=-1)
            counts += np.histogram(distance[distance < r_max], bins=edges)[0]
        inverse_volume += 1.0 / abs(float(np.linalg.det(cell)))
    shells = 4 / 3 * np.pi * np.diff(edges**3)
    middle = (edges[:-1] + edges[1:]) / 2
    return middle, counts / (npairs * inverse_volume * shells)


def rdf_error(r: Array, reference: Array, predicted: Array) -> float | None:
    """Return the error of a radial distribution function, percent.

        100 min(1, int |g_r - g_p| dr / int |g_r - 1| dr)

    Args:
        r: (bin), Å, of both.
        reference: (bin), g_r.
        predicted: (bin), g_p.

    Returns:
        0 for the same, 100 for as far off as an ideal gas; None where the reference is
        an ideal gas, or no pair of it is within reach.

    Raises:
        ValueError: If a value is no number or negative.

    Source:
        Matbench Discovery, MD task, eq. 3.
    """
    for name, values in (("reference", reference), ("prediction", predicted)):
        if not np.isfinite(values).all() or (values < 0).any():
            raise ValueError(f"g(r) of the {name} must be finite and not negative")
    structure = float(np.trapezoid(np.abs(reference - 1), x=r))
    if structure == 0 or not reference.any():
        return None
    apart = float(np.trapezoid(np.abs(reference - predicted), x=r))
    return 100.0 * min(1.0, apart / structure)


def _pairs(
    natoms: int, chosen: tuple[NDArray[np.bool_], NDArray[np.bool_]] | None
) -> NDArray[np.bool_]:
    """(atom, atom), each unordered pair once."""
    upper = np.triu(np.ones((natoms, natoms), np.bool_), k=1)
    if chosen is None:
        return upper
    first, second = chosen
    either: NDArray[np.bool_] = first[:, None] & second[None, :]
    return upper & (either | either.T)
