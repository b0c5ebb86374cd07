"""What the text of an output that dpdata reads tells of its level of theory."""

from dataclasses import dataclass, field
from math import isfinite
from typing import Any

import numpy as np
from numpy.typing import NDArray

MOST_MULTIPLICITY = 10_000
"""No calculation has as many unpaired electrons; a file has two digits side by side."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Told:
    """Level of theory, charge and multiplicity of one calculation."""

    theory: dict[str, Any] = field(default_factory=dict)
    """Keys as in ``THEORY_KEYS``; what is not printed plainly is left out."""
    charge: float | None = None
    """Total charge, e."""
    multiplicity: int | None = None
    """Spin multiplicity 2S + 1."""


def charges(nframes: int, charge: float | None) -> NDArray[np.float64] | None:
    """Give every frame the charge of its calculation; None if it is no number."""
    if charge is None or not isfinite(charge):
        return None
    return np.full(nframes, charge, dtype=np.float64)


def multiplicities(nframes: int, spin: int | None) -> NDArray[np.int16] | None:
    """Give every frame the multiplicity of its calculation; None if none can be."""
    if spin is None or not 0 < spin < MOST_MULTIPLICITY:
        return None
    return np.full(nframes, spin, dtype=np.int16)


def one_basis(name: str | None, elements: tuple[str, ...]) -> dict[str, Any] | None:
    """Say of every element that it has the basis of the whole calculation."""
    if not name:
        return None
    return {symbol: {"title": name, "hash": None} for symbol in elements}
