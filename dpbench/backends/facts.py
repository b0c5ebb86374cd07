"""What a worker says of the model that it has opened, checked before it is believed."""

from collections.abc import Mapping
from typing import Any

from dpbench.backends.keeper import printable
from dpbench.backends.protocol import ProtocolError

TEXTS = ("precision", "backend", "device", "description")
"""Facts that are text, or missing."""

LONGEST = 2000
"""Characters of a text."""

MOST_TYPES = 1000

FARTHEST = 1e6
"""Å."""


def checked_facts(facts: Any, versions: Mapping[str, Any]) -> dict[str, Any]:
    """Return the facts of a model with every field as it should be.

    Args:
        facts: What the worker said.
        versions: Of the worker's Python and numpy; added to the backend's own.

    Returns:
        ``type_map`` (list of names), ``rcut`` (Å, or None), ``precision``, ``backend``,
        ``device``, ``description`` (text, or None), ``versions`` (name -> text), and
        whatever else the worker said, as JSON.

    Raises:
        ProtocolError: If a field cannot be what it should.
    """
    if not isinstance(facts, dict):
        raise ProtocolError("facts that are no object")
    checked: dict[str, Any] = dict(facts)
    type_map = facts.get("type_map")
    if not isinstance(type_map, list) or not 0 < len(type_map) <= MOST_TYPES:
        raise ProtocolError("a type_map that is no list of elements")
    for name in type_map:
        if not isinstance(name, str) or not 0 < len(name) <= 32:
            raise ProtocolError("a type_map that is no list of elements")
    checked["type_map"] = [printable(name) for name in type_map]
    checked["rcut"] = _distance(facts.get("rcut"))
    for key in TEXTS:
        value = facts.get(key)
        if value is not None and not isinstance(value, str):
            raise ProtocolError(f"a {key} that is no text")
        checked[key] = None if value is None else printable(value)[:LONGEST]
    own = facts.get("versions", {})
    if not isinstance(own, dict):
        raise ProtocolError("versions that are no object")
    checked["versions"] = {
        printable(str(name))[:80]: printable(str(value))[:80]
        for name, value in {**versions, **own}.items()
    }
    return checked


def _distance(value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ProtocolError("an rcut that is no number")
    if not 0 < value < FARTHEST:
        raise ProtocolError(f"rcut = {str(value)[:20]}; expected a distance in Å")
    return float(value)
