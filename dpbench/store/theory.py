"""Levels of theory: their fingerprints, and which may stand in one version."""

from collections.abc import Iterable, Mapping
from math import isclose
from typing import Any

from dpbench.errors import DatasetError
from dpbench.store.objects import digest_of

Theory = Mapping[str, Any]

COMPARED = ("code", "functional", "dispersion", "hubbard_u", "cutoff", "energy_kind")
"""Keys that two levels of theory must share for their energies to compare. Others, such
as k-points and smearing, differ rightly between cells of one data set."""

COMPARED_BY_ELEMENT = ("basis", "pseudopotentials")
"""Keys {element: ...} that must agree for the elements that both name."""

PRINTED = 1e-6
"""Relative difference that two programs' printing of one number may leave."""


def fingerprint(theory: Theory) -> str:
    """Return the id of a level of theory: the sha256 of its canonical JSON."""
    return digest_of(dict(theory))


def differing_keys(one: Theory, other: Theory) -> list[str]:
    """Name the keys in which two levels of theory contradict each other.

    What either does not declare is no contradiction.
    """
    keys = [key for key in COMPARED if _differ(one.get(key), other.get(key))]
    for key in COMPARED_BY_ELEMENT:
        a, b = one.get(key), other.get(key)
        if not isinstance(a, Mapping) or not isinstance(b, Mapping):
            continue
        shared = sorted(a.keys() & b.keys())
        keys += [
            f"{key}.{element}" for element in shared if _differ(a[element], b[element])
        ]
    return keys


def refuse_mixture(name: str, theories: Iterable[Theory]) -> None:
    """Check that no two levels of theory of a version contradict each other.

    Raises:
        DatasetError: Naming the first contradiction.
    """
    seen: list[Theory] = []
    for theory in theories:
        for other in seen:
            keys = differing_keys(other, theory)
            if keys:
                raise DatasetError(_mixture(name, keys[0], other, theory))
        seen.append(theory)


def _differ(one: Any, other: Any) -> bool:
    """Tell whether two values contradict each other; None contradicts nothing."""
    if one is None or other is None:
        return False
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return any(_differ(one[key], other[key]) for key in one.keys() & other.keys())
    if isinstance(one, float) and isinstance(other, float):
        return not isclose(one, other, rel_tol=PRINTED)
    return bool(one != other)


def _mixture(name: str, key: str, one: Theory, other: Theory) -> str:
    first, _, element = key.partition(".")
    a, b = (t[first][element] if element else t[first] for t in (one, other))
    return (
        f"{name}: the sources mix levels of theory: {key} is {a!r} in some and {b!r} "
        "in others; expected one level of theory a dataset. Ingest them into datasets "
        "of their own, or say --allow-mixed-theory."
    )
