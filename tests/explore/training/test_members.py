"""Members of an ensemble: seeds, repetition, going on, and starting from another."""

import json
import pickle
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dpbench.errors import TrainingError
from dpbench.explore import training
from dpbench.explore.training import (
    MEMBER_FILE,
    TrainedMember,
    member_tasks,
    read_member,
    task_identity,
    train_member,
)
from dpbench.explore.training_settings import EnsembleSettings
from dpbench.io.ingest import IngestOptions, ingest
from dpbench.models.checkpoint import load_model
from dpbench.train import run as front
from dpbench.train.state import checkpoints
from tests.train.small_runs import write_system


class KilledError(BaseException):
    """Stands for a process that ends between two instructions."""


def stop_at_checkpoint(monkeypatch: pytest.MonkeyPatch, act) -> None:
    """Do something after the first checkpoint that is written."""
    saved, done = front.save_checkpoint, []

    def save(*args, **options):
        saved(*args, **options)
        if not done:
            done.append(True)
            act()

    monkeypatch.setattr(front, "save_checkpoint", save)


def killed() -> None:
    raise KilledError


def interrupted() -> None:
    signal.raise_signal(signal.SIGINT)


def elsewhere(task, folder: Path):
    return replace(task, folder=folder)


def test_members_differ_by_their_seed_and_repeat_bit_for_bit(plan, tmp_path):
    first, second = (train_member(task) for task in plan())
    again = train_member(elsewhere(plan()[0], tmp_path / "again"))
    assert first.digest != second.digest
    assert first.seed != second.seed
    assert again.digest == first.digest
    assert first.steps == 20
    assert first.errors["rmse_f_validation"] > 0
    assert first.path.is_file()


def test_a_task_can_be_sent_to_another_process(plan):
    task = plan()[0]
    assert pickle.loads(pickle.dumps(task)) == task


def test_a_finished_member_is_only_read(plan, monkeypatch):
    task = plan()[0]
    member = train_member(task)
    monkeypatch.setattr(training, "train", lambda *_, **__: pytest.fail("trains again"))
    assert train_member(task) == member


@pytest.mark.slow
def test_a_moved_folder_still_holds_its_member(plan, tmp_path):
    task = plan()[0]
    member = train_member(task)
    moved = task.folder.rename(tmp_path / "moved")
    found = read_member(moved, identity=task_identity(task))
    assert found == replace(member, path=moved / "m.pth")


@pytest.mark.slow
@pytest.mark.parametrize("stopped", [KilledError, TrainingError])
def test_a_member_that_was_cut_off_goes_on_to_the_same_weights(
    plan, tmp_path, monkeypatch, workspace, stopped
):
    task = plan()[0]
    whole = train_member(elsewhere(task, tmp_path / "whole"))
    with monkeypatch.context() as patch:
        stop_at_checkpoint(patch, killed if stopped is KilledError else interrupted)
        other = replace(task, threads=1)
        for folder in workspace.runs.iterdir():  # the whole run must not be found
            folder.rename(tmp_path / folder.name)
        with pytest.raises(stopped):
            train_member(other)
    assert not (task.folder / MEMBER_FILE).exists()
    (run,) = workspace.runs.iterdir()
    member = train_member(task)
    assert member.digest == whole.digest
    assert member.run_id == run.name
    assert len(list(workspace.runs.iterdir())) == 1


@pytest.mark.slow
def test_a_run_without_a_checkpoint_starts_again(plan, monkeypatch, workspace):
    task = plan()[0]
    with monkeypatch.context() as patch:
        stop_at_checkpoint(patch, killed)
        with pytest.raises(KilledError):
            train_member(task)
    (run,) = workspace.runs.iterdir()
    for path in checkpoints(run):
        path.unlink()
    assert train_member(task).run_id != run.name


@pytest.mark.slow
def test_a_damaged_model_is_made_again(plan):
    task = plan()[0]
    member = train_member(task)
    data = bytearray(member.path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    member.path.write_bytes(bytes(data))
    assert read_member(task.folder, identity=task_identity(task)) is None
    assert train_member(task).digest == member.digest


@pytest.mark.slow
def test_another_configuration_is_another_member(plan):
    task = plan()[0]
    member = train_member(task)
    changed = dict(task.config)
    changed["training"] = changed["training"] | {"steps": 12}
    shorter = train_member(replace(task, config=changed))
    assert shorter.steps == 12
    assert shorter.digest != member.digest


def test_a_later_iteration_starts_from_the_member_before(plan):
    before = train_member(plan()[0])
    task = plan(1, previous=[before.path])[0]
    after = train_member(task)
    assert after.started_from == before.digest
    assert (after.steps, after.note) == (8, "")
    old, new = (load_model(m.path)[0] for m in (before, after))
    assert np.array_equal(old.statistics.davg, new.statistics.davg)


def test_without_reuse_members_are_drawn_anew(plan):
    paths = [task.folder / "m.pth" for task in plan()]
    assert [task.init for task in plan(1, reuse=False, previous=paths)] == [None, None]


@pytest.mark.slow
def test_a_model_that_new_frames_outgrow_starts_anew(plan, workspace, tmp_path):
    before = train_member(plan()[0])
    dense = tmp_path / "dense" / "c"
    write_system(dense, seed=3)
    for name in ("coord", "box"):
        path = dense / "set.000" / f"{name}.npy"
        np.save(path, 0.55 * np.load(path))
    ingest(
        workspace,
        "deepmd",
        [dense.parent],
        dataset="pairs",
        options=IngestOptions(workers=0),
    )
    task = plan(1, dataset="pairs-v2", previous=[before.path])[0]
    after = train_member(task)
    assert after.started_from is None
    assert "starts anew" in after.note
    assert "sel expects" in after.note
    told = json.loads((task.folder / MEMBER_FILE).read_text())
    assert told["note"] == after.note


def test_seeds_stated_for_nets_are_taken_out(tmp_path):
    (tmp_path / "train.toml").write_text(
        "[model.descriptor]\nseed = 3\n[model.fitting]\nseed = 3\n"
        "[training]\ntime_budget = '1m'\nseed = 3\n"
    )
    tasks = member_tasks(
        EnsembleSettings(models=3, config="train.toml", steps=50),
        workspace=tmp_path,
        dataset="any-v1",
        split="dpb1:0",
        folder=tmp_path,
        iteration=0,
        seed=1,
        base=tmp_path,
        elements=("Al", "Mg"),
    )
    assert len({task.seed for task in tasks}) == 3
    for task in tasks:
        model, run = task.config["model"], task.config["training"]
        assert model["descriptor"]["seed"] is model["fitting"]["seed"] is None
        assert model["type_map"] == ["Al", "Mg"]
        assert model["descriptor"]["sel"] == "auto:2"
        assert (run["steps"], run["time_budget"]) == (50, None)


def test_an_input_json_serves_as_configuration(tmp_path):
    (tmp_path / "input.json").write_text(
        json.dumps(
            {
                "model": {
                    "type_map": ["Al", "Mg"],
                    "descriptor": {
                        "type": "se_e2_a",
                        "rcut": 5.0,
                        "sel": [60, 60],
                        "seed": 1,
                    },
                    "fitting_net": {"neuron": [16, 16], "seed": 1},
                },
                "learning_rate": {"start_lr": 1e-3, "stop_lr": 1e-5},
                "loss": {},
                "training": {
                    "numb_steps": 9,
                    "seed": 1,
                    "training_data": {"systems": ["a"]},
                },
            }
        )
    )
    config = training.ensemble_config(
        EnsembleSettings(config="input.json"), base=tmp_path, elements=("Si",)
    )
    assert config.model.type_map == ("Al", "Mg")
    assert config.model.descriptor.sel == (60, 60)
    assert config.model.descriptor.seed is None


def test_seeds_of_iterations_and_members_are_all_different():
    seeds = {
        training.member_seed(seed, iteration=iteration, member=member)
        for seed in (1, 2)
        for iteration in range(4)
        for member in range(4)
    }
    assert len(seeds) == 32


@pytest.mark.slow
def test_a_member_is_told_in_plain_values(plan):
    member = train_member(plan()[0])
    assert isinstance(member, TrainedMember)
    assert member.cpu_seconds >= 0
    assert set(member.errors) >= {"rmse_e_train", "rmse_f_validation"}
