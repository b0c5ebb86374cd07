"""Equation of state of a crystal: energy against volume around its minimum."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dpbench.units import GPA

DELTA_SPAN = 0.06
"""Part of the volume on either side of the minimum over which curves are compared."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EquationOfState:
    """Third-order Birch-Murnaghan curve.

    E is a polynomial of third degree in x = V^(-2/3), so that the fit is linear.

    Source: F. Birch, Phys. Rev. 71, 809 (1947).
    """

    coefficients: tuple[float, float, float, float]
    """Of x^0 to x^3, eV/atom and powers of Å^2."""
    volume: float
    """Å^3/atom at the minimum."""
    energy: float
    """eV/atom there."""
    bulk_modulus: float
    """GPa there."""
    derivative: float
    """dB/dP there."""
    residual: float
    """eV/atom, RMS of the fit."""

    def __call__(self, volume: NDArray[np.float64]) -> NDArray[np.float64]:
        """Energy at some volumes, eV/atom; volumes are Å^3/atom."""
        x = volume ** (-2 / 3)
        return np.asarray(np.polynomial.polynomial.polyval(x, self.coefficients))


def fit_equation_of_state(
    volume: NDArray[np.float64], energy: NDArray[np.float64]
) -> EquationOfState | None:
    """Fit energies at some volumes.

    Args:
        volume: (point), Å^3/atom; five points at least.
        energy: (point), eV/atom.

    Returns:
        The curve; None where an energy is no number, or no minimum lies among the
        volumes.
    """
    if len(volume) < 5 or not np.isfinite(energy).all():
        return None
    x = volume ** (-2 / 3)
    # Centred and scaled, or the powers of x are all alike to the solver.
    origin = float(energy.mean())
    local = np.polynomial.Polynomial.fit(x, energy - origin, 3)
    best = _minimum(local)
    if best is None or not x.min() <= best <= x.max():
        return None
    v0 = best ** (-3 / 2)
    first, second = -2 / 3 * v0 ** (-5 / 3), 10 / 9 * v0 ** (-8 / 3)
    bend, twist = local.deriv(2)(best), local.deriv(3)(best)
    curvature = bend * first**2
    change = twist * first**3 + 3 * bend * first * second
    c = local.convert().coef
    plain = [float(value) for value in (*c, 0.0, 0.0, 0.0)]
    return EquationOfState(
        coefficients=(plain[0] + origin, plain[1], plain[2], plain[3]),
        volume=float(v0),
        energy=float(local(best)) + origin,
        bulk_modulus=float(v0 * curvature / GPA),
        derivative=float(-1 - v0 * change / curvature),
        residual=float(np.sqrt(np.mean((local(x) + origin - energy) ** 2))),
    )


def _minimum(local: np.polynomial.Polynomial) -> float | None:
    """Where a cubic has its minimum; exact as the cubic term vanishes (B' = 4)."""
    _, one, two, three = (float(c) for c in np.append(local.coef, np.zeros(4))[:4])
    inside = two**2 - 3 * one * three
    if inside <= 0:
        return None
    root = math.sqrt(inside)
    if two > 0:
        place = -one / (root + two)
    elif three:
        place = (root - two) / (3 * three)
    else:
        return None
    offset, scale = local.mapparms()
    return float((place - offset) / scale)


def delta(one: EquationOfState, other: EquationOfState) -> float:
    """RMS difference of two curves above their minima, eV/atom.

    Delta^2 = mean over V of ((E1 - E1_min) - (E2 - E2_min))^2, V within 6 % of the mean
    of both minima.

    Source: K. Lejaeghere et al., doi:10.1080/10408436.2013.772503.
    """
    centre = (one.volume + other.volume) / 2
    # 24 Gauss points: exact to far more digits than the curves have.
    nodes, weights = np.polynomial.legendre.leggauss(24)
    volume = centre * (1 + DELTA_SPAN * nodes)
    gap = (one(volume) - one.energy) - (other(volume) - other.energy)
    return math.sqrt(float((weights * gap**2).sum() / 2))
