"""The lease of one writer, by processes that wait, die and are stopped."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
from sqlalchemy import inspect, text

from dpbench.errors import ConfigError, WorkspaceError
from dpbench.store import catalog, lease, objects, staging
from dpbench.store.catalog import engine
from dpbench.store.catalog.engine import lease_place, registry_url, transaction
from dpbench.store.dataset import open_dataset
from dpbench.store.summary import list_datasets
from dpbench.store.workspace import Workspace
from tests.store.synthetic import (
    commit,
    new_workspace,
    random_frames,
    segment_data,
    source_entry,
    trajectories,
)

QUICK = """
import sys, time
from pathlib import Path
from dpbench.store import lease
lease.BEAT, lease.MISSED_BEATS = 0.1, 5
"""
"""Hearts that beat fast, so that a test need not wait."""

ADD_ONE = """
import sys, time
from pathlib import Path
from dpbench.store import lease
for _ in range(10):
    with lease.writer_lease(Path(sys.argv[1])) as mine:
        number = int(Path(sys.argv[2]).read_text())
        time.sleep(0.002)
        Path(sys.argv[2]).write_text(str(number + 1))
        mine.check()
"""

HOLD = (
    QUICK
    + """
with lease.writer_lease(Path(sys.argv[1])) as mine:
    print("held", flush=True)
    sys.stdin.readline()
    try:
        mine.check()
        print("mine", flush=True)
    except lease.WorkspaceError as error:
        print(error, flush=True)
"""
)


@pytest.fixture(autouse=True)
def quick_hearts(monkeypatch):
    monkeypatch.setattr(lease, "BEAT", 0.1)
    monkeypatch.setattr(lease, "MISSED_BEATS", 5)


def started(script, *arguments):
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", script, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def holder(tmp_path):
    """A process that holds the lease until it is told to look."""
    process = started(HOLD, tmp_path / "lease")
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def as_if_elsewhere(folder):
    """Rewrite the holder's place, so that nobody can look its process up."""
    path = folder / f"{lease.newest_number(folder):012d}"
    beat = lease.read_beat(path)
    place = "another boot".ljust(len(beat.owner.place))
    owner = replace(beat.owner, place=place)
    with path.open("r+b") as file:
        file.write(lease.first_beat(owner)[: -lease.COUNTER - 1])


def test_processes_take_turns(tmp_path):
    (tmp_path / "count").write_text("0")
    running = [
        started(ADD_ONE, tmp_path / "lease", tmp_path / "count") for _ in range(4)
    ]
    assert [process.wait(timeout=120) for process in running] == [0] * 4
    for process in running:
        process.communicate()
    assert (tmp_path / "count").read_text() == "40"
    assert lease.newest_number(tmp_path / "lease") == 40
    assert len(list((tmp_path / "lease").iterdir())) == lease.KEPT + 1


def test_lease_of_a_killed_process_is_taken_over_at_once(tmp_path, holder, caplog):
    holder.kill()
    holder.wait()
    with lease.writer_lease(tmp_path / "lease") as mine:
        mine.check()
    assert "which is no more" in caplog.text
    assert f"process {holder.pid}" in caplog.text


def test_lease_of_a_process_killed_elsewhere_is_taken_over_when_it_is_still(
    tmp_path, holder, caplog
):
    as_if_elsewhere(tmp_path / "lease")
    holder.kill()
    holder.wait()
    with lease.writer_lease(tmp_path / "lease") as mine:
        mine.check()
    assert "which has stopped answering" in caplog.text


def test_holder_that_lives_is_waited_for_and_named(
    tmp_path, holder, caplog, monkeypatch
):
    as_if_elsewhere(tmp_path / "lease")
    monkeypatch.setattr(lease, "TELL_AFTER", 0.2)
    monkeypatch.setattr(lease, "MISSED_BEATS", 20)  # a busy machine may be late
    monkeypatch.setattr(lease, "PATIENCE", 4.0)  # twice what a still heart gets
    with (
        pytest.raises(WorkspaceError, match="which still answers") as error,
        lease.writer_lease(tmp_path / "lease"),
    ):
        pass
    assert f"process {holder.pid}" in str(error.value)
    assert caplog.text.count("waiting") == 1
    assert f"process {holder.pid}" in caplog.text
    print(file=holder.stdin, flush=True)
    assert holder.stdout.readline() == "mine\n"


def test_stopped_holder_loses_the_lease_and_finds_out(tmp_path, holder):
    holder.send_signal(signal.SIGSTOP)
    with lease.writer_lease(tmp_path / "lease") as mine:
        mine.check()
        holder.send_signal(signal.SIGCONT)
        print(file=holder.stdin, flush=True)
        said = holder.stdout.readline()
        assert "was taken over by" in said
        assert f"process {os.getpid()}" in said
        mine.check()
    assert holder.wait(timeout=60) == 0  # it lets go of its own file, not of ours
    with lease.writer_lease(tmp_path / "lease") as mine:
        mine.check()


def test_a_waiter_that_was_stopped_itself_takes_nothing_over(monkeypatch):
    """However long the pause between two looks, it counts as one missed beat."""
    clock = iter([0.0, 5000.0, 10000.0])
    monkeypatch.setattr(lease.time, "monotonic", lambda: next(clock))
    watch = lease.Watch()
    beat = lease.Beat(owner=lease.this_owner(), count=7, is_held=True)
    for _ in range(3):
        watch.look(beat)
    assert watch.missed == 2


def test_old_number_made_again_gives_no_lease(tmp_path):
    """As of a process that was stopped between its look and its try."""
    for _ in range(8):
        with lease.writer_lease(tmp_path / "lease"):
            pass
    assert lease._make_next(tmp_path / "lease", 2, lease.this_owner()) is None
    assert lease.newest_number(tmp_path / "lease") == 8


def test_file_that_nobody_can_read_is_taken_over_when_it_is_still(tmp_path):
    (tmp_path / "lease").mkdir()
    (tmp_path / "lease" / "000000000001").write_bytes(b"\0" * 40)
    with lease.writer_lease(tmp_path / "lease") as mine:
        mine.check()


@pytest.fixture
def network(monkeypatch):
    """Every folder is on NFS."""
    monkeypatch.setattr(engine, "file_system_of", lambda _: "nfs4")
    monkeypatch.setattr(staging, "is_network", lambda _: True)


def journal_mode(workspace):
    with transaction(workspace, write=False) as connection:
        return connection.scalar(text("PRAGMA journal_mode"))


def test_network_file_system_gets_a_rollback_journal_and_says_so_once(
    tmp_path, network, caplog
):
    workspace = new_workspace(tmp_path)
    trajectories(workspace, "t", [3])
    trajectories(workspace, "t", [3, 2])
    assert [row["label"] for row in list_datasets(workspace)] == ["t-v2"]
    assert journal_mode(workspace) == "delete"
    assert caplog.text.count("lies on a network file system (nfs4)") == 1
    assert lease.newest_number(workspace.root / "registry.lease") >= 2
    assert list(workspace.stores.glob("*.lock")) == []


def test_registry_moved_to_a_network_file_system_leaves_wal(tmp_path, monkeypatch):
    workspace = new_workspace(tmp_path)
    trajectories(workspace, "t", [3])
    assert journal_mode(workspace) == "wal"
    monkeypatch.setattr(engine, "file_system_of", lambda _: "lustre")
    trajectories(workspace, "t", [3, 2])
    assert journal_mode(workspace) == "delete"
    monkeypatch.setattr(engine, "file_system_of", lambda _: "ext4")
    assert [row["label"] for row in list_datasets(workspace)] == ["t-v2"]
    assert journal_mode(workspace) == "wal"


def test_commit_of_a_process_that_lost_its_lease_is_rolled_back(tmp_path, network):
    workspace = new_workspace(tmp_path)
    catalog.register_result(workspace, {"x": 1})
    folder = lease_place(workspace)

    def lose_it():
        with transaction(workspace, write=True) as connection:
            connection.execute(text("CREATE TABLE lost (x INTEGER)"))
            number = lease.newest_number(folder) + 1
            owner = replace(lease.this_owner(), host="node7", user="anna")
            (folder / f"{number:012d}").write_bytes(lease.first_beat(owner))

    with pytest.raises(WorkspaceError, match="taken over by anna on node7"):
        lose_it()
    (folder / f"{lease.newest_number(folder):012d}").unlink()
    assert catalog.results(workspace) == [{"x": 1}]
    with transaction(workspace, write=False) as connection:
        assert not inspect(connection).has_table("lost")


def test_version_of_a_process_that_lost_its_lease_is_kept(
    tmp_path, network, monkeypatch
):
    """Another machine may have built on it."""
    workspace = new_workspace(tmp_path)
    trajectories(workspace, "t", [3])

    def lost(_):
        raise WorkspaceError("taken over")

    with monkeypatch.context() as patch:
        patch.setattr(lease.Lease, "check", lost)
        with pytest.raises(WorkspaceError, match="taken over"):
            trajectories(workspace, "t", [3, 2])
    assert objects.version_numbers(workspace, "t") == [1, 2]
    assert [row["label"] for row in list_datasets(workspace)] == ["t-v2"]


def test_version_that_shows_late_is_gone_on_from(tmp_path, network, monkeypatch):
    """NFS clients may list a folder for a minute as it was."""
    workspace = new_workspace(tmp_path)
    trajectories(workspace, "t", [3])
    trajectories(workspace, "t", [3, 2])
    numbers, looks = objects.version_numbers, []

    def late(*arguments):
        looks.append(arguments)
        return [1] if len(looks) == 1 else numbers(*arguments)

    monkeypatch.setattr(objects, "version_numbers", late)
    segments = [
        segment_data(random_frames(7, [4] * 3), [source_entry("s7")]),
        segment_data(random_frames(8, [4]), [source_entry("s8")]),
    ]
    outcome = commit(workspace, "t", *segments)
    assert (outcome.version.label, outcome.version.nframes) == ("t-v3", 9)
    assert (
        outcome.version.payload["parent"] == open_dataset(workspace, "t-v2").object_id
    )
    assert outcome.version.read(range(9)).nframes == 9
    assert list_datasets(workspace)[0]["label"] == "t-v3"
    assert list(workspace.stores.glob("*.tmp")) == []
    assert not any(path.is_symlink() for path in workspace.stores.rglob("*"))


def with_index(folder, index):
    (folder / "ws").mkdir(exist_ok=True)
    (folder / "ws" / "dpbench.toml").write_text(f'index = "{index}"')
    return Workspace.find(folder / "ws", create=True)


def test_index_on_a_local_disk_is_made_from_the_files(tmp_path, monkeypatch):
    monkeypatch.setenv("MACHINE", "one")
    one = with_index(tmp_path, f"{tmp_path}/$MACHINE")
    trajectories(one, "t", [3])
    assert not (one.root / "registry.db").exists()
    assert (tmp_path / "one") in registry_url_path(one).parents
    monkeypatch.setenv("MACHINE", "two")
    assert [row["label"] for row in list_datasets(one)] == ["t-v1"]
    assert (tmp_path / "two") in registry_url_path(one).parents
    trajectories(one, "t", [3, 4])
    monkeypatch.setenv("MACHINE", "one")
    assert [row["label"] for row in list_datasets(one)] == ["t-v2"]
    assert open_dataset(one, "t").nframes == 7
    assert lease_place(one) == one.root / "registry.lease"


def test_local_index_lies_in_the_cache_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    workspace = with_index(tmp_path, "local")
    trajectories(workspace, "t", [3])
    assert (tmp_path / "cache") in registry_url_path(workspace).parents
    assert registry_url_path(workspace).exists()


def registry_url_path(workspace):
    return engine.sqlite_path(registry_url(workspace))


def test_index_in_a_relative_folder_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="expected 'local' or the absolute path"):
        list_datasets(with_index(tmp_path, "some/folder"))


STAGE = """
import sys
from dpbench.store import lease, staging
from dpbench.store.workspace import Workspace
lease.BEAT = staging.BEAT = 0.1
staging.is_network = lambda _: True
with staging.staging_folder(Workspace.find(sys.argv[1], create=True)) as folder:
    (folder / "file").write_text("")
    print(folder.name, flush=True)
    sys.stdin.readline()
    print(folder.exists(), flush=True)
"""


@pytest.fixture
def stager(tmp_path):
    process = started(STAGE, tmp_path / "ws")
    yield process, process.stdout.readline().strip()
    process.kill()
    process.communicate()


def as_if_staged_elsewhere(workspace, name):
    path = (workspace.stores / name).with_suffix(".lock")
    beat = lease.read_beat(path)
    owner = replace(beat.owner, place="another boot".ljust(len(beat.owner.place)))
    with path.open("r+b") as file:
        file.write(lease.first_beat(owner)[: -lease.COUNTER - 1])


def test_staging_folder_that_beats_is_left_alone(tmp_path, stager, monkeypatch):
    process, name = stager
    workspace = new_workspace(tmp_path)
    as_if_staged_elsewhere(workspace, name)
    monkeypatch.setattr(staging, "BEAT", 0.1)
    monkeypatch.setattr(staging, "MISSED_BEATS", 15)  # a busy machine may be late
    assert staging.sweep(workspace) == []
    with staging.staging_folder(workspace):
        time.sleep(3.0)  # twice what a still heart gets
    print(file=process.stdin, flush=True)
    assert process.stdout.readline() == "True\n"
    assert process.wait(timeout=60) == 0
    assert list(workspace.stores.iterdir()) == []


@pytest.mark.parametrize("is_elsewhere", [False, True])
def test_staging_folder_of_a_killed_process_is_swept(
    tmp_path, stager, monkeypatch, is_elsewhere
):
    process, name = stager
    workspace = new_workspace(tmp_path)
    if is_elsewhere:
        as_if_staged_elsewhere(workspace, name)
    process.kill()
    process.wait()
    monkeypatch.setattr(staging, "BEAT", 0.1)
    monkeypatch.setattr(staging, "MISSED_BEATS", 5)
    assert [path.name for path in staging.sweep(workspace)] == (
        [] if is_elsewhere else [name]
    )
    with staging.staging_folder(workspace) as mine:
        deadline = time.monotonic() + 60
        while (workspace.stores / name).exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        assert list(workspace.stores.glob("*.tmp")) == [mine]
    assert list(workspace.stores.iterdir()) == []


def test_file_system_without_locks_gets_hearts_too(tmp_path, monkeypatch):
    def fail(*_):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(staging.fcntl, "flock", fail)
    workspace = new_workspace(tmp_path)
    with staging.staging_folder(workspace) as folder:
        assert lease.read_beat(folder.with_suffix(".lock")).is_held
        assert staging.sweep(workspace) == []
    assert list(workspace.stores.iterdir()) == []
