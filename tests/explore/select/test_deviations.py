"""Asking an ensemble about explored frames."""

import logging

import numpy as np
import pytest

from dpbench.errors import EvaluationError, ModelError
from dpbench.eval.model_deviation import native_evaluator
from dpbench.explore.select.deviations import deviations
from dpbench.explore.select.judging import judge
from dpbench.explore.select.settings import SelectSettings
from dpbench.frames import Frames, concatenate, empty
from dpbench.metrics.model_deviation import model_deviation
from dpbench.models.checkpoint import save_model
from tests.explore.select.tables import crystals
from tests.models.structures import model, water

SEEDS = (1, 2, 3)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Three small models of water."""
    folder = tmp_path_factory.mktemp("models")
    paths = [folder / f"m{seed}.pth" for seed in SEEDS]
    for seed, path in zip(SEEDS, paths, strict=True):
        save_model(path, model(seed, sel=(40, 80)), {})
    return paths


def frames(count=3) -> Frames:
    return concatenate([water(seed) for seed in range(count)])


def crowded() -> Frames:
    """A frame of more neighbours than the models have slots."""
    one = water(9)
    one.coord[:] *= 0.3
    one.box[:] *= 0.3
    return one


def test_a_row_is_the_deviation_of_the_frame(models):
    material = frames()
    told = deviations(models, material)
    answers = [native_evaluator(path).predict(material) for path in models]
    for i in range(material.nframes):
        rows = material.atoms_of(i)
        one = model_deviation(
            np.stack([a.force[rows] for a in answers]),
            virial=np.stack([a.virial[i] for a in answers]),
            energy=np.array([a.energy[i] for a in answers]),
        )
        assert told.max_devi_f[i] == one.max_devi_f
        assert told.max_devi_v[i] == one.max_devi_v
        assert told.devi_e[i] == one.devi_e
        assert (told.atoms_of(i) == one.atom_devi_f).all()


def test_a_frame_that_a_model_refuses_counts_as_failed_and_spoils_no_other(
    models, caplog
):
    material = concatenate([frames(2), crowded(), water(5)])
    with caplog.at_level(logging.WARNING):
        told = deviations(models, material)
    assert np.isnan(told.max_devi_f).tolist() == [False, False, True, False]
    assert "1 of 4 explored frames are refused" in caplog.text
    judged = judge(told, SelectSettings(force=(0.0, 1e9)))
    assert judged.verdict.tolist() == ["candidate"] * 2 + ["failed", "candidate"]
    alone = deviations(models, frames(2))
    assert (told.max_devi_f[:2] == alone.max_devi_f).all()


def test_frames_that_are_all_refused_are_unknown_where_that_is_asked_for(models):
    with pytest.raises(ModelError, match="sel expects"):
        deviations(models, crowded())
    refusals = []
    told = deviations(models, crowded(), relative_to_walk=True, refusals=refusals)
    assert np.isnan(told.max_devi_f).all()
    assert "sel expects" in str(refusals[0])
    assert judge(told, SelectSettings()).is_unknown.all()


def test_a_refused_frame_spoils_no_other_of_its_walk(models):
    both = concatenate([frames(2), crowded()])
    told = deviations(models, both, relative_to_walk=True)
    alone = deviations(models, frames(2), relative_to_walk=True)
    np.testing.assert_allclose(told.max_devi_f[:2], alone.max_devi_f, rtol=1e-12)


def test_an_element_that_no_model_knows_is_an_error(models):
    with pytest.raises(ModelError, match=r"Al|Mg"):
        deviations(models, crystals(2))


def test_one_model_has_no_deviation(models):
    with pytest.raises(EvaluationError, match="expected at least 2"):
        deviations(models[:1], frames())


def test_no_frame_gives_no_row(models):
    assert deviations(models, empty()).nframes == 0


def test_forces_of_the_first_model_scale_each_walk(models):
    material = frames(3)
    walk = np.array([0, 0, 1])
    plain = deviations(models, material, walk=walk)
    told = deviations(models, material, walk=walk, relative_to_walk=True)
    force = native_evaluator(models[0]).predict(material).force
    rms = np.sqrt((force[material.atoms_of(2)] ** 2).sum(axis=1).mean())
    np.testing.assert_allclose(told.max_devi_f[2], plain.max_devi_f[2] / rms, 1e-12)


def test_relative_deviations_are_those_of_deepmd_kit(models):
    plain = deviations(models, frames())
    relative = deviations(models, frames(), relative=0.5)
    assert (relative.max_devi_f < plain.max_devi_f / 0.5).all()
