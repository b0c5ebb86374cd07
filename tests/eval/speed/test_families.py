import numpy as np
import pytest

from dpbench.elements import SYMBOLS
from dpbench.errors import EvaluationError
from dpbench.eval.speed.families import (
    FAMILIES,
    VACUUM,
    elements_for,
    make_structure,
    shared_elements,
)
from dpbench.kernels.neighbours import find_neighbours

CASES = [
    ("water", ("O", "H")),
    ("dense", ("Al", "Mg")),
    ("dense", ("Si",)),
    ("dense", ("Mo",)),
    ("dense", ("Mg",)),
    ("slab", ("Al",)),
    ("slab", ("O", "H")),
]


@pytest.mark.parametrize(("family", "elements"), CASES)
def test_sizes_are_powers_of_two_of_a_cell_and_no_atoms_touch(family, elements):
    cell = make_structure(family, elements, natoms=1).frame
    for asked in (50, 200):
        made = make_structure(family, elements, natoms=asked)
        count = len(made.frame.z)
        assert asked <= count < 2 * max(asked, len(cell.z))
        assert np.log2(count / len(cell.z)) % 1 == 0
        frame = made.frame
        near = 0.9 if "H" in elements else 1.8
        close = find_neighbours(frame.coord, frame.box[0], frame.pbc[0], near)
        assert len(close.edge_i) == 0
        assert {SYMBOLS[z] for z in frame.z} == set(elements)


def test_water_has_the_density_of_water():
    made = make_structure("water", ("O", "H"), natoms=192)
    molecules = len(made.frame.z) / 3
    assert molecules * 18.015 / 0.602214 / made.volume == pytest.approx(1.0, abs=0.01)


def test_molecules_keep_their_shape_and_point_everywhere():
    frame = make_structure("water", ("O", "H"), natoms=192).frame
    arms = frame.coord.reshape(-1, 3, 3)[:, 1:] - frame.coord.reshape(-1, 3, 3)[:, :1]
    assert np.linalg.norm(arms, axis=2) == pytest.approx(0.97)
    cosine = np.einsum("mi,mi->m", arms[:, 0], arms[:, 1]) / 0.97**2
    assert np.degrees(np.arccos(cosine)) == pytest.approx(104.5)
    assert np.abs(arms.sum(axis=1).mean(axis=0)).max() < 0.3


def test_a_slab_has_empty_space_beside_it():
    whole = make_structure("dense", ("Al",), natoms=256).frame
    slab = make_structure("slab", ("Al",), natoms=256).frame
    assert slab.box[0, 2, 2] == pytest.approx(whole.box[0, 2, 2] + VACUUM)
    assert len(slab.z) == len(whole.z)


def test_a_family_is_left_out_where_a_model_knows_none_of_its_elements():
    assert elements_for("water", ("Al", "Mg")) == ()
    assert elements_for("dense", ("O", "H")) == ()
    assert elements_for("dense", ("Mg", "Al", "O")) == ("Al", "Mg")
    assert elements_for("slab", ("O", "H")) == ("O", "H")
    assert elements_for("dense", ("Ar",)) == ()


def test_a_model_of_many_elements_gets_a_binary_alloy_of_metals():
    assert elements_for("dense", ("Pt", "C", "Cu", "Ag", "O")) == ("Ag", "Cu")
    assert elements_for("dense", ("Si",)) == ("Si",)


def test_models_that_share_elements_get_the_same_structure():
    maps = [("Al", "Mg"), ("H", "O", "Al", "Cu"), ("O", "H")]
    assert shared_elements("dense", maps) == [("Al",), ("Al",), ()]
    assert shared_elements("water", maps) == [(), ("O", "H"), ("O", "H")]


def test_models_that_share_nothing_get_their_own():
    assert shared_elements("dense", [("Si",), ("Mo",)]) == [("Si",), ("Mo",)]


@pytest.mark.parametrize("family", FAMILIES)
def test_the_same_seed_gives_the_same_atoms(family):
    elements = ("O", "H") if family == "water" else ("Al", "Mg")
    one, two = (make_structure(family, elements, natoms=64) for _ in range(2))
    np.testing.assert_array_equal(one.frame.coord, two.frame.coord)
    np.testing.assert_array_equal(one.frame.z, two.frame.z)


def test_an_unknown_family_is_one_clear_line():
    with pytest.raises(EvaluationError, match="expected one of water, dense, slab"):
        elements_for("gas", ("Ar",))
