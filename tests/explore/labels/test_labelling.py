"""Labels are kept by content, never paid for twice, and lost with a reason only."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dpbench.errors import ConfigError, DatasetError
from dpbench.explore.labels.driver import AGAIN, Trouble
from dpbench.explore.labels.label_files import (
    FINDING_FILE,
    LABEL_FILE,
    attempt_folder,
    read_label,
)
from dpbench.explore.labels.labelling import (
    forget_quarantined,
    label,
    label_tasks,
    lost,
    refuse_failures,
)
from dpbench.explore.labels.remedies import MORE_TIME
from dpbench.explore.labels.verify import unlike
from dpbench.frames import concatenate
from dpbench.io.ingest import ingest
from dpbench.store.workspace import Workspace
from tests.explore.labels.conftest import PYTHON


def run_all(frames, settings, folder):
    return [label(task) for task in label_tasks(frames, settings, folder=folder)]


def test_labels_reach_the_dataset(springs, alloys, tmp_path):
    theory = tmp_path / "theory.toml"
    theory.write_text('code = "springs"\nfunctional = "harmonic"\n')
    found = run_all(alloys, springs(theory=theory), tmp_path / "labels")
    assert [one.status for one in found] == ["done"] * 3
    assert found[0].theory["functional"] == "harmonic"
    workspace = Workspace.find(tmp_path / "workspace", create=True)
    outputs = [path for one in found for path in one.outputs]
    report = ingest(workspace, "extxyz", outputs, dataset="springs", workers=0)
    assert report.n_kept == 3


def test_a_label_is_read_and_not_computed_again(springs, alloys, tmp_path):
    first = run_all(alloys, springs(), tmp_path / "labels")
    times = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("calls")}
    again = run_all(alloys, springs(), tmp_path / "labels")
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("calls")} == times
    assert [one.was_kept for one in first] == [False] * 3
    assert [replace(one, was_kept=False) for one in again] == first


def test_equal_frames_are_one_task(springs, alloys, tmp_path):
    twice = concatenate([alloys, alloys.select([1])])
    tasks = label_tasks(twice, springs(), folder=tmp_path)
    assert [task.indices for task in tasks] == [(0,), (1, 3), (2,)]


def test_the_key_knows_frame_and_driver_but_not_time_or_threads(
    springs, alloys, tmp_path
):
    def keys(frames, **more):
        tasks = label_tasks(frames, springs(**more), folder=tmp_path)
        return [task.key for task in tasks]

    plain = keys(alloys)
    assert keys(alloys, timeout=1.0, attempts=1, threads=2) == plain
    assert not set(keys(alloys, version="2")) & set(plain)
    moved = replace(alloys, coord=np.nextafter(alloys.coord, 9))
    assert not set(keys(moved)) & set(plain)


def test_content_of_a_file_decides_the_label(springs, alloys, tmp_path):
    settings = springs()
    before = label_tasks(alloys, settings, folder=tmp_path)[0].key
    with (tmp_path / "springs.py").open("a") as file:
        file.write("# another\n")
    assert label_tasks(alloys, settings, folder=tmp_path)[0].key != before


def test_a_run_that_ended_is_judged_and_not_repeated(springs, alloys, tmp_path):
    """Killed between the end of the program and the verdict."""
    folder = tmp_path / "labels"
    task = label_tasks(alloys.select([0]), springs(), folder=folder)[0]
    done = label(task)
    (task.folder / LABEL_FILE).unlink()
    (attempt_folder(task.folder, 0) / FINDING_FILE).unlink()
    marker = attempt_folder(task.folder, 0) / "calls"
    marker.write_text("still there")
    assert label(task) == done
    assert marker.read_text() == "still there"


def test_a_run_that_did_not_end_starts_again_in_an_empty_folder(
    springs, alloys, tmp_path
):
    task = label_tasks(alloys.select([0]), springs(), folder=tmp_path / "labels")[0]
    attempt_folder(task.folder, 0).mkdir(parents=True)
    (attempt_folder(task.folder, 0) / "label.extxyz").write_text("half a fi")
    assert label(task).status == "done"


def test_run_that_ended_right_before_a_kill_is_the_attempt(springs, alloys, tmp_path):
    task = label_tasks(alloys.select([0]), springs(), folder=tmp_path / "labels")[0]
    done = label(task)
    (task.folder / LABEL_FILE).unlink()
    attempt = attempt_folder(task.folder, 0)
    (attempt / FINDING_FILE).unlink()
    (attempt / "mark").touch()
    (task.folder / "running.1").mkdir()
    attempt.rename(task.folder / "running.1" / attempt.name)
    assert label(task) == done
    assert (attempt / "mark").exists()


def test_first_of_two_runs_of_one_frame_is_the_attempt(
    springs, program, alloys, tmp_path
):
    """An orphan on a node that the new loop cannot reach ends first."""
    folder = tmp_path / "labels"
    done = label(label_tasks(alloys.select([0]), springs(), folder=folder)[0])
    first = tmp_path / "first"
    done.outputs[0].parent.rename(first)
    theirs = attempt_folder(folder / done.key, 0)
    script = program("slow", f"cp -r {first} {theirs}; exec {PYTHON} springs.py")
    (folder / done.key / LABEL_FILE).unlink()
    (first / FINDING_FILE).unlink()
    (first / "orphan").touch()
    task = label_tasks(alloys.select([0]), springs(), folder=folder)[0]
    task = replace(task, settings=springs(command=str(script)))
    assert label(task).status == "done"
    assert (theirs / "orphan").exists()
    assert [path.name for path in task.folder.glob("running*")] == []


def test_output_that_was_removed_is_made_again(springs, alloys, tmp_path):
    task = label_tasks(alloys.select([0]), springs(), folder=tmp_path / "labels")[0]
    for path in label(task).outputs:
        path.unlink()
    assert read_label(task.folder) is None
    assert all(path.exists() for path in label(task).outputs)


def test_job_that_died_runs_once_more_as_it_was(springs, program, alloys, tmp_path):
    flag = tmp_path / "flag"
    script = program(
        "dies-once",
        f"if [ ! -e {flag} ]; then touch {flag}; kill -9 $$; fi\n"
        f"exec {PYTHON} springs.py",
    )
    found = run_all(alloys.select([0]), springs(command=str(script)), tmp_path / "l")
    assert (found[0].status, found[0].attempts) == ("done", 2)
    assert found[0].remedies == (AGAIN,)


def test_job_that_dies_always_is_quarantined_with_its_last_words(
    springs, program, alloys, tmp_path
):
    script = program("dies", "echo segment violated; kill -11 $$")
    found = run_all(alloys.select([0]), springs(command=str(script)), tmp_path / "l")
    assert (found[0].status, found[0].trouble) == ("quarantined", Trouble.DIED)
    assert "killed by SIGSEGV" in found[0].reason
    assert "segment violated" in found[0].reason
    assert found[0].attempts == 2  # again, and no more


def test_hung_job_is_stopped_with_all_that_it_started(
    springs, program, alloys, tmp_path
):
    pids = tmp_path / "pids"
    pids.touch()  # a busy machine may not come to write it in time
    script = program("hangs", f"sleep 60 & echo $! >> {pids}; wait")
    settings = springs(command=str(script), timeout=0.2)
    found = run_all(alloys.select([0]), settings, tmp_path / "l")
    assert (found[0].trouble, found[0].remedies) == (Trouble.TIMED_OUT, (MORE_TIME,))
    assert "was stopped after 0.4 s" in found[0].reason
    for pid in map(int, pids.read_text().split()):
        assert not is_alive(pid)


def test_more_time_than_before_tries_again_what_ran_out_of_it(
    springs, program, alloys, tmp_path
):
    script = program("slow", f"sleep 0.5; exec {PYTHON} springs.py")
    short = springs(command=str(script), timeout=0.1, attempts=1)
    folder = tmp_path / "l"
    assert run_all(alloys.select([0]), short, folder)[0].status == "quarantined"
    assert run_all(alloys.select([0]), short, folder)[0].was_kept
    longer = springs(command=str(script), timeout=60.0, attempts=1)
    assert run_all(alloys.select([0]), longer, folder)[0].status == "done"


def test_more_attempts_than_before_go_on_where_the_others_ended(
    springs, program, alloys, tmp_path
):
    count = tmp_path / "count"
    bad = program("bad", f"echo x >> {count}; exit 1")
    good = f"{PYTHON} springs.py"
    keys = {"command": str(bad), "remedies": {"other": good}}
    folder = tmp_path / "l"
    few = run_all(alloys.select([0]), springs(attempts=2, **keys), folder)
    assert few[0].status == "quarantined"
    more = run_all(alloys.select([0]), springs(attempts=3, **keys), folder)
    assert (more[0].status, more[0].attempts) == ("done", 3)
    assert count.read_text() == "x\nx\n"  # the first two were not repeated


def test_label_of_another_frame_is_no_label(springs, program, alloys, tmp_path):
    """A planted mix-up: the output is whole, converged, and of other coordinates."""
    other = tmp_path / "other.extxyz"
    done = run_all(alloys.select([1]), springs(), tmp_path / "first")
    other.write_bytes(done[0].outputs[0].read_bytes())
    moved = replace(alloys, coord=alloys.coord + [[0.01, 0, 0], [0, 0, 0]] * 3)
    script = program("mixed-up", f"cp {other} label.extxyz")
    found = run_all(moved.select([1]), springs(command=str(script)), tmp_path / "l")
    assert found[0].trouble is Trouble.UNREADABLE
    assert "an atom 0.01 Å from its place" in found[0].reason


def test_force_beyond_the_limit_is_quarantined(springs, alloys, tmp_path):
    found = run_all(alloys.select([0]), springs(max_force=0.1), tmp_path / "l")
    assert found[0].status == "quarantined"
    assert "at most 0.1 is taken" in found[0].reason


def test_output_without_forces_is_quarantined(springs, program, alloys, tmp_path):
    text = '1\\nLattice="3 0 0 0 3 0 0 0 3" Properties=species:S:1:pos:R:3 energy=1'
    script = program("bare", f"printf '{text}\\nAl 0 0 0\\n' > label.extxyz")
    found = run_all(alloys.select([0]), springs(command=str(script)), tmp_path / "l")
    assert found[0].trouble is Trouble.UNREADABLE


def test_worker_that_died_with_a_frame_quarantines_it(springs, alloys, tmp_path):
    task = label_tasks(alloys.select([0]), springs(), folder=tmp_path / "labels")[0]
    lost(task, "its process was killed by SIGKILL")
    assert label(task).reason == "its process was killed by SIGKILL"
    assert forget_quarantined(tmp_path / "labels") == 1
    assert label(task).status == "done"


def test_too_many_failures_stop_the_loop_with_the_most_frequent_reason(
    springs, alloys, tmp_path
):
    settings = springs(max_force=0.1)
    found = run_all(alloys, settings, tmp_path / "l")
    with pytest.raises(
        DatasetError, match=r"3 of 3 frames are quarantined.*0\.1.*/l/.*--retry"
    ):
        refuse_failures(found, settings, folder=tmp_path / "l")
    refuse_failures(found, springs(ratio_failed=1.0), folder=tmp_path / "l")
    refuse_failures([], settings, folder=tmp_path / "l")


def test_one_failure_of_a_few_goes_on_unless_none_may_fail(springs, alloys, tmp_path):
    bad = run_all(alloys.select([0]), springs(max_force=0.1), tmp_path / "l")
    good = run_all(alloys.select([1, 2]), springs(), tmp_path / "l")
    refuse_failures([*bad, *good], springs(), folder=tmp_path / "l")
    with pytest.raises(DatasetError, match="1 of 3 frames"):
        refuse_failures([*bad, *good], springs(ratio_failed=0.0), folder=tmp_path / "l")


def test_missing_program_is_said_before_anything_runs(springs, alloys, tmp_path):
    with pytest.raises(ConfigError, match="there is no program 'no-such-dft'"):
        label_tasks(alloys, springs(command="no-such-dft -x"), folder=tmp_path)


def test_job_ends_with_the_process_that_started_it(springs, program, alloys, tmp_path):
    """kill -9 of a worker leaves no orphan that writes into a later run's folder."""
    pids = tmp_path / "pids"
    script = program("hangs", f"sleep 60 & echo $! > {pids}; wait")
    code = (
        "import sys; from pathlib import Path\n"
        "from dpbench.explore.labels.driver import JobResources\n"
        "from dpbench.explore.labels.job import run_job\n"
        f"run_job(['{script}'], Path('{tmp_path}'), output='o', "
        "resources=JobResources())\n"
    )
    worker = subprocess.Popen([sys.executable, "-c", code])
    wait_until(lambda: pids.exists() and pids.read_text().strip())
    worker.send_signal(signal.SIGKILL)
    worker.wait()
    wait_until(lambda: not is_alive(int(pids.read_text())))


def test_order_and_wrapping_of_atoms_are_no_difference(alloys):
    frame = alloys.select([0])
    turned = replace(frame, z=frame.z[::-1].copy(), coord=frame.coord[::-1] - 3.2)
    assert unlike(frame, turned) == ""


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"z": np.array([13, 13], np.uint8)}, "other elements"),
        ({"box": np.eye(3)[None] * 3.3}, "cells 0.1 Å apart"),
        ({"box": np.full((1, 3, 3), np.nan)}, "a cell in one of them alone"),
        ({"coord": np.array([[0.0, 0, 0], [1.6, 1.6, 1.5]])}, "an atom"),
    ],
)
def test_every_other_difference_is_told(alloys, change, words):
    frame = replace(alloys.select([0]), coord=np.array([[0.0, 0, 0], [1.6, 1.6, 1.6]]))
    assert words in unlike(frame, replace(frame, **change))


def test_two_atoms_at_one_place_do_not_pass_for_two(alloys):
    frame = replace(alloys.select([1]), coord=np.array([[0.0, 0, 0], [0.0, 0, 0.0005]]))
    other = replace(frame, coord=np.array([[0.0, 0, 0.0002], [1.0, 0, 0]]))
    assert unlike(frame, other) == "an atom twice"


def wait_until(fact, seconds: float = 20.0) -> None:
    until = time.monotonic() + seconds
    while not fact():
        if time.monotonic() > until:
            pytest.fail("waited in vain")
        time.sleep(0.01)


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    return state != "Z"
