"""The distinct levels of theory of a version's sources, as they are compared."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from dpbench.store.dataset import DatasetVersion
from dpbench.store.theory.mixture import Level, Theory, notes_on

ASIDE = "theory_aside"
"""Key of a source's manifest entry: what is compared with the level of theory but is
no part of its identity. ``reciprocal`` (1/Å) are the reciprocal lengths of the cell
that the k-mesh belongs to: in the identity, they would make every cell a level of its
own. ``hashes`` are those of potential files that lay beside: with them the digest of a
calculation would depend on whether a POTCAR was kept."""

Source = Mapping[str, Any]


def levels_of(
    sources: Iterable[Source], theories: Mapping[str, Theory]
) -> tuple[Level, ...]:
    """Collect the distinct levels of sources.

    Args:
        sources: Entries of segments' manifests.
        theories: Levels of theory by fingerprint.
    """
    found: dict[tuple[str, str], Level] = {}
    for source in sources:
        aside = source.get(ASIDE) or {}
        key = (source["theory"], json.dumps(aside, sort_keys=True))
        known = found.get(key)
        found[key] = Level(
            theory=known.theory if known else joined(theories[key[0]], aside),
            n_sources=known.n_sources + 1 if known else 1,
            example=known.example if known else source["path"],
        )
    return tuple(found.values())


def notes_of(version: DatasetVersion) -> tuple[str, ...]:
    """Word what differs between the levels of a version without a contradiction."""
    return notes_on(levels_of_version(version))


def levels_of_version(version: DatasetVersion) -> tuple[Level, ...]:
    """Collect the distinct levels of theory of a version's sources."""
    sources = [source for s in version.segments for source in s.manifest["sources"]]
    return levels_of(sources, version.theories)


def joined(theory: Theory, aside: Mapping[str, Any]) -> Theory:
    """Put what stands aside where the rules look for it."""
    out = dict(theory)
    kpoints, potentials = out.get("kpoints"), out.get("pseudopotentials")
    if kpoints and aside.get("reciprocal"):
        out["kpoints"] = {**kpoints, "reciprocal": aside["reciprocal"]}
    if potentials and aside.get("hashes"):
        out["pseudopotentials"] = {
            label: _with_hash(value, aside["hashes"].get(label))
            for label, value in potentials.items()
        }
    return out


def _with_hash(value: Any, beside: str | None) -> Any:
    if not isinstance(value, Mapping) or value.get("hash"):
        return value
    return {**value, "hash": beside}
