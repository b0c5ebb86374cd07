"""What ``dataset split``, ``dataset leakage``, ``train`` and ``evaluate`` print."""

import json

import pytest
from click.testing import CliRunner

from dpbench.cli.main import cli
from dpbench.frames import concatenate
from dpbench.io.leakage.words import copies_and_twins
from dpbench.store import objects
from dpbench.store.dataset import open_dataset
from dpbench.store.splits.making import find_split
from tests.io.planted import plant, relabelled, turned, walk
from tests.store.synthetic import new_workspace


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    workspace = new_workspace(tmp_path)
    monkeypatch.setenv("DPBENCH_WORKSPACE", str(workspace.root))
    runs = {f"run{i}": walk(i, 20) for i in range(6)}
    plant(workspace, "w", runs)
    other = concatenate(
        [
            walk(99, 5),
            relabelled(walk(0, 20).select([4])),
            turned(walk(1, 20).select([7, 8])),
        ]
    )
    plant(workspace, "other", {"mixed": other})
    return workspace


def run(*arguments):
    return CliRunner().invoke(cli, [*map(str, arguments)])


def as_json(*arguments):
    result = run(*arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


@pytest.mark.usefixtures("workspace")
def test_leakage_between_datasets_is_counted_and_named():
    facts = as_json("dataset", "leakage", "w", "other", "--pairs", 1)
    levels = facts["levels"]
    assert (facts["a"], facts["b"], facts["n_a"], facts["n_b"]) == (
        "w-v1",
        "other-v1",
        120,
        8,
    )
    assert levels["exact"]["frames"] == 1
    assert levels["exact"]["equal_labels"] == 0
    assert levels["invariant"]["frames"] == 2
    assert len(levels["invariant"]["pairs"]) == 1
    assert levels["same_trajectory"]["frames"] == 0
    text = run("dataset", "leakage", "w", "other").stdout
    for words in ("0 with equal labels", "runs/run1.out step 7", "25.0%"):
        assert words in text


@pytest.mark.usefixtures("workspace")
def test_leakage_between_parts_of_a_named_split():
    assert run("dataset", "split", "w", "--name", "by-run").exit_code == 0
    time = ("--strategy", "time", "--gap", 3, "--name", "later")
    assert run("dataset", "split", "w", *time).exit_code == 0
    ask = ("dataset", "leakage", "w:train", "w-v1:test")
    assert "has 2 splits" in run(*ask).output
    levels = as_json(*ask, "--split", "by-run")["levels"]
    assert [level["frames"] for level in levels.values()] == [0, 0, 0]
    levels = as_json(*ask, "--split", "later")["levels"]
    assert levels["same_trajectory"]["nearest"] >= 4
    text = run(*ask, "--split", "later").stdout
    assert "100.0%  nearest: " in text


def test_split_tells_and_files_what_parts_share(workspace):
    done = run("dataset", "split", "w", "--strategy", "time", "--name", "later")
    assert "split 'later' dpb1:" in done.stdout
    words = "test has in common with train: 0 copies, 0 twins, 6 frames from"
    assert words in done.stdout
    split = find_split(open_dataset(workspace, "w"))
    assert split.leakage["test"]["same_trajectory"] == 6
    assert split.leakage["test"]["exact"] == 0


def test_split_that_skips_twins_says_so(workspace):
    done = run("dataset", "split", "w", "--skip-twins")
    assert "copies and twins not checked" in done.stdout
    split = find_split(open_dataset(workspace, "w"))
    assert split.parameters["twins"] == "not looked for"
    assert not (workspace.root / "derived").exists()


@pytest.mark.usefixtures("workspace")
def test_random_split_of_trajectories_is_warned_of():
    done = run("dataset", "split", "w", "--strategy", "random")
    assert done.exit_code == 0
    assert "stand beside a training frame" in done.stderr
    facts = as_json("dataset", "split", "w", "--strategy", "random", "--seed", 5)
    assert facts["parameters"]["likeness"] < 0.5
    assert facts["parameters"]["neighbours_in_train"]["test"] > 0.5


def test_random_split_of_unrelated_frames_is_not(workspace):
    plant(workspace, "u", {"u": concatenate([walk(i, 1) for i in range(40)])})
    done = run("dataset", "split", "u", "--strategy", "random")
    assert "warning" not in done.stderr
    facts = as_json("dataset", "split", "u", "--strategy", "random")
    assert facts["parameters"]["likeness"] > 0.7


@pytest.mark.usefixtures("workspace")
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--strategy", "source", "--gap", 2), "gap of 2 frames"),
        (("--strategy", "composition"), "has 1 groups to deal by composition"),
        (("--name", "a b"), "is no name"),
        (("--gap", 40, "--strategy", "time"), "too few for the parts"),
    ],
)
def test_a_split_that_cannot_be_made_is_one_line(arguments, words):
    done = run("dataset", "split", "w", *arguments)
    assert done.exit_code == 1
    assert words in done.output
    assert "Traceback" not in done.output


def test_training_says_and_keeps_what_its_parts_share(workspace, tmp_path):
    run("dataset", "split", "w", "--strategy", "block", "--name", "blocks")
    out = tmp_path / "out"
    options = ("--steps", 2, "--split", "blocks", "--out", out, "--device", "cpu")
    done = run("train", "--dataset", "w", *options)
    assert done.exit_code == 0, done.output
    assert "split blocks" in done.stderr
    assert "shared with train: validation (" in done.stderr
    assert "0 copies, 0 twins" in done.stderr
    (told,) = objects.all_of(workspace, "run").values()
    provenance = told["provenance"]
    assert provenance["split"]["names"] == ["blocks"]
    assert provenance["leakage"]["test"]["invariant"] == 0
    assert provenance["leakage"]["test"]["nearest_steps"] >= 2
    n_train = provenance["split"]["parts"]["train"]
    assert provenance["training_frames"]["n_frames"] == n_train
    again = run(
        *("evaluate", "--model", out / "m.pth", "--tasks", "accuracy"),
        *("--dataset", "other", "--mode", "smoke", "--device", "cpu"),
    )
    assert again.exit_code == 0, again.output
    levels = as_json(*("dataset", "leakage", "w:train", "other", "--split", "blocks"))[
        "levels"
    ]
    exact, invariant = (levels[name]["frames"] for name in ("exact", "invariant"))
    words = copies_and_twins(exact, invariant)
    assert words in again.stdout


@pytest.mark.usefixtures("workspace")
def test_show_lists_splits_with_their_names():
    run("dataset", "split", "w", "--name", "by-run")
    run("dataset", "split", "w", "--seed", 3)
    lines = run("dataset", "show", "w").stdout.splitlines()
    names = [line.split()[1] for line in lines if line.startswith("dpb1:")]
    assert sorted(names)[-1] == "by-run"
    (first, second) = as_json("dataset", "show", "w")["splits"]
    assert sorted([first["names"], second["names"]]) == [[], ["by-run"]]
    assert first["leakage"]["test"]["exact"] == 0


def test_shares_far_from_those_asked_are_told(workspace):
    plant(workspace, "few", {f"run{i}": walk(70 + i, 10) for i in range(3)})
    shown = run("dataset", "split", "few").output
    assert "train 33% of 80% asked" in shown
    assert "0 frames from trajectories that train has frames of" in shown
