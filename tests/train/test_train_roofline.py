"""What a run says of its speed: counted work against time and measured peak."""

import json
import os
import signal
from dataclasses import replace

import pytest

from dpbench.kernels.roofline import total, training_step
from dpbench.kernels.roofline.counts import ADAM
from dpbench.models.checkpoint import load_model
from dpbench.train.config import (
    FittingSettings,
    ModelSettings,
    OptimiserConfig,
    SeE2RSettings,
)
from dpbench.train.progress import Silent
from dpbench.train.roofline import Tally, counted, reached, step_shape, summed, words
from dpbench.train.run import RUN_FILE, train
from tests.train.small_runs import small_config


def small_model(descriptor):
    """A small model with that descriptor."""
    return ModelSettings(descriptor=descriptor, fitting=FittingSettings(neuron=(8, 8)))


@pytest.fixture
def report(workspace, tmp_path):
    return train(workspace, small_config(steps=6), dataset="pairs", out=tmp_path)


def test_a_run_records_what_a_step_costs_and_what_was_reached(report):
    found = report.roofline
    assert found["steps_counted"] == 6
    assert found["flops_per_step"] > 0
    assert found["gflop_s"] == pytest.approx(
        6e-9 * found["flops_per_step"] / report.seconds, rel=0.05
    )
    assert 0 < found["fraction_of_peak"] < 1
    _, provenance = load_model(report.model_path)
    assert provenance["roofline"] == found
    assert report.to_json()["roofline"] == found
    assert words(found) in report.summary()


def test_the_cost_of_a_step_is_that_of_its_batches(report):
    """Four frames of four atoms a batch: the fitting net's part is known by hand."""
    model, _ = load_model(report.model_path)
    fitting = 6 * 2 * (16 * 8 + 8 * 8 + 8 * 1) * 16
    assert model.config.descriptor.dim_descriptor == 16
    flops = report.roofline["flops_per_step"]
    shape = step_shape(model.config, atoms=16, edges=0)
    assert total(training_step(shape, tabulated=False)).flops >= fitting
    assert flops > fitting


def test_batches_are_counted_as_they_pass_and_their_source_is_closed():
    closed = []

    class Sizes:
        def __init__(self, atoms, edges):
            self.atype, self.edge_i = range(atoms), range(edges)

    def source():
        try:
            yield Sizes(3, 10)
            yield Sizes(5, 20)
            yield Sizes(7, 30)
        finally:
            closed.append(True)

    tally = Tally()
    stream = counted(source(), tally)
    next(stream)
    next(stream)
    assert (tally.steps, tally.atoms, tally.edges) == (2, 8, 30)
    stream.close()
    assert closed


def test_pairs_of_types_have_a_net_each(report):
    model, _ = load_model(report.model_path)
    descriptor = replace(model.config.descriptor, type_one_side=False)
    config = replace(model.config, descriptor=descriptor)
    shapes = [
        step_shape(c, atoms=16, edges=100, knots_per_net=8)
        for c in (model.config, config)
    ]
    assert [s.embeddings[0].nets for s in shapes] == [2, 4]
    assert [s.embeddings[0].knots for s in shapes] == [16, 32]


def test_ranks_are_counted_together(report):
    model, _ = load_model(report.model_path)
    whole = Tally(steps=2, atoms=64, edges=900)
    parts = [Tally(steps=2, atoms=40, edges=500), Tally(steps=2, atoms=24, edges=400)]
    assert summed(parts) == whole
    one, two = (
        reached(model, whole, engine="exact", seconds=1.0, ranks=n) for n in (1, 2)
    )
    adam = ADAM * model.parameters.flat.numel()  # each rank moves all parameters
    assert two["flops_per_step"] == pytest.approx(one["flops_per_step"] + adam, abs=2)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"optimiser": OptimiserConfig(type="kalman")}, "several measurements"),
        ({"model": small_model(SeE2RSettings(rcut=4.0, neuron=(4, 8)))}, "se_e2_r"),
    ],
    ids=["kalman", "se_e2_r"],
)
def test_what_is_not_counted_says_why(workspace, tmp_path, changes, reason):
    config = replace(small_config(steps=2), **changes)
    found = train(workspace, config, dataset="pairs", out=tmp_path)
    assert reason in found.roofline["not_counted"]
    assert f"not counted: {found.roofline['not_counted']}" in found.summary()
    assert load_model(found.model_path)[1]["roofline"] == found.roofline


def test_an_interrupted_run_is_counted_as_far_as_it_went(workspace, tmp_path):
    class Impatient(Silent):
        def step(self, done, loss):
            if done == 3:
                os.kill(os.getpid(), signal.SIGINT)

    found = train(
        workspace,
        small_config(steps=20),
        dataset="pairs",
        out=tmp_path,
        progress=Impatient(),
    )
    assert found.interrupted
    assert found.roofline["steps_counted"] == found.steps
    told = json.loads((found.run_folder / RUN_FILE).read_text())
    assert told["roofline"] == found.roofline
