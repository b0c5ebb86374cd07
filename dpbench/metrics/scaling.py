"""The exponent of time against atoms, with its interval."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dpbench.metrics.statistics import BOOTSTRAP_SEED, RESAMPLES
from dpbench.metrics.student import two_sided_quantile

FEWEST_SIZES = 3
"""Sizes that a slope with an interval needs."""

SMALLEST_RANGE = 4.0
"""Largest size over the smallest: over less, a step in the cache decides the slope."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Exponent:
    """Slope of log(time of a step) against log(atoms)."""

    value: float | None
    """None where the sizes do not allow one."""
    ci_low: float | None = None
    """Lower end of the 95 % interval."""
    ci_high: float | None = None
    """Upper end of the 95 % interval."""
    sizes: tuple[int, ...] = ()
    """Atoms of the sizes that entered."""
    reason: str | None = None
    """Why there is no value."""


def time_exponent(
    natoms: Sequence[int], samples: Sequence[Sequence[float]], *, above: int = 0
) -> Exponent:
    """Fit time of a step ~ natoms^p over the sizes above a bound.

    The interval is the wider of two: over resampled measurements, which tells what
    their noise does to the slope, and of the regression's residuals, which tells
    whether a power law holds at all.

    Args:
        natoms: Of each size.
        samples: Of each size, independent measurements of the time per *atom* and
            step, any unit.
        above: Smaller sizes are left out: they lie on the plateau of latency.

    Returns:
        The exponent; no value with fewer than three sizes, or over less than a factor
        of four.
    """
    kept = [(n, list(s)) for n, s in zip(natoms, samples, strict=True) if n >= above]
    sizes = tuple(n for n, _ in kept)
    reason = _why_not(sizes, above)
    if reason is not None:
        return Exponent(value=None, sizes=sizes, reason=reason)
    x = np.log(np.asarray(sizes, np.float64))
    # Per atom the slope is p - 1; in this form noise of all sizes weighs the same.
    y = np.array([np.log(np.median(values)) for _, values in kept])
    slope, error = _line(x, y)
    drawn = _resampled([np.asarray(values, np.float64) for _, values in kept])
    centred = x - x.mean()
    low, high = np.percentile(drawn @ centred / (centred @ centred), [2.5, 97.5])
    half = two_sided_quantile(0.05, float(len(x) - 2)) * error
    return Exponent(
        value=float(1 + slope),
        ci_low=float(1 + min(low, slope - half)),
        ci_high=float(1 + max(high, slope + half)),
        sizes=sizes,
    )


def _why_not(sizes: tuple[int, ...], above: int) -> str | None:
    """Say why these sizes allow no exponent; None where they do."""
    count = len(set(sizes))
    if count < FEWEST_SIZES:
        return f"{count} sizes of {above} atoms or more; at least {FEWEST_SIZES} tell"
    if max(sizes) / min(sizes) < SMALLEST_RANGE:
        return (
            f"sizes from {min(sizes)} to {max(sizes)} atoms: less than a factor of "
            f"{SMALLEST_RANGE:g}"
        )
    return None


def _resampled(samples: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Return log medians of resampled measurements, (resample, size)."""
    rng = np.random.default_rng(BOOTSTRAP_SEED)
    columns = [
        np.log(
            np.median(values[rng.integers(0, len(values), (RESAMPLES, len(values)))], 1)
        )
        for values in samples
    ]
    return np.stack(columns, axis=1)


def _line(x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[float, float]:
    """Return the slope of the least-squares line, and its standard error."""
    centred = x - x.mean()
    square = float(centred @ centred)
    slope = float(centred @ y) / square
    residual = y - y.mean() - slope * centred
    return slope, float(np.sqrt(residual @ residual / (len(x) - 2) / square))
