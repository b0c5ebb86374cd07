"""Several people ingest into one workspace at the same time; nothing is lost."""

import getpass
import signal
import subprocess
import sys

import pytest

from dpbench.store import catalog
from dpbench.store.dataset import open_dataset
from dpbench.store.summary import list_datasets
from dpbench.store.workspace import Workspace
from tests.store.many_ingests import check_nothing_lost, ingest_at_once, write_sources
from tests.store.test_catalog import contents


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    return write_sources(tmp_path_factory.mktemp("sources"), 8)


@pytest.fixture(scope="module")
def expected(tmp_path_factory, sources):
    """All sources, ingested by one."""
    root = tmp_path_factory.mktemp("one") / "ws"
    ingest_at_once([(root, sources)])
    return open_dataset(Workspace.find(root), "d")


def check_registry(workspace):
    """Every row is there, as a rebuild makes them."""
    before = list_datasets(workspace), contents(workspace)
    catalog.rebuild(workspace)
    assert (list_datasets(workspace), contents(workspace)) == before


def test_two_ingests_of_different_sources_lose_nothing(tmp_path, sources, expected):
    root = tmp_path / "ws"
    ingest_at_once([(root, sources[:4]), (root, sources[4:])])
    workspace = Workspace.find(root)
    assert check_nothing_lost(workspace, expected) == 2
    check_registry(workspace)


@pytest.mark.slow
def test_four_ingests_of_different_sources_lose_nothing(tmp_path, sources, expected):
    root = tmp_path / "ws"
    ingest_at_once([(root, sources[i::4]) for i in range(4)])
    workspace = Workspace.find(root)
    assert check_nothing_lost(workspace, expected) == 4
    check_registry(workspace)


@pytest.mark.slow
def test_four_ingests_of_the_same_sources_add_each_frame_once(
    tmp_path, sources, expected
):
    root = tmp_path / "ws"
    ingest_at_once([(root, sources)] * 4)
    workspace = Workspace.find(root)
    assert check_nothing_lost(workspace, expected) == 1
    check_registry(workspace)


@pytest.mark.slow
def test_four_ingests_of_overlapping_sources_add_each_frame_once(
    tmp_path, sources, expected
):
    root = tmp_path / "ws"
    groups = [sources[:4], sources[2:6], sources[4:], [*sources[6:], *sources[:2]]]
    ingest_at_once([(root, group) for group in groups])
    workspace = Workspace.find(root)
    assert 2 <= check_nothing_lost(workspace, expected) <= 4
    check_registry(workspace)


def machines_of(folder, count):
    """Views of one workspace, each with an index of its own: machines on one disk."""
    root = folder / "ws"
    root.mkdir()
    for i in range(count):
        machine = folder / f"machine{i}"
        machine.mkdir()
        for name in ("objects", "runs", "stores", "registry.lease"):
            (root / name).mkdir(exist_ok=True)
            (machine / name).symlink_to(root / name)
        (machine / "dpbench.toml").write_text(f'index = "{folder}/index{i}"')
        yield machine


@pytest.mark.slow
def test_four_machines_with_an_index_each_lose_nothing(tmp_path, sources, expected):
    """As on a network file system: the lease alone keeps them apart."""
    roots = list(machines_of(tmp_path, 4))
    ingest_at_once(zip(roots, [sources[i::4] for i in range(4)], strict=True))
    for machine in roots:
        workspace = Workspace.find(machine)
        assert check_nothing_lost(workspace, expected) == 4
        assert [row["label"] for row in list_datasets(workspace)] == ["d-v4"]
        check_registry(workspace)


INGEST = """
import os, signal, sys
from dpbench.cli.main import cli
from dpbench.store import lease, versions
lease.BEAT, lease.MISSED_BEATS = 0.2, 20
index_version = versions.index_version
def stop_once(*arguments):
    if sys.argv[1] == "stop":
        sys.argv[1] = ""
        print("stopped", flush=True)
        os.kill(os.getpid(), signal.SIGSTOP)
    elif sys.argv[1] == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    index_version(*arguments)
versions.index_version = stop_once
options = ["--dataset", "d", "--workers", "0"]
cli(["--workspace", sys.argv[2], "-q", "ingest", "extxyz", *sys.argv[3:], *options])
"""


def start(how, root, paths):
    return subprocess.Popen(
        [sys.executable, "-c", INGEST, how, str(root), *map(str, paths)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
def test_ingest_that_is_stopped_while_it_holds_the_lease_loses_nothing(
    tmp_path, sources, expected
):
    one, two = machines_of(tmp_path, 2)
    stopped = start("stop", one, sources[:4])
    try:
        assert stopped.stdout.readline() == "stopped\n"
        after = start("", two, sources[4:])
        assert after.wait(timeout=120) == 0, after.communicate()
        after.communicate()
    finally:
        stopped.send_signal(signal.SIGCONT)
    said = stopped.communicate(timeout=120)[1]
    assert stopped.returncode == 1
    assert f"was taken over by {getpass.getuser()}" in said
    again = start("", one, sources[:4])
    assert again.wait(timeout=120) == 0, again.communicate()
    again.communicate()
    for machine in (one, two):
        workspace = Workspace.find(machine)
        assert check_nothing_lost(workspace, expected) == 2
        check_registry(workspace)


@pytest.mark.slow
def test_ingest_that_is_killed_while_it_holds_the_lease_loses_nothing(
    tmp_path, sources, expected
):
    one, two = machines_of(tmp_path, 2)
    killed = start("kill", one, sources[:4])
    assert killed.wait(timeout=120) == -signal.SIGKILL
    killed.communicate()
    ingest_at_once([(two, sources[4:]), (one, sources[:4])])
    for machine in (one, two):
        workspace = Workspace.find(machine)
        assert check_nothing_lost(workspace, expected) == 2
        check_registry(workspace)
