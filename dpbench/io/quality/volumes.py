"""Does the pressure of the virial agree with how the energy changes with the volume?

A plane-wave basis that is too small gives stresses of a fixed basis and energies of a
fixed cutoff: their pressures differ by the Pulay stress.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpbench.io.quality.thresholds import Thresholds
from dpbench.units import GPA

SAME_VOLUME = 2e-3
"""Volumes that differ by less (relatively) are one volume."""

SAME_SHAPE = 0.01
"""Lattice lengths over V^(1/3) that differ by less are one shape."""

MOST_SHAPES = 20
"""Shapes of cells that are looked at in one group of frames."""

STATIC_FORCE = 0.02
"""eV/Å; below this root mean square force frames are not thermal."""

STATIC_FRAMES = 4
"""Static frames that are judged alone, without the hot ones."""

HOT = 1.3
"""Frames are left out whose root mean square force is above this many times the middle
one: <F^2> stands for the thermal energy of a harmonic crystal only."""

LEAST_FREEDOM = 10
"""Thermal frames beyond the terms of the fit that its error is told from."""

CORRELATED = 10.0
"""Thermal frames follow each other in time: this many count as one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class VolumeData:
    """What the check needs to know of each frame."""

    energy: NDArray[np.float64]
    """(frame), eV."""
    volume: NDArray[np.float64]
    """(frame), Å^3."""
    pressure: NDArray[np.float64]
    """(frame), GPa, of the virial."""
    force_rms: NDArray[np.float64]
    """(frame), eV/Å, root mean square force component."""
    shape: NDArray[np.floating]
    """(frame, 3), lengths of the reduced cell over V^(1/3)."""

    def select(self, index: NDArray[np.int64]) -> "VolumeData":
        """Return the frames at ``index``."""
        names = self.__slots__
        return VolumeData(**{name: getattr(self, name)[index] for name in names})


@dataclass(frozen=True, kw_only=True, slots=True)
class VolumeVerdict:
    """What the check says of frames of one composition, theory and shape of cell."""

    verdict: str
    """``ok``, ``pulay`` or ``skipped``."""
    cause: str
    """What is wrong, or why it was skipped."""
    n_frames: int
    """Frames that were compared."""
    n_volumes: int
    """Different volumes among them."""
    difference: float | None
    """GPa, -dE/dV minus the pressure of the virial."""
    error: float | None
    """GPa, standard error of the difference."""

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {name: getattr(self, name) for name in self.__slots__}


def judge_volumes(
    data: VolumeData, thresholds: Thresholds, *, natoms: int
) -> list[tuple[NDArray[np.int64], VolumeVerdict]]:
    """Hold energies against pressures, for each shape of cell.

    The pressure is fitted as P(V) + d <F^2>, the energy then as

        E = e0 - int P dV - D (V - V0) + c <F^2>

    so that D is the difference of -dE/dV and the virial's pressure. <F^2>, the mean
    square force of a frame, stands for its thermal energy (harmonic: proportional).

    Args:
        data: Frames of one composition and one level of theory.
        thresholds: ``pulay_pressure``, ``volume_range`` and ``volume_scatter`` are
            used.
        natoms: Atoms of each frame.

    Returns:
        For each shape its frames and its verdict.
    """
    known = np.isfinite(data.energy) & np.isfinite(data.volume)
    known &= np.isfinite(data.pressure) & np.isfinite(data.force_rms)
    if not known.any():
        none = np.arange(len(known))
        reason = "no frame has cell, energy, force and virial"
        return [(none, _skipped(reason, len(none), 0))]
    rest = np.flatnonzero(known)
    found = []
    for _ in range(MOST_SHAPES):
        shape = data.shape[rest]
        alike = (np.abs(shape - shape[0]) < SAME_SHAPE).all(axis=1)
        members = rest[alike]
        found.append((members, _judge_shape(data.select(members), thresholds, natoms)))
        rest = rest[~alike]
        if not len(rest):
            return found
    reason = f"more than {MOST_SHAPES} shapes of cells"
    return [*found, (rest, _skipped(reason, len(rest), 0))]


def _judge_shape(
    data: VolumeData, thresholds: Thresholds, natoms: int
) -> VolumeVerdict:
    data = _coolest(data, thresholds)
    volume = data.volume
    n_volumes = _count_volumes(volume)
    nframes = len(volume)
    spread = _spread(volume)
    if n_volumes < 2:
        return _skipped("one volume", nframes, n_volumes)
    if spread < thresholds.volume_range:
        reason = f"volumes differ by {100 * spread:.2g} %"
        return _skipped(reason, nframes, n_volumes)
    difference, error, scatter = _difference(data, n_volumes)
    if np.isnan(error):
        return _skipped("too few thermal frames", nframes, n_volumes)
    if scatter / natoms > thresholds.volume_scatter:
        reason = "energies scatter too much about a function of the volume"
        return _skipped(reason, nframes, n_volumes)
    limit = thresholds.pulay_pressure + 2 * error
    is_bad = abs(difference) > limit
    return VolumeVerdict(
        verdict="pulay" if is_bad else "ok",
        cause=(
            f"-dE/dV and the virial's pressure differ by {difference:.2f} GPa: "
            "a basis that is too small for stresses (Pulay), a virial in wrong units, "
            "or energies of different settings"
            if is_bad
            else ""
        ),
        n_frames=nframes,
        n_volumes=n_volumes,
        difference=difference,
        error=error,
    )


def _coolest(data: VolumeData, thresholds: Thresholds) -> VolumeData:
    """Take the static frames if they make a curve, else all but the hottest."""
    static = data.select(np.flatnonzero(data.force_rms <= STATIC_FORCE))
    is_curve = (
        len(static.volume) >= STATIC_FRAMES
        and _count_volumes(static.volume) > 2
        and _spread(static.volume) >= thresholds.volume_range
    )
    if is_curve:
        return static
    limit = HOT * float(np.median(data.force_rms)) + STATIC_FORCE
    return data.select(np.flatnonzero(data.force_rms <= limit))


def _spread(volume: NDArray[np.float64]) -> float:
    return float((volume.max() - volume.min()) / volume.mean())


def _difference(data: VolumeData, n_volumes: int) -> tuple[float, float, float]:
    """Return -dE/dV minus the virial's pressure, and its standard error, GPa.

    The error is NaN if thermal frames are too few to tell it. The third number is the
    scatter of the energies about the fit, eV.
    """
    middle = float(data.volume.mean())
    x = data.volume - middle
    powers = np.arange(min(n_volumes, 3))
    is_thermal = float(np.sqrt((data.force_rms**2).mean())) > STATIC_FORCE
    heat = data.force_rms[:, None] ** 2 if is_thermal else np.zeros((len(x), 0))
    by_volume = np.concatenate([x[:, None] ** powers, heat], axis=1)
    pressure = data.pressure * GPA
    fitted, errors = _least_squares(by_volume, pressure)
    coefficients = fitted[: len(powers)]
    work = -(x[:, None] ** (powers + 1) / (powers + 1)) @ coefficients
    design = np.concatenate([np.ones((len(x), 1)), x[:, None], heat], axis=1)
    line, line_errors = _least_squares(design, data.energy - work)
    share = CORRELATED if is_thermal else 1.0
    error = np.sqrt(share * (line_errors[1] ** 2 + errors[0] ** 2))
    if is_thermal and len(x) < design.shape[1] + LEAST_FREEDOM:
        error = np.nan
    scatter = float((data.energy - work - design @ line).std())
    return float(-line[1] / GPA), float(error / GPA), scatter


def _least_squares(
    design: NDArray[np.float64], target: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Fit ``target`` (frame) to ``design`` (frame, term).

    Returns:
        The coefficients and their standard errors, (term); the errors are zero where
        nothing is left to estimate them from.
    """
    scale = np.maximum(np.abs(design).max(axis=0), 1e-300)
    scaled = design / scale
    solution = np.linalg.lstsq(scaled, target, rcond=1e-10)[0]
    freedom = len(target) - design.shape[1]
    left = float(((target - scaled @ solution) ** 2).sum())
    variance = left / freedom if freedom > 0 else 0.0
    inverse = np.linalg.pinv(scaled.T @ scaled)
    errors = np.sqrt(np.maximum(np.diag(inverse), 0.0) * variance)
    return solution / scale, errors / scale


def _count_volumes(volume: NDArray[np.float64]) -> int:
    """Count volumes that differ; a continuous range counts by its width."""
    cells = np.rint(np.log(volume / volume.min()) / SAME_VOLUME)
    return len(np.unique(cells))


def _skipped(reason: str, n_frames: int, n_volumes: int) -> VolumeVerdict:
    return VolumeVerdict(
        verdict="skipped",
        cause=reason,
        n_frames=n_frames,
        n_volumes=n_volumes,
        difference=None,
        error=None,
    )
