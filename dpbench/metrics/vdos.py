"""Vibrational densities of states from velocities, and how far two are apart."""

import numpy as np
from numpy.typing import NDArray

from dpbench.metrics.wasserstein import wasserstein

Array = NDArray[np.float64]

FEWEST_FRAMES = 8
"""A shorter run has no spectrum worth the name."""

BAND = 0.999
"""Part of the reference's power that is compared; the noise above it is left out."""

FS_PER_PS = 1000.0
"""One over it turns 1/fs to THz."""


def difference_velocities(path: Array, timestep: float) -> Array:
    """Return velocities between neighbouring frames, (frame - 1, atom, 3), Å/fs.

    (r(t + dt) - r(t)) / dt is the velocity in the middle; it loses sinc(pi f dt) of a
    vibration of frequency f, less than a central difference over two steps.

    Args:
        path: (frame, atom, 3), Å, without jumps at the faces of the cell.
        timestep: fs between two frames.
    """
    velocities: Array = np.diff(path, axis=0) / timestep
    return velocities


def vdos(velocity: Array, *, timestep: float) -> tuple[Array, Array] | None:
    """Return the vibrational density of states.

    The power spectrum of each velocity component under a Hann window, which by Wiener
    and Khinchin is the Fourier transform of its autocorrelation; each is normalised to
    unit power, so that equipartition weighs all alike, then they are summed.

    Args:
        velocity: (frame, atom, 3), any unit.
        timestep: fs between two frames.

    Returns:
        Frequency, THz, and power; None for fewer than eight frames, or if nothing
        moves.

    Source:
        Matbench Discovery, ``metrics/md.py``.
    """
    nframes = len(velocity)
    if nframes < FEWEST_FRAMES:
        return None
    window = np.hanning(nframes)[:, None]
    power = np.abs(np.fft.rfft(velocity.reshape(nframes, -1) * window, axis=0)) ** 2
    total = power.sum(axis=0)
    power = power[:, total > 0] / total[total > 0]
    if not power.size:
        return None
    frequency = np.fft.rfftfreq(nframes, d=timestep / FS_PER_PS)
    summed: Array = power.sum(axis=1)
    return frequency.astype(np.float64), summed


def vdos_error(
    reference: tuple[Array, Array], predicted: tuple[Array, Array]
) -> float | None:
    """Return the error of a vibrational density of states, percent.

        100 min(1, W1(reference, predicted) / sigma), sigma the reference's own width

    Args:
        reference: Frequency, THz, and power, as ``vdos`` returns them.
        predicted: The same; its frequencies may be others.

    Returns:
        0 for the same, 100 for off by the width of the spectrum or without power in
        the band; None where the reference is a single frequency.

    Raises:
        ValueError: If a power is no number or negative.

    Source:
        Matbench Discovery, ``calc_vdos_error``: the area between two spectra saturates,
        and even falls, once peaks no longer overlap; W1 does not.
    """
    highest = min(reference[0].max(), predicted[0].max())
    grid = np.union1d(reference[0], predicted[0])
    grid = grid[grid <= highest]
    width = np.gradient(grid)
    width[[0, -1]] /= 2  # of the trapezoidal rule
    mass = [np.interp(grid, *spectrum) * width for spectrum in (reference, predicted)]
    cut = int(np.searchsorted(np.cumsum(mass[0]), BAND * mass[0].sum())) + 1
    grid, (ours, theirs) = grid[:cut], (one[:cut] for one in mass)
    if not theirs.sum() > 0:
        return 100.0
    mean = float(np.average(grid, weights=ours))
    sigma = float(np.sqrt(np.average((grid - mean) ** 2, weights=ours)))
    if sigma == 0:
        return None
    return 100.0 * min(1.0, wasserstein(grid, ours, theirs) / sigma)
