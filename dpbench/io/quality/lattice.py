"""Reduced cells: the same lattice gives the same lengths, however it was written."""

from itertools import product

import numpy as np
from numpy.typing import NDArray

from dpbench.frames import Frames

MOST_STEPS = 500
"""Rounds of reduction; a cell skewed by a factor of 10^6 takes about 30."""

SHRINKS = 1 - 1e-9
"""A step counts as progress if it makes a vector shorter than this share of itself."""


def periodic_vectors(frames: Frames, frame_idx: int) -> NDArray[np.float64]:
    """Return the cell vectors along which a frame is periodic, Å, (vector, 3)."""
    vectors: NDArray[np.float64] = frames.box[frame_idx][frames.pbc[frame_idx]]
    return vectors


def reduced_boxes(frames: Frames) -> list[NDArray[np.float64]]:
    """Reduce the lattice of every frame.

    Returns:
        For each frame, Å, (vector, 3), its periodic vectors, shortest first.
    """
    boxes: list[NDArray[np.float64]] = [np.zeros((0, 3))] * frames.nframes
    rank = frames.pbc.sum(axis=1)
    for count in (1, 2, 3):
        which = np.flatnonzero(rank == count)
        if not len(which):
            continue
        vectors = np.stack([periodic_vectors(frames, i) for i in which.tolist()])
        for i, box in zip(which.tolist(), reduce_lattices(vectors), strict=True):
            boxes[i] = box
    return boxes


def reduce_lattices(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Find the shortest independent vectors of lattices.

    The result is reduced in the sense of Minkowski; its lengths are the successive
    minima of the lattice, which change continuously with it and do not depend on the
    vectors it was given by.

    Args:
        vectors: Å, (lattice, vector, 3); one to three independent vectors each.

    Returns:
        Å, (lattice, vector, 3), shortest vector first.

    Source: P. Q. Nguyen, D. Stehlé, ACM Trans. Algorithms 5, 46 (2009), fig. 3.
    """
    basis = np.array(vectors, dtype=np.float64)
    if basis.shape[1] == 0:
        return basis
    active = np.arange(len(basis))
    for _ in range(MOST_STEPS):
        part = _sorted(basis[active])
        moved = _shorten(part)
        basis[active] = part
        active = active[moved]
        if not len(active):
            break
    return _sorted(basis)


def _sorted(basis: NDArray[np.float64]) -> NDArray[np.float64]:
    """Order the vectors of each lattice by length."""
    order = np.argsort((basis**2).sum(axis=2), axis=1, kind="stable")
    return np.take_along_axis(basis, order[:, :, None], axis=1)


def _shorten(basis: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Make the last vectors shorter in place; tell which lattices changed."""
    moved = np.zeros(len(basis), dtype=np.bool_)
    for last in range(1, basis.shape[1]):
        shorter = basis[:, last] - _nearest(basis[:, :last], basis[:, last])
        before = (basis[:, last] ** 2).sum(axis=1)
        # A longer vector waits until the shorter ones before it are reduced.
        better = ((shorter**2).sum(axis=1) < before * SHRINKS) & ~moved
        basis[better, last] = shorter[better]
        moved |= better
    return moved


def _nearest(
    lattice: NDArray[np.float64], points: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Find the vector nearest to each point in a lattice of one or two vectors.

    Args:
        lattice: Å, (lattice, vector, 3), reduced.
        points: Å, (lattice, 3).
    """
    gram = lattice @ lattice.transpose(0, 2, 1)
    right = np.einsum("lvx,lx->lv", lattice, points)
    whole = np.rint(np.linalg.solve(gram, right[:, :, None])[:, :, 0])
    best: NDArray[np.float64] = np.einsum("lv,lvx->lx", whole, lattice)
    best_square = ((points - best) ** 2).sum(axis=1)
    # Rounding is exact for one vector; for two, the nearest is at most one step away.
    steps = product((-1, 0, 1), repeat=lattice.shape[1])
    for step in steps if lattice.shape[1] > 1 else ():
        near = np.einsum("lv,lvx->lx", whole + step, lattice)
        square = ((points - near) ** 2).sum(axis=1)
        closer = square < best_square
        best[closer] = near[closer]
        best_square[closer] = square[closer]
    return best
