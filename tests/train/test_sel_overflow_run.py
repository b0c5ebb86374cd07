"""Runs whose stated ``sel`` is below what the frames have."""

import json
from dataclasses import replace

import numpy as np
import pytest

from dpbench.errors import ModelError
from dpbench.eval.options import Options
from dpbench.eval.run import evaluate
from dpbench.models.checkpoint import load_model
from dpbench.train import run as front
from dpbench.train.memory import MemoryBudget
from dpbench.train.new_model import sel_words
from dpbench.train.run import train
from tests.train.small_runs import small_config

FEW = (6, 30)
ROOM = (40, 40)


@pytest.fixture(autouse=True)
def undrawn(monkeypatch) -> None:
    monkeypatch.setattr(front, "draw_curve", lambda *_, **__: None)


@pytest.fixture
def run(workspace, tmp_path):
    """Train on ``pairs`` with a stated sel."""

    def start(name: str, sel, **training):
        config = small_config(**training)
        descriptor = replace(config.model.descriptor, sel=sel)
        config = replace(config, model=replace(config.model, descriptor=descriptor))
        return train(workspace, config, dataset="pairs", out=tmp_path / name)

    return start


def test_a_sel_that_is_too_small_stops_before_the_first_step(run, workspace):
    runs = list(workspace.runs.glob("*"))
    words = (
        r"frame \d+ of the dataset, atom [0-3] \((C|Si)\): has \d+ C within 4 Å; the "
        r"model's sel expects at most 6.*--sel-overflow deepmd"
    )
    with pytest.raises(ModelError, match=words):
        run("few", FEW)
    assert list(workspace.runs.glob("*")) == runs


def test_what_is_sized_by_the_data_holds_validation_frames_too(run, monkeypatch):
    """Validation frames with more neighbours than the training frames had."""
    from dpbench.train import new_model as module

    plain = module.neighbour_counts

    def crowded(frames, neighbours, type_map, *, cutoffs):
        found = plain(frames, neighbours, type_map, cutoffs=cutoffs)
        return replace(found, within=found.within + 100)

    monkeypatch.setattr(module, "neighbour_counts", crowded)
    model, _ = load_model(run("auto", "auto:1").model_path)
    assert min(model.config.descriptor.sel) > 100


def test_dropped_neighbours_are_recorded_and_change_the_statistics(run):
    two = (2, 3)
    few = run("few", two, sel_overflow="deepmd")
    model, told = load_model(few.model_path)
    assert sel_words(model.config) == "[2, 3]"
    assert told["config"]["training"]["sel_overflow"] == "deepmd"
    written = json.loads((few.run_folder / "run.json").read_text())
    assert written["config"]["training"]["sel_overflow"] == "deepmd"
    all_kept, _ = load_model(run("all", ROOM).model_path)
    per_slot = model.statistics.davg[:, 0] * sum(two)
    assert (per_slot < all_kept.statistics.davg[:, 0] * sum(ROOM) - 1e-3).all()


def test_training_drops_the_same_whether_frames_are_resident_or_not(run):
    flats = [
        load_model(
            run(name, FEW, sel_overflow="deepmd", memory_budget=budget).model_path
        )[0].parameters.flat
        for name, budget in (("kept", "1GB"), ("anew", "0"))
    ]
    assert np.array_equal(*flats)


def test_evaluation_does_what_the_training_did_or_is_told(run, workspace):
    report = run("few", FEW, sel_overflow="deepmd")
    options = Options(tasks=("accuracy",))
    (found,) = evaluate(
        workspace, report.model_path, dataset="pairs:test", options=options
    )
    assert found.record.kernels["sel_overflow"] == "deepmd"
    strict = replace(options, sel_overflow="error")
    with pytest.raises(ModelError, match="expects at most 6"):
        evaluate(workspace, report.model_path, dataset="pairs:test", options=strict)


def test_run_and_model_say_what_computed_and_in_what_memory(run):
    report = run("auto", "auto", memory_budget="50MB")
    _, told = load_model(report.model_path)
    assert told["engine"] == "table"
    assert told["optimiser"]
    assert told["ranks"] == 1
    assert told["memory_budget_bytes"] == 50_000_000
    assert told["resident_share"] == 1.0
    assert 0 < told["resident_bytes"] <= 50_000_000
    assert set(told["kernels"]) >= {"passes"}
    written = json.loads((report.run_folder / "run.json").read_text())
    for name in ("engine", "optimiser", "ranks", "kernels", "resident_share"):
        assert written[name] == told[name]


def test_an_engine_by_name_is_taken_and_kept(run):
    _, told = load_model(run("exact", "auto", engine="exact").model_path)
    assert told["engine"] == "exact"


def test_a_budget_that_is_too_small_changes_no_number(run, monkeypatch):
    taken = []
    plain = MemoryBudget.take

    def take(self, size):
        taken.append(plain(self, size))
        return taken[-1]

    monkeypatch.setattr(MemoryBudget, "take", take)
    one = load_model(run("all", "auto", memory_budget="1GB").model_path)[0]
    assert all(taken)
    taken.clear()
    two = load_model(run("some", "auto", memory_budget="100kB").model_path)[0]
    assert any(taken)
    assert not all(taken)
    assert np.array_equal(one.parameters.flat, two.parameters.flat)
