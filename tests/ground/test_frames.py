"""The CSR block of frames."""

import numpy as np
import pytest

from dpbench.frames import Frames, concatenate, empty, offsets, uniform


@pytest.fixture
def water() -> Frames:
    rng = np.random.default_rng(0)
    return uniform(
        z=[8, 1, 1],
        coord=rng.normal(size=(4, 3, 3)),
        box=np.tile(np.eye(3) * 9.0, (4, 1, 1)),
        energy=np.arange(4.0),
        force=rng.normal(size=(4, 3, 3)),
    )


@pytest.fixture
def silicon() -> Frames:
    return uniform(z=[14] * 8, coord=np.ones((2, 8, 3)), energy=np.array([1.0, np.nan]))


def test_missing_labels_are_nan_and_missing_cells_not_periodic(silicon):
    assert np.isnan(silicon.force).all()
    assert np.isnan(silicon.virial).all()
    assert np.isnan(silicon.box).all()
    assert not silicon.pbc.any()
    assert silicon.has_energy.tolist() == [True, False]
    assert silicon.has_force.tolist() == [False, False]


def test_one_unlabelled_atom_makes_the_frame_unlabelled(water):
    water.force[4, 1] = np.nan  # an atom of frame 1
    assert water.has_force.tolist() == [True, False, True, True]


def test_concatenate_then_select_gives_the_parts_back(water, silicon):
    both = concatenate([water, silicon, empty()])
    assert both.nframes == 6
    assert both.natoms.tolist() == [3, 3, 3, 3, 8, 8]
    assert both.symbols == ("H", "O", "Si")
    again = both.select([5, 0, 0])
    assert again.natoms.tolist() == [8, 3, 3]
    np.testing.assert_array_equal(again.coord[8:11], water.coord[:3])
    np.testing.assert_array_equal(again.coord[11:14], water.coord[:3])
    np.testing.assert_array_equal(again.energy, [np.nan, 0.0, 0.0])
    np.testing.assert_array_equal(both.coord[both.atoms_of(2)], water.coord[6:9])


def test_select_of_nothing_is_empty(water):
    none = water.select([])
    assert none.nframes == 0
    assert none.coord.shape == (0, 3)
    assert concatenate([]).nframes == 0


def test_arrays_that_do_not_fit_are_refused(water):
    with pytest.raises(ValueError, match="force: shape"):
        Frames(
            atom_offset=water.atom_offset,
            z=water.z,
            coord=water.coord,
            force=water.force[:-1],
            box=water.box,
            pbc=water.pbc,
            energy=water.energy,
            virial=water.virial,
        )
    with pytest.raises(ValueError, match="start with 0"):
        Frames(
            atom_offset=water.atom_offset[1:],
            z=water.z,
            coord=water.coord,
            force=water.force,
            box=water.box,
            pbc=water.pbc,
            energy=water.energy,
            virial=water.virial,
        )


def test_offsets_of_counts():
    assert offsets([2, 0, 3]).tolist() == [0, 2, 2, 5]
    assert offsets([]).tolist() == [0]
