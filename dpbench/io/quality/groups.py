"""Frames that are judged together: of one source, of one level of theory."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dpbench.store.dataset import DatasetVersion
from dpbench.store.theory.mixture import Level, compatibility, conflicts
from dpbench.store.theory.rules import is_undeclared

Index = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Group:
    """What frames have in common whose labels compare."""

    theory: str
    """Fingerprint of one of their compatible levels of theory."""
    state: str
    """Charge and multiplicity in words; "" for a neutral singlet or unknown."""
    formula: str
    """Hill formula; "" if frames of any composition are together."""


def sources(version: DatasetVersion) -> Iterator[tuple[int, Index]]:
    """Yield each source that has frames, and its frames."""
    source_of = version.source_of
    order = np.argsort(source_of, kind="stable").astype(np.int64)
    edges = np.flatnonzero(np.diff(source_of[order])) + 1
    for members in np.split(order, edges):
        if len(members):
            yield int(source_of[members[0]]), members


def groups(
    version: DatasetVersion, *, by_formula: bool
) -> Iterator[tuple[Group, Index]]:
    """Yield frames whose labels compare, and besides of one formula if asked for."""
    if not version.nframes:
        return
    levels, level_of = _levels(version)
    words, state_of = _states(version)
    formulas, formula_of = _formulas(version) if by_formula else ([""], 0 * state_of)
    codes = (level_of * len(words) + state_of) * len(formulas) + formula_of
    names, inverse = np.unique(codes, return_inverse=True)
    order = np.argsort(inverse, kind="stable").astype(np.int64)
    edges = np.searchsorted(inverse[order], np.arange(1, len(names)))
    for code, members in zip(names.tolist(), np.split(order, edges), strict=True):
        both, formula = divmod(code, len(formulas))
        level, state = divmod(both, len(words))
        group = Group(
            theory=levels[level], state=words[state], formula=formulas[formula]
        )
        yield group, members


def comparable(version: DatasetVersion) -> Index:
    """(frame), a number that frames share whose labels compare: level, state."""
    words, state_of = _states(version)
    return _levels(version)[1] * len(words) + state_of


def is_of_undeclared_level(version: DatasetVersion) -> NDArray[np.bool_]:
    """(frame), whether the source tells no level of theory (npy, extxyz)."""
    undeclared = [is_undeclared(source.theory) for source in version.sources]
    return np.array(undeclared, dtype=np.bool_)[version.source_of]


def states(version: DatasetVersion) -> Index:
    """(frame), a number that frames share of one charge and multiplicity.

    Frames of other charge or multiplicity have other energies for one structure.
    """
    return _states(version)[1]


def _states(version: DatasetVersion) -> tuple[list[str], Index]:
    """Electronic states in words, "" for neutral singlets or unknown; (frame) which."""
    charge = np.nan_to_num(version.charge, nan=0.0)
    multiplicity = np.where(version.multiplicity < 0, 1, version.multiplicity)
    charges, charge_of = np.unique(charge, return_inverse=True)
    spins, spin_of = np.unique(multiplicity, return_inverse=True)
    both, state_of = np.unique(charge_of * len(spins) + spin_of, return_inverse=True)
    pairs = [(charges[code // len(spins)], spins[code % len(spins)]) for code in both]
    words = [
        "" if value == 0 and spin == 1 else f"charge {value:g}, 2S+1 = {spin}"
        for value, spin in pairs
    ]
    return words, state_of.astype(np.int64)


def _formulas(version: DatasetVersion) -> tuple[list[str], Index]:
    """Formulas, sorted; (frame), which of them it has."""
    names = sorted(set(version.formulas))
    number = {name: code for code, name in enumerate(names)}
    codes = (number[name] for name in version.formulas)
    return names, np.fromiter(codes, dtype=np.int64, count=version.nframes)


def _levels(version: DatasetVersion) -> tuple[list[str], Index]:
    """One name for all levels of theory that are compatible; (frame), which."""
    levels = {source.theory_id: source.theory for source in version.sources}
    keys = {name: min(levels) for name in levels}
    if conflicts([Level(theory=theory) for theory in levels.values()]):
        heads: list[str] = []
        for name in sorted(levels):
            alike = (h for h in heads if not compatibility(levels[h], levels[name]))
            keys[name] = next(alike, name)
            if keys[name] == name:
                heads.append(name)
    names = sorted(set(keys.values()))
    number = {name: code for code, name in enumerate(names)}
    of_source = [number[keys[source.theory_id]] for source in version.sources]
    return names, np.array(of_source, dtype=np.int64)[version.source_of]


def sources_or_pools(
    version: DatasetVersion, least: int
) -> Iterator[tuple[str, Index]]:
    """Yield sources of enough frames, and the others pooled by level of theory."""
    pools: dict[str, list[Index]] = {}
    for source, members in sources(version):
        record = version.sources[source]
        if len(members) >= least:
            yield record.path, members
        else:
            pools.setdefault(record.theory_id, []).append(members)
    for theory, parts in sorted(pools.items()):
        yield f"small sources of theory {theory[:12]}", np.concatenate(parts)
