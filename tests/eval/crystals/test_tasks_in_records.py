"""The tasks of crystals from the command's own way in, on a model that was trained."""

import pytest

from dpbench.eval.options import Options
from dpbench.eval.run import evaluate
from dpbench.eval.tasks.table import TASKS

CRYSTALS = ("eos", "elastic", "phonons", "vacancy", "relaxation", "size_transfer")


# Relaxations of a model that has learned little go on and on.
QUICK = ("eos", "phonons", "size_transfer", "smoothness")


@pytest.fixture(scope="module")
def record(trained):
    options = Options(tasks=QUICK, mode="smoke")
    (filed,) = evaluate(
        trained.workspace, trained.model, dataset="pairs:test", options=options
    )
    return filed.record


def test_every_task_stands_in_the_record(record):
    assert set(record.tasks) == set(QUICK)
    for name, result in record.tasks.items():
        assert result.task == name
        assert result.code.startswith("sha256:")
        assert result.kept is not None
        assert result.status == "ok" or result.reason


def test_nothing_is_compared_without_references(record):
    """E2: null, never 0."""
    for name in QUICK[:3]:
        result = record.tasks[name]
        assert result.status in ("no_reference", "failed")
        assert {metric.value for metric in result.metrics} == {None}


def test_a_deep_potential_is_the_gradient_of_its_energy(record):
    result = record.tasks["smoothness"]
    values = {metric.name: metric.value for metric in result.metrics}
    assert result.status == "ok"
    assert values["conservativeness_max_component_mev_per_ang"] < 1
    assert values["virial_consistency_mae_per_atom_mev"] < 1
    assert set(result.samples) >= {"Si-Si", "C-C"}


def test_every_task_names_its_sources_and_tells_its_cost():
    for name in (*CRYSTALS, "smoothness"):
        task = TASKS[name]
        assert set(task.modes) == {"smoke", "standard", "full"}
        assert f"dpbench.eval.tasks.{name}" in task.sources
        assert task.cost(task.modes["standard"]) > 0
