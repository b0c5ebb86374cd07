from itertools import combinations
from math import ceil, inf, pi

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpbench.store.theory import kpoints
from dpbench.store.theory.kpoints import (
    FEW,
    NEAR_CELL,
    SAME_CELL,
    agree,
    conflicts,
    reciprocal_lengths,
    spacing_range,
    spacings,
)


def cubic(divisions, side):
    """An N x N x N mesh of a cubic cell of ``side`` Å."""
    return {"mesh": [divisions] * 3, "reciprocal": [2 * pi / side] * 3}


def is_tipping(one, other):
    """One cell, or nearly one of few divisions, where rounding tips over to another."""
    near = one["reciprocal"] == pytest.approx(other["reciprocal"], rel=1.1 * NEAR_CELL)
    same = one["reciprocal"] == pytest.approx(other["reciprocal"], rel=2 * SAME_CELL)
    few = any(
        n != m and min(n, m) < FEW
        for n, m in zip(one["mesh"], other["mesh"], strict=True)
    )
    return same or (near and few)


def test_reciprocal_lengths_are_those_of_the_reciprocal_cell():
    rng = np.random.default_rng(0)
    box = rng.normal(size=(3, 3)) + 3 * np.eye(3)
    expected = np.linalg.norm(2 * pi * np.linalg.inv(box), axis=0)
    found = reciprocal_lengths(box, np.ones(3, dtype=bool))
    assert found == pytest.approx(expected, rel=1e-4)
    slab = reciprocal_lengths(box, np.array([True, True, False]))
    assert slab[2] is None
    assert reciprocal_lengths(np.full((3, 3), np.nan), np.zeros(3, dtype=bool)) is None


def test_spacing_is_two_pi_over_n_times_a():
    assert spacings(cubic(4, 5.0)) == pytest.approx([2 * pi / (4 * 5.0)] * 3)


@given(
    spacing=st.floats(0.1, 1.0),
    sides=st.lists(st.floats(2.0, 30.0), min_size=2, max_size=2),
)
def test_two_cubic_cells_meshed_at_one_spacing_agree(spacing, sides):
    a, b = (cubic(max(1, ceil(2 * pi / side / spacing)), side) for side in sides)
    assert agree(a, b) or is_tipping(a, b)


SIDES = st.tuples(*[st.floats(2.0, 30.0)] * 3)


@given(spacing=st.floats(0.1, 1.0), cells=st.lists(SIDES, min_size=2, max_size=6))
def test_cells_of_any_sides_meshed_at_one_spacing_agree(spacing, cells):
    values = []
    for sides in cells:
        lengths = [2 * pi / side for side in sides]
        mesh = [max(1, ceil(b / spacing)) for b in lengths]
        values.append({"mesh": mesh, "reciprocal": lengths})
    for i, j in conflicts(values):
        assert is_tipping(values[i], values[j])


@given(
    spacing=st.floats(0.1, 1.0),
    sides=st.lists(st.floats(2.0, 30.0), min_size=2, max_size=2),
)
def test_rounding_to_the_nearest_division_is_within_the_tolerance(spacing, sides):
    divisions = [round(2 * pi / side / spacing) for side in sides]
    if min(divisions) >= 3:
        one, other = (cubic(n, side) for n, side in zip(divisions, sides, strict=True))
        assert agree(one, other) or is_tipping(one, other)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (cubic(4, 4.05), cubic(4, 4.5), True),
        (cubic(2, 5.4), cubic(3, 5.4), False),
        (cubic(4, 5.4), cubic(2, 10.8), True),
        (cubic(4, 5.4), cubic(6, 5.6), False),
        (cubic(1, 5.4), cubic(2, 5.5), False),
        (cubic(1, 5.4), cubic(2, 4.9), True),
        (cubic(2, 5.25), cubic(2, 5.55), True),
        (cubic(2, 5.4), cubic(3, 5.4 / 1.002), False),
        (cubic(3, 5.4), cubic(4, 5.4 / 1.002), True),
        (cubic(3, 5.4 / 1.002), cubic(4, 5.4), False),
        (cubic(6, 5.4), cubic(8, 5.4 / 1.002), False),
        (cubic(10, 5.4), cubic(11, 5.4 / 1.002), True),
        (cubic(10, 5.4), cubic(13, 5.4 / 1.002), False),
        (cubic(10, 5.4), cubic(13, 5.4 / 1.06), False),
        (cubic(12, 5.4), cubic(15, 5.4 * 1.002), False),
        (cubic(20, 4.05), cubic(20, 4.45), True),
        (cubic(1, 5.4), cubic(4, 5.5), False),
        (cubic(1, 15.0), cubic(4, 4.05), True),
        (cubic(1, 10.0), cubic(8, 4.05), False),
        (cubic(1, 12.4), cubic(1, 30.0), True),
    ],
)
def test_meshes_are_compared_by_the_spacing_they_stand_for(one, other, expected):
    assert agree(one, other) is expected
    assert agree(other, one) is expected
    assert bool(conflicts([one, other])) is not expected


def test_vacuum_needs_one_division_and_a_short_axis_more():
    slab = {"mesh": [4, 4, 1], "reciprocal": [1.55, 1.55, 0.25]}
    flat = {"mesh": [4, 4, 1], "reciprocal": [1.55, 1.55, 1.57]}
    bulk = {"mesh": [4, 4, 4], "reciprocal": [1.5, 1.5, 1.5]}
    assert agree(slab, bulk)
    assert not agree(flat, bulk)


def test_range_of_gamma_alone_has_no_end():
    assert spacing_range(cubic(1, 2 * pi)) == (1.0, inf)
    assert spacing_range({"count": 76}) is None
    assert spacing_range({"mesh": [2, 2, 2]}) is None


def test_a_declared_spacing_is_held_against_meshes():
    declared = {"spacing": 0.3}
    assert agree(declared, cubic(4, 5.4))
    assert not agree(declared, cubic(2, 5.4))
    assert agree(declared, {"mesh": [2, 2, 2]})


@given(
    st.lists(
        st.tuples(st.integers(1, 12), st.floats(3.0, 12.0)), min_size=2, max_size=12
    )
)
def test_conflicts_are_found_as_if_all_were_compared_with_all(meshes):
    values = [cubic(n, side) for n, side in meshes]
    values += [cubic(meshes[0][0] + 1, meshes[0][1])]
    every = {
        (i, j)
        for i in range(len(values))
        for j in range(i + 1, len(values))
        if not agree(values[i], values[j])
    }
    found = set(conflicts(values))
    assert found <= every
    assert bool(found) == bool(every)


NEAR = st.tuples(
    *[st.integers(3, 5)] * 3, *[st.floats(4.7, 5.3) | st.sampled_from([5.0, 5.01])] * 3
)


@given(st.lists(NEAR, min_size=2, max_size=8), st.booleans())
def test_conflicts_of_near_cells_are_those_of_all_pairs(cells, is_slab):
    values = [
        {
            "mesh": [*mesh],
            "reciprocal": [2 * pi / a, 2 * pi / b, None if is_slab else 2 * pi / c],
        }
        for *mesh, a, b, c in cells
    ]
    pairs = combinations(range(len(values)), 2)
    every = {(i, j) for i, j in pairs if not agree(values[i], values[j])}
    found = set(conflicts(values))
    assert found <= every
    assert bool(found) == bool(every)


def test_thousands_of_cells_meshed_at_one_spacing_are_compared_in_groups(monkeypatch):
    """Many meshes beside each other, none compared cell by cell."""
    calls = []
    monkeypatch.setattr(kpoints, "agree", lambda *pair: calls.append(pair) or True)
    lengths = 1.15 + 0.1 * np.random.default_rng(0).random(2000)
    values = [cubic(ceil(b / 0.3), 2 * pi / b) for b in lengths]
    assert {value["mesh"][0] for value in values} == {4, 5}
    assert conflicts(values) == []
    assert len(calls) < 20 * len(values)
