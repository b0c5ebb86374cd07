"""Energy drift of constant-energy molecular dynamics."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FS_PER_PS = 1000.0
"""The only time conversion between a run (fs) and its drift (1/ps)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Drift:
    """Linear regression of the total energy on time."""

    slope: float
    """meV/atom/ps, signed."""
    residual: float
    """meV/atom, RMS of the energy around the line."""
    n: int
    """Points that entered the regression."""

    @property
    def magnitude(self) -> float:
        """meV/atom/ps, |slope|: the metric ``nve_drift_mev_per_atom_ps``."""
        return abs(self.slope)


def energy_drift(
    time: NDArray[np.floating],
    energy: NDArray[np.floating],
    *,
    natoms: int,
    discard: float = 0.2,
) -> Drift | None:
    """Fit E_total/natoms = a + slope * t after the start of the run is dropped.

    Args:
        time: Femtoseconds since the start, (point); not ASE's time unit.
        energy: Total energy, eV, (point).
        natoms: Number of atoms.
        discard: Part of the time span dropped at the start, once.

    Returns:
        The drift; None with fewer than three points after the cut.

    Source:
        LAMBench, NVE task: linear regression after equilibration.
    """
    start = time[0] + discard * (time[-1] - time[0]) if len(time) else 0.0
    kept = time >= start
    if kept.sum() < 3:
        return None
    t = np.asarray(time[kept], np.float64) / FS_PER_PS
    e = np.asarray(energy[kept], np.float64) * 1000.0 / natoms
    t_centred, e_centred = t - t.mean(), e - e.mean()
    slope = float(t_centred @ e_centred / (t_centred @ t_centred))
    residual = float(np.sqrt(np.mean((e_centred - slope * t_centred) ** 2)))
    return Drift(slope=slope, residual=residual, n=len(t))
