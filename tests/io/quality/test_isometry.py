"""A motion is found where there is one, and none where there is none."""

from dataclasses import replace

import numpy as np
import pytest

from dpbench.frames import uniform
from dpbench.io.quality.isometry import find_motion
from tests.io.quality.test_twins import random_structures
from tests.io.quality.twin_makers import mlearn, npy_runs, one_frame, twin_of

PERIODICITIES = [
    (True, True, True),
    (True, False, True),
    (False, True, False),
    (False, False, False),
]


@pytest.mark.parametrize("pbc", PERIODICITIES)
def test_twins_are_laid_on_each_other(pbc):
    rng = np.random.default_rng(9)
    frames = random_structures(rng, pbc=pbc, nframes=25)
    for index in range(frames.nframes):
        frame = one_frame(frames, index)
        motion = find_motion(frame, twin_of(frame, rng))
        assert motion is not None
        assert motion.displacement < 1e-8
        unit = motion.rotation @ motion.rotation.T
        assert np.abs(unit - np.eye(3)).max() < 1e-9


@pytest.mark.parametrize("pbc", PERIODICITIES)
def test_one_atom_moved_by_a_hundredth_is_another_structure(pbc):
    rng = np.random.default_rng(8)
    frames = random_structures(rng, pbc=pbc, nframes=25)
    for index in np.flatnonzero(frames.natoms > 1):
        frame = one_frame(frames, index)
        twin = twin_of(frame, rng)
        coord = twin.coord.copy()
        coord[0] += 0.01 * np.array([0.6, 0.0, 0.8])
        motion = find_motion(frame, replace(twin, coord=coord))
        # A pair of atoms that is turned a little is the same pair.
        if motion is not None:
            assert frame.z.size == 2
            assert not any(pbc)


def test_displacement_is_that_of_the_worst_atom():
    rng = np.random.default_rng(1)
    frame = one_frame(random_structures(rng, pbc=(True, True, True), nframes=1), 0)
    coord = np.concatenate([frame.coord, frame.coord + 1.3])
    frame = uniform(z=[*frame.z, *frame.z], coord=coord[None], box=frame.box)
    moved = frame.coord.copy()
    moved[0, 0] += 1.5e-4
    motion = find_motion(frame, replace(frame, coord=moved))
    share = 1 - 1 / len(moved)
    assert motion.displacement == pytest.approx(1.5e-4 * share, rel=1e-3)
    assert find_motion(frame, replace(frame, coord=moved), tolerance=1e-5) is None


def test_linear_flat_and_single_structures_have_motions():
    rng = np.random.default_rng(2)
    shapes = {
        "atom": np.zeros((1, 3)),
        "line": np.array([[0, 0, -1.2], [0, 0, 0], [0, 0, 1.2]]),
        "plane": np.array([[0, 0, 0], [1.5, 0, 0], [0, 1.1, 0], [1.4, 1.2, 0]]),
    }
    for coord in shapes.values():
        frame = uniform(z=[8] * len(coord), coord=coord[None])
        assert find_motion(frame, twin_of(frame, rng)) is not None
        if len(coord) > 1:
            longer = replace(frame, coord=frame.coord * 1.01)
            assert find_motion(frame, longer) is None


def test_perfect_crystals_map_onto_each_other_in_any_cell():
    rng = np.random.default_rng(3)
    fcc = np.array([[0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]])
    frame = uniform(z=[13] * 4, coord=4.05 * fcc[None], box=4.05 * np.eye(3)[None])
    assert find_motion(frame, twin_of(frame, rng)) is not None
    hcp = np.array([[0, 0, 0], [0.5, 0.5, 0], [0.5, 5 / 6, 0.5], [0, 1 / 3, 0.5]])
    box = np.diag([1.0, 3**0.5, (8 / 3) ** 0.5]) * 4.05 / 2**0.5
    other = uniform(z=[13] * 4, coord=(hcp @ box)[None], box=box[None])
    assert find_motion(frame, other) is None


def test_symmetry_twins_of_silicon_have_motions(shared_data):
    test, _ = mlearn(shared_data, "Si", "test")
    training, _ = mlearn(shared_data, "Si", "training")
    for i, j in ((22, 210), (23, 201), (24, 192)):
        motion = find_motion(one_frame(test, i), one_frame(training, j))
        assert motion is not None
        assert motion.displacement < 1e-5
    assert find_motion(one_frame(test, 22), one_frame(test, 21)) is None


def test_steps_of_real_dynamics_have_no_motion(shared_data):
    for _, frames in npy_runs(shared_data, "almg_qe_lda"):
        pairs = ((0, 1), (20, 21), (48, 49))
        for i, j in pairs:
            assert find_motion(one_frame(frames, i), one_frame(frames, j)) is None
