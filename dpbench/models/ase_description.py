"""Descriptions of ASE's calculators (``.ase.toml``, ``.ase.json``), told from text."""

import json
import tomllib
from typing import Any

OPENERS = ("calculator", "loader")
"""A description names one of them."""

KEYS = {
    *OPENERS,
    "arguments",
    "type_map",
    "rcut",
    "precision",
    "device",
    "atom_energy",
    "weights",
}
"""As ``ase_calculator.py`` knows them, which imports nothing of dpbench."""

PLAIN = (
    "ase.calculators.emt:EMT",
    "ase.calculators.lj:LennardJones",
    "ase.calculators.morse:MorsePotential",
)
"""Calculators that neither run a program nor read a file."""

TEXT_WEIGHTS = ("nep",)
"""Loaders whose files of weights are text."""


def ase_description_kind(text: str) -> tuple[str, str] | None:
    """Tell whether a text describes a calculator of ASE; return kind and words.

    A loader without weights takes what its package ships, and a few calculators
    are formulas: such a description is data. Any other may run whatever lies in its
    weights or in the arguments of its class; who trusts its digest trusts the weights
    too, whose sha256 it holds.

    Args:
        text: The whole file.
    """
    # Parsed first: a key may be spelt with escapes.
    known = _table(text)
    if known is None or not set(known) <= KEYS or not set(known) & set(OPENERS):
        return None
    loader, weights = known.get("loader"), known.get("weights")
    if "loader" in known:
        is_data = weights is None or loader in TEXT_WEIGHTS
    else:
        is_data = weights is None and known["calculator"] in PLAIN
    if is_data and not set(OPENERS) <= set(known):
        return "text-potential", "description of a calculator of ASE"
    return "unknown", "description of a calculator of ASE that may run a program"


def _table(text: str) -> dict[str, Any] | None:
    """Read TOML, or JSON; None where it is neither."""
    try:
        known = json.loads(text) if text.lstrip()[:1] == "{" else tomllib.loads(text)
    except (ValueError, RecursionError):
        return None
    return known if isinstance(known, dict) else None
