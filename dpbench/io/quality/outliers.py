"""Outliers by the median and the median absolute deviation, which few outliers move."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dpbench.io.quality.thresholds import Thresholds
from dpbench.metrics.composition import fit_composition

TO_SIGMA = 1.4826
"""Standard deviations in a median absolute deviation of normal numbers."""

MOST_FITS = 10
"""Rounds of fitting, each without the outliers of the one before."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EnergyFit:
    """A composition fit that outliers do not bend."""

    residual: NDArray[np.float64]
    """(frame), eV/atom, energy minus fit."""
    z: NDArray[np.float64]
    """(frame), robust z-score of the residual; NaN = not judged."""
    rank: int
    """Independent compositions."""
    energy: tuple[float, ...]
    """eV, fitted energy of each element."""
    spread: float
    """eV/atom, robust standard deviation of the residuals; NaN = too few frames."""


def robust_z(
    values: NDArray[np.float64], *, floor: float, least: int
) -> tuple[NDArray[np.float64], float]:
    """Score values by their distance from the median.

    z = (x - median) / max(1.4826 median|x - median|, floor)

    Args:
        values: (frame); NaN is left out.
        floor: The least spread to divide by, unit of the values.
        least: Fewer values are not scored.

    Returns:
        z (frame), NaN where not scored, and the spread.
    """
    known = values[np.isfinite(values)]
    if len(known) < max(least, 1):
        return np.full(len(values), np.nan), float("nan")
    middle = float(np.median(known))
    spread = max(TO_SIGMA * float(np.median(np.abs(known - middle))), floor)
    return (values - middle) / spread, spread


def fit_energies(
    counts: NDArray[np.integer],
    energy: NDArray[np.float64],
    *,
    elements: tuple[str, ...],
    thresholds: Thresholds,
) -> EnergyFit:
    """Fit one energy per element, leaving outliers out until none is new.

    Args:
        counts: Atoms of each element, (frame, element).
        energy: eV, (frame).
        elements: Symbols of the columns.
        thresholds: ``energy_z``, ``energy_floor`` and ``min_frames`` are used.
    """
    natoms = counts.sum(axis=1)
    kept = np.ones(len(energy), dtype=np.bool_)
    for _ in range(MOST_FITS):
        fitted = fit_composition(counts[kept], energy[kept], elements=elements)
        residual = (energy - fitted.predict(counts)) / np.maximum(natoms, 1)
        z, spread = robust_z(
            residual, floor=thresholds.energy_floor, least=thresholds.min_frames
        )
        still = ~(np.abs(z) > thresholds.energy_z)
        if (still == kept).all() or not still.any():
            break
        kept = still
    return EnergyFit(
        residual=residual,
        z=z,
        rank=fitted.rank,
        energy=fitted.energy,
        spread=spread,
    )


def force_scores(
    force_max: NDArray[np.float64], thresholds: Thresholds
) -> NDArray[np.float64]:
    """Score the logarithm of each frame's largest force; (frame)."""
    floored = np.maximum(force_max, thresholds.force_floor)
    z, _ = robust_z(
        np.log(floored),
        floor=thresholds.force_spread_floor,
        least=thresholds.min_frames,
    )
    return z
