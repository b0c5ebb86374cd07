import numpy as np
import pytest

from dpbench.metrics.composition import count_elements, fit_composition
from tests.metrics.frames_for_metrics import random_frames


def test_planted_energies_are_recovered():
    frames = random_frames(nframes=40)
    counts = count_elements(frames, ("H", "O"))
    energy = counts @ np.array([-13.6, -432.1])
    fit = fit_composition(counts, energy, elements=("H", "O"))
    assert fit.energy == pytest.approx((-13.6, -432.1), rel=1e-10)
    assert fit.rank == 2
    np.testing.assert_allclose(fit.predict(counts), energy, rtol=1e-12)


def test_one_composition_still_predicts_its_mean():
    counts = np.array([[1, 2], [1, 2]])
    fit = fit_composition(counts, np.array([-3.0, -5.0]), elements=("H", "O"))
    assert fit.rank == 1
    np.testing.assert_allclose(fit.predict(counts), [-4.0, -4.0])


def test_unlabelled_frames_do_not_enter():
    counts = np.array([[1, 0], [0, 1], [5, 5]])
    fit = fit_composition(counts, np.array([-1.0, -2.0, np.nan]), elements=("H", "O"))
    assert fit.energy == pytest.approx((-1.0, -2.0))
    assert fit.nframes == 2


def test_without_labels_everything_is_zero():
    fit = fit_composition(np.array([[1, 1]]), np.array([np.nan]), elements=("H", "O"))
    assert fit.energy == (0.0, 0.0)
    assert fit.nframes == 0


def test_atoms_of_elements_not_asked_for_are_not_counted():
    frames = random_frames(nframes=5)
    both = count_elements(frames, ("H", "O"))
    np.testing.assert_array_equal(count_elements(frames, ("O",))[:, 0], both[:, 1])
    np.testing.assert_array_equal(both.sum(axis=1), frames.natoms)
