"""Periodic images: how far distances are unique, and which images are within reach."""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def shortest_lattice_vector(box: Array) -> float:
    """Return the length of the shortest lattice vector that is not zero, Å.

    All integer combinations that could be shorter than the shortest row are looked at,
    so a skewed cell needs no reduction first.

    Args:
        box: (3, 3), Å, rows are cell vectors.

    Source:
        Minkowski's first minimum; the bound |n_i| <= |v| |b_i*| on the coefficients of
        a lattice vector v is Cauchy-Schwarz, with b_i* the columns of the inverse.
    """
    length = float(np.linalg.norm(box, axis=1).min())
    most = np.floor(length * np.linalg.norm(np.linalg.inv(box), axis=0) + 1e-9)
    vectors = _combinations(most.astype(int)) @ box
    lengths = np.sort(np.linalg.norm(vectors, axis=1))
    return float(lengths[1])


def half_shortest(box: Array) -> float:
    """Return the largest radius at which no atom meets two images of another, Å.

    Args:
        box: (frame, 3, 3), Å; the smallest of all frames counts.
    """
    cells = box[:1] if np.allclose(box, box[0]) else box
    return min(shortest_lattice_vector(cell) for cell in cells) / 2


def image_shifts(box: Array, reach: float) -> Array:
    """Return shifts (image, 3), Å, that bring every pair within ``reach`` together.

    Complete for pairs whose fractional difference was wrapped to -1/2 .. 1/2.

    Args:
        box: (3, 3), Å.
        reach: Å.
    """
    span = reach * np.linalg.norm(np.linalg.inv(box), axis=0)
    most = np.maximum(np.ceil(span + 0.5 - 1e-9).astype(int) - 1, 0)
    return _combinations(most) @ box


def wrapped_differences(coord: Array, box: Array) -> Array:
    """Return r_j - r_i of one frame, (i, j, 3), Å, fractions wrapped to -1/2 .. 1/2."""
    fraction = coord @ np.linalg.inv(box)
    difference = fraction[None, :, :] - fraction[:, None, :]
    difference -= np.round(difference)
    wrapped: Array = difference @ box
    return wrapped


def unwrapped(coord: Array, box: Array | None) -> Array:
    """Follow atoms across the faces of the cell.

    Args:
        coord: (frame, atom, 3), Å, each frame wrapped as it may be; an atom must move
            less than half the cell between two frames.
        box: (frame, 3, 3), Å; None without a cell.

    Returns:
        (frame, atom, 3), Å, without jumps.
    """
    path = np.array(coord, np.float64)
    if box is None:
        return path
    for index in range(1, len(path)):
        cell = box[index]
        moved = (path[index] - path[index - 1]) @ np.linalg.inv(cell)
        path[index] -= np.round(moved) @ cell
    return path


def _combinations(most: NDArray[np.integer]) -> Array:
    ranges = [np.arange(-k, k + 1, dtype=np.float64) for k in most.tolist()]
    return np.stack(np.meshgrid(*ranges, indexing="ij"), axis=-1).reshape(-1, 3)
