"""The task ``md_throughput``: the model that is open, measured by other processes."""

from dataclasses import replace

import pytest
import torch

from dpbench.eval.native import NativeEvaluator
from dpbench.eval.speed.configurations import Configuration
from dpbench.eval.speed.of_evaluator import configuration_of
from dpbench.eval.speed.settings import LEVELS, MODES
from dpbench.eval.tasks import md_throughput, scaling
from dpbench.eval.tasks.doing import do_task
from dpbench.eval.tasks.table import TASKS
from dpbench.eval.tasks.task import Job
from dpbench.models.files import load_potential
from dpbench.store.workspace import Workspace
from tests.eval.speed.test_ladders import Machine
from tests.eval.speed.test_probes import model  # noqa: F401 -- a fixture


@pytest.fixture
def evaluator(model):  # noqa: F811
    return NativeEvaluator(load_potential(model)[0])


def job(tmp_path, settings):
    workspace = Workspace.find(tmp_path / "workspace", create=True)
    return Job(workspace=workspace, part=None, settings=settings)


def test_what_is_evaluated_by_tables_is_opened_with_tables(evaluator, tmp_path):
    workspace = Workspace.find(tmp_path / "workspace", create=True)
    found = configuration_of(evaluator, workspace, tmp_path)
    assert isinstance(found, Configuration)
    again, _ = load_potential(tmp_path / "model.pth")
    assert type(again) is type(evaluator.model)
    assert (found.engine, found.type_map) == ("dpbench", ("Al", "Mg"))


@pytest.mark.slow
def test_the_task_measures_the_open_model_in_another_process(evaluator, tmp_path):
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    settings = replace(
        MODES["smoke"], sizes=(32,), families=("dense", "water"), levels=(LEVELS[2],)
    )
    try:
        result = do_task(TASKS["md_throughput"], evaluator, job(tmp_path, settings))
    finally:
        torch.set_num_threads(before)
    assert result.status == "ok"
    assert result.samples["families"]["water"] is None
    named = {metric.name: metric.value for metric in result.metrics}
    assert named["md_dense_us_per_atom_step"] > 0
    assert named["md_water_us_per_atom_step"] is None
    assert result.kept is not None


def test_the_exponent_is_that_of_the_ladder(evaluator, tmp_path, monkeypatch):
    """Linear scaling is planted; its exponent is 1 within the interval."""

    def measured(configurations, settings, *, say):
        from dpbench.eval.speed.measuring import measure_ladders

        return measure_ladders(configurations, settings, say=say, run=Machine())

    monkeypatch.setattr(scaling, "measure_ladders", measured)
    settings = replace(scaling.MODES["standard"], processes=3)
    result = do_task(TASKS["scaling"], evaluator, job(tmp_path, settings))
    (metric,) = result.metrics
    assert metric.value == pytest.approx(1.0)
    assert metric.ci_low <= 1.0 <= metric.ci_high
    smoke = do_task(TASKS["scaling"], evaluator, job(tmp_path, scaling.MODES["smoke"]))
    assert smoke.metrics[0].value is None
    assert "4096 atoms or more" in smoke.reason


def test_every_mode_knows_its_cost():
    for task in (md_throughput.TASK, scaling.TASK):
        costs = [task.cost(task.modes[mode]) for mode in ("smoke", "standard", "full")]
        assert costs == sorted(costs)
        assert costs[0] > 0
