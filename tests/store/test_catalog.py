import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import select, text

from dpbench.errors import ConfigError, DatasetError, WorkspaceError
from dpbench.store import catalog, objects
from dpbench.store.catalog import migrate, tables
from dpbench.store.catalog.engine import file_system_of, transaction
from dpbench.store.dataset import open_dataset
from dpbench.store.events import new_event
from dpbench.store.splits.making import default_split
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


def contents(workspace):
    """All rows of all tables, sorted."""
    with transaction(workspace, write=False) as connection:
        return {
            name: sorted(map(repr, connection.execute(select(table)).all()))
            for name, table in tables.metadata.tables.items()
            if table not in tables.UNFROZEN
        }


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """A workspace with two datasets, quarantine, a split and records."""
    workspace = new_workspace(tmp_path_factory.mktemp("template"))
    trajectories(workspace, "t", [4, 3, 5])
    bad = segment_data(
        random_frames(50, [2]), [source_entry("bad")], role="quarantine", reason="nan"
    )
    more = segment_data(random_frames(51, [2]), [source_entry("more")])
    commit(workspace, "t", more, bad)
    trajectories(workspace, "u", [2])
    default_split(open_dataset(workspace, "t"))
    catalog.register_model(workspace, {"digest": "m", "created_at": "2026-01-02"})
    catalog.register_run(workspace, {"run_id": "r", "kind": "train"})
    catalog.register_result(workspace, {"created_at": "2026-01-03", "x": [1.5, None]})
    catalog.register_event(workspace, new_event("card", "t", card={"title": "T"}))
    return workspace.root


@pytest.fixture
def full(tmp_path, template):
    shutil.copytree(template, tmp_path / "ws")
    return new_workspace(tmp_path)


def test_migrations_reach_the_tables_and_no_other(tmp_path):
    workspace = new_workspace(tmp_path)
    with transaction(workspace, write=True) as connection:
        assert (
            compare_metadata(
                MigrationContext.configure(connection, opts={"compare_type": True}),
                tables.metadata,
            )
            == []
        )
        assert len(tables.metadata.tables) == 14


def test_head_is_the_newest_migration():
    script = ScriptDirectory(str(migrate.MIGRATIONS))
    revisions = [step.revision for step in script.walk_revisions()]
    assert script.get_current_head() == migrate.HEAD
    assert tuple(reversed(revisions)) == migrate.KNOWN


def test_rebuild_makes_the_same_rows(full):
    before = contents(full)
    assert all(before.values())
    assert catalog.rebuild(full) == 9  # 3 versions, theory, split, 3 records, event
    assert contents(full) == before
    (full.root / "registry.db").unlink()
    catalog.rebuild(full)
    assert contents(full) == before


def test_damaged_registry_is_named_and_rebuilt(full):
    before = contents(full)
    for suffix in ("", "-wal", "-shm"):
        (full.root / f"registry.db{suffix}").unlink(missing_ok=True)
    (full.root / "registry.db").write_bytes(b"no database at all" * 100)
    with pytest.raises(WorkspaceError, match="dpbench registry rebuild"):
        catalog.results(full)
    catalog.rebuild(full)
    assert contents(full) == before
    assert (full.root / "registry.db.damaged").exists()


def test_newer_registry_is_refused(full):
    with transaction(full, write=True) as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(WorkspaceError, match="update dpbench"):
        catalog.results(full)


def test_objects_without_rows_are_indexed_at_the_next_look(full):
    digest = objects.put(full, "result", {"created_at": "2026-01-04", "late": True})
    assert [r.get("late") for r in catalog.results(full)] == [None, True]
    with transaction(full, write=False) as connection:
        assert digest in set(connection.scalars(select(tables.result.c.id)))


def test_copies_that_people_leave_beside_objects_are_not_objects(full):
    path = next((full.objects / "theory").glob("*/*.json"))
    for name in (f"{path.name}.bak", "notes.json", f"{path.stem}.json~"):
        shutil.copy(path, path.with_name(name))
    known = objects.digests(full, "theory")
    assert [r["label"] for r in list_datasets(full)] == ["t-v2", "u-v1"]
    assert catalog.rebuild(full) > 0
    assert path.stem in known
    assert all(len(digest) == 64 for digest in known)


def test_records_come_back_oldest_first(full):
    catalog.register_result(full, {"created_at": "2026-01-01"})
    dates = [payload["created_at"] for payload in catalog.results(full)]
    assert dates == ["2026-01-01", "2026-01-03"]
    assert catalog.models(full) == [{"digest": "m", "created_at": "2026-01-02"}]
    assert catalog.runs(full) == [{"run_id": "r", "kind": "train"}]


def test_datasets_are_listed_by_their_newest_version(full):
    rows = list_datasets(full)
    assert [row["label"] for row in rows] == ["t-v2", "u-v1"]
    assert [row["n_quarantined"] for row in rows] == [1, 0]


WRITER = """
import sys
from dpbench.store import catalog
from dpbench.store.workspace import Workspace
workspace = Workspace.find(sys.argv[1], create=True)
for i in range(8):
    catalog.register_result(workspace, {"writer": sys.argv[2], "i": i})
"""


def test_four_writer_processes_lose_no_row(tmp_path):
    root = tmp_path / "ws"
    command = [sys.executable, "-W", "error", "-c", WRITER, str(root)]
    writers = [subprocess.Popen([*command, str(i)]) for i in range(4)]
    assert [writer.wait(timeout=120) for writer in writers] == [0] * 4
    workspace = new_workspace(tmp_path)
    with transaction(workspace, write=False) as connection:
        assert len(connection.execute(select(tables.result)).all()) == 32
    assert len(catalog.results(workspace)) == 32


def test_network_file_systems_are_recognised(tmp_path):
    mounts = tmp_path / "mounts"
    mounts.write_text("/dev/a / ext4 rw 0 0\nserver:/x /net/my\\040home nfs4 rw 0 0\n")
    assert file_system_of(tmp_path, mounts) == "ext4"
    assert file_system_of(tmp_path / "../../net", mounts) == "ext4"
    assert file_system_of(Path("/net/my home/ws"), mounts) == "nfs4"
    assert file_system_of(tmp_path, tmp_path / "absent") is None


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("no url at all", "is no SQLAlchemy URL"),
        ("mysql+nosuchdriver://host/name", "driver is not installed"),
    ],
)
def test_registry_that_cannot_be_named_or_driven_is_one_clear_error(
    tmp_path, url, message
):
    (tmp_path / "ws").mkdir()
    (tmp_path / "ws" / "dpbench.toml").write_text(f'registry = "{url}"')
    with pytest.raises(ConfigError, match=message):
        catalog.results(new_workspace(tmp_path))


def test_registry_of_another_workspace_is_one_clear_error(tmp_path):
    text = f'registry = "sqlite:///{tmp_path}/shared.db"\n'
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "dpbench.toml").write_text(text)
    one, other = (Workspace.find(tmp_path / name, create=True) for name in ("a", "b"))
    trajectories(one, "w", [2])
    data = segment_data(random_frames(9, [2]), [source_entry("n")])
    with pytest.raises(WorkspaceError, match="A registry serves one workspace"):
        commit(other, "w", data)


def test_registry_that_cannot_be_opened_is_one_clear_error(tmp_path):
    workspace = new_workspace(tmp_path)
    (workspace.root / "registry.db").mkdir()
    with pytest.raises(WorkspaceError, match=r"registry\.db: unable to open"):
        catalog.results(workspace)


def test_missing_manifest_is_named(full):
    manifest = next(full.stores.glob("*/segment.json"))
    manifest.write_text("{")
    with pytest.raises(DatasetError, match=r"segment\.json: is not JSON"):
        catalog.rebuild(full)
    manifest.unlink()
    with pytest.raises(DatasetError, match=r"segment\.json: cannot be read"):
        catalog.rebuild(full)
    assert list_datasets(full)
