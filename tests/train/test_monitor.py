"""The watch over tabulated embedding nets during a run."""

import logging

import pytest
import torch

from dpbench.frames import concatenate
from dpbench.kernels.assembly import select_frames
from dpbench.models.checkpoint import load_model
from dpbench.train import run as front
from dpbench.train.config import OptimiserConfig
from dpbench.train.engine import Engine
from dpbench.train.history import Errors
from dpbench.train.loop import Hooks, LoopState, Plan, run_loop
from dpbench.train.monitor import engine_of, finer, is_due, table_error
from dpbench.train.optimisers import make_optimiser
from dpbench.train.progress import Silent
from dpbench.train.run import train
from dpbench.train.schedule import LearningRateConfig, LossConfig, Schedule
from dpbench.train.state import load_checkpoint
from tests.models.structures import batch_of, mixed, model, water
from tests.train.small_runs import small_config

TABLE = Engine(name="table", intervals=8)


def test_error_is_that_of_the_tables_alone():
    potential = model()
    batch = batch_of(mixed(), potential)
    by_table = TABLE.predict(potential, batch).force
    exact = potential.energy_and_forces(batch).force
    expected = float((by_table - exact).abs().max())
    assert table_error(TABLE, potential, batch) == pytest.approx(expected, rel=1e-9)
    fine = Engine(name="table", intervals=1024)
    single = potential.to("cpu", torch.float32)
    # In float32 rounding alone would be 1e-6.
    assert table_error(fine, single, batch_of(mixed(), single)) < 1e-9


def test_one_frame_of_a_batch_is_looked_at(monkeypatch):
    potential = model()
    batch = batch_of(concatenate([water(1), water(2), water(3)]), potential)
    expected = table_error(TABLE, potential, select_frames(batch, 0, 1))
    seen = []
    plain = Engine.predict

    def predict(engine, model, frames):
        seen.append(frames.nframes)
        return plain(engine, model, frames)

    monkeypatch.setattr(Engine, "predict", predict)
    assert table_error(TABLE, potential, batch) == pytest.approx(expected, rel=1e-9)
    assert seen == [1]


@pytest.mark.parametrize(
    ("name", "done", "expected"),
    [
        ("table", 1, True),
        ("table", 50, True),
        ("table", 51, False),
        ("table", 505, True),
        ("autograd-table", 100, True),
        ("exact", 100, False),
    ],
)
def test_tables_are_looked_at_ten_times_a_run(name, done, expected):
    assert is_due(Engine(name=name), done, 505) is expected


def test_only_a_large_error_makes_tables_finer():
    assert finer(TABLE, 9e-7, step=1) is TABLE
    assert finer(TABLE, 2e-6, step=1).intervals == 16
    assert finer(TABLE, float("nan"), step=1) is TABLE
    most = Engine(name="table", intervals=8192)
    assert finer(most, 1.0, step=1) is most


def test_an_error_that_matters_is_told(caplog):
    with caplog.at_level(logging.WARNING):
        finer(TABLE, 2e-5, step=7)
    assert "step 7: forces by tables of 8 pieces are off by 2e-05" in caplog.text


def test_a_run_makes_its_tables_finer_and_says_how_fine():
    potential = model()
    batch = batch_of(mixed(), potential)
    state = LoopState()
    run_loop(
        potential,
        make_optimiser(potential.parameters, OptimiserConfig(type="adam")),
        Schedule(LearningRateConfig(start_lr=1e-3), LossConfig(), steps=20),
        iter([batch] * 20),
        plan=Plan(steps=20, validation_every=20, checkpoint_every=20),
        state=state,
        hooks=Hooks(
            validate=lambda _: Errors(energy=0.0, force=0.0, virial=0.0),
            save=lambda _: None,
            watcher=Silent(),
        ),
        engine=TABLE,
    )
    assert state.table_intervals > 8
    assert state.table_error > 1e-6
    final = Engine(name="table", intervals=state.table_intervals)
    assert table_error(final, potential, batch) < 1e-6
    # A run that goes on begins with tables as fine as they were.
    assert engine_of(potential, TABLE, state.table_intervals) == final


def test_what_was_found_is_recorded(workspace, tmp_path, monkeypatch):
    counted_with = []
    plain = front.reached

    def reached(*args, **options):
        counted_with.append(options["intervals"])
        return plain(*args, **options)

    monkeypatch.setattr(front, "draw_curve", lambda *_, **__: None)
    monkeypatch.setattr(front, "reached", reached)
    config = small_config(engine="table", table_intervals=8, checkpoint_every=10)
    report = train(workspace, config, dataset="pairs", out=tmp_path)
    _, told = load_model(report.model_path)
    assert told["table_error"] > 1e-6
    assert told["table_intervals"] > 8
    assert counted_with == [told["table_intervals"]]
    kept = load_checkpoint(report.run_folder / "checkpoint-20.pth").state
    found = (kept.table_error, kept.table_intervals)
    assert found == (told["table_error"], told["table_intervals"])
    # The worst of all looks, also of those before a run was gone on with.
    early = report.run_folder / "checkpoint-10.pth"
    out = tmp_path / "again"
    again = train(workspace, None, dataset=None, out=out, resume=early)
    _, resumed = load_model(again.model_path)
    assert resumed["table_error"] == told["table_error"]


def test_without_tables_nothing_is_said_of_them(workspace, tmp_path, monkeypatch):
    monkeypatch.setattr(front, "draw_curve", lambda *_, **__: None)
    config = small_config(engine="exact", steps=2)
    report = train(workspace, config, dataset="pairs", out=tmp_path)
    assert (
        not {"table_error", "table_intervals"} & load_model(report.model_path)[1].keys()
    )
