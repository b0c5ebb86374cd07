import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from dpbench.config import to_mapping
from dpbench.errors import ConfigError, WorkspaceError
from dpbench.explore import journal
from dpbench.explore.changes import differences, remember
from dpbench.explore.frame_files import load_frames, save_frames
from dpbench.explore.in_force import config_used, unused_sections
from dpbench.explore.journal import (
    RECORD,
    iteration_at,
    iterations_of,
    only_one,
    read_record,
)
from dpbench.explore.stage_results import (
    STAGES,
    ExploreResult,
    Histogram,
    IngestResult,
    LabelResult,
    SelectResult,
    TrainResult,
    read_result,
    write_result,
)
from dpbench.explore.status import status
from dpbench.frames import uniform
from dpbench.store import lease
from tests.explore.loop.small import small_config

NONE = Histogram(edges=(0.0, 1.0), counts=(0,))

RESULTS = {
    "train": TrainResult(dataset="cu-v1", digest="d", split="s", models=()),
    "explore": ExploreResult(stage=0, walks=()),
    "select": SelectResult(
        stage=0,
        counts={"accurate": 1},
        levels={},
        max_devi_f=NONE,
        max_devi_v=NONE,
        chosen=(),
        rejected={},
    ),
    "label": LabelResult(driver="ase", done=(), quarantined=()),
    "ingest": IngestResult(version="cu-v2", digest="e", nframes=2, new=1, refused={}),
}


def write(folder, *stages):
    for stage in stages:
        write_result(folder, stage, RESULTS[stage])


@pytest.mark.parametrize("stage", RESULTS)
def test_a_result_is_read_as_it_was_written(tmp_path, stage):
    write(tmp_path, stage)
    assert read_result(tmp_path, STAGES[stage]) == RESULTS[stage]


def test_a_stage_without_a_file_is_not_done(tmp_path):
    assert read_result(tmp_path, TrainResult) is None


@pytest.mark.parametrize("text", ["", "[]", '{"format": 99}', "{"])
def test_a_damaged_result_is_told_with_its_path(tmp_path, text):
    (tmp_path / "train.json").write_text(text)
    with pytest.raises(WorkspaceError, match=r"train\.json: .*expected"):
        read_result(tmp_path, TrainResult)


def test_iterations_are_listed_by_number(tmp_path):
    for number in (2, 10, 0):
        iteration_at(tmp_path, number).folder.mkdir()
    assert [one.number for one in iterations_of(tmp_path)] == [0, 2, 10]


def test_frames_are_read_as_they_were_written(tmp_path):
    frames = uniform(z=[29], coord=np.full((1, 1, 3), 0.1))
    save_frames(tmp_path / "f.npz", frames, step=[3])
    read, more = load_frames(tmp_path / "f.npz")
    assert (read.coord == frames.coord).all()
    assert more["step"].tolist() == [3]


def test_cut_off_frames_are_told_with_their_path(tmp_path):
    path = tmp_path / "f.npz"
    path.write_bytes(b"PK")
    with pytest.raises(WorkspaceError, match=r"f\.npz: cannot be read"):
        load_frames(path)


def test_one_process_at_a_time_works_on_an_exploration(tmp_path):
    with only_one(tmp_path):
        other = subprocess.run(
            [sys.executable, "-c", SECOND, str(tmp_path)],
            capture_output=True,
            text=True,
        )
    assert "works on this exploration" in other.stderr
    with only_one(tmp_path):
        pass  # the first has let go


@pytest.mark.parametrize("on_network", [False, True])
def test_the_status_sees_who_works_on_it_wherever_the_disk_is(
    tmp_path, monkeypatch, on_network
):
    monkeypatch.setattr(journal, "is_network", lambda _: on_network)
    remember(tmp_path, small_config(tmp_path), base=tmp_path)
    with only_one(tmp_path):
        assert (tmp_path / "lease").exists() is on_network
        assert status(tmp_path).is_running
    assert not status(tmp_path).is_running


def test_a_holder_on_another_machine_is_believed_while_its_heart_beats(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(lease, "BEAT", 0.3)
    monkeypatch.setattr(lease, "LONGEST_LOOK", 0.05)
    monkeypatch.setattr(lease, "_place", lambda: "elsewhere")
    with lease.writer_lease(tmp_path / "lease"):
        left = read_left(tmp_path / "lease")
        monkeypatch.setattr(lease, "_place", lambda: "here")
        assert lease.is_held(tmp_path / "lease")
    dead = tmp_path / "dead"
    dead.mkdir()
    (dead / "000000000001").write_bytes(left)
    assert not lease.is_held(dead)


def read_left(folder):
    """Read what a process that is killed now would leave."""
    [path] = folder.iterdir()
    return path.read_bytes()


SECOND = """
import sys
from pathlib import Path
from dpbench.explore.journal import only_one
with only_one(Path(sys.argv[1])):
    print("both")
"""


def test_the_configuration_is_remembered_once(tmp_path):
    config = small_config(tmp_path)
    assert remember(tmp_path / "e", config, base=tmp_path) == ()
    assert remember(tmp_path / "e", config, base=tmp_path) == ()
    [entry] = read_record(tmp_path / "e")
    assert entry.config == to_mapping(config)


def test_what_changed_is_written_down_with_its_iteration(tmp_path):
    root = tmp_path / "e"
    remember(root, small_config(tmp_path), base=tmp_path)
    write(iteration_at(root, 0).folder, *RESULTS)
    write(iteration_at(root, 1).folder, "train")
    changed = remember(root, small_config(tmp_path, stop={"iterations": 5}), base=root)
    assert changed == ("stop.iterations: 2 -> 5",)
    assert [entry.iteration for entry in read_record(root)] == [0, 0]
    assert iteration_at(root, 1).done == ("train",)


@pytest.mark.parametrize(
    ("changes", "done", "left"),
    [
        ({"train": {"steps": 9}}, ("train",), ()),
        ({"train": {"steps": 9}}, ("train", "explore"), ("train", "explore")),
        ({"explore": {"models": "turns"}}, ("train", "explore"), ("train",)),
        ({"select": {"most": 9}}, ("train", "explore", "select"), ("train", "explore")),
        (
            {"select": {"most": 9}},
            ("train", "explore", "select", "label"),
            ("train", "explore", "select", "label"),
        ),
        (
            {"label": {"timeout": 9.0}},
            ("train", "explore", "select", "label"),
            ("train", "explore", "select"),
        ),
        ({"label": {"timeout": 9.0}}, tuple(RESULTS), tuple(RESULTS)),
        ({"resources": {"workers": 1}}, ("train",), ("train",)),
    ],
)
def test_a_changed_section_takes_back_a_stage_that_nothing_is_built_on(
    tmp_path, changes, done, left
):
    root = tmp_path / "e"
    remember(root, small_config(tmp_path), base=tmp_path)
    folder = iteration_at(root, 0).folder
    write(folder, *done)
    remember(root, small_config(tmp_path, **changes), base=tmp_path)
    assert iteration_at(root, 0).done == left


@pytest.mark.parametrize("changes", [{"seed": 9}, {"start": {"count": 9}}])
def test_seed_and_start_cannot_change(tmp_path, changes):
    root = tmp_path / "e"
    remember(root, small_config(tmp_path), base=tmp_path)
    with pytest.raises(ConfigError, match="begun with another start"):
        remember(root, small_config(tmp_path, **changes), base=tmp_path)


def test_differences_name_nested_keys():
    old = {"a": {"b": 1, "c": 2}, "d": 3}
    new = {"a": {"b": 1, "c": 4, "e": 5}, "d": 3}
    assert differences(old, new) == {"a.c": (2, 4), "a.e": (None, 5)}


def test_differences_look_into_lists_of_tables():
    old = {"stages": [{"t": [300], "n": 1}, {"t": [600]}]}
    new = {"stages": [{"t": [300, 900], "n": 1}]}
    assert differences(old, new) == {
        "stages[0].t": ([300], [300, 900]),
        "stages[1]": ({"t": [600]}, None),
    }


@pytest.mark.parametrize(
    ("changes", "first"),
    [
        ({"explore": {"models": "turns"}}, 1),
        ({"select": {"most": 9}}, 0),
        ({"label": {"timeout": 9.0}}, 0),
        ({"stop": {"iterations": 9}}, 0),
        ({"train": {"steps": 9}, "stop": {"iterations": 9}}, 0),
    ],
)
def test_a_change_is_entered_for_the_first_stage_that_goes_by_it(
    tmp_path, changes, first
):
    root = tmp_path / "e"
    remember(root, small_config(tmp_path), base=tmp_path)
    write(iteration_at(root, 0).folder, "train", "explore", "select")
    remember(root, small_config(tmp_path, **changes), base=tmp_path)
    assert read_record(root)[-1].iteration == first


def test_the_configuration_of_an_iteration_is_that_of_its_stages(tmp_path):
    root = tmp_path / "e"
    old, folder = small_config(tmp_path), iteration_at(root, 0).folder
    remember(root, old, base=tmp_path)
    [entry] = read_record(root)
    for stage in ("train", "explore", "select"):
        write_result(folder, stage, RESULTS[stage], config=entry.digest)
    changes = {"explore": {"models": "turns"}, "select": {"most": 9}}
    new = small_config(tmp_path, **changes)
    remember(root, new, base=tmp_path)
    digest = read_record(root)[-1].digest
    write_result(folder, "select", RESULTS["select"], config=digest)
    used, _ = config_used(iteration_at(root, 0), read_record(root))
    assert used["explore"] == to_mapping(old)["explore"]
    assert used["select"] == to_mapping(new)["select"]
    assert unused_sections(root, new) == ("explore",)
    assert unused_sections(root, replace(old, select=new.select)) == ()


def test_older_books_without_notes_tell_the_same_configuration(tmp_path):
    root = tmp_path / "e"
    remember(root, small_config(tmp_path), base=tmp_path)
    write(iteration_at(root, 0).folder, *RESULTS)
    [entry] = read_record(root)
    used = config_used(iteration_at(root, 0), [entry])
    assert used == (entry.config, entry.digest)


def test_damaged_books_are_told_with_their_path(tmp_path):
    (tmp_path / RECORD).write_text(json.dumps({"format": 7}))
    with pytest.raises(WorkspaceError, match=r"exploration\.json: cannot be read"):
        read_record(tmp_path)


def test_the_status_tells_what_is_done(tmp_path):
    root = tmp_path / "e"
    remember(root, small_config(tmp_path), base=tmp_path)
    write(root / "start", "ingest")
    write(iteration_at(root, 0).folder, *RESULTS)
    write(iteration_at(root, 1).folder, "train")
    found = status(root)
    assert not found.is_running
    assert [tuple(one.done) for one in found.iterations] == [tuple(RESULTS), ("train",)]
    assert any("cu-v2 with 1 new frames" in line for line in found.lines())
    assert json.loads(json.dumps(found.to_json()))["iterations"][1]["done"] == ["train"]


def test_the_status_of_nothing_says_how_to_begin(tmp_path):
    with pytest.raises(WorkspaceError, match="Begin it with 'dpbench explore"):
        status(tmp_path)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"train": {"models": 1}}, "expected 2 or more"),
        ({"start": {"structures": ["bcc"]}}, "unknown structure 'bcc'"),
        ({"start": {"dataset": "x-v1"}}, "exactly one of"),
        ({"seed": -1}, "expected 0 or more"),
        ({"dataset": "a b"}, "a b"),
        ({"select": {"forces": [1, 2]}}, "did you mean 'force'"),
    ],
)
def test_a_wrong_configuration_is_told_in_a_line(tmp_path, changes, words):
    with pytest.raises(ConfigError, match=words):
        small_config(tmp_path, **changes)
