import numpy as np
import pytest
from numpy.testing import assert_allclose

from dpbench.frames import uniform
from dpbench.io.gate import judge, volumes
from dpbench.io.parsed import Quarantine


def two_frames(**changes):
    rng = np.random.default_rng(3)
    arrays = {
        "coord": rng.uniform(0, 4, (2, 3, 3)),
        "box": np.tile(np.diag([4.0, 5.0, 6.0]), (2, 1, 1)),
        "energy": np.array([-1.0, -2.0]),
        "force": rng.normal(0, 1, (2, 3, 3)),
        "virial": rng.normal(0, 1, (2, 3, 3)),
    }
    return uniform(z=[8, 1, 1], **{**arrays, **changes})


def test_good_frames_pass():
    assert judge(two_frames()) == (Quarantine.NONE, Quarantine.NONE)


@pytest.mark.parametrize("name", ["coord", "box", "energy", "force", "virial"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_one_bad_number_condemns_its_frame(name, value):
    frames = two_frames()
    array = getattr(frames, name)
    array[len(array) // 2 :].reshape(-1)[0] = value
    assert judge(frames) == (Quarantine.NONE, Quarantine.NOT_A_NUMBER)


def test_a_label_that_is_nowhere_is_missing_and_not_bad():
    assert set(judge(two_frames(energy=None), energy_given=False)) == {"no_energy"}
    assert set(judge(two_frames(force=None), force_given=False)) == {"no_force"}
    assert set(judge(two_frames(virial=None))) == {""}
    assert set(judge(two_frames(energy=None), energy_given=True)) == {"nan"}


def test_what_the_reader_found_stands():
    verdict = [Quarantine.TRUNCATED, Quarantine.NONE]
    found = judge(two_frames(energy=None), verdict=verdict, energy_given=False)
    assert found == (Quarantine.TRUNCATED, Quarantine.NO_ENERGY)


def test_a_flat_cell_is_no_cell():
    frames = two_frames()
    frames.box[0, 2] = frames.box[0, 1]
    assert judge(frames) == (Quarantine.BAD_SHAPE, Quarantine.NONE)


def test_volumes_are_those_of_the_determinant():
    box = np.random.default_rng(1).normal(0, 4, (20, 3, 3))
    assert_allclose(volumes(box), np.abs(np.linalg.det(box)), rtol=1e-12)
