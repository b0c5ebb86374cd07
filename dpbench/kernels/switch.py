"""The smooth cutoff of Deep Potential descriptors."""

from typing import TYPE_CHECKING, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

# One implementation serves torch (models) and numpy (statistics without torch).
Array = TypeVar("Array", "Tensor", NDArray[np.floating])


class RadialTerms(NamedTuple):
    """The radial functions of an environment row, and their derivatives by r."""

    f: "Tensor"
    """w / (r + p), 1/Å."""
    h: "Tensor"
    """w / (r + p)^2, 1/Å^2."""
    df: "Tensor"
    """df/dr, 1/Å^2."""
    dh: "Tensor"
    """dh/dr, 1/Å^3."""


def switch_weight(r: Array, *, rcut_smth: float, rcut: float) -> Array:
    """Fall smoothly from one to zero between ``rcut_smth`` and ``rcut``.

    w(r) = u^3 (-6 u^2 + 15 u - 10) + 1 with
    u = (clip(r, rcut_smth, rcut) - rcut_smth) / (rcut - rcut_smth). w is C2.

    Args:
        r: Distances, Å, any shape.
        rcut_smth: Distance at which switching starts, Å.
        rcut: Cutoff radius, Å.

    Returns:
        Weights of the same shape; one below ``rcut_smth``, zero beyond ``rcut``.

    Source:
        Zhang et al., NeurIPS 31 (2018); DeePMD-kit documentation, "se_e2_a".
    """
    u = ((r - rcut_smth) / (rcut - rcut_smth)).clip(0, 1)
    weight: Array = u * u * u * ((15 - 6 * u) * u - 10) + 1
    return weight


def switch_slope(r: Array, *, rcut_smth: float, rcut: float) -> Array:
    """Return the derivative of ``switch_weight`` by r, 1/Å, of the same shape."""
    width = rcut - rcut_smth
    u = ((r - rcut_smth) / width).clip(0, 1)
    v = u * (1 - u)
    slope: Array = (-30 / width) * v * v
    return slope


def radial_terms(
    r: "Tensor", *, rcut_smth: float, rcut: float, protection: float
) -> RadialTerms:
    """Evaluate the radial functions f = w/(r+p), h = w/(r+p)^2 and their slopes.

    Args:
        r: Distances, Å, (edge); positive.
        rcut_smth: Distance at which switching starts, Å.
        rcut: Cutoff radius, Å.
        protection: p, Å; zero except where atoms may coincide.
    """
    width = rcut - rcut_smth
    u = ((r - rcut_smth) / width).clip(0, 1)
    w = switch_weight(r, rcut_smth=rcut_smth, rcut=rcut)
    v = u * (1 - u)
    dw = (-30 / width) * v * v
    q = 1 / (r + protection)
    f = w * q
    h = f * q
    df = dw * q - h
    dh = (df - h) * q
    return RadialTerms(f, h, df, dh)
