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
    keys = comparable(version)
    if by_formula:
        formulas = np.array(version.formulas, dtype=np.str_)
        keys = np.char.add(np.char.add(keys, "|"), formulas)
    names, inverse = np.unique(keys, return_inverse=True)
    order = np.argsort(inverse, kind="stable").astype(np.int64)
    edges = np.searchsorted(inverse[order], np.arange(1, len(names)))
    for name, members in zip(names.tolist(), np.split(order, edges), strict=True):
        theory, state, formula = [*name.split("|"), ""][:3]
        yield Group(theory=theory, state=state.strip(), formula=formula), members


def comparable(version: DatasetVersion) -> NDArray[np.str_]:
    """(frame), a key that frames share whose labels compare: level of theory, state."""
    levels = _level_keys(version)[version.source_of]
    keys: NDArray[np.str_] = np.char.add(np.char.add(levels, "|"), states(version))
    return keys


def is_of_undeclared_level(version: DatasetVersion) -> NDArray[np.bool_]:
    """(frame), whether the source tells no level of theory (npy, extxyz)."""
    undeclared = [is_undeclared(source.theory) for source in version.sources]
    return np.array(undeclared, dtype=np.bool_)[version.source_of]


def states(version: DatasetVersion) -> NDArray[np.str_]:
    """(frame), electronic state in words, "" for a neutral singlet or an unknown one.

    Frames of other charge or multiplicity have other energies for one structure.
    """
    charge = np.nan_to_num(version.charge, nan=0.0)
    multiplicity = np.where(version.multiplicity < 0, 1, version.multiplicity)
    words = np.full(version.nframes, "", dtype="U40")
    for frame in np.flatnonzero((charge != 0) | (multiplicity != 1)).tolist():
        words[frame] = f" charge {charge[frame]:g}, 2S+1 = {multiplicity[frame]}"
    return words


def _level_keys(version: DatasetVersion) -> NDArray[np.str_]:
    """(source), one name for all levels of theory that are compatible."""
    levels = {source.theory_id: source.theory for source in version.sources}
    keys = {name: min(levels) for name in levels}
    if conflicts([Level(theory=theory) for theory in levels.values()]):
        heads: list[str] = []
        for name in sorted(levels):
            alike = (h for h in heads if not compatibility(levels[h], levels[name]))
            keys[name] = next(alike, name)
            if keys[name] == name:
                heads.append(name)
    return np.array([keys[source.theory_id] for source in version.sources], dtype="U64")


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
