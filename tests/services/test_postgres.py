"""The registry on a real PostgreSQL server."""

import shutil
import subprocess
import sys
import uuid
from dataclasses import replace

import pytest
from alembic import command
from alembic.config import Config
from click.testing import CliRunner
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError

from dpbench.cli.main import cli
from dpbench.errors import ConfigError, WorkspaceError
from dpbench.eval.filing import Wanted, list_records, read_records
from dpbench.eval.record import record_to_payload
from dpbench.eval.standing import Standing, standing_event
from dpbench.store import catalog
from dpbench.store.catalog import migrate, tables
from dpbench.store.catalog.engine import transaction
from dpbench.store.dataset import open_dataset
from dpbench.store.history import rename, retract
from dpbench.store.references import parse_reference
from dpbench.store.splits.making import default_split
from dpbench.store.summary import list_datasets
from dpbench.store.workspace import Workspace
from tests.eval.synthetic_records import synthetic_record
from tests.services.conftest import PostgresServer
from tests.store.synthetic import new_workspace, trajectories
from tests.store.test_catalog import contents


def workspace_on(folder, url):
    """A workspace whose registry is at a URL."""
    folder.mkdir(exist_ok=True)
    (folder / "dpbench.toml").write_text(f'registry = "{url}"\n')
    return Workspace.find(folder, create=True)


@pytest.fixture
def shared(tmp_path, postgres_url):
    return workspace_on(tmp_path / "shared", postgres_url)


def test_full_chain_is_that_of_sqlite(shared, tmp_path):
    local = new_workspace(tmp_path)
    for workspace in (shared, local):
        trajectories(workspace, "t", [4, 3, 5])
        trajectories(workspace, "t", [4, 3, 5, 2])
        default_split(open_dataset(workspace, "t"))
        catalog.register_result(workspace, {"x": [1.5, None], "é": "ü"})
    assert list_datasets(shared) == list_datasets(local)
    assert contents(shared) == contents(local)
    before = contents(shared)
    catalog.rebuild(shared)
    assert contents(shared) == before
    assert not (shared.root / "registry.db").exists()


WRITER = """
import sys
from dpbench.store import catalog
from dpbench.store.workspace import Workspace
workspace = Workspace.find(sys.argv[1], create=True)
for i in range(8):
    catalog.register_result(workspace, {"writer": sys.argv[2], "i": i})
"""


def test_four_writer_processes_lose_no_row_and_make_the_tables_once(shared):
    command = [sys.executable, "-W", "error", "-c", WRITER, str(shared.root)]
    writers = [subprocess.Popen([*command, str(i)]) for i in range(4)]
    assert [writer.wait(timeout=120) for writer in writers] == [0] * 4
    with transaction(shared, write=False) as connection:
        assert len(connection.execute(select(tables.result)).all()) == 32


def test_version_whose_rows_could_not_be_written_is_indexed_later(shared, monkeypatch):
    """The server may have let others in since, so the version is not taken back."""
    trajectories(shared, "t", [4])

    def fail(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("dpbench.store.versions.index_version", fail)
        with pytest.raises(KeyboardInterrupt):
            trajectories(shared, "t", [4, 5])
    assert open_dataset(shared, "t").number == 2
    assert [row["label"] for row in list_datasets(shared)] == ["t-v2"]
    before = contents(shared)
    assert not trajectories(shared, "t", [4, 5]).is_new
    catalog.rebuild(shared)
    assert contents(shared) == before


def test_lost_rows_are_made_again(shared):
    trajectories(shared, "t", [4])
    before = contents(shared)
    with transaction(shared, write=True) as connection:
        connection.execute(text("DROP SCHEMA public CASCADE"))
        connection.execute(text("CREATE SCHEMA public"))
    assert [row["label"] for row in list_datasets(shared)] == ["t-v1"]
    assert contents(shared) == before


def test_server_that_is_down_is_one_clear_line(postgres_programs, tmp_path):
    server = PostgresServer(postgres_programs)
    workspace = workspace_on(tmp_path / "ws", server.make_database())
    trajectories(workspace, "t", [4])
    server.stop()
    try:
        with pytest.raises(WorkspaceError, match="Connection refused") as error:
            list_datasets(workspace)
        assert "\n" not in str(error.value)
        assert "Start the server" in str(error.value)
        assert "secret" not in str(error.value)
        server.start()  # after a crash, which "immediate" amounts to
        assert [row["label"] for row in list_datasets(workspace)] == ["t-v1"]
        server.stop()
    finally:
        server.remove()


def test_wrong_password_and_missing_database_are_one_clear_line(
    postgres_server, tmp_path
):
    cases = [
        (postgres_server.url("postgres", password="wrong"), "password", r"~/\.pgpass"),
        (postgres_server.url("nosuch"), 'database "nosuch" does not exist', "createdb"),
    ]
    for i, (url, reason, advice) in enumerate(cases):
        with pytest.raises(WorkspaceError, match=reason) as error:
            list_datasets(workspace_on(tmp_path / f"ws{i}", url))
        assert error.match(advice)
        assert "\n" not in str(error.value)
        assert "wrong" not in str(error.value)


def test_connection_that_is_cut_is_one_clear_line(shared):
    trajectories(shared, "t", [4])

    def lose_the_connection():
        with transaction(shared, write=True) as connection:
            pid = connection.scalar(text("SELECT pg_backend_pid()"))
            with transaction(shared, write=False) as other:
                other.execute(text(f"SELECT pg_terminate_backend({pid})"))
            connection.execute(text("SELECT 1"))

    with pytest.raises(WorkspaceError, match="terminat") as error:
        lose_the_connection()
    assert "\n" not in str(error.value)
    assert [row["label"] for row in list_datasets(shared)] == ["t-v1"]


def test_missing_driver_says_what_to_install(tmp_path, postgres_url, monkeypatch):
    for name in [n for n in sys.modules if n.split(".")[0].startswith("psycopg")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(ConfigError, match=r"pip install 'dpbench\[postgres\]'"):
        list_datasets(workspace_on(tmp_path / "ws", postgres_url))


def test_lost_folder_of_a_registry_is_not_guessed(shared):
    trajectories(shared, "t", [4])
    shutil.rmtree(shared.objects)
    with pytest.raises(WorkspaceError, match="expected a dpbench workspace"):
        Workspace.find(shared.root)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE version SET n_frames = 0",
        "DELETE FROM version_segment",
        "DELETE FROM theory",
        "UPDATE event SET verb = 'x'",
        "TRUNCATE result",
    ],
)
def test_frozen_rows_are_guarded_by_the_server(shared, statement):
    trajectories(shared, "t", [4])
    catalog.register_result(shared, {"x": 1})
    before = contents(shared)
    with (
        pytest.raises(DBAPIError, match="rows stand for immutable files"),
        transaction(shared, write=True) as connection,
    ):
        connection.execute(text(statement))
    assert contents(shared) == before


def test_rename_and_retract_are_those_of_sqlite(shared, tmp_path):
    local = new_workspace(tmp_path)
    for workspace in (shared, local):
        trajectories(workspace, "t", [4])
        trajectories(workspace, "t", [4, 3])
        retract(workspace, parse_reference("t-v2"), "wrong cutoff")
        rename(workspace, "t", "u")
        assert open_dataset(workspace, "u").label == "u-v1"
    told = [
        [{k: v for k, v in row.items() if k not in TIMES} for row in list_datasets(w)]
        for w in (shared, local)
    ]
    assert told[0] == told[1]
    before = contents(shared)
    catalog.rebuild(shared)
    assert contents(shared) == before


TIMES = {"at", "created_at", "updated_at"}


@pytest.mark.parametrize("revision", migrate.KNOWN[:-1])
def test_registry_of_an_older_release_is_upgraded_only_when_asked(shared, revision):
    trajectories(shared, "t", [4])
    digest = catalog.register_result(shared, {"model": {"name": "m"}})
    before = contents(shared)
    with transaction(shared, write=True) as connection:
        connection.execute(text("DROP SCHEMA public CASCADE"))
        connection.execute(text("CREATE SCHEMA public"))
        config = Config()
        config.set_main_option("script_location", str(migrate.MIGRATIONS))
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
        row = {"id": digest, "payload": '{"model": {"name": "m"}}'}
        insert = (
            "INSERT INTO result (id, payload) VALUES (:id, CAST(:payload AS jsonb))"
        )
        connection.execute(text(insert), row)
    with pytest.raises(WorkspaceError, match=f"has schema {revision}") as error:
        list_datasets(shared)
    assert "registry upgrade" in str(error.value)
    result = CliRunner().invoke(
        cli, ["registry", "upgrade", "--workspace", shared.root]
    )
    assert result.exit_code == 0, result.output
    assert [row["label"] for row in list_datasets(shared)] == ["t-v1"]
    assert contents(shared) == before


def test_user_without_rights_gets_one_clear_line(shared, postgres_server, tmp_path):
    trajectories(shared, "t", [4])
    role = f"r{uuid.uuid4().hex}"
    with transaction(shared, write=True) as connection:
        connection.execute(text(f"CREATE ROLE {role} LOGIN PASSWORD 'secret'"))
    url = shared.config.registry.replace("//dpbench:", f"//{role}:")
    (shared.root / "dpbench.toml").write_text(f'registry = "{url}"')
    other = Workspace.find(shared.root)
    with pytest.raises(WorkspaceError, match="permission denied") as error:
        list_datasets(other)
    assert "administrator grant" in str(error.value)
    assert "\n" not in str(error.value)


def test_result_records_are_listed_and_marked_by_the_server(shared):
    """Filters and standings are questions to SQL, on PostgreSQL as on SQLite."""
    record = replace(synthetic_record(), suite="si-lda-v1")
    digest = catalog.register_result(shared, record_to_payload(record))
    standing = Standing(status="unverified", checks=("schema",), reasons=("no data",))
    catalog.register_event(shared, standing_event(record, digest, standing))
    asked = {
        "suite": "si-lda",
        "model": record.model.digest[:9],
        "dataset": "si8:test",
        "hardware": "made-up cpu",
        "backend": "dpbench",
        "task": "stability",
        "since": "2025-12-31",
    }
    (row,) = list_records(shared, Wanted(**asked))
    assert (row.digest, row.standing.status) == (digest, "unverified")
    for name in asked:
        assert list_records(shared, Wanted(**asked | {name: "other"})) == []
    assert read_records(shared)[digest].marks == ("unverified: no data",)
