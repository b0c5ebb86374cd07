"""Self-diffusion: the slope of the mean square displacement, with its interval."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dpbench.metrics.student import two_sided_quantile

Array = NDArray[np.float64]

FIRST, LAST = 0.1, 0.5
"""Lags of the fit, as parts of a block: below is ballistic, above has few origins."""

FEWEST_FRAMES = 20
"""Of a block."""

FEWEST_BLOCKS = 5
"""Fewer independent blocks have no interval."""

EXPONENTS = (0.7, 1.3)
"""A mean square displacement that grows as t^a is diffusive for a between these."""

MOVED = 1.0
"""Å; atoms that have not moved as far, by the root mean square, vibrate."""

FS_PER_PS = 1000.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Diffusion:
    """A self-diffusion coefficient."""

    value: float
    """Å^2/ps: a sixth of the slope."""
    low: float | None
    """Lower end of the 95 % interval; None below five blocks."""
    high: float | None
    """Upper end."""
    nblocks: int
    """Independent blocks."""
    exponent: float
    """a of t^a over the lags that were fitted: 1 diffuses, 2 flies, 0 stays."""

    reach: float
    """Å, root mean square displacement at the longest lag that was fitted."""

    @property
    def is_diffusive(self) -> bool:
        """Whether the atoms diffuse, and measurably so."""
        is_sure = self.low is not None and self.low > 0
        is_far = self.reach >= MOVED
        return is_sure and is_far and EXPONENTS[0] <= self.exponent <= EXPONENTS[1]


def mean_square_displacement(path: Array, lags: NDArray[np.integer]) -> Array:
    """Return the mean square displacement at each lag, (lag), Å^2.

    Args:
        path: (frame, atom, 3), Å, without jumps at the faces of the cell.
        lags: Frames.
    """
    return np.array(
        [((path[lag:] - path[: len(path) - lag]) ** 2).sum(-1).mean() for lag in lags]
    )


def diffusion(
    paths: list[Array], *, timestep: float, mass: Array, nblocks: int = FEWEST_BLOCKS
) -> Diffusion | None:
    """Return the self-diffusion coefficient of one system.

        D = 1/6 d<|r(t + tau) - r(t)|^2>/dtau, least squares over 10 to 50 % of a block

    The motion of the centre of mass is taken out. Each path is cut into blocks that
    follow each other; the interval is Student's over their slopes.

    Args:
        paths: (frame, atom, 3) each, Å, of independent runs, without jumps.
        timestep: fs between two frames.
        mass: (atom), any unit.
        nblocks: Blocks wanted of all paths together.

    Returns:
        The coefficient of all atoms; None if no block has twenty frames.

    Source:
        A. Einstein, Ann. Phys. 322, 549 (1905).
    """
    pieces = _pieces([_at_rest(path, mass) for path in paths], nblocks)
    if not pieces:
        return None
    length = min(len(piece) for piece in pieces)
    lags = np.unique(np.linspace(FIRST * length, LAST * length, 20).round().astype(int))
    lags = lags[lags > 0]
    time = lags * timestep / FS_PER_PS
    moved = np.stack([mean_square_displacement(piece, lags) for piece in pieces])
    slopes = np.polyfit(time, moved.T, 1)[0] / 6
    mean = moved.mean(axis=0)
    exponent = 0.0
    if (mean > 0).all():
        exponent = float(np.polyfit(np.log(time), np.log(mean), 1)[0])
    low, high = _interval(slopes)
    return Diffusion(
        value=float(slopes.mean()),
        low=low,
        high=high,
        nblocks=len(slopes),
        exponent=exponent,
        reach=math.sqrt(float(mean[-1])),
    )


def _at_rest(path: Array, mass: Array) -> Array:
    centre = np.einsum("a,fac->fc", mass / mass.sum(), path)
    rest: Array = path - centre[:, None]
    return rest


def _pieces(paths: list[Array], nblocks: int) -> list[Array]:
    """Cut paths into blocks of one length."""
    each = max(1, math.ceil(nblocks / max(len(paths), 1)))
    found = []
    for path in paths:
        count = max(1, min(each, len(path) // FEWEST_FRAMES))
        length = len(path) // count
        if length >= FEWEST_FRAMES:
            found += [path[i * length : (i + 1) * length] for i in range(count)]
    return found


def _interval(slopes: Array) -> tuple[float, float] | tuple[None, None]:
    count = len(slopes)
    if count < FEWEST_BLOCKS:
        return None, None
    quantile = two_sided_quantile(0.05, float(count - 1))
    half = quantile * float(slopes.std(ddof=1)) / math.sqrt(count)
    return float(slopes.mean()) - half, float(slopes.mean()) + half
