"""Cells of CP2K from lengths and angles, which logs print with more digits."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_PRINTED = 1e-3
"""Å; vectors in a log have three decimals."""
_DECIMALS = 10
"""Kept of a made cell, so that the last bit of a cosine does not show."""


def cell_from_lengths(
    lengths: Sequence[float],
    angles: Sequence[float] | None,
    *,
    vectors: NDArray[np.float64] | None,
) -> NDArray[np.float64] | None:
    """Make a cell from lengths and angles, in the orientation of printed vectors.

    Args:
        lengths: |a|, |b|, |c|, Å.
        angles: alpha (b, c), beta (a, c), gamma (a, b), degrees; None for 90.
        vectors: (3, 3), Å, three decimals, for the orientation; None if not printed.

    Returns:
        (3, 3), Å, rows are cell vectors. Where the printed vectors are not oriented
        as CP2K orients a cell given by lengths (a along x, b in the xy plane), each is
        scaled to its length (its angles are then those of the printed vectors: a
        ``.cell`` file knows better). None if the numbers make no cell.
    """
    made = _standard(lengths, angles or (90.0, 90.0, 90.0))
    if vectors is None or made is None:
        return made
    norms = [math.sqrt(x * x + y * y + z * z) for x, y, z in vectors.tolist()]
    if not all(0 < norm < math.inf for norm in norms):
        return made
    scale = [length / norm for length, norm in zip(lengths, norms, strict=True)]
    scaled = vectors * np.array(scale)[:, None]
    upper = (vectors[0, 1], vectors[0, 2], vectors[1, 2])
    is_standard = max(map(abs, upper)) < _PRINTED and vectors.diagonal().min() > 0
    return made if is_standard else np.round(scaled, _DECIMALS)


def _standard(
    lengths: Sequence[float], angles: Sequence[float]
) -> NDArray[np.float64] | None:
    a, b, c = lengths
    if not all(map(math.isfinite, (*lengths, *angles))):
        return None
    cos_alpha, cos_beta, cos_gamma = (_cosine(angle) for angle in angles)
    sin_gamma = math.sqrt(max(1 - cos_gamma * cos_gamma, 0.0))
    if sin_gamma == 0:
        return None
    cx = c * cos_beta
    cy = c * (cos_alpha - cos_beta * cos_gamma) / sin_gamma
    rest = c * c - cx * cx - cy * cy
    if not rest > 0:
        return None
    rows = [[a, 0, 0], [b * cos_gamma, b * sin_gamma, 0], [cx, cy, math.sqrt(rest)]]
    return np.array([[round(x, _DECIMALS) for x in row] for row in rows])


def _cosine(angle: float) -> float:
    """Cosine of an angle in degrees, exact where cells are."""
    exact = {60.0: 0.5, 90.0: 0.0, 120.0: -0.5}
    return exact.get(angle, math.cos(math.radians(angle)))
