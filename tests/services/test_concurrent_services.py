"""Four people ingest at once, with a registry or stores on servers."""

import subprocess

import numpy as np
import pytest

from dpbench.store import catalog
from dpbench.store.dataset import open_dataset
from dpbench.store.summary import list_datasets
from dpbench.store.verify.run import verify
from dpbench.store.workspace import Workspace
from tests.store.many_ingests import (
    check_nothing_lost,
    ingest_at_once,
    start_ingest,
    write_sources,
)
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


def groups_of(sources, kind):
    """What each of four ingests."""
    if kind == "different":
        return [sources[i::4] for i in range(4)]
    if kind == "same":
        return [sources] * 4
    return [sources[:4], sources[2:6], sources[4:], [*sources[6:], *sources[:2]]]


@pytest.mark.parametrize("kind", ["different", "same", "overlapping"])
def test_four_ingests_with_a_registry_on_postgresql(
    tmp_path, postgres_url, sources, expected, kind
):
    root = tmp_path / "ws"
    root.mkdir()
    (root / "dpbench.toml").write_text(f'registry = "{postgres_url}"\n')
    ingest_at_once([(root, group) for group in groups_of(sources, kind)])
    workspace = Workspace.find(root)
    made = check_nothing_lost(workspace, expected)
    assert made in {"different": {4}, "same": {1}, "overlapping": {2, 3, 4}}[kind]
    check_registry(workspace)


@pytest.mark.parametrize("kind", ["different", "same"])
def test_four_machines_with_one_bucket_and_a_registry_each(
    machine, sources, expected, kind
):
    machines = [machine(f"machine{i}") for i in range(4)]
    groups = groups_of(sources, kind)
    ingest_at_once(zip([m.root for m in machines], groups, strict=True))
    for workspace in [*machines, machine("another")]:
        made = check_nothing_lost(workspace, expected)
        assert made == (4 if kind == "different" else 1)
        assert list_datasets(workspace)[0]["digest"] == expected.digest
        check_registry(workspace)


def test_four_machines_with_one_bucket_and_one_registry(
    machine, postgres_url, sources, expected
):
    machines = [machine(f"machine{i}", registry=postgres_url) for i in range(4)]
    groups = groups_of(sources, "overlapping")
    ingest_at_once(zip([m.root for m in machines], groups, strict=True))
    for workspace in machines:
        assert 2 <= check_nothing_lost(workspace, expected) <= 4
    check_registry(machines[0])


def test_ingests_killed_at_random_moments_end_in_the_same_digest(
    machine, sources, expected
):
    """Into one bucket, from two machines; then each ingests again."""
    machines = [machine("one"), machine("two")]
    moments = np.random.default_rng(5).uniform(0.6, 2.0, 8)
    for i, moment in enumerate(moments):
        running = start_ingest(machines[i % 2].root, sources)
        try:
            running.communicate(timeout=moment)
        except subprocess.TimeoutExpired:
            running.kill()
            running.communicate()
    ingest_at_once([(workspace.root, sources) for workspace in machines])
    for workspace in [*machines, machine("three")]:
        assert check_nothing_lost(workspace, expected) == 1
        assert verify(workspace, None).findings == ()
