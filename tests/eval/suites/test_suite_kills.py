"""O4: a suite that is killed, here or on a Dask worker, ends in the same records."""

import os
import shutil
import signal
import subprocess
import sys

import pytest

from dpbench.eval.filing import read_records
from dpbench.eval.options import Options
from dpbench.eval.suites.loading import load_suite
from dpbench.eval.suites.run import Wishes, run_suite
from dpbench.eval.tasks.table import TASKS
from dpbench.store.workspace import Workspace
from tests.conftest import REPOSITORY
from tests.eval.suites import fake_tasks
from tests.eval.suites.fake_tasks import FAKE
from tests.eval.suites.small_suites import fake_suite, without_times
from tests.io.test_ingest_cluster import client_of, dask, end, wait_for

pytestmark = pytest.mark.slow

OPTIONS = Options(mode="smoke", command=("dpbench", "evaluate"))

PROGRAM = """
import sys
from pathlib import Path
from tests.eval.suites.fake_tasks import FAKE
from tests.eval.suites.test_suite_kills import OPTIONS
from dpbench.eval.suites.loading import load_suite
from dpbench.eval.suites.run import Wishes, run_suite
from dpbench.eval.tasks.table import TASKS
from dpbench.store.workspace import Workspace

workspace, suite, model = map(Path, sys.argv[1:])
TASKS["fake"] = FAKE
run_suite(
    Workspace.find(workspace, create=False),
    load_suite(str(suite)),
    Wishes(models=(model,), options=OPTIONS),
)
"""


@pytest.fixture
def fresh(trained, tmp_path, monkeypatch):
    """A workspace of its own, and the fake task."""
    monkeypatch.setitem(TASKS, "fake", FAKE)
    shutil.copytree(trained.workspace.root, tmp_path / "w")
    return Workspace.find(tmp_path / "w", create=False)


@pytest.fixture
def suite(fresh, tmp_path):
    """The first call of the fake task waits to be killed."""
    return fake_suite(fresh, tmp_path, extra=f'waits = "{tmp_path / "pid"}"\n')


def victim(folder):
    """Wait until the fake task runs; return the process that it runs in."""
    path = folder / "pid"
    wait_for(lambda: path.is_file() and path.read_text(encoding="utf-8"))
    return int(path.read_text(encoding="utf-8"))


def test_killed_and_called_again_it_files_the_same_records(
    fresh, suite, trained, tmp_path
):
    before = set(read_records(fresh))
    words = [str(fresh.root), str(suite.path), str(trained.model)]
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *words],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    ) as process:
        assert victim(tmp_path) == process.pid
        os.kill(process.pid, signal.SIGKILL)
    done = set(read_records(fresh)) - before
    assert len(done) == 2  # both units before the one that was killed
    wishes = Wishes(models=(trained.model,), options=OPTIONS)
    resumed = run_suite(fresh, load_suite(str(suite.path)), wishes)
    assert {item.digest for item in resumed[:2]} == done
    assert set(read_records(fresh)) - before == {item.digest for item in resumed}
    calls = (tmp_path / "calls.txt").read_text(encoding="utf-8").split("\n")[:-1]
    assert calls == ["test 1", "test 1", "ood 1"]


@pytest.fixture
def scheduler_file(tmp_path):
    """A scheduler and two workers that know the fake task."""
    path = tmp_path / "scheduler.json"
    scheduler = dask(
        *("scheduler", "--host", "127.0.0.1", "--port", "0"),
        *("--scheduler-file", str(path)),
        folder=tmp_path,
    )
    started = [scheduler]
    try:
        wait_for(path.is_file)
        for _ in range(2):
            worker = dask(
                *("worker", "--scheduler-file", str(path), "--nthreads", "1"),
                *("--worker-port", "0", "--local-directory", str(tmp_path)),
                *("--preload", fake_tasks.__file__),
                folder=tmp_path,
            )
            started.append(worker)
        with client_of(path) as client:
            client.wait_for_workers(2, timeout=60)
        yield path
    finally:
        for process in reversed(started):
            end(process)


def test_a_dask_worker_that_is_killed_changes_no_record(
    fresh, suite, trained, tmp_path, scheduler_file
):
    killed = []

    def kill(plan):
        import threading

        def wait_and_kill():
            killed.append(victim(tmp_path))
            os.kill(killed[0], signal.SIGKILL)

        threading.Thread(target=wait_and_kill, daemon=True).start()

    wishes = Wishes(
        models=(trained.model,), options=OPTIONS, scheduler=str(scheduler_file)
    )
    spread = run_suite(fresh, suite, wishes, show=kill)
    assert killed
    here = run_suite(
        fresh, suite, Wishes(models=(trained.model,), options=OPTIONS, again=True)
    )
    assert [without_times(item.record) for item in spread] == [
        without_times(item.record) for item in here
    ]
    assert [item.digest for item in run_suite(fresh, suite, wishes)] != []
