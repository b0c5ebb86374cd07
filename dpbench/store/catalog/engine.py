"""Transactions on the registry: WAL and BEGIN IMMEDIATE, or a PostgreSQL lock.

WAL alone is not enough: a transaction that reads and then writes fails at the upgrade
of its lock, whatever the timeout. Writers therefore take the write lock at once.
"""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError
from sqlalchemy.pool import NullPool

from dpbench.errors import ConfigError, WorkspaceError
from dpbench.store.catalog.migrate import HEAD, current_revision, upgrade
from dpbench.store.workspace import Workspace

BUSY_TIMEOUT = 60.0
"""Seconds that a writer waits for another one."""

ADVISORY_LOCK = 0x64706265
"""Key of the PostgreSQL lock that all writers of a registry take."""

NETWORK_FILE_SYSTEMS = frozenset({"nfs", "nfs4", "lustre", "cifs", "smb3", "beegfs"})
"""Where SQLite's write-ahead log does not work."""


@contextmanager
def transaction(workspace: Workspace, *, write: bool) -> Iterator[Connection]:
    """Open one transaction on an up-to-date registry; it commits at the end.

    Args:
        workspace: Where the registry is.
        write: Take the write lock at the start; readers never wait.

    Raises:
        WorkspaceError: If the registry is damaged, locked, full, made by a newer
            dpbench, or cannot be reached.
    """
    url = registry_url(workspace)
    engine = _engine(url)
    try:
        with _database_errors(url):
            _bring_up_to_date(engine)
            with engine.execution_options(dpbench_write=write).begin() as connection:
                if write:
                    lock_writers(connection)
                yield connection
    finally:
        engine.dispose()


def registry_url(workspace: Workspace) -> URL:
    """Return where the registry is, as SQLAlchemy has it.

    Raises:
        ConfigError: If ``dpbench.toml`` names no usable URL.
    """
    if workspace.config.registry is None:
        return URL.create("sqlite", database=str(workspace.truth / "registry.db"))
    try:
        return make_url(workspace.config.registry)
    except ArgumentError as error:
        raise ConfigError(
            f"{workspace.root / 'dpbench.toml'}: registry is no SQLAlchemy URL; "
            "expected e.g. 'postgresql+psycopg://user@host/name'."
        ) from error


def sqlite_path(url: URL) -> Path | None:
    """Return the file of an SQLite registry, else None."""
    is_file = url.get_backend_name() == "sqlite" and url.database is not None
    return Path(str(url.database)) if is_file else None


def lock_writers(connection: Connection) -> None:
    """Let one writer in at a time (SQLite's BEGIN IMMEDIATE has done so already)."""
    if connection.dialect.name == "postgresql":
        connection.execute(text(f"SELECT pg_advisory_xact_lock({ADVISORY_LOCK})"))


def _engine(url: URL) -> Engine:
    path = sqlite_path(url)
    try:
        # NullPool: a registry is opened for one transaction, and left alone after.
        engine = create_engine(url, poolclass=NullPool)
    except (NoSuchModuleError, ModuleNotFoundError) as error:
        raise ConfigError(
            f"registry {url.drivername}: its driver is not installed ({error}). "
            "Install it; for PostgreSQL: pip install 'dpbench[postgres]'."
        ) from error
    if path is not None:
        _refuse_network_file_system(path)
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: sqlite3.Connection, _: Any) -> None:
    connection.isolation_level = None  # we say BEGIN ourselves
    connection.execute(f"PRAGMA busy_timeout = {int(BUSY_TIMEOUT * 1000)}")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA synchronous = FULL")
    _use_wal(connection)


def _use_wal(connection: sqlite3.Connection) -> None:
    """Switch to WAL; SQLite does not wait for this lock, so we do."""
    deadline = time.monotonic() + BUSY_TIMEOUT
    while connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            is_busy = "locked" in str(error) and time.monotonic() < deadline
            if not is_busy:
                raise
            time.sleep(0.01)


def _begin_sqlite(connection: Connection) -> None:
    is_writer = connection.get_execution_options().get("dpbench_write", True)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if is_writer else "BEGIN")


def _bring_up_to_date(engine: Engine) -> None:
    reader = engine.execution_options(dpbench_write=False)
    with reader.begin() as connection:
        revision = current_revision(connection)
    if revision != HEAD:
        path = sqlite_path(engine.url)
        with engine.begin() as connection:
            lock_writers(connection)
            upgrade(connection, path)


@contextmanager
def _database_errors(url: URL) -> Iterator[None]:
    """Word what the database driver says; bugs of ours rise as they are."""
    try:
        yield
    except DBAPIError as error:
        name = sqlite_path(url) or url.render_as_string(hide_password=True)
        reason = " ".join(str(error.orig).split()).rstrip(".")
        is_known = error.connection_invalidated or _is_operational(error)
        if not is_known and not _is_damage(reason):
            raise
        raise WorkspaceError(f"{name}: {reason}. {_advice(reason)}") from error


def _is_damage(reason: str) -> bool:
    return "not a database" in reason or "malformed" in reason


def _advice(reason: str) -> str:
    """Say what to do about an error of the database."""
    if _is_damage(reason):
        return "The registry is damaged. Run 'dpbench registry rebuild'."
    table = (
        (
            ("Connection refused", "timeout expired", "could not translate host"),
            "Start the server, or mend 'registry' in dpbench.toml.",
        ),
        (
            ("password authentication failed", "no password supplied", "pg_hba.conf"),
            "Put the password into ~/.pgpass, or mend 'registry' in dpbench.toml.",
        ),
        (
            ("does not exist",),
            "Make it with createdb, or mend 'registry' in dpbench.toml.",
        ),
        (("permission denied",), "Have its administrator grant it to you."),
        (("terminating connection", "closed the connection"), "Run it again."),
    )
    for words, advice in table:
        if any(word in reason for word in words):
            return advice
    return "Check the disk, its rights, and who else holds the registry."


def _is_operational(error: DBAPIError) -> bool:
    return type(error).__name__ in ("OperationalError", "InterfaceError")


def _refuse_network_file_system(path: Path) -> None:
    kind = file_system_of(path.parent)
    if kind in NETWORK_FILE_SYSTEMS:
        raise WorkspaceError(
            f"{path}: lies on a network file system ({kind}), where SQLite's log does "
            "not work; expected a local disk. Set registry = 'sqlite:////local/path' "
            "or a PostgreSQL URL in dpbench.toml."
        )


def file_system_of(folder: Path, mounts: Path = Path("/proc/mounts")) -> str | None:
    """Return the kind of file system that holds ``folder``; None where unknown."""
    try:
        lines = mounts.read_text().splitlines()
    except OSError:
        return None
    target = folder.resolve()
    best: tuple[int, str | None] = (-1, None)
    for line in lines:
        _, point, kind, *_ = line.split()
        mount = Path(point.replace("\\040", " "))
        if target.is_relative_to(mount) and len(mount.parts) >= best[0]:
            best = (len(mount.parts), kind)
    return best[1]
