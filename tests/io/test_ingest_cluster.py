"""Ingest on a Dask cluster that runs already: one scheduler, two workers."""

import logging
import os
import signal
import subprocess
import sys
import threading
import time

import psutil
import pytest

from dpbench.errors import ConfigError, SourceError, WorkspaceError
from dpbench.io.limits import ReaderLimits
from dpbench.store.dataset import open_dataset
from dpbench.store.workspace import Workspace
from tests.conftest import REPOSITORY
from tests.io.fake_source import write_source
from tests.io.test_ingest import fake_ingest

pytestmark = pytest.mark.slow

WAIT = 60


def dask(*words, folder):
    command = [sys.executable, "-m", "dask", *words, "--no-dashboard"]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    return subprocess.Popen(
        command, cwd=folder, env=environment, stdout=2, process_group=0
    )


def wait_for(condition):
    deadline = time.monotonic() + WAIT
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def end(process):
    children = psutil.Process(process.pid).children(recursive=True)
    process.terminate()
    process.wait(timeout=WAIT)
    psutil.wait_procs(children, timeout=WAIT)


@pytest.fixture(scope="module")
def scheduler_file(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cluster")
    path = folder / "scheduler.json"
    started = dask(
        *("scheduler", "--host", "127.0.0.1", "--port", "0"),
        *("--scheduler-file", str(path)),
        folder=folder,
    )
    try:
        wait_for(path.is_file)
        yield path
    finally:
        end(started)


@pytest.fixture(scope="module")
def workers(scheduler_file):
    """The nannies of two workers, in a folder that is not this one."""
    started = [
        dask(
            *("worker", "--scheduler-file", str(scheduler_file), "--nthreads", "1"),
            *("--worker-port", "0", "--local-directory", str(scheduler_file.parent)),
            folder=scheduler_file.parent,
        )
        for _ in range(2)
    ]
    try:
        with client_of(scheduler_file) as client:
            client.wait_for_workers(2, timeout=WAIT)
        yield started
    finally:
        for process in started:
            end(process)


def client_of(scheduler_file):
    from distributed import Client

    return Client(scheduler_file=str(scheduler_file), timeout=WAIT)


@pytest.fixture
def runs(tmp_path):
    folder = tmp_path / "runs"
    for i in range(6):
        write_source(folder / f"{i}.json", seed=i, natoms=[2, 3])
    return folder


@pytest.fixture
def digest(tmp_path, runs):
    workspace = Workspace.find(tmp_path / "good", create=True)
    return fake_ingest(workspace, runs).digest


@pytest.fixture
def workspace(tmp_path, digest):
    return Workspace.find(tmp_path / "ws", create=True)


def on_cluster(workspace, runs, scheduler, **more):
    return fake_ingest(
        workspace,
        runs,
        workers=None,
        scheduler=str(scheduler),
        **{"bundle_bytes": 0, **more},
    )


def test_cluster_makes_the_same_version(
    workspace, runs, digest, scheduler_file, workers
):
    report = on_cluster(workspace, runs, scheduler_file)
    assert report.digest == digest
    order = [source.path[-6:] for source in open_dataset(workspace, "d").sources]
    assert order == [f"{i}.json" for i in range(6)]


def test_scheduler_is_named_by_its_address_and_paths_are_from_here(
    workspace, runs, digest, scheduler_file, workers, monkeypatch
):
    with client_of(scheduler_file) as client:
        address = client.scheduler.address
    monkeypatch.chdir(runs.parent)
    report = on_cluster(workspace, "runs", address)
    assert (report.digest, report.failed) == (digest, ())


def test_faults_of_readers_cost_one_source_each_on_a_cluster(
    workspace, runs, digest, scheduler_file, workers
):
    write_source(runs / "2a.json", crash="segfault")
    write_source(runs / "2b.json", hang=True)
    write_source(runs / "2c.json", eat=True)
    limits = ReaderLimits(memory=600_000_000, seconds=10)
    report = on_cluster(
        workspace, runs, scheduler_file, limits=limits, bundle_bytes=150
    )
    assert report.digest == digest
    reasons = ("killed by SIGSEGV", "was stopped after", "of memory")
    assert len(report.failed) == 3
    for failed, reason in zip(report.failed, reasons, strict=True):
        assert reason in failed.reason


def test_dask_worker_killed_mid_run_changes_nothing(
    workspace, runs, digest, scheduler_file, workers
):
    slow = {"seconds": 1.0}
    for i in range(6):
        write_source(runs / f"{i}.json", seed=i, natoms=[2, 3], **slow)
    killed = []

    def kill():
        nanny = psutil.Process(workers[0].pid)
        wait_for(lambda: any(is_reader(c) for c in nanny.children(recursive=True)))
        reader = next(c for c in nanny.children(recursive=True) if is_reader(c))
        killed.append(reader.parent())
        reader.parent().send_signal(signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    report = on_cluster(workspace, runs, scheduler_file)
    killer.join()
    assert len(killed) == 1
    assert (report.digest, report.failed) == (digest, ())


def is_reader(process):
    return "dpbench.io.reader_child" in process.cmdline()


def test_source_that_kills_every_worker_is_given_up(
    workspace, runs, digest, scheduler_file, workers
):
    write_source(runs / "3b.json", kill_parent=True)
    report = on_cluster(workspace, runs, scheduler_file, bundle_bytes=10**9)
    assert report.digest == digest
    (failed,) = report.failed
    assert failed.path.endswith("3b.json")
    assert "Dask workers that read it died" in failed.reason


def test_readers_end_with_the_ingest(workspace, runs, scheduler_file, workers):
    on_cluster(workspace, runs, scheduler_file)
    nannies = [psutil.Process(worker.pid) for worker in workers]
    wait_for(
        lambda: (
            not any(is_reader(c) for n in nannies for c in n.children(recursive=True))
        )
    )


def test_workers_that_do_not_see_the_workspace_are_refused(
    workspace, runs, scheduler_file, workers, monkeypatch
):
    from dpbench.io import ingest_cluster

    monkeypatch.setattr(ingest_cluster, "_sees", blind)
    with pytest.raises(WorkspaceError, match="2 of 2 Dask workers do not see it"):
        on_cluster(workspace, runs, scheduler_file)


def blind(path):
    return False


def test_other_versions_on_the_workers_are_refused(
    workspace, runs, scheduler_file, workers, monkeypatch
):
    import dpbench

    monkeypatch.setattr(dpbench, "__version__", "0.0.1")
    with pytest.raises(ConfigError, match=r"dpbench \S+ on worker .* expected 0\.0\.1"):
        on_cluster(workspace, runs, scheduler_file)


def test_cluster_without_workers_is_a_clear_error(
    workspace, runs, tmp_path, monkeypatch, caplog
):
    from dpbench.io import ingest_cluster

    monkeypatch.setattr(ingest_cluster, "WORKER_SECONDS", 1)
    path = tmp_path / "lonely.json"
    words = ("scheduler", "--host", "127.0.0.1", "--port", "0")
    started = dask(*words, "--scheduler-file", str(path), folder=tmp_path)
    try:
        wait_for(path.is_file)
        with (
            caplog.at_level(logging.WARNING),
            pytest.raises(ConfigError, match="has no worker"),
        ):
            on_cluster(workspace, runs, path)
    finally:
        end(started)
    assert "waiting for the first" in caplog.text


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:1", "nowhere://1", "no-file"])
def test_scheduler_that_is_none_is_a_clear_error(workspace, runs, address, monkeypatch):
    from dpbench.io import ingest_cluster

    monkeypatch.setattr(ingest_cluster, "CONNECT_SECONDS", 1)
    with pytest.raises(ConfigError, match="--scheduler"):
        on_cluster(workspace, runs, address)


def test_workers_and_scheduler_exclude_each_other(workspace, runs):
    with pytest.raises(ConfigError, match="both given"):
        fake_ingest(workspace, runs, workers=2, scheduler="tcp://127.0.0.1:1")


def test_no_good_frame_on_a_cluster_is_an_error(
    workspace, tmp_path, scheduler_file, workers
):
    write_source(tmp_path / "r" / "a.json", refuse=True)
    with pytest.raises(SourceError, match="no good frame"):
        on_cluster(workspace, tmp_path / "r", scheduler_file)
