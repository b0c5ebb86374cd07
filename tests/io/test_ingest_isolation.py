"""A reader that crashes, hangs or eats memory costs one source, and is named."""

import json
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from dpbench.errors import ConfigError, WorkspaceError
from dpbench.io.ingest_pool import LocalProcesses
from dpbench.io.limits import ReaderLimits, parse_limits
from dpbench.store.dataset import open_dataset
from dpbench.store.workspace import Workspace
from tests.io.fake_source import FakeReader, write_source
from tests.io.test_ingest import fake_ingest

LIMITS = ReaderLimits(memory=600_000_000, seconds=60)
IMPATIENT = ReaderLimits(seconds=1.5)
FAULTS = {
    "segfault": ({"crash": "segfault"}, "killed by SIGSEGV"),
    "exit": ({"crash": True}, "exit status 17"),
    "hang": ({"hang": True}, "was stopped after 2 s"),
    "eat": ({"eat": True}, "needed more than 0.6 GB of memory"),
}


@pytest.fixture
def runs(tmp_path):
    folder = tmp_path / "runs"
    for i in range(4):
        write_source(folder / f"{i}.json", seed=i, natoms=[2, 3])
    return folder


@pytest.fixture
def digest(tmp_path, runs):
    """Of the good sources, read in this process."""
    workspace = Workspace.find(tmp_path / "good", create=True)
    return fake_ingest(workspace, runs).digest


@pytest.fixture
def workspace(tmp_path, digest):
    return Workspace.find(tmp_path / "ws", create=True)


@pytest.mark.parametrize("fault", FAULTS)
def test_fault_of_a_reader_costs_its_source_alone(workspace, runs, digest, fault):
    content, reason = FAULTS[fault]
    write_source(runs / "1b.json", **content)
    limits = IMPATIENT if fault == "hang" else LIMITS
    report = fake_ingest(workspace, runs, workers=None, limits=limits)
    assert [failed.path for failed in report.failed] == [str(runs / "1b.json")]
    assert reason in report.failed[0].reason
    assert str(runs / "1b.json") in report.failed[0].reason
    assert report.digest == digest
    order = [source.path[-6:] for source in open_dataset(workspace, "d").sources]
    assert order == ["0.json", "1.json", "2.json", "3.json"]


@pytest.mark.slow
def test_all_faults_at_once_cost_one_source_each(workspace, runs, digest):
    for fault, (content, _) in FAULTS.items():
        write_source(runs / f"2{fault}.json", **content)
    limits = ReaderLimits(memory=600_000_000, seconds=10)
    report = fake_ingest(workspace, runs, workers=2, limits=limits, bundle_bytes=130)
    assert len(report.failed) == len(FAULTS)
    for failed in report.failed:
        fault = failed.path.removesuffix(".json").rpartition("/2")[2]
        reason = FAULTS[fault][1].replace("2 s", "10 s")
        assert reason in failed.reason
    assert report.digest == digest


def test_process_killed_from_outside_costs_nothing(workspace, runs, digest):
    write_source(runs / "2.json", seed=2, natoms=[2, 3], killed_once=True)
    report = fake_ingest(workspace, runs, workers=None)
    assert (runs / "2.tried").exists()
    assert report.failed == ()
    assert report.digest == digest


@pytest.mark.slow
def test_every_source_crashing_is_an_error_that_commits_nothing(tmp_path):
    workspace = Workspace.find(tmp_path / "ws", create=True)
    for i in range(3):
        write_source(tmp_path / "r" / f"{i}.json", crash=True, pad=str(i))
    with pytest.raises(Exception, match="no good frame in 3 sources"):
        fake_ingest(workspace, tmp_path / "r", workers=None)
    assert list(workspace.stores.iterdir()) == []


def test_processes_end_with_the_ingest(workspace, runs):
    fake_ingest(workspace, runs, workers=2, bundle_bytes=0)
    assert psutil.Process().children() == []


def test_failing_progress_ends_the_processes_and_commits_nothing(workspace, runs):
    write_source(runs / "9.json", hang=True)

    def fail(_):
        raise KeyboardInterrupt

    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        fake_ingest(workspace, runs, workers=2, bundle_bytes=0, progress=fail)
    assert time.monotonic() - started < 60  # the hanging one would take an hour
    assert psutil.Process().children() == []
    assert list(workspace.stores.iterdir()) == []


def test_disk_error_in_a_reader_process_ends_the_ingest(workspace, runs):
    write_source(runs / "0.json", disk_full=True)
    with pytest.raises(WorkspaceError, match="No space left"):
        fake_ingest(workspace, runs, workers=None)


class LocalReader(FakeReader):
    """Of a class that no other process can import."""


def test_reader_table_that_cannot_be_imported_is_a_clear_error(workspace, runs):
    LocalReader.__module__ = "tests.io.nowhere"
    with pytest.raises(Exception, match=r"nowhere"):
        fake_ingest(workspace, runs, workers=1, readers={"fake": LocalReader()})


KILLED = """
import sys
from dpbench.store.workspace import Workspace
from tests.io.test_ingest import fake_ingest
workspace = Workspace.find(sys.argv[1], create=True)
fake_ingest(workspace, sys.argv[2], workers=2, bundle_bytes=0)
"""


def test_readers_end_when_the_ingest_is_killed(workspace, runs, digest):
    write_source(runs / "9.json", hang=True)
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(workspace.root), str(runs)]
    )
    try:
        deadline = time.monotonic() + 60
        readers = []
        while len(readers) < 2 and time.monotonic() < deadline:
            readers = psutil.Process(process.pid).children()
            time.sleep(0.1)
        assert len(readers) == 2
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    _, alive = psutil.wait_procs(readers, timeout=20)
    assert alive == []
    (runs / "9.json").unlink()
    assert fake_ingest(workspace, runs, workers=None).digest == digest
    assert not list(workspace.stores.glob("*.tmp"))


def test_readers_wait_for_no_connection(workspace):
    engine = LocalProcesses(ReaderLimits(), workers=1)
    try:
        (child,) = psutil.Process().children()
        kinds = {c.status for c in child.net_connections("inet")}
        assert kinds == set()
    finally:
        engine.close()


def test_limits_are_read_from_words():
    limits = parse_limits(["memory=1.5GB", "seconds=10", "ratio=5e3"])
    assert limits == ReaderLimits(memory=1_500_000_000, seconds=10, ratio=5000)
    assert limits.seconds_for(5) == 10
    assert limits.seconds_for(10**9) == 1000
    assert limits.unpacked_for(10**6) == 5 * 10**9
    assert limits.unpacked_for(10) == 64_000_000
    assert ReaderLimits().shared_by(64) == ReaderLimits().shared_by(4)
    assert ReaderLimits().shared_by(4).memory < os.sysconf("SC_PHYS_PAGES") * 4096 / 4


@pytest.mark.parametrize(
    "word", ["memory", "memory=", "memory=-1", "time=3", "seconds=3GB", "seconds=0"]
)
def test_limit_that_is_none_is_a_clear_error(word):
    with pytest.raises(ConfigError, match="expected"):
        parse_limits([word])


def test_result_of_a_reader_process_is_plain(workspace, runs):
    report = fake_ingest(workspace, runs, workers=1)
    assert json.loads(json.dumps(report.to_json()))["n_kept"] == 8
