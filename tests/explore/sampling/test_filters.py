"""Sanity filters: each planted fault is caught by its filter."""

import numpy as np
import pytest

from dpbench.errors import ConfigError
from dpbench.explore.sampling.filters import Sieve, count_parts
from dpbench.explore.sampling.prototypes import crystal
from dpbench.explore.sampling.settings import FilterSettings

FRAME = crystal("fcc", ("Al",), lattice=4.05)
COORD, BOX = FRAME.coord, FRAME.box[0]
VOLUME = 4.05**3


def fault(coord=COORD, box=BOX, *, pbc=(True, True, True), **settings):
    sieve = Sieve(FilterSettings(**settings), z=FRAME.z, pbc=np.array(pbc))
    found = sieve.fault(coord, box, volume=VOLUME)
    return found and found.why


def moved(atom, by):
    coord = COORD.copy()
    coord[atom] += by
    return coord


def test_a_crystal_passes():
    assert fault() is None
    assert fault(fragments=1, box_ratio=1.5) is None


def test_near_atoms_are_caught_by_radii_and_by_length():
    near = moved(1, [0, -1.2, -1.2])
    assert fault(near) == "min_distance"
    assert fault(near, min_distance=0.0) is None
    assert fault(min_distance_angstrom=3.0) == "min_distance"
    assert fault(min_distance_angstrom=2.8) is None


def test_an_atom_near_its_own_image_is_caught():
    assert fault(box=np.diag([4.05, 4.05, 1.0]), volume_ratio=0) == "min_distance"


def test_skewed_long_and_swollen_cells_are_caught():
    skewed = BOX.copy()
    skewed[1, 0] = 8.0
    assert fault(box=skewed) == "box_skew"
    assert fault(box=skewed, box_skew=0.0, box_ratio=0.0) is None
    long = np.diag([4.05, 4.05, 12.0])
    assert fault(box=long, box_ratio=2.5, volume_ratio=0.0) == "box_ratio"
    assert fault(box=BOX * 1.3) == "volume_ratio"
    assert fault(box=BOX * 0.75) == "volume_ratio"
    assert fault(box=np.zeros((3, 3))) == "flat_cell"


def test_the_lean_does_not_depend_on_how_the_cell_is_turned():
    skewed = BOX.copy()
    skewed[2, 1] = 4.05 * np.tan(np.radians(50))
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    for box in (skewed, skewed @ turn):
        assert fault(box=box, box_skew=51.0, box_ratio=0) is None
        assert fault(box=box, box_skew=49.0) == "box_skew"


def test_a_cell_that_falls_apart_is_caught():
    box = np.diag([30.0, 30.0, 30.0])
    far = moved(3, [12.0, 0, 0])
    assert fault(box=box, volume_ratio=0, fragments=1) is None
    assert fault(far, box=box, volume_ratio=0, fragments=1) == "fragments"
    assert fault(far, box=box, volume_ratio=0, fragments=2) is None


def test_places_that_are_no_number_are_caught():
    assert fault(moved(0, np.nan)) == "not_finite"


def test_open_structures_have_no_cell_to_look_at():
    box = np.full((3, 3), np.nan)
    assert fault(box=box, pbc=(False,) * 3) is None


def test_parts_are_counted():
    chain = np.arange(9)
    first, second = np.r_[chain, chain + 1], np.r_[chain + 1, chain]
    assert count_parts(10, first, second) == 1
    assert count_parts(12, first, second) == 3
    none = np.zeros(0, np.int64)
    assert count_parts(4, none, none) == 4


@pytest.mark.parametrize(
    "wrong",
    [
        {"min_distance": -1.0},
        {"box_ratio": 0.5},
        {"volume_ratio": 1.0},
        {"box_skew": 90.0},
        {"bond": 0.0},
        {"fragments": -1},
    ],
)
def test_wrong_numbers_are_told(wrong):
    with pytest.raises(ConfigError, match="expected"):
        FilterSettings(**wrong)
