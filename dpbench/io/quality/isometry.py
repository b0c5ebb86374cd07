"""The exact test of a twin: is there a motion that lays one structure on the other?

A motion is a rotation or reflection and a shift. It must map the lattice onto the
lattice and every atom onto an atom of its element. Fingerprints propose pairs of
frames; this decides.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from dpbench.frames import Frames
from dpbench.io.quality.environments import describe
from dpbench.io.quality.lattice import reduced_boxes

DISPLACEMENT = 2e-4
"""Å; atoms of twins lie this near to each other after the motion. Files print 1e-4 Å
or better; molecular dynamics of 0.5 fs steps moves some atom farther at 50 K."""

SAME_FEATURE = 0.02
"""Per-atom invariants of atoms that can be images of each other differ by less."""

ROWS_AT_ONCE = 256
"""Atoms whose distances to all others are in memory at a time."""

WHOLE = np.array(list(product(range(-2, 3), repeat=3)), dtype=np.float64)
"""Combinations of reduced cell vectors among which the images of the shortest lie."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Motion:
    """A motion that lays one structure on another: coord @ rotation + shift."""

    rotation: NDArray[np.float64]
    """(3, 3), orthogonal; of determinant -1 for a reflection."""
    shift: NDArray[np.float64]
    """(3), Å."""
    displacement: float
    """Å, how far the atom is off that fits worst."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Structure:
    """One frame, ready to be compared."""

    coord: NDArray[np.float64]
    """(atom, 3), Å."""
    z: NDArray[np.uint8]
    """(atom), atomic number."""
    features: NDArray[np.float64]
    """(atom, feature), invariants."""
    lattice: NDArray[np.float64]
    """(vector, 3), Å, reduced periodic vectors."""


def find_motion(
    one: Frames, other: Frames, *, tolerance: float = DISPLACEMENT
) -> Motion | None:
    """Find a motion that lays the only frame of ``one`` on that of ``other``.

    Args:
        one: A single frame.
        other: Another one.
        tolerance: Å, how far an atom may be off.

    Returns:
        The first motion found, or None: they are different structures.
    """
    a, b = _structure(one), _structure(other)
    same_kind = np.array_equal(np.sort(a.z), np.sort(b.z))
    if not same_kind or len(a.lattice) != len(b.lattice):
        return None
    anchor, images = _anchor(a, b)
    for image in images:
        for rotation in _rotations(a, b, (anchor, int(image)), tolerance):
            motion = _fitted(a, b, rotation, anchor=(anchor, int(image)))
            if motion is not None and motion.displacement <= tolerance:
                return motion
    return None


def _structure(frames: Frames) -> _Structure:
    return _Structure(
        coord=frames.coord.astype(np.float64),
        z=frames.z,
        features=describe(frames).features,
        lattice=reduced_boxes(frames)[0],
    )


def _anchor(a: _Structure, b: _Structure) -> tuple[int, NDArray[np.intp]]:
    """Choose the atom of ``a`` that has the fewest possible images, and name these."""
    fewest, best = len(b.z) + 1, (0, np.zeros(0, dtype=np.intp))
    for atom in range(len(a.z)):
        apart = np.abs(b.features - a.features[atom]).max(axis=1)
        images = np.flatnonzero((apart < SAME_FEATURE) & (b.z == a.z[atom]))
        if len(images) < fewest:
            fewest, best = len(images), (atom, images)
        if fewest <= 1:
            break
    return best


def _rotations(
    a: _Structure, b: _Structure, anchor: tuple[int, int], tolerance: float
) -> Iterator[NDArray[np.float64]]:
    """Yield the orthogonal matrices that can map ``a`` onto ``b``, anchor on anchor.

    Two vectors of ``a`` and their images in ``b`` leave a rotation and a reflection.
    They are cell vectors, and vectors to atoms where there are fewer than two.
    """
    first, second = _two_vectors(a, anchor[0], tolerance)
    slack = 4 * tolerance
    if first is None:
        yield np.eye(3)
        return
    for head in _images(b, anchor[1], first, slack, axis=None):
        if second is None:
            yield _turn(first.vector, head)
            continue
        angle = float(first.vector @ second.vector)
        for side in _images(b, anchor[1], second, slack, axis=head):
            size = np.linalg.norm(head) + np.linalg.norm(side)
            if abs(float(head @ side) - angle) > slack * size:
                continue
            for sign in (1.0, -1.0):
                yield _frame_of(first.vector, second.vector, 1.0).T @ _frame_of(
                    head, side, sign
                )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Vector:
    """A vector of a structure that a motion must map to one of its like."""

    vector: NDArray[np.float64]
    """(3), Å; of an atom of a chain, its part normal to the chain."""
    z: int | None
    """Element of the atom it leads to; None for a cell vector."""


def _two_vectors(
    a: _Structure, anchor: int, tolerance: float
) -> tuple[_Vector | None, _Vector | None]:
    """Choose up to two independent vectors; None where the structure has no more."""
    chosen = [_Vector(vector=row, z=None) for row in a.lattice[:2]]
    while len(chosen) < 2:
        vectors = a.coord - a.coord[anchor]
        normal = vectors
        for known in chosen:
            axis = known.vector / np.linalg.norm(known.vector)
            normal = normal - np.outer(normal @ axis, axis)
        length = np.linalg.norm(normal, axis=1)
        atom = int(length.argmax())
        if length[atom] <= 10 * tolerance:
            break
        # Along a lattice vector atoms repeat: only the part normal to it is one atom's.
        vector = normal[atom] if len(a.lattice) else vectors[atom]
        chosen.append(_Vector(vector=vector, z=int(a.z[atom])))
    first = chosen[0] if chosen else None
    return first, (chosen[1] if len(chosen) > 1 else None)


def _images(
    b: _Structure,
    anchor: int,
    wanted: _Vector,
    slack: float,
    *,
    axis: NDArray[np.float64] | None,
) -> NDArray[np.float64]:
    """Return the vectors of ``b`` that are as long as the wanted one, (image, 3)."""
    if wanted.z is None:
        vectors = WHOLE[:, : len(b.lattice)] @ b.lattice
        vectors = np.unique(vectors.round(9), axis=0)
    else:
        vectors = (b.coord - b.coord[anchor])[b.z == wanted.z]
        if len(b.lattice) and axis is not None:
            unit = axis / np.linalg.norm(axis)
            vectors = vectors - np.outer(vectors @ unit, unit)
    apart = np.linalg.norm(vectors, axis=1) - np.linalg.norm(wanted.vector)
    images: NDArray[np.float64] = vectors[np.abs(apart) < slack]
    return images


def _frame_of(
    first: NDArray[np.float64], second: NDArray[np.float64], sign: float
) -> NDArray[np.float64]:
    """(3, 3), orthonormal rows: along the first, in the plane of both, normal."""
    x = first / np.linalg.norm(first)
    y = second - (second @ x) * x
    y = y / np.linalg.norm(y)
    return np.stack([x, y, sign * np.cross(x, y)])


def _turn(
    vector: NDArray[np.float64], image: NDArray[np.float64]
) -> NDArray[np.float64]:
    """(3, 3), some rotation that maps the direction of ``vector`` to ``image``'s."""
    frames = []
    for direction in (vector, image):
        helper = np.eye(3)[int(np.abs(direction).argmin())]
        frames.append(_frame_of(direction, helper, 1.0))
    return frames[0].T @ frames[1]


def _fitted(
    a: _Structure,
    b: _Structure,
    rotation: NDArray[np.float64],
    *,
    anchor: tuple[int, int],
) -> Motion | None:
    """Shift the turned atoms onto those of ``b``; None if they do not fit at all."""
    loose = 50 * DISPLACEMENT
    inverse = np.linalg.pinv(b.lattice) if len(b.lattice) else np.zeros((3, 0))
    turned = a.lattice @ rotation
    back = turned - np.rint(turned @ inverse) @ b.lattice
    if np.abs(back).max(initial=0.0) > loose:
        return None
    coord = a.coord @ rotation
    shift = b.coord[anchor[1]] - coord[anchor[0]]
    coord = coord + shift
    taken = np.zeros(len(coord), dtype=np.bool_)
    off = np.empty_like(coord)
    for start in range(0, len(coord), ROWS_AT_ONCE):
        rows = slice(start, start + ROWS_AT_ONCE)
        vector = coord[rows, None] - b.coord[None]
        if len(b.lattice):
            vector -= np.rint(vector @ inverse) @ b.lattice
        square = (vector**2).sum(axis=2)
        square[a.z[rows, None] != b.z[None]] = np.inf
        nearest = square.argmin(axis=1)
        if np.take_along_axis(square, nearest[:, None], axis=1).max() > loose**2:
            return None
        taken[nearest] = True
        off[rows] = vector[np.arange(len(nearest)), nearest]
    if not taken.all():
        return None
    mean = off.mean(axis=0)
    worst = float(np.sqrt(((off - mean) ** 2).sum(axis=1).max()))
    return Motion(rotation=rotation, shift=shift - mean, displacement=worst)
