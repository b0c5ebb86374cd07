"""Whole runs with each optimiser: they learn, stop, go on, and are written."""

from dataclasses import replace

import pytest
import torch

from dpbench.errors import TrainingError
from dpbench.models.checkpoint import load_model
from dpbench.train import run as front
from dpbench.train import state
from dpbench.train.optimisers import make_optimiser
from dpbench.train.optimisers.config import OptimiserConfig
from dpbench.train.run import TrainReport, train
from dpbench.train.state import checkpoints, load_checkpoint
from tests.train.small_runs import small_config
from tests.train.test_train_run import Listener, interrupt

METHODS = {
    "adam": {"type": "adam"},
    "average": {"type": "adam", "average": 0.8},
    "soap": {"type": "soap", "soap_refresh": 4, "soap_accumulate": 2},
    "soap-average": {"type": "soap", "average": 0.8},
    "muon": {"type": "muon"},
    "schedule-free": {"type": "schedule-free"},
    "kalman": {"type": "kalman", "kalman_block": 64},
}

EACH = [
    pytest.param(
        name,
        marks=[] if name in ("soap-average", "kalman") else [pytest.mark.slow],
    )
    for name in METHODS
]
"""Every method; the two that hold most machinery at once run always."""


@pytest.fixture(autouse=True)
def undrawn(monkeypatch) -> None:
    monkeypatch.setattr(front, "draw_curve", lambda *_, **__: None)


@pytest.fixture
def run(workspace, tmp_path):
    def start(method: str, name: str = "out", progress=None, **training) -> TrainReport:
        config = replace(
            small_config(**training), optimiser=OptimiserConfig(**METHODS[method])
        )
        return train(
            workspace, config, dataset="pairs", out=tmp_path / name, progress=progress
        )

    return start


@pytest.mark.parametrize("method", EACH)
def test_every_optimiser_lowers_the_errors(run, method):
    listener = Listener()
    run(method, progress=listener, steps=60, validation_every=10)
    first, last = listener.rows[0], listener.rows[-1]
    assert last.rmse_f_validation < first.rmse_f_validation


@pytest.mark.parametrize("method", EACH)
def test_every_optimiser_is_gone_on_with_bitwise(run, workspace, tmp_path, method):
    straight = run(method, "straight")
    stopped = run(method, "stopped", progress=Listener(7, interrupt))
    resumed = train(
        workspace, None, dataset=None, out=tmp_path / "on", resume=stopped.run_folder
    )
    models = [load_model(r.model_path)[0] for r in (straight, resumed)]
    assert torch.equal(models[0].parameters.flat, models[1].parameters.flat)


@pytest.mark.parametrize("method", ["soap-average", "schedule-free"])
def test_the_average_is_validated_and_written_and_both_are_kept(run, method):
    report = run(method, refit_bias=False)
    path = checkpoints(report.run_folder)[-1]
    written = load_model(report.model_path)[0].parameters.flat
    as_model = load_model(path)[0].parameters.flat
    found = load_checkpoint(path)
    assert torch.equal(written, as_model)
    assert torch.equal(written, found.optimiser["average"])
    assert not torch.equal(written, found.model.parameters.flat)


@pytest.mark.parametrize("method", EACH)
def test_one_flipped_bit_anywhere_in_the_optimiser_is_noticed(run, method):
    path = checkpoints(run(method).run_folder)[-1]
    payload = torch.load(path, weights_only=True)
    for tensors in tensors_in(payload["training"]):
        name, tensor = tensors
        if not tensor.numel():
            continue
        kept = tensor.clone()
        tensor.view(-1)[0] = tensor.view(-1)[0] + 1
        assert state._seal(payload["training"]) != payload["training_seal"], name
        tensor.copy_(kept)
    assert state._seal(payload["training"]) == payload["training_seal"]


def tensors_in(value, name=""):
    if isinstance(value, dict):
        for key, item in value.items():
            yield from tensors_in(item, f"{name}/{key}")
    elif isinstance(value, torch.Tensor):
        yield name, value


def test_state_of_format_one_is_read(run):
    """A checkpoint as it was written before there was more than Adam."""
    path = checkpoints(run("adam").run_folder)[-1]
    payload = torch.load(path, weights_only=True)
    training = payload["training"]
    expected = load_checkpoint(path)
    del training["parameters"], training["optimiser"]["name"]
    training["format"] = 1
    payload["training_seal"] = state._first_seal(training)
    torch.save(payload, path)
    found = load_checkpoint(path)
    assert torch.equal(found.model.parameters.flat, expected.model.parameters.flat)
    assert torch.equal(found.optimiser["mean"], expected.optimiser["mean"])


def test_a_checkpoint_of_another_optimiser_is_not_taken_over(run):

    found = load_checkpoint(checkpoints(run("soap").run_folder)[-1])
    parameters = found.model.parameters
    adam = make_optimiser(parameters, OptimiserConfig(type="adam"))
    with pytest.raises(TrainingError, match="its optimiser is soap"):
        adam.restore(found.optimiser)
