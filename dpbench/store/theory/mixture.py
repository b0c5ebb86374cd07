"""Levels of theory: their fingerprints, and which may stand in one version."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dpbench.errors import DatasetError
from dpbench.store.objects import digest_of
from dpbench.store.theory.rules import RULES, Rule, Theory, equal, is_undeclared

__all__ = ["Theory", "is_undeclared"]

MOST_VALUES = 4
"""Values of one key that a message shows."""

MOST_RECORDED = 100
"""Values of one key that a version's payload records."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """One key in which two levels of theory are incompatible."""

    key: str
    """What differs, e.g. ``functional`` or ``pseudopotentials.Si``."""
    one: Any
    """Value of the first level."""
    other: Any
    """Value of the second."""
    note: str = ""
    """What makes them incompatible, where the values do not show it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Level:
    """A level of theory as it is compared, and the sources that share it."""

    theory: Theory
    """The level; k-points with the reciprocal lengths of their cell, potentials with
    the hashes of files that lay beside."""
    n_sources: int = 1
    """How many sources share it."""
    example: str = ""
    """Path of one of them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Claim:
    """One of several values that contradict each other."""

    value: Any
    """The value."""
    n_sources: int
    """How many sources say so."""
    example: str
    """Path of one of them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Conflict:
    """A key in which levels of theory are incompatible, and who says what."""

    key: str
    """As in ``Difference``."""
    claims: tuple[Claim, ...]
    """The values in question, the most frequent first; two at least."""
    note: str
    """As in ``Difference``."""

    def to_json(self) -> dict[str, Any]:
        """Return what a version's payload keeps."""
        return {
            "key": self.key,
            "values": [
                {"value": c.value, "n_sources": c.n_sources, "example": c.example}
                for c in self.claims[:MOST_RECORDED]
            ],
            "note": self.note,
        }


def fingerprint(theory: Theory) -> str:
    """Return the id of a level of theory: the sha256 of its canonical JSON."""
    return digest_of(dict(theory))


def compatibility(one: Theory, other: Theory) -> tuple[Difference, ...]:
    """Name all keys in which two levels of theory are incompatible; none = they agree.

    Compatible is less than equal: see ``theory_rules.RULES``.
    """
    found = []
    for conflict in conflicts([Level(theory=one), Level(theory=other)]):
        values = [_pick(conflict.key, theory) for theory in (one, other)]
        found.append(
            Difference(
                key=conflict.key, one=values[0], other=values[1], note=conflict.note
            )
        )
    return tuple(found)


def conflicts(levels: Iterable[Level]) -> tuple[Conflict, ...]:
    """Find all keys in which any two of many levels are incompatible.

    Each rule compares the distinct values that it picks, not the levels: thousands of
    sources with a handful of settings cost one pass.
    """
    levels = list(levels)
    declared = [level for level in levels if not is_undeclared(level.theory)]
    first, *others = RULES
    found = _conflicts_of(first, levels)
    for rule in others:
        found += _conflicts_of(rule, declared)
    return tuple(found)


def refuse_mixture(
    name: str, levels: Iterable[Level], *, allow: bool = False
) -> tuple[Conflict, ...]:
    """Check that the levels of theory of a version are compatible.

    Args:
        name: The dataset, for the message.
        levels: The distinct levels of its sources.
        allow: Return what differs instead of refusing it.

    Returns:
        What differs; empty unless ``allow``.

    Raises:
        DatasetError: Naming every key that differs, its values and a source of each.
    """
    found = conflicts(levels)
    if found and not allow:
        raise DatasetError(_mixture(name, found))
    return found


def notes_on(levels: Iterable[Level]) -> tuple[str, ...]:
    """Word what differs between levels without making them incompatible."""
    levels = [level for level in levels if not is_undeclared(level.theory)]
    lines = []
    shifts = _distinct(
        level.theory["kpoints"]["shift"]
        for level in levels
        if (level.theory.get("kpoints") or {}).get("shift") is not None
    )
    if len(shifts) > 1:
        lines.append(f"k-meshes differ in shift: {_list(shifts)}")
    programs = [(t.theory.get("code"), t.theory.get("code_version")) for t in levels]
    versions = _distinct(version for _, version in programs if version is not None)
    if len(versions) > 1 and len({code for code, _ in programs}) == 1:
        lines.append(f"versions of the code differ: {_list(versions)}")
    kinds = _distinct(
        level.theory["smearing"] for level in levels if level.theory.get("smearing")
    )
    if len(kinds) > 1:
        lines.append(f"smearings differ: {_list(kinds)}")
    widths = _distinct(
        level.theory["smearing_width"]
        for level in levels
        if level.theory.get("smearing_width") is not None
    )
    if any(not equal(widths[0], width) for width in widths[1:]):
        lines.append(f"smearing widths differ: {_list(widths)} eV")
    n_bare = sum(
        level.n_sources for level in levels if not level.theory.get("functional")
    )
    if n_bare:
        lines.append(f"{n_bare} sources do not tell their functional")
    return tuple(lines)


def _conflicts_of(rule: Rule, levels: Sequence[Level]) -> list[Conflict]:
    by_key: dict[str, dict[str, Claim]] = {}
    for level in levels:
        for key, value in rule.pick(level.theory).items():
            told = by_key.setdefault(key, {})
            text = json.dumps(value, sort_keys=True)
            known = told.get(text)
            told[text] = Claim(
                value=value,
                n_sources=level.n_sources + (known.n_sources if known else 0),
                example=known.example if known else level.example,
            )
    found = []
    for key, told in sorted(by_key.items()):
        claims = list(told.values())
        values = [claim.value for claim in claims]
        guilty = sorted({i for pair in _pairs(rule, values) for i in pair})
        if guilty:
            picked = sorted((claims[i] for i in guilty), key=lambda c: -c.n_sources)
            found.append(Conflict(key=key, claims=tuple(picked), note=rule.note))
    return found


def _pairs(rule: Rule, values: Sequence[Any]) -> list[tuple[int, int]]:
    if rule.conflicts is not None:
        return rule.conflicts(values)
    n = len(values)
    return [
        (i, j)
        for i in range(n)
        for j in range(i + 1, n)
        if not rule.agree(values[i], values[j])
    ]


def _pick(key: str, theory: Theory) -> Any:
    for rule in RULES:
        picked = rule.pick(theory)
        if key in picked:
            return picked[key]
    return None


def _distinct(values: Iterable[Any]) -> list[Any]:
    found: dict[str, Any] = {}
    for value in values:
        found.setdefault(json.dumps(value, sort_keys=True), value)
    return [found[text] for text in sorted(found)]


def _list(values: Sequence[Any]) -> str:
    more = len(values) - MOST_VALUES
    words = [show(value) for value in values[:MOST_VALUES]]
    return " and ".join(words) + (f" and {more} more" if more > 0 else "")


def show(value: Any) -> str:
    """Word a value of a level of theory."""
    if isinstance(value, Mapping) and value.keys() == {"title", "hash"}:
        return (
            f"{value['title']} ({value['hash']})" if value["hash"] else value["title"]
        )
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {show(item)}" for key, item in value.items()) or "none"
    if isinstance(value, float):
        return f"{value:.7g}"
    if isinstance(value, list | tuple):
        return " ".join(map(show, value)) or "none"
    return "unknown" if value is None else str(value)


def mixture_words(recorded: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    """Word the mixture that a version's payload records, a line for each key."""
    return tuple(
        f"mixed levels of theory: {entry['key']}: "
        + " | ".join(_most([show(claim["value"]) for claim in entry["values"]]))
        for entry in recorded
    )


def _mixture(name: str, found: Sequence[Conflict]) -> str:
    """Word a refusal: every key with its values, every group of sources once."""
    letters: dict[tuple[int, str, int], str] = {}
    lines = []
    for conflict in found:
        claims: list[str] = []
        before: list[Claim] = []
        for number, claim in enumerate(conflict.claims):
            words = show(claim.value)
            if number < MOST_VALUES:
                # One file, ingested as two levels, is two groups.
                twins = [c for c in before if c.example == claim.example]
                before.append(claim)
                group = (claim.n_sources, claim.example, len(twins))
                letter = letters.setdefault(group, _letter(len(letters)))
                words += f" [{letter}]"
            claims.append(words)
        note = f" ({conflict.note})" if conflict.note else ""
        lines.append(f"{conflict.key}{note}: {' but '.join(_most(claims))}")
    groups = [f"[{letter}] {_count(*group[:2])}" for group, letter in letters.items()]
    return (
        f"{name}: the sources mix levels of theory: {' | '.join(lines)}. "
        f"{'; '.join(groups)}. Expected one level of theory a dataset. "
        f"{_way_out(found)}"
    )


def _way_out(found: Sequence[Conflict]) -> str:
    if any(conflict.key == "theory" for conflict in found):
        return (
            "Sources keep the level that they were ingested with: to declare "
            "undeclared ones of a dataset, ingest them with --theory FILE into a new "
            "dataset, or retract its versions and ingest them again. Or say "
            "--allow-mixed-theory."
        )
    return "Ingest them into datasets of their own, or say --allow-mixed-theory."


def _letter(number: int) -> str:
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    return letters[number] if number < len(letters) else str(number + 1)


def _most(words: Sequence[str]) -> list[str]:
    more = len(words) - MOST_VALUES
    return [*words[:MOST_VALUES], *([f"{more} more"] if more > 0 else [])]


def _count(n_sources: int, example: str) -> str:
    noun = "source" if n_sources == 1 else "sources"
    return f"{n_sources} {noun}{f', e.g. {example}' if example else ''}"
