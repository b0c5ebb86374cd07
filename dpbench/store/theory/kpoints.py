"""Meshes of k-points compared by the spacing that they stand for.

A program that is told a spacing s rounds up: N = max(1, ceil(|b| / s)) divisions along
a reciprocal vector of length |b|. A mesh therefore stands for every s from |b|/N to
|b|/(N-1), one division for every s >= |b|. Two meshes agree if one spacing explains
both.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, combinations, product
from math import exp, floor, inf, isclose, log, pi
from typing import Any

import numpy as np
from numpy.typing import NDArray

ROUNDING = 0.10
"""Share by which a range of spacings is widened at both ends where one mesh serves both
cells, or a spacing is declared: cells strain and lattice vectors stray by a few %."""

NEAREST = 0.5
"""Divisions by which a mesh falls short of its spacing in programs that round to the
nearest number; between different meshes nothing else widens the ranges."""

NEAR_CELL = 0.05
"""Relative difference of reciprocal lengths up to which meshes are compared axis by
axis: there, another number of divisions is rounding or another spacing."""

FEW = 3
"""Divisions below which rounding is no excuse in nearly the same cell: 2 and 3 differ
by half of the spacing, as meshes of a convergence test do."""

SAME_CELL = 1e-3
"""Relative difference of reciprocal lengths up to which two cells count as one: in one
cell, one spacing gives one mesh."""

BIN = 0.06
"""Width of a bin of reciprocal lengths, in their logarithm; more than ``NEAR_CELL``."""

DIGITS = 5
"""Significant digits of a reciprocal length that are kept."""

_AXES = 3

NO_BIN = -(10**9)
"""Stands for an axis that is not periodic."""


def reciprocal_lengths(
    box: NDArray[np.float64], pbc: NDArray[np.bool_]
) -> list[float | None] | None:
    """Return the lengths of the reciprocal vectors, 1/Å, with the factor 2 pi.

    Args:
        box: (3, 3), Å, rows are cell vectors; NaN = no cell.
        pbc: (3), periodic along each.

    Returns:
        One length a vector, None along a direction that is not periodic; None without
        a cell.
    """
    volume = float(np.dot(box[0], np.cross(box[1], box[2])))
    if not np.isfinite(volume) or volume == 0.0:
        return None
    lengths: list[float | None] = []
    for axis in range(_AXES):
        b, c = box[(axis + 1) % _AXES], box[(axis + 2) % _AXES]
        length = 2 * pi * float(np.linalg.norm(np.cross(b, c))) / abs(volume)
        lengths.append(float(f"{length:.{DIGITS}g}") if pbc[axis] else None)
    return lengths if any(pbc) else None


def spacings(kpoints: Mapping[str, Any]) -> list[float] | None:
    """Return the distance of neighbouring points along each periodic axis, 1/Å."""
    axes = _axes(kpoints)
    return None if axes is None else [b / n for n, b in axes]


def spacing_range(kpoints: Mapping[str, Any]) -> tuple[float, float] | None:
    """Return the spacings, 1/Å, that a mesh stands for; None if it cannot be told.

    An axis of one division tells only that the spacing is no finer than its |b|: a
    molecule or slab in a large box needs no more. Along the others the geometric mean
    counts, because one mesh given for a cell of unequal sides follows no spacing.

    Args:
        kpoints: ``mesh`` and ``reciprocal`` (1/Å), or ``spacing`` as declared.
    """
    declared = kpoints.get("spacing")
    if declared is not None:
        return float(declared), float(declared)
    axes = _axes(kpoints)
    if axes is None:
        return None
    sampled = [(b / n, b / (n - 1)) for n, b in axes if n > 1]
    single = [b for n, b in axes if n == 1]
    if not sampled:
        return max(single), inf
    low, high = _means(sampled)
    # One division along a short cell vector is coarse, not idle: it counts.
    coarse = [(b, 2 * b) for b in single if b > high]
    return _means([*sampled, *coarse]) if coarse else (low, high)


def agree(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether one spacing explains both; what cannot be told contradicts nothing."""
    if _is_near_cell(one, other, SAME_CELL):
        return list(one["mesh"]) == list(other["mesh"])
    if _is_near_cell(one, other, NEAR_CELL):
        return all(_is_rounding(a, b) for a, b in _pairs(one, other))
    a, b = spacing_range(one), spacing_range(other)
    if a is None or b is None:
        return True
    if _mesh(one) and _mesh(other) and _mesh(one) != _mesh(other):
        a, b = (_low(one, a), a[1]), (_low(other, b), b[1])
        return max(a[0], b[0]) <= min(a[1], b[1])
    low, high = max(a[0], b[0]), min(a[1], b[1])
    return low * (1 - ROUNDING) < high * (1 + ROUNDING)


def conflicts(values: Sequence[Mapping[str, Any]]) -> list[tuple[int, int]]:
    """Find pairs that disagree without comparing all with all.

    Ranges all overlap if the highest start is no higher than the lowest end; that is
    asked of each mesh, and then of all. Otherwise different meshes are compared pair by
    pair where their cells are near, or everywhere if the ranges do not all overlap. So
    thousands of cells of one mesh cost no more than a pass each.

    Returns:
        Pairs of positions; at least one if any two values disagree.
    """
    by_mesh: dict[tuple[int, ...], list[int]] = {}
    for i, value in enumerate(values):
        by_mesh.setdefault(_mesh(value), []).append(i)
    found: set[tuple[int, int]] = set()
    for group in by_mesh.values():
        pair = _extremes(values, group, is_tight=False)
        if pair is not None and not agree(values[pair[0]], values[pair[1]]):
            found.add(pair)
    if found or len(by_mesh) == 1:
        return sorted(found)
    farthest = _extremes(values, range(len(values)), is_tight=True)
    beside: Iterator[tuple[int, int]] = chain(_same_pairs(values), _near_pairs(values))
    if farthest is not None:
        groups = combinations(by_mesh.values(), 2)
        beside = chain([farthest], *(product(one, other) for one, other in groups))
    first = next((p for p in beside if not agree(values[p[0]], values[p[1]])), None)
    return [] if first is None else [(min(first), max(first))]


def _extremes(
    values: Sequence[Mapping[str, Any]], group: Iterable[int], *, is_tight: bool
) -> tuple[int, int] | None:
    """Return the two whose ranges are farthest apart; None if all overlap."""
    ranges = [(r, i) for i in group if (r := spacing_range(values[i]))]
    if is_tight:
        ranges = [((_low(values[i], r), r[1]), i) for r, i in ranges]
    if not ranges:
        return None
    first = min(ranges, key=lambda item: item[0][1])
    last = max(ranges, key=lambda item: item[0][0])
    if last[0][0] <= first[0][1]:
        return None
    return min(first[1], last[1]), max(first[1], last[1])


def _same_pairs(values: Sequence[Mapping[str, Any]]) -> Iterator[tuple[int, int]]:
    """Yield all pairs of different meshes in one cell, and some others."""
    buckets: dict[tuple[int, ...], dict[tuple[int, ...], list[int]]] = {}
    for i, value in enumerate(values):
        mine, own = _mesh(value), _cell_key(value, SAME_CELL)
        for key in _keys_beside(own) if mine else ():
            for mesh, group in buckets.get(key, {}).items():
                if mesh != mine:
                    yield from ((j, i) for j in group)
        buckets.setdefault(own, {}).setdefault(mine, []).append(i)


def _near_pairs(values: Sequence[Mapping[str, Any]]) -> Iterator[tuple[int, int]]:
    """Yield the pairs of different meshes in near cells that may disagree.

    Where rounding explains the extremes of two groups of cells, it explains all.
    """
    buckets: dict[tuple[int, ...], dict[tuple[int, ...], list[int]]] = {}
    for i, value in enumerate(values):
        if mesh := _mesh(value):
            key = _cell_key(value, BIN)
            buckets.setdefault(key, {}).setdefault(mesh, []).append(i)
    for own, here in buckets.items():
        for key in _keys_beside(own):
            for one, other in product(here, buckets.get(key, {})):
                mine, theirs = here[one], buckets.get(key, {}).get(other, [])
                is_once = (own, one) < (key, other)
                if one != other and is_once and not _all_round(values, mine, theirs):
                    yield from product(mine, theirs)


def _all_round(
    values: Sequence[Mapping[str, Any]], one: Sequence[int], other: Sequence[int]
) -> bool:
    """Whether rounding explains each pair of two groups of one mesh each."""
    spans = [
        [
            (axis[0][0], min(b for _, b in axis), max(b for _, b in axis))
            for axis in axes
        ]
        for axes in (
            zip(*(_axes(values[i]) or [] for i in group), strict=True)
            for group in (one, other)
        )
    ]
    return all(
        n == m
        or any(
            _explains((n, low), (m, top), mode)
            and _explains((n, high), (m, least), mode)
            for mode in _modes(n, m)
        )
        for (n, low, high), (m, least, top) in zip(*spans, strict=False)
    )


def _mesh(kpoints: Mapping[str, Any]) -> tuple[int, ...]:
    """Return the divisions; none if they are not told or a spacing is declared."""
    is_told = kpoints.get("spacing") is None and kpoints.get("reciprocal")
    return tuple(kpoints.get("mesh") or ()) if is_told else ()


def _low(kpoints: Mapping[str, Any], found: tuple[float, float]) -> float:
    """Lower the finest spacing by what rounding to the nearest may leave out."""
    sampled = [n for n in _mesh(kpoints) if n > 1]
    return found[0] / (1 + NEAREST / min(sampled)) if sampled else found[0]


def _pairs(
    one: Mapping[str, Any], other: Mapping[str, Any]
) -> list[tuple[tuple[int, float], tuple[int, float]]]:
    """Pair (divisions, reciprocal length) of the periodic axes."""
    return list(zip(_axes(one) or [], _axes(other) or [], strict=False))


def _is_rounding(one: tuple[int, float], other: tuple[int, float]) -> bool:
    """Whether rounding one spacing, up or to the nearest, explains both divisions."""
    n, m = one[0], other[0]
    return n == m or any(_explains(one, other, mode) for mode in _modes(n, m))


def _modes(n: int, m: int) -> tuple[tuple[float, float], ...]:
    """Return what rounding adds and takes at most: up, and to the nearest."""
    return ((0.0, 1.0), (NEAREST, NEAREST)) if min(n, m) >= FEW else ()


def _explains(
    one: tuple[int, float], other: tuple[int, float], mode: tuple[float, float]
) -> bool:
    (n, a), (m, b), (more, less) = one, other, mode
    finest = max(a / (n + more), b / (m + more))
    slack = 1 + 10.0 ** (1 - DIGITS)  # lengths are kept to so many digits
    return finest <= slack * min(a / (n - less), b / (m - less))


def _axes(kpoints: Mapping[str, Any]) -> list[tuple[int, float]] | None:
    mesh, reciprocal = kpoints.get("mesh"), kpoints.get("reciprocal")
    if not mesh or not reciprocal:
        return None
    pairs = zip(mesh, reciprocal, strict=True)
    return [(int(n), float(b)) for n, b in pairs if b is not None and n > 0] or None


def _means(pairs: Sequence[tuple[float, float]]) -> tuple[float, float]:
    low, high = zip(*pairs, strict=True)
    n = len(pairs)
    return exp(sum(map(log, low)) / n), exp(sum(map(log, high)) / n)


def _is_near_cell(
    one: Mapping[str, Any], other: Mapping[str, Any], tolerance: float
) -> bool:
    a, b = one.get("reciprocal"), other.get("reciprocal")
    if not a or not b or not _mesh(one) or not _mesh(other):
        return False
    return all(
        x is y or (x is not None and y is not None and isclose(x, y, rel_tol=tolerance))
        for x, y in zip(a, b, strict=True)
    )


def _cell_key(value: Mapping[str, Any], width: float) -> tuple[int, ...]:
    lengths = value.get("reciprocal") or ()
    return tuple(NO_BIN if b is None else floor(log(b) / width) for b in lengths)


def _keys_beside(own: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """Yield the keys under which an equal cell may stand: its own and those beside."""
    return product(*((n,) if n == NO_BIN else range(n - 1, n + 2) for n in own))
