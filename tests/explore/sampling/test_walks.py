"""Walks by dpbench's own dynamics: plans, determinism, resuming, explosions."""

import json
import pickle
from dataclasses import replace

import numpy as np
import pytest

from dpbench.errors import ConfigError, DpbenchError
from dpbench.explore.sampling import engine_dpbench
from dpbench.explore.sampling.planning import walk_tasks
from dpbench.explore.sampling.starts import Starts
from dpbench.explore.sampling.walking import walk
from dpbench.explore.sampling.walks import read_walks
from dpbench.frames import uniform
from dpbench.md.state import masses_of
from dpbench.models.checkpoint import save_model
from dpbench.units import BOLTZMANN
from tests.explore.sampling.small import (
    FCC,
    almg_model,
    plan,
    same,
    settings_of,
    starts_of,
)

STAGE = {
    "structures": ["fcc"],
    "temperatures": [300, 600],
    "steps": 40,
    "every": 10,
    "replicas": 2,
}


def settings(stage=STAGE, **more):
    return settings_of([FCC], [stage], **more)


def test_plan_is_a_grid_whose_walks_share_tasks(model_file, tmp_path):
    tasks = plan(settings(), model_file, tmp_path)
    # One task for each composition; temperatures and replicas run side by side.
    assert len(tasks) == 3
    names = [f"fcc-001-{t}K-{replica}" for t in (300, 600) for replica in (0, 1)]
    assert list(tasks[1].names) == names
    assert tasks[1].temperatures == (300, 300, 600, 600)
    seeds = [seed for task in tasks for seed in task.seeds]
    assert len(set(seeds)) == 12
    assert pickle.loads(pickle.dumps(tasks[0])).digest() == tasks[0].digest()


def test_draws_of_one_composition_run_side_by_side(model_file, tmp_path):
    many = settings_of([FCC | {"count": 5}], [STAGE])
    tasks = plan(many, model_file, tmp_path)
    assert {len(task.names) for task in tasks} == {20}
    few = settings_of([FCC | {"count": 5}], [STAGE], atoms_at_once=16)
    sizes = [len(task.names) for task in plan(few, model_file, tmp_path)]
    assert sizes == [4] * 15


def test_walks_give_frames_that_differ_and_are_the_same_again(model_file, tmp_path):
    (task, *_) = plan(settings(), model_file, tmp_path / "a")
    (again, *_) = plan(settings(), model_file, tmp_path / "b")
    (later, *_) = plan(settings(), model_file, tmp_path / "c", iteration=1)
    walks = walk(task)
    assert [one.outcome for one in walks] == ["done"] * 4
    assert walks[0].step.tolist() == [10, 20, 30, 40]
    assert walks[0].frames.nframes == 4
    assert np.isnan(walks[0].frames.energy).all()
    assert all(map(same, walks, walk(again)))
    assert not same(walks[0], walk(later)[0])
    first, second, *_ = (one.frames.coord for one in walks)
    assert not np.allclose(first, second)


def test_finished_walks_are_read_not_made(model_file, tmp_path, monkeypatch):
    (task, *_) = plan(settings(), model_file, tmp_path)
    made = walk(task)
    monkeypatch.setattr("dpbench.explore.sampling.walking.ENGINES", {})
    assert all(map(same, made, walk(task)))
    assert all(map(same, made, read_walks(task.folder)))
    # Of another task they are none.
    with pytest.raises(KeyError):
        walk(replace(task, pressure=1.0))


def test_a_walk_that_was_cut_off_is_made_again(model_file, tmp_path):
    (task, *_) = plan(settings(), model_file, tmp_path)
    made = walk(task)
    (task.folder / made[1].name / "walk.json").unlink()
    assert all(map(same, made, walk(task)))


def test_damaged_files_are_told(model_file, tmp_path):
    (task, *_) = plan(settings(), model_file, tmp_path)
    folder = task.folder / walk(task)[0].name
    (folder / "frames.npz").write_bytes(b"PK")
    with pytest.raises(DpbenchError, match=r"frames\.npz"):
        walk(task)
    (folder / "walk.json").write_text(json.dumps({"format": 99}))
    with pytest.raises(DpbenchError, match="has format 99"):
        walk(task)
    (folder / "walk.json").write_text("{")
    with pytest.raises(DpbenchError, match="is no record of a walk"):
        walk(task)


def test_pressure_moves_the_cell(model_file, tmp_path):
    stage = STAGE | {"pressures": [0.0, 20.0], "replicas": 1, "temperatures": [300]}
    tasks = plan(settings(stage), model_file, tmp_path)
    assert len(tasks) == 6
    free, pressed = (walk(task)[0] for task in (tasks[0], tasks[3]))
    assert (free.pressure, pressed.pressure) == (0.0, 20.0)
    assert pressed.name == "fcc-000-300K-20GPa-0"
    volume = [abs(np.linalg.det(one.frames.box[-1])) for one in (free, pressed)]
    assert volume[1] < volume[0]
    assert not np.array_equal(pressed.frames.box[0], pressed.frames.box[-1])


def test_temperatures_side_by_side_are_those_that_were_asked_for(tmp_path):
    """Of free atoms, whose kinetic energy is all there is."""
    free = tmp_path / "free.pth"
    model = almg_model()
    model.parameters.flat.data.zero_()
    save_model(free, model, {})
    stage = STAGE | {
        "temperatures": [100, 400, 1600],
        "replicas": 8,
        "tdamp": 5.0,
        "steps": 60,
        "every": 1,
    }
    (task, *_) = plan(settings(stage), free, tmp_path)
    heat = {}
    for one in walk(task):
        places = one.frames.coord.reshape(one.frames.nframes, -1, 3)
        velocity = np.diff(places, axis=0) / 0.001
        square = (masses_of(task.z)[:, None] * velocity**2).mean()
        heat.setdefault(one.temperature, []).append(square / BOLTZMANN)
    for temperature, found in heat.items():
        # Friction takes a few per cent between two places of a walk.
        assert np.mean(found) == pytest.approx(temperature, rel=0.15)


def test_each_walk_has_the_limit_of_its_own_temperature(
    model_file, tmp_path, monkeypatch
):
    limits = {300: 1.0, 600: 1e9}
    monkeypatch.setattr(engine_dpbench, "default_limit", limits.__getitem__)
    (task, *_) = plan(settings(STAGE | {"replicas": 1}), model_file, tmp_path)
    cold, warm = walk(task)
    assert (cold.outcome, warm.outcome) == ("exploded", "done")
    assert "more than 1 K" in cold.reason
    assert warm.frames.nframes == 4


def test_walks_under_other_baths_have_tasks_of_their_own(model_file, tmp_path):
    for change in ({"thermostat": "bussi"}, {"pressures": [0.0]}):
        tasks = plan(settings(STAGE | change), model_file, tmp_path)
        assert [task.temperatures for task in tasks] == [(300, 300)] * 3 + [
            (600, 600)
        ] * 3


def test_skipped_steps_give_no_frames(model_file, tmp_path):
    (task, *_) = plan(settings(STAGE | {"skip": 20}), model_file, tmp_path)
    assert walk(task)[0].step.tolist() == [30, 40]


def two_starts(second):
    """An fcc cell, and another with the same atoms."""
    a = 4.05
    sites = a * np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
    frames = uniform(
        z=[13] * 4,
        coord=np.stack([sites, second(sites)]),
        box=np.tile(a * np.eye(3), (2, 1, 1)),
    )
    return Starts(frames=frames, names=("fcc", "fcc"), origins=("good", "planted"))


def test_an_exploding_walk_ends_alone_and_the_others_go_on(tmp_path):
    """A start in which two atoms sit on each other, with steep forces."""
    steep = tmp_path / "steep.pth"
    model = almg_model()
    save_model(steep, model, {})
    stage = STAGE | {"temperatures": [300], "replicas": 1}
    settled = settings(stage)

    def collapsed(sites):
        near = sites.copy()
        near[1] = near[0] + [0.05, 0.0, 0.0]
        return near

    starts = two_starts(collapsed)
    (task,) = plan(settled, steep, tmp_path, starts=starts)
    good, planted = walk(task)
    assert good.outcome == "done"
    assert good.frames.nframes == 4
    assert planted.outcome == "exploded"
    assert planted.reason
    assert planted.steps < 40
    record = json.loads((task.folder / planted.name / "walk.json").read_text())
    assert record["outcome"] == "exploded"


def test_frames_before_an_explosion_are_kept(model_file, tmp_path):
    """Heat beyond all bounds after a while: a time step of 60 fs."""
    stage = STAGE | {
        "temperatures": [3000],
        "replicas": 1,
        "timestep": 60.0,
        "tdamp": 1000.0,
        "steps": 4000,
        "every": 1,
    }
    (task, *_) = plan(settings(stage), model_file, tmp_path)
    (walked,) = walk(task)
    assert walked.outcome == "exploded"
    assert "Å" in walked.reason
    assert 0 < walked.steps < 4000
    assert walked.frames.nframes > 0
    taken = walked.frames.nframes + len(walked.dropped)
    assert walked.steps <= taken <= walked.steps + 1
    assert np.isfinite(walked.frames.coord).all()


def test_frames_that_do_not_pass_the_filters_are_counted(model_file, tmp_path):
    strict = settings(filters={"min_distance": 1.17})
    loose = settings()
    starts = two_starts(lambda sites: sites)
    (task, *_) = plan(strict, model_file, tmp_path, starts=starts)
    walked = walk(task)[0]
    (free, *_) = plan(loose, model_file, tmp_path / "b", starts=starts)
    everything = walk(free)[0]
    assert walked.dropped
    assert {one.why for one in walked.dropped} == {"min_distance"}
    steps = sorted([*walked.step.tolist(), *(one.step for one in walked.dropped)])
    assert steps == everything.step.tolist()


def test_molecules_without_a_cell_walk(model_file, tmp_path):
    dimer = np.array([[[0.0, 0, 0], [2.8, 0, 0]]])
    frames = uniform(z=[12, 13], coord=dimer)
    starts = Starts(frames=frames, names=("fcc",), origins=("dimer",))
    (task,) = plan(settings(), model_file, tmp_path, starts=starts)
    walked = walk(task)[0]
    assert walked.outcome == "done"
    assert not walked.frames.pbc.any()
    assert np.isnan(walked.frames.box).all()


def test_models_take_turns(model_file, tmp_path):
    other = tmp_path / "other.pth"
    save_model(other, almg_model(seed=6), {})
    made = settings(models="turns")
    tasks = walk_tasks(
        made,
        0,
        starts_of(made, where=tmp_path),
        models=[model_file, other],
        iteration=0,
        seed=1,
        folder=tmp_path,
    )
    assert [task.model for task in tasks] == [model_file, other, model_file]


def test_a_model_of_other_elements_is_told(tmp_path, model_file):
    oxygen = FCC | {"substitute": {"elements": ["O", "Mg"], "fractions": [0.5]}}
    made = settings_of([oxygen | {"lattice": 4.0}], [STAGE])
    (task, *_) = plan(made, model_file, tmp_path)
    with pytest.raises(DpbenchError, match="O"):
        walk(task)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"structures": ["hcp"]}, "unknown structure 'hcp'; known: fcc"),
        ({"temperatures": []}, "empty in part"),
        ({"temperatures": [-1]}, "positive number"),
        ({"temperatures": [300, 600, 300]}, "300 is there twice"),
        ({"temperatures": [300, 300.00001]}, "300 is there twice"),
        ({"pressures": [0, 1, 1.0]}, "1 is there twice"),
        ({"structures": ["fcc", "fcc"]}, "fcc is there twice"),
        ({"every": 50}, "leave no frame"),
        ({"thermostat": "nhc", "pressures": [1.0]}, "does not serve"),
        ({"tempratures": [1]}, "did you mean 'temperatures'"),
        ({"steps": 0}, "expected 1 or more"),
    ],
)
def test_wrong_stages_are_told(change, said):
    with pytest.raises(ConfigError, match=said):
        settings(STAGE | change)


def test_a_pressure_needs_a_cell(model_file, tmp_path):
    frames = uniform(z=[13, 13], coord=np.array([[[0.0, 0, 0], [2.8, 0, 0]]]))
    starts = Starts(frames=frames, names=("fcc",), origins=("dimer",))
    with pytest.raises(ConfigError, match="has no cell, so no pressure"):
        plan(settings(STAGE | {"pressures": [1]}), model_file, tmp_path, starts=starts)


def test_tables_of_engines_that_are_not_used_are_refused():
    with pytest.raises(ConfigError, match="means nothing to engine 'dpbench'"):
        settings(lammps={"python": "/bin/python"})
    with pytest.raises(ConfigError, match="expected an absolute path"):
        settings(engine="lammps", lammps={"python": "python"})
