"""Commands: ``dataset log``, ``diff``, ``rename``, ``retract``; registry upgrade."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

from dpbench.cli.main import cli
from dpbench.store.catalog.migrate import HEAD
from dpbench.store.dataset import open_dataset
from dpbench.store.theory.mixture import fingerprint
from dpbench.store.versions import derive_version
from tests.store.synthetic import (
    THEORY,
    commit,
    new_workspace,
    random_frames,
    segment_data,
    source_entry,
)

FRAMES = random_frames(0, [2] * 15)


@pytest.fixture
def run(tmp_path):
    """A dataset of three versions, and how to run a command on it."""
    workspace = new_workspace(tmp_path)
    commit(workspace, "w", segment_data(FRAMES, [source_entry("a")]))
    pbe = {**THEORY, "functional": "PBE"}
    other = source_entry("b", theory=fingerprint(pbe))
    data = segment_data(random_frames(1, [3]), [other])
    commit(workspace, "w", data, theories=[pbe], allow_mixed_theory=True)
    head = open_dataset(workspace, "w")
    derive_version(
        workspace,
        head,
        exclude={"outlier": np.array([4])},
        created_at="2026-01-02T00:00:00+00:00",
        note="without outlier",
    )
    shifted = random_frames(0, [2] * 15)
    shifted.energy[3] += 1
    commit(workspace, "v", segment_data(shifted, [source_entry("c")]))

    def invoke(*arguments, code=0):
        root = str(workspace.root)
        done = CliRunner().invoke(cli, ["--workspace", root, *arguments])
        assert done.exit_code == code, done.output
        return done.output

    return invoke


def test_log_tells_changes_notes_mixtures_and_retractions(run):
    run("dataset", "retract", "w-v2", "--reason", "two functionals")
    text = run("dataset", "log", "w")
    newest, middle, first = (text.index(f"w-v{i}  2026") for i in (3, 2, 1))
    assert newest < middle < first
    assert "16 frames" in text
    assert "15 frames; +15 added" in text
    assert "+1 added since w-v1" in text
    assert "-1 removed since w-v2" in text
    assert "without outlier" in text
    assert "mixes levels of theory: functional" in text
    assert "RETRACTED" in text
    assert "two functionals" in text
    told = json.loads(run("dataset", "log", "w", "--json"))
    assert [v["removed"] for v in told["versions"]] == [0, 0, 1]
    assert "RETRACTED" in run("dataset", "show", "w")


def test_diff_shows_the_first_frames_and_json_all(run):
    text = run("dataset", "diff", "w-v2", "v")
    assert "0 frames added, 1 removed, 1 relabelled, 14 in both" in text
    assert "runs/b.out" in text
    assert "energy" in text
    for name in ("runs/a.out", "runs/c.out"):
        assert name in text
    told = json.loads(run("dataset", "diff", "w-v2", "v", "--json"))
    assert told["counts"]["relabelled"] == len(told["relabelled"]) == 1
    assert told["relabelled"][0]["changed"] == ["energy"]
    assert told["relabelled"][0]["before"]["step"] == 3
    assert "largest |Δ|: energy 500 meV/atom" in text
    assert told["largest"] == {"energy": pytest.approx(0.5)}
    run("dataset", "diff", "w", "nothing", code=1)


def test_diff_of_many_frames_says_how_many_it_leaves_out(run, tmp_path):
    workspace = new_workspace(tmp_path)
    one = segment_data(random_frames(7, [2]), [source_entry("z")])
    commit(workspace, "z", one)
    text = run("dataset", "diff", "z", "v")
    assert "15 frames added, 1 removed" in text
    assert "... and 5 more (--json has them all)" in text


def test_rename_says_what_finds_it(run):
    assert "'w' still finds it" in run("dataset", "rename", "w", "h2o")
    assert "h2o-v3" in run("dataset", "list")
    assert "called h2o instead of w" in run("dataset", "log", "w")
    assert "of another dataset" in run("dataset", "rename", "v", "w", code=1)


def test_retract_needs_a_reason_and_a_version(run):
    run("dataset", "retract", "w-v3", code=2)
    text = run("dataset", "retract", "w", "--reason", "x", code=1)
    assert "expected its number, such as w-v1" in text
    run("dataset", "retract", "w-v3", "--reason", "x")
    text = run("dataset", "retract", "w-v3", "--reason", "x", code=1)
    assert "was retracted already" in text
    for number in (1, 2):
        run("dataset", "retract", f"w-v{number}", "--reason", "y")
    assert "w-v3 (retracted)" in run("dataset", "list")
    assert "was retracted by" in run("dataset", "show", "w", code=1)


def test_registry_upgrade_tells_the_schema(run):
    told = json.loads(run("registry", "upgrade", "--json"))
    assert told["schema"] == HEAD
    assert f"has schema {HEAD}" in run("registry", "upgrade")
