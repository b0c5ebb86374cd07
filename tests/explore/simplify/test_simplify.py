"""Simplifying: the subset, what it is compared with, and what it leaves behind."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

from dpbench.cli.main import cli
from dpbench.config import from_mapping
from dpbench.errors import ConfigError, DatasetError
from dpbench.explore.simplify.material import check_name, file_subset, find_material
from dpbench.explore.simplify.page import render
from dpbench.explore.simplify.record import Point, Simplified, size_reaching
from dpbench.explore.simplify.settings import SimplifySettings
from dpbench.io.ingest import IngestOptions, ingest
from dpbench.store.dataset import open_dataset
from dpbench.store.splits.filed import list_splits, named_split
from dpbench.store.workspace import Workspace
from tests.train.small_runs import write_system

CONFIG = """\
[model.descriptor]
type = "se_e2_a"
rcut = 4.0
neuron = [4, 8]
axis_neuron = 2
sel = "auto:3"

[model.fitting]
neuron = [8, 8]

[training]
batch_size = 4
"""


@pytest.fixture
def workspace(in_tmp) -> Workspace:
    """A workspace with ``pairs-v1``, five systems of eight frames, and its split."""
    workspace = Workspace.find(in_tmp / "workspace", create=True)
    for seed in range(5):
        write_system(in_tmp / "systems" / str(seed), seed=seed, nframes=8)
    ingest(
        workspace,
        "deepmd",
        [in_tmp / "systems"],
        dataset="pairs",
        options=IngestOptions(workers=0),
    )
    (in_tmp / "train.toml").write_text(CONFIG)
    return workspace


def run(*more):
    arguments = ["--workspace", "workspace", "simplify", "pairs", "--frames", "8"]
    quick = ["--models", "2", "--steps", "6", "--controls", "1", "--config"]
    return CliRunner().invoke(
        cli, [*arguments, *quick, "train.toml", "--workers", "0", *more]
    )


@pytest.mark.slow
def test_a_subset_becomes_a_split_and_the_same_command_finds_it_again(
    workspace, in_tmp
):
    done = run("--start", "4", "--batch", "4", "--json", "--name", "small")
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    version = open_dataset(workspace, "pairs-v1")
    split = named_split(version, "small")
    assert sorted(told["frames"]) == split.part("train").tolist()
    assert split.sizes == {"train": 8, "validation": 8, "test": 8}
    sizes = {(p["side"], p["size"]) for p in told["points"]}
    assert sizes == {(s, n) for s in ("chosen", "random") for n in (4, 8)} | {
        ("full", 24)
    }
    # Nothing else is left in the workspace: no runs, and no splits to choose among.
    assert len(list_splits(version)) == 2
    assert not list(workspace.runs.iterdir())
    page = (in_tmp / "small" / "report.html").read_text()
    assert "8 frames of pairs-v1" in page
    again = run("--start", "4", "--batch", "4", "--json", "--name", "small")
    assert json.loads(again.stdout) == told


@pytest.mark.slow
def test_levels_that_nothing_reaches_complete_the_subset_early(workspace):
    done = run("--force", "50", "99", "--no-full", "--start", "4")
    assert done.exit_code == 0, done.output
    assert "complete with 4 frames" in done.stdout
    version = open_dataset(workspace, "pairs-v1")
    assert named_split(version, "simplified-8").sizes["train"] == 4


@pytest.mark.slow
def test_diverse_asks_no_model(workspace, in_tmp):
    done = run("--method", "diverse", "--no-full", "--start", "8", "--json")
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert told["rounds"] == []
    assert len(set(told["frames"])) == 8


def test_the_pool_and_the_test_are_two_parts(workspace):
    material = find_material(workspace, "pairs")
    assert (material.pool, material.test) == ("train", "test")
    other = find_material(workspace, "pairs-v1:validation", test="train")
    assert (other.pool, other.test) == ("validation", "train")
    with pytest.raises(DatasetError, match="the part that is chosen from"):
        find_material(workspace, "pairs:test", test="test")


def test_the_other_parts_stay_and_nothing_stands_twice(workspace):
    material = find_material(workspace, "pairs:validation", test="test")
    subset = material.pool_frames[[3, 1]]
    settings = SimplifySettings(frames=2)
    split = file_subset(material, subset, settings, name="two")
    assert split.part("train").tolist() == sorted(subset.tolist())
    assert set(split.parts) == {"train", "test"}
    assert split.leakage is not None
    check_name(material, "two", settings)  # the same once more
    with pytest.raises(DatasetError, match="name of another split"):
        check_name(material, "two", SimplifySettings(frames=3))


def test_more_frames_than_there_are_cannot_be_chosen(workspace):
    done = run("--frames", "24")
    assert done.exit_code == 1
    assert "there are 24 to choose from" in done.stderr


@pytest.mark.parametrize(
    ("settings", "sizes"),
    [
        ({"frames": 100}, [20, 40, 60, 80, 100]),
        ({"frames": 100, "start": 10, "batch": 40}, [10, 50, 90, 100]),
        ({"frames": 2}, [2]),
        ({"frames": 5, "start": 9}, [5]),
    ],
)
def test_the_subset_grows_to_its_size(settings, sizes):
    assert SimplifySettings(**settings).sizes(1000) == sizes


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"frames": 1}, "expected 2 or more"),
        ({"frames": 9, "models": 1}, "deviation is that of several models"),
        ({"frames": 9, "method": "diverse", "force": [0.1, 1.0]}, "no model is asked"),
        ({"frames": 9, "force": [0.1, float("inf")]}, "0 <= lower <= upper"),
        ({"frames": 9, "force": [1.0, 0.1]}, "0 <= lower <= upper"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(keys, said):
    with pytest.raises(ConfigError, match=said):
        from_mapping(SimplifySettings, keys, where="simplify")


def test_an_equal_error_is_found_between_two_sizes():
    curve = [(10, 0.4), (40, 0.2), (160, 0.1)]
    assert size_reaching(0.2, curve) == pytest.approx(40)
    assert size_reaching(0.1 * 2**0.5, curve) == pytest.approx(80)
    assert size_reaching(0.5, curve) == 10
    assert size_reaching(0.05, curve) is None
    assert size_reaching(0.1, []) is None


def test_luck_of_a_small_random_subset_is_no_equal_error():
    # The smallest is better than the next two, and than what was chosen.
    curve = [(3, 0.3), (6, 0.5), (12, 0.5), (48, 0.25)]
    assert 12 < size_reaching(0.35, curve) < 48
    assert size_reaching(0.35, curve[:3]) is None
    assert size_reaching(0.6, curve) is None


def outcome(points) -> Simplified:
    return Simplified(
        dataset="pairs-v1",
        digest="dpb1:aa",
        split="dpb1:bb",
        name="small",
        pool="train",
        test="test",
        pool_frames=24,
        test_frames=8,
        frames=tuple(range(4)),
        settings=SimplifySettings(frames=4),
        rounds=(),
        points=tuple(points),
    )


def point(side, size, member, error) -> Point:
    return Point(
        side=side,
        size=size,
        member=member,
        rmse_f=error,
        p95_f=2 * error,
        rmse_e=error / 10,
        cpu_seconds=1.0,
    )


def test_medians_are_told_and_a_model_without_a_number_is_left_out():
    nan = float("nan")
    found = outcome(
        [
            *(point("chosen", 4, m, e) for m, e in enumerate([0.1, 0.3, nan])),
            *(point("random", n, 9, e) for n, e in ((2, 0.4), (4, 0.3))),
            point("full", 24, 0, 0.1),
        ]
    )
    assert found.median("chosen", 4) == pytest.approx(0.2)
    share = np.log(0.3 / 0.2) / np.log(3)
    assert found.random_equivalent == pytest.approx(4 * 6**share)
    told = found.to_json()
    assert json.loads(json.dumps(told, allow_nan=False)) == told
    assert "as good as 8 frames chosen at random" in found.summary()
    page = render(found)
    assert "a ratio of 0.67" in page
    assert page.count("<circle") > 10


def test_a_page_without_any_number_is_written():
    nan = float("nan")
    page = render(outcome([point("chosen", 4, 0, nan)]))
    assert "No frame has this label" in page
