"""Elastic constants of cubic crystals from stresses of strained cells."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dpbench.units import GPA

VOIGT = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))
"""Cartesian components in Voigt's order."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CubicConstants:
    """What Hooke's law of a cubic crystal has."""

    c11: float
    """GPa."""
    c12: float
    """GPa."""
    c44: float
    """GPa."""
    pressure: float
    """GPa, of the unstrained cell by the same fit."""
    residual: float
    """GPa, RMS of the fit over all components."""


def strain_matrix(strain: NDArray[np.float64]) -> NDArray[np.float64]:
    """Turn engineering strains into symmetric matrices.

    Args:
        strain: (case, 6), Voigt; shears are twice the matrix elements.

    Returns:
        (case, 3, 3).
    """
    out = np.zeros((len(strain), 3, 3))
    for column, (i, j) in enumerate(VOIGT):
        value = strain[:, column] / (1 if i == j else 2)
        out[:, i, j] = value
        out[:, j, i] = value
    return out


def stress_of(
    virial: NDArray[np.float64], box: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Stress, tension positive, from virials: -W/V.

    Args:
        virial: (case, 3, 3), eV.
        box: (case, 3, 3), Å.

    Returns:
        (case, 6), GPa, Voigt.
    """
    volume = np.abs(np.linalg.det(box))[:, None, None]
    stress = -virial / volume / GPA
    return np.stack([(stress[:, i, j] + stress[:, j, i]) / 2 for i, j in VOIGT], axis=1)


def fit_cubic_constants(
    strain: NDArray[np.float64], stress: NDArray[np.float64]
) -> CubicConstants | None:
    """Fit C11, C12, C44 and a pressure to stresses by least squares.

    Args:
        strain: (case, 6), Voigt, engineering shears; axes along the cube.
        stress: (case, 6), GPa.

    Returns:
        The constants; None where a stress is no number or the strains do not tell the
        constants apart.
    """
    if not np.isfinite(stress).all():
        return None
    rows, values = [], []
    for e, s in zip(strain, stress, strict=True):
        for i in range(3):
            rows.append([e[i], e[:3].sum() - e[i], 0.0, -1.0])
            values.append(s[i])
        for i in range(3, 6):
            rows.append([0.0, 0.0, e[i], 0.0])
            values.append(s[i])
    matrix, target = np.array(rows), np.array(values)
    found, _, rank, _ = np.linalg.lstsq(matrix, target, rcond=None)
    if rank < 4:
        return None
    residual = float(np.sqrt(np.mean((matrix @ found - target) ** 2)))
    return CubicConstants(
        c11=float(found[0]),
        c12=float(found[1]),
        c44=float(found[2]),
        pressure=float(found[3]),
        residual=residual,
    )
