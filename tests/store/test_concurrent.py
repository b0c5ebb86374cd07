"""Several people ingest into one workspace at the same time; nothing is lost."""

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


@pytest.mark.slow
def test_four_machines_with_an_index_each_lose_nothing(tmp_path, sources, expected):
    """As on a network file system: the lease alone keeps them apart."""
    root = tmp_path / "ws"
    root.mkdir()
    roots = []
    for i in range(4):
        machine = tmp_path / f"machine{i}"
        machine.mkdir()
        for name in ("objects", "runs", "stores", "registry.lease"):
            (root / name).mkdir(exist_ok=True)
            (machine / name).symlink_to(root / name)
        (machine / "dpbench.toml").write_text(f'index = "{tmp_path}/index{i}"')
        roots.append(machine)
    ingest_at_once(zip(roots, [sources[i::4] for i in range(4)], strict=True))
    for machine in roots:
        workspace = Workspace.find(machine)
        assert check_nothing_lost(workspace, expected) == 4
        assert [row["label"] for row in list_datasets(workspace)] == ["d-v4"]
        check_registry(workspace)
