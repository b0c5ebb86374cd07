"""Three real trainings of one configuration, from model files to one entry."""

import pytest

from dpbench.eval.error_series import PAIRED, metric_series
from dpbench.eval.leaderboard.board import make_board
from dpbench.eval.leaderboard.entries import training_digest
from dpbench.eval.options import Options
from dpbench.eval.run import evaluate
from dpbench.train.run import train
from tests.train.small_runs import small_config

pytestmark = pytest.mark.slow

FORCE = "force_rmse_component_mev_per_ang"


@pytest.fixture(scope="module")
def seeds(trained, tmp_path_factory):
    """Result records of seeds 1, 2, 3 and of a longer training, on the part test."""
    records = {}
    for name, settings in (
        ("one", {"seed": 1}),
        ("two", {"seed": 2}),
        ("three", {"seed": 3}),
        ("longer", {"seed": 1, "steps": 30}),
    ):
        folder = tmp_path_factory.mktemp(name)
        config = small_config(**settings)
        train(trained.workspace, config, dataset="pairs", out=folder)
        (filed,) = evaluate(
            trained.workspace,
            folder / "m.pth",
            dataset="pairs:test",
            options=Options(tasks=("accuracy",), command=("dpbench", "evaluate")),
        )
        records[name] = filed.record
    return records


def test_seeds_alone_make_no_other_training(seeds):
    digests = {name: training_digest(record) for name, record in seeds.items()}
    assert digests["one"] == digests["two"] == digests["three"]
    assert digests["longer"] != digests["one"]
    assert len({record.model.digest for record in seeds.values()}) == 4


def test_records_of_the_same_frames_pair(seeds):
    assert len({record.accuracy.errors.frames for record in seeds.values()}) == 1


def test_kept_errors_give_the_metrics_of_the_record(seeds):
    accuracy = seeds["one"].accuracy
    told = {metric.name: metric.value for metric in accuracy.metrics}
    for name in PAIRED:
        assert metric_series(accuracy.errors, name).value() == pytest.approx(
            told[name], rel=1e-6
        )


def test_the_board_has_one_entry_for_three_seeds(seeds):
    (table,) = make_board(seeds).tables
    assert sorted(entry.seeds for entry in table.entries) == [(1,), (1, 2, 3)]
    (entry,) = (entry for entry in table.entries if len(entry.seeds) == 3)
    values = [
        metric.value
        for name in ("one", "two", "three")
        for metric in seeds[name].accuracy.metrics
        if metric.name == FORCE
    ]
    assert entry.metrics[FORCE].value == pytest.approx(sum(values) / 3)
    assert entry.metrics[FORCE].nblocks is not None
