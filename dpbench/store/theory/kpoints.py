"""Meshes of k-points compared by the spacing that they stand for.

A program that is told a spacing s rounds up: N = max(1, ceil(|b| / s)) divisions along
a reciprocal vector of length |b|. A mesh therefore stands for every s from |b|/N to
|b|/(N-1), one division for every s >= |b|. Two meshes agree if one spacing explains
both.
"""

from collections.abc import Mapping, Sequence
from math import exp, floor, inf, isclose, log, pi
from typing import Any

import numpy as np
from numpy.typing import NDArray

ROUNDING = 0.10
"""Share by which a range of spacings is widened at both ends. Some programs round to
the nearest number of divisions: from three divisions on, that leaves no larger gaps
between the ranges that rounding up gives; for fewer, their spacings do differ. And a
lattice vector of a hot or strained cell strays by a few %."""

SAME_CELL = 1e-3
"""Relative difference of reciprocal lengths up to which two cells count as one: in one
cell, one spacing gives one mesh."""

DIGITS = 5
"""Significant digits of a reciprocal length that are kept."""

_AXES = 3


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
    if _is_same_cell(one, other):
        return list(one["mesh"]) == list(other["mesh"])
    a, b = spacing_range(one), spacing_range(other)
    return a is None or b is None or _overlap(a, b)


def conflicts(values: Sequence[Mapping[str, Any]]) -> list[tuple[int, int]]:
    """Find pairs that disagree without comparing all with all.

    Ranges all overlap if the highest start is no higher than the lowest end; meshes of
    one cell can only be neighbours in a grid of reciprocal lengths. So thousands of
    cells cost no more than a pass each.

    Returns:
        Pairs of positions; at least one if any two values disagree.
    """
    found: list[tuple[int, int]] = []
    ranges = [(r, i) for i, v in enumerate(values) if (r := spacing_range(v))]
    if ranges:
        first = min(ranges, key=lambda item: item[0][1])
        last = max(ranges, key=lambda item: item[0][0])
        pair = sorted((first[1], last[1]))
        if not agree(values[pair[0]], values[pair[1]]):
            found.append((pair[0], pair[1]))
    buckets: dict[tuple[int, ...], list[int]] = {}
    for i, value in enumerate(values):
        for key in _cell_keys(value):
            near = buckets.get(key, ())
            found += [(j, i) for j in near if not agree(values[j], value)]
        buckets.setdefault(_cell_key(value), []).append(i)
    return sorted({(min(pair), max(pair)) for pair in found})


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


def _overlap(a: tuple[float, float], b: tuple[float, float]) -> bool:
    low, high = max(a[0], b[0]), min(a[1], b[1])
    return low * (1 - ROUNDING) < high * (1 + ROUNDING)


def _is_same_cell(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    a, b = one.get("reciprocal"), other.get("reciprocal")
    if not a or not b or not one.get("mesh") or not other.get("mesh"):
        return False
    return all(
        x is y or (x is not None and y is not None and isclose(x, y, rel_tol=SAME_CELL))
        for x, y in zip(a, b, strict=True)
    )


def _cell_key(value: Mapping[str, Any]) -> tuple[int, ...]:
    lengths = value.get("reciprocal") or ()
    return tuple(-1 if b is None else floor(log(b) / SAME_CELL) for b in lengths)


def _cell_keys(value: Mapping[str, Any]) -> list[tuple[int, ...]]:
    """Return the keys under which an equal cell may stand: its own and those beside."""
    keys: list[tuple[int, ...]] = [()]
    own = _cell_key(value)
    if not own or not value.get("mesh"):
        return []
    for bin_number in own:
        near = (-1,) if bin_number == -1 else range(bin_number - 1, bin_number + 2)
        keys = [(*key, n) for key in keys for n in near]
    return keys
