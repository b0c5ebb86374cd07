"""What the text of an output that dpdata reads tells of its level of theory."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True, slots=True)
class Told:
    """Level of theory, charge and multiplicity of one calculation."""

    theory: dict[str, Any] = field(default_factory=dict)
    """Keys as in ``THEORY_KEYS``; what is not printed plainly is left out."""
    charge: float | None = None
    """Total charge, e."""
    multiplicity: int | None = None
    """Spin multiplicity 2S + 1."""


def one_basis(name: str | None, elements: tuple[str, ...]) -> dict[str, Any] | None:
    """Say of every element that it has the basis of the whole calculation."""
    if not name:
        return None
    return {symbol: {"title": name, "hash": None} for symbol in elements}
