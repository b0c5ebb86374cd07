"""Upgrades of the registry, and the triggers that keep its rows."""

import os
import shutil
import sqlite3
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import IntegrityError

from dpbench.errors import WorkspaceError
from dpbench.store import catalog
from dpbench.store.catalog import migrate, tables
from dpbench.store.catalog.engine import transaction
from dpbench.store.dataset import open_dataset
from dpbench.store.splits.making import list_splits
from dpbench.store.summary import list_datasets
from dpbench.store.workspace import Workspace
from tests.store.synthetic import new_workspace, trajectories
from tests.store.test_catalog import contents

DATA = Path(__file__).parents[1] / "data"

SCHEMAS = ("0001", "0002")
"""Older schemas. ``workspace-registry-SCHEMA.zip`` was made by the dpbench of each: two
datasets of two and one versions with quarantine, a split, a model, a run and a result;
0002 has an event and a complete result record besides."""


def unpacked(folder, schema="0001"):
    with zipfile.ZipFile(DATA / f"workspace-registry-{schema}.zip") as archive:
        archive.extractall(folder)
    return Workspace.find(folder)


@pytest.fixture
def old(tmp_path):
    return unpacked(tmp_path / "ws")


@pytest.fixture(params=SCHEMAS)
def older(tmp_path, request):
    """(workspace of an older schema, that schema)."""
    return unpacked(tmp_path / "ws", request.param), request.param


@pytest.fixture(scope="module")
def upgraded(tmp_path_factory):
    """For tests that try to change it, in vain."""
    workspace = unpacked(tmp_path_factory.mktemp("upgraded") / "ws")
    catalog.register_event(workspace, {"event": "card", "dataset": "t", "at": "2026"})
    list_datasets(workspace)
    return workspace


def schema(workspace):
    """Every statement that made something in an SQLite registry, but for Alembic's."""
    connection = sqlite3.connect(workspace.root / "registry.db")
    rows = connection.execute(
        "SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL"
    ).fetchall()
    connection.close()
    return sorted(rows)


def test_registry_of_an_older_schema_is_upgraded_after_a_backup(older):
    old, found = older
    rows = list_datasets(old)
    assert [(r["label"], r["n_frames"]) for r in rows] == [("t-v2", 13), ("u-v1", 2)]
    assert [s.strategy for s in list_splits(open_dataset(old, "t"))] == ["trajectory"]
    assert len(catalog.models(old)) == len(catalog.runs(old)) == 1
    assert len(catalog.results(old)) == SCHEMAS.index(found) + 1
    upgraded = contents(old)
    backup = sqlite3.connect(old.root / f"registry.db.before-{migrate.HEAD}")
    revision = backup.execute("SELECT version_num FROM alembic_version").fetchone()
    assert revision == (found,)
    assert backup.execute("SELECT count(*) FROM version").fetchone() == (3,)
    backup.close()
    (old.root / "registry.db").unlink()
    catalog.rebuild(old)
    assert contents(old) == upgraded


def test_an_upgrade_indexes_the_results_by_what_they_are_of(tmp_path):
    workspace = unpacked(tmp_path / "ws", "0002")
    list_datasets(workspace)
    with transaction(workspace, write=False) as connection:
        row = tables.result.c
        query = select(row.model, row.dataset, row.part, row.tasks, row.force_rmse)
        rows = set(map(tuple, connection.execute(query)))
    assert rows == {
        ("small", "si8-v1", "test", "accuracy", 50.0),
        (None, None, None, None, None),
    }


def test_an_upgraded_registry_has_the_guards_of_a_new_one(older, tmp_path):
    old, _ = older
    list_datasets(old)
    fresh = new_workspace(tmp_path / "fresh")
    list_datasets(fresh)
    guards = [row for row in schema(fresh) if row[0] == "trigger"]
    assert [row for row in schema(old) if row[0] == "trigger"] == guards
    assert len(guards) == 3 * (len(tables.metadata.tables) - len(tables.UNFROZEN))


def test_an_upgrade_that_fails_leaves_the_registry_as_it_was(old, monkeypatch):
    def fail(*_):
        raise KeyboardInterrupt

    broken = old.root.parent / "migrations"
    shutil.copytree(migrate.MIGRATIONS, broken)
    step = broken / "versions" / "v0003_facts_of_results.py"
    step.write_text(step.read_text() + "\n_delete_behind_the_guards = None\n")
    with monkeypatch.context() as patch:
        patch.setattr(migrate, "MIGRATIONS", broken)
        with pytest.raises(TypeError):
            list_datasets(old)
    connection = sqlite3.connect(old.root / "registry.db")
    revision = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    connection.close()
    assert revision == ("0001",)
    assert [r["label"] for r in list_datasets(old)] == ["t-v2", "u-v1"]


def test_newer_registry_is_refused_and_left_alone(old):
    list_datasets(old)
    with transaction(old, write=True) as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    before = schema(old)
    for call in (list_datasets, catalog.upgrade, catalog.rebuild):
        with pytest.raises(
            WorkspaceError, match=r"has schema 9999; .* up to 0003.*update dpbench"
        ):
            call(old)
    assert schema(old) == before


FROZEN = [t for t in tables.metadata.tables.values() if t not in tables.UNFROZEN]


@pytest.mark.parametrize("table", FROZEN, ids=str)
def test_rows_can_be_neither_changed_nor_deleted_nor_replaced(upgraded, table):
    before = contents(upgraded)
    column = next(c for c in table.c if not c.primary_key)
    row = f'SELECT * FROM "{table}"'
    for statement in (
        f'UPDATE "{table}" SET "{column.name}" = "{column.name}"',
        f'DELETE FROM "{table}"',
    ):
        with pytest.raises(IntegrityError, match="immutable files and are never"):
            _execute(upgraded, statement)
    names = ", ".join(f'"{c.name}"' for c in table.c)
    other = ", ".join(
        f'"{c.name}"' if c.primary_key or c.foreign_keys else "'1'" for c in table.c
    )
    _execute(upgraded, f'REPLACE INTO "{table}" ({names}) SELECT {other} FROM ({row})')
    assert contents(upgraded) == before
    if table.c.keys()[0] == "id":  # another key in the place of an old row
        others = other.replace('"id"', f"'{'f' * 64}'", 1)
        number = row.replace("*", "rowid, *")
        _execute(
            upgraded,
            f'REPLACE INTO "{table}" (rowid, {names}) SELECT rowid, {others} '
            f"FROM ({number})",
        )
        assert contents(upgraded) == before


def _execute(workspace, statement):
    with transaction(workspace, write=True) as connection:
        connection.execute(text(statement))


def test_a_rebuild_puts_the_guards_back(old):
    list_datasets(old)
    before = schema(old)
    catalog.rebuild(old)
    assert schema(old) == before


def test_a_rebuild_that_fails_leaves_rows_and_guards(old):
    list_datasets(old)
    rows, before = contents(old), schema(old)
    version = next((old.objects / "version").glob("*/*.json"))
    hidden = version.with_suffix(".away")
    version.rename(hidden)
    with pytest.raises(WorkspaceError.__base__):
        catalog.rebuild(old)
    hidden.rename(version)
    assert contents(old) == rows
    assert schema(old) == before


# -- what tells that the index is behind ------------------------------------------


def age(workspace, seconds=60):
    """Let every folder of the truth have changed long ago."""
    for folder, _, _ in os.walk(workspace.objects):
        mtime = Path(folder).stat().st_mtime_ns - seconds * 10**9
        os.utime(folder, ns=(mtime, mtime))


def marks_of(workspace):
    with transaction(workspace, write=False) as connection:
        query = select(tables.folder.c.path)
        return set(connection.scalars(query))


def test_folders_that_stand_still_are_not_listed_again(tmp_path, monkeypatch):
    workspace = new_workspace(tmp_path)
    trajectories(workspace, "t", [2])
    assert marks_of(workspace) == set()  # too young to be trusted
    age(workspace)
    trajectories(workspace, "u", [2])
    assert "refs/t" in marks_of(workspace)
    listed = []
    listdir = os.listdir
    monkeypatch.setattr(os, "listdir", lambda p: listed.append(str(p)) or listdir(p))
    assert len(list_datasets(workspace)) == 2
    assert not [path for path in listed if path.endswith("refs/t")]
    assert [path for path in listed if path.endswith("refs/u")]


def test_a_version_beside_marked_ones_is_seen(tmp_path):
    """As after a kill between a reference and its row, or a copy from elsewhere."""
    workspace = new_workspace(tmp_path)
    trajectories(workspace, "t", [2])
    (workspace.root / "registry.db").rename(tmp_path / "kept.db")
    trajectories(workspace, "t", [2, 3])
    trajectories(workspace, "u", [2])
    hidden = workspace.objects / "refs" / "t" / "2"
    content = hidden.read_bytes()
    other = workspace.objects / "refs" / "u"
    hidden.unlink()
    shutil.move(other, tmp_path / "u")
    for suffix in ("-wal", "-shm"):
        (workspace.root / f"registry.db{suffix}").unlink(missing_ok=True)
    (tmp_path / "kept.db").rename(workspace.root / "registry.db")
    age(workspace)
    with transaction(workspace, write=True) as connection:
        catalog.catch_up(connection, workspace)
    assert "refs/t" in marks_of(workspace)
    assert [r["label"] for r in list_datasets(workspace)] == ["t-v1"]
    hidden.write_bytes(content)
    assert [r["label"] for r in list_datasets(workspace)] == ["t-v2"]
    shutil.move(tmp_path / "u", other)
    assert [r["label"] for r in list_datasets(workspace)] == ["t-v2", "u-v1"]


def test_a_reader_marks_many_folders_once(tmp_path, monkeypatch):
    workspace = new_workspace(tmp_path)
    for i in range(3):
        trajectories(workspace, f"d{i}", [2])
    age(workspace)
    monkeypatch.setattr("dpbench.store.catalog.marks.MANY", 2)
    list_datasets(workspace)
    assert {"refs/d0", "refs/d1", "refs/d2"} <= marks_of(workspace)


KILLED = """
import os, signal, sys
from dpbench.store import catalog, versions
from dpbench.store.workspace import Workspace
from tests.store.synthetic import trajectories
def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)
workspace = Workspace.find(sys.argv[1])
if sys.argv[2] == "version":
    versions.index_version = die
    trajectories(workspace, "t", [2, 3])
else:
    catalog.index_object = die
    catalog.register_result(workspace, {"created_at": "2026-01-01", "x": 1})
"""


@pytest.mark.parametrize("kind", ["version", "result"])
def test_what_a_kill_left_without_a_row_is_seen_at_the_next_look(tmp_path, kind):
    """Although every folder had its mark."""
    workspace = new_workspace(tmp_path)
    trajectories(workspace, "t", [2])
    catalog.register_result(workspace, {"created_at": "2025-01-01"})
    age(workspace)
    with transaction(workspace, write=True) as connection:
        catalog.catch_up(connection, workspace)
    before = contents(workspace)
    command = [sys.executable, "-c", KILLED, str(workspace.root), kind]
    assert subprocess.run(command, check=False, timeout=120).returncode == -9
    assert contents(workspace) == before
    labels = [row["label"] for row in list_datasets(workspace)]
    assert labels == ["t-v2" if kind == "version" else "t-v1"]
    assert len(catalog.results(workspace)) == (2 if kind == "result" else 1)
