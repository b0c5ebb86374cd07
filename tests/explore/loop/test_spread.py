import os
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import pytest

from dpbench.errors import ConfigError, WorkspaceError
from dpbench.explore.spread import Resources, TaskDied, hired, spread
from tests.explore.loop import tasks

TWO = Resources(workers=2)


def done(function, given, resources=TWO, **more):
    return dict(spread(function, given, resources=resources, **more))


@pytest.mark.parametrize("workers", [0, 2])
def test_every_task_has_its_result(workers):
    results = done(tasks.double, range(7), Resources(workers=workers))
    assert results == {n: 2 * n for n in range(7)}


def test_no_task_starts_no_process():
    assert done(tasks.double, []) == {}


def test_a_process_that_dies_costs_its_task_alone():
    results = done(tasks.die_at_three, range(6))
    died = results.pop(3)
    assert results == {n: n for n in (0, 1, 2, 4, 5)}
    assert died == TaskDied(reason="its process was killed by SIGKILL")


@pytest.mark.parametrize("workers", [0, 1])
def test_an_error_of_ours_is_the_result_of_its_task(workers):
    results = done(tasks.refuse_three, range(5), Resources(workers=workers))
    assert results[3] == TaskDied(
        reason="three: found 3; expected another.", is_crash=False
    )
    assert results[4] == 4


def test_a_bug_rises_with_its_traceback():
    with pytest.raises(RuntimeError, match="in stumble"):
        done(tasks.stumble, [1])


def test_a_full_disk_is_one_line_and_no_bug():
    with pytest.raises(WorkspaceError, match="walk-1: No space left on device; exp"):
        done(tasks.fill_the_disk, [1], Resources(workers=1))


@pytest.mark.parametrize("workers", [0, 1])
def test_a_disk_that_cannot_be_written_ends_all_and_not_one_task(workers):
    with pytest.raises(WorkspaceError, match="No space left"):
        done(tasks.refuse_to_write, [1], Resources(workers=workers))


def test_a_crew_keeps_its_processes_from_call_to_call():
    with hired(TWO) as crew:
        first = set(done(tasks.process, range(4), crew=crew).values())
        again = set(done(tasks.process, range(4), crew=crew).values())
    assert first == again
    assert os.getpid() not in first


def test_a_process_has_the_threads_it_was_given():
    results = done(tasks.threads, [0], Resources(workers=1, threads=3))
    assert results == {0: "3"}


def test_tasks_that_need_more_cores_run_fewer_at_a_time(tmp_path):
    done(tasks.note_times, [tmp_path] * 4, cores=2)
    times = sorted(
        tuple(map(float, path.read_text().split())) for path in tmp_path.iterdir()
    )
    assert len(times) == 4
    assert all(one[1] <= next_one[0] for one, next_one in pairwise(times))


def test_workers_and_scheduler_contradict_each_other():
    with pytest.raises(ConfigError, match="expected one of them"):
        Resources(workers=2, scheduler="tcp://here:1")


@pytest.mark.parametrize(
    "how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT], ids=["kill", "term", "int"]
)
def test_no_process_outlives_the_one_that_was_ended(tmp_path, how):
    file = tmp_path / "pids"
    command = [sys.executable, "-c", PARENT, str(file)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as parent:
        try:
            pids = wait_for_pids(file)
        finally:
            parent.send_signal(how)
    assert wait_until_gone(pids), "its worker, or what that started, lives on"


PARENT = """
import signal
import sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in the background
from pathlib import Path
from dpbench.explore.spread import Resources, spread
from tests.explore.loop.tasks import begin_and_wait
list(spread(begin_and_wait, [Path(sys.argv[1])], resources=Resources(workers=1)))
"""


def wait_for_pids(file: Path) -> list[int]:
    for _ in range(600):
        if file.exists() and file.read_text():
            return [int(word) for word in file.read_text().split()]
        time.sleep(0.05)
    raise AssertionError("the task did not begin")


def wait_until_gone(pids) -> bool:
    for _ in range(200):
        if not any(is_alive(pid) for pid in pids):
            return True
        time.sleep(0.05)
    return False


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"
