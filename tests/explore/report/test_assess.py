"""Errors before and after: the same frames, by two sets of models."""

from dataclasses import replace

import numpy as np
import pytest

from dpbench.eval.model_deviation import native_evaluator
from dpbench.explore.assess import assess, ensemble_errors, new_frames
from dpbench.explore.stage_results import TrainedModel, TrainResult
from dpbench.explore.training_split import training_split
from dpbench.frames import uniform
from dpbench.models.checkpoint import save_model
from dpbench.models.potential import DeepPotential
from dpbench.store.dataset import open_dataset
from tests.explore.sampling.small import almg_model
from tests.models.structures import config, statistics
from tests.store.synthetic import commit, new_workspace, segment_data, source_entry

TOLERANCE = 1e-9
NEW, OLD = 9, 12


def crystals(rng, nframes):
    grid = np.array([[0, 0, 0], [0, 1, 1], [1, 0, 1], [1, 1, 0]]) * 2.1
    return uniform(
        z=[13, 13, 12, 13],
        coord=grid + rng.normal(0, 0.08, (nframes, 4, 3)),
        box=np.tile(np.eye(3) * 4.2, (nframes, 1, 1)),
    )


def labelled(frames, model):
    """Frames with the answers of a model as their labels, as exact as it is."""
    answer = native_evaluator(model).predict(frames)
    return replace(
        frames, energy=answer.energy, force=answer.force, virial=answer.virial
    )


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Two versions whose labels are the answers of model ``right``."""
    folder = tmp_path_factory.mktemp("assess")
    for name, seed in (("right", 1), ("wrong", 2), ("worse", 3)):
        save_model(folder / f"{name}.pth", almg_model(seed), {})
    rng = np.random.default_rng(4)
    old, new = (labelled(crystals(rng, n), folder / "right.pth") for n in (OLD, NEW))
    workspace = new_workspace(folder)
    commit(workspace, "a", segment_data(old, [source_entry("old")]))
    more = segment_data(new, [source_entry("new")])
    commit(workspace, "a", segment_data(old, [source_entry("old")]), more)
    return workspace, folder


def result(world, name, *models):
    version = open_dataset(world[0], name)
    return TrainResult(
        dataset=name,
        digest=version.digest,
        split=training_split(version, validation=0.2),
        models=tuple(
            TrainedModel(
                path=f"{model}.pth",
                digest=model,
                seed=0,
                steps=0,
                errors={},
                cpu_seconds=0.0,
            )
            for model in models
        ),
    )


def test_new_frames_are_those_that_the_earlier_version_lacks(world):
    earlier, later = (open_dataset(world[0], name) for name in ("a-v1", "a-v2"))
    found = new_frames(earlier, later)
    assert later.nframes == OLD + NEW
    assert len(found) == NEW
    known = {bytes(digest) for digest in earlier.frame_digests}
    assert not known & {bytes(digest) for digest in later.frame_digests[found]}


def test_models_that_are_right_afterwards_have_no_error(world):
    before, after = result(world, "a-v1", "wrong"), result(world, "a-v2", "right")
    found = assess(*world, before=before, after=after)
    assert found.nframes == NEW
    assert found.after.rmse_f < TOLERANCE
    assert found.after.p95_f < TOLERANCE
    assert found.before.rmse_f > 1e-3
    assert found.validation_after.rmse_e < TOLERANCE
    assert found.validation_before.rmse_e > TOLERANCE
    assert found.cpu_seconds > 0


def test_errors_are_the_mean_over_the_models_of_plain_formulas(world):
    workspace, folder = world
    version = open_dataset(workspace, "a-v2")
    frames = np.arange(version.nframes)
    truth = version.read(frames)
    paths = [folder / f"{name}.pth" for name in ("wrong", "worse")]
    models = [native_evaluator(path) for path in paths]
    found = ensemble_errors(models, version, frames)
    answers = [model.predict(truth) for model in models]
    force = [a.force - truth.force for a in answers]
    energy = [(a.energy - truth.energy) / 4 for a in answers]
    expected = (
        np.mean([np.sqrt((e**2).mean()) for e in energy]),
        np.mean([np.sqrt((f**2).mean()) for f in force]),
        np.mean([np.percentile(np.linalg.norm(f, axis=1), 95) for f in force]),
    )
    np.testing.assert_allclose(
        (found.rmse_e, found.rmse_f, found.p95_f), expected, rtol=1e-6
    )


def test_a_version_that_has_not_grown_has_no_new_frames(world):
    same = result(world, "a-v1", "wrong")
    found = assess(*world, before=same, after=same)
    assert found.nframes == 0
    assert found.before is None
    assert found.validation_before == found.validation_after


def test_a_frame_that_a_model_refuses_leaves_no_number_and_a_word(
    world, tmp_path, caplog
):
    few = replace(config(rcut=5.0, sel=(1, 1)), type_map=("Al", "Mg"))
    narrow = DeepPotential.initialise(few, statistics(), 2)
    save_model(tmp_path / "narrow.pth", narrow, {})
    before = result(world, "a-v1", "right")
    member = replace(before.models[0], path=str(tmp_path / "narrow.pth"))
    after = replace(result(world, "a-v2", "right"), models=(member,))
    found = assess(*world, before=before, after=after)
    assert found.after is None
    assert found.before.rmse_f < TOLERANCE
    assert "are not told" in caplog.text
