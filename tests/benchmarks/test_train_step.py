"""What the sides of the benchmark of training steps do."""

import json
from pathlib import Path

import pytest

from benchmarks.train_step import __main__ as train_step
from benchmarks.train_step.floor import products_at_knots
from benchmarks.train_step.ours import prepare, run
from dpbench.kernels.roofline import VALUE_UNITS, EmbeddingShape
from dpbench.train.engine import Engine


class EnoughError(Exception):
    """Ends the loop."""


class FewTurns:
    """Stands for ``Turns``: ends after some steps."""

    def __init__(self, steps):
        self.left = steps

    def tick(self):
        self.left -= 1
        if self.left < 0:
            raise EnoughError


def write_settings(shared_data: Path, folder: Path) -> Path:
    config = json.loads(train_step.SETTINGS.read_text())
    model, training = config["model"], config["training"]
    model["descriptor"] |= {"neuron": [4, 8], "axis_neuron": 2}
    model["fitting_net"]["neuron"] = [8, 8]
    system = shared_data / "thirdparty" / "deepmd_water" / "data" / "data_0"
    training["training_data"] = {"systems": [str(system)], "batch_size": 1}
    training.pop("validation_data", None)
    training["numb_steps"] = 1000
    path = folder / "input.json"
    path.write_text(json.dumps(config))
    return path


@pytest.mark.parametrize(
    ("asked", "made"),
    [("autograd", "autograd"), (None, "table")],
)
def test_the_loop_steps_by_the_engine_that_is_asked_for(
    shared_data, tmp_path, monkeypatch, asked, made
):
    stepped = []
    original = Engine.losses_and_gradients

    def noted(self, *given, **named):
        stepped.append(self.name)
        return original(self, *given, **named)

    monkeypatch.setattr(Engine, "losses_and_gradients", noted)
    session = prepare(write_settings(shared_data, tmp_path), asked)
    told = {}
    with pytest.raises(EnoughError):
        run(session, FewTurns(2), told)
    assert stepped == [made, made]
    assert told["engine"] == made
    assert (told["table_intervals"] is None) == (made != "table")
    assert "neighbours" in told["kernels"]


def test_the_floor_counts_values_at_knots_as_the_roofline_does():
    layers = [(1, 25), (25, 50), (50, 100)]
    counted = sum(flops for flops, _ in products_at_knots(129, layers))
    unit = EmbeddingShape(edges=0, neuron=(25, 50, 100), axis=16).unit
    assert counted == VALUE_UNITS * 129 * unit


def test_the_floor_multiplies_what_it_counts():
    for flops, call in products_at_knots(7, [(3, 5)]):
        assert flops == 2 * 3 * 5 * 7
        assert call().sum() > 0
