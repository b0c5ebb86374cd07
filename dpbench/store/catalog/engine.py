"""Transactions on the registry: WAL and BEGIN IMMEDIATE, or a PostgreSQL lock.

WAL alone is not enough: a transaction that reads and then writes fails at the upgrade
of its lock, whatever the timeout. Writers therefore take the write lock at once.

On a network file system WAL does not work and locks may not. There SQLite keeps a
rollback journal, and writers go one by one through a lease (``store.lease``).
"""

import hashlib
import logging
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError
from sqlalchemy.pool import NullPool

from dpbench.errors import ConfigError, WorkspaceError
from dpbench.store.catalog.migrate import HEAD, current_revision, upgrade
from dpbench.store.file_systems import NETWORK_FILE_SYSTEMS, file_system_of
from dpbench.store.files import disk_errors
from dpbench.store.lease import Lease, writer_lease
from dpbench.store.workspace import Workspace

BUSY_TIMEOUT = 60.0
"""Seconds that a writer waits for another one."""

ADVISORY_LOCK = 0x64706265
"""Key of the PostgreSQL lock that all writers of a registry take."""

LEASE = "registry.lease"
"""The writers' lease, beside the registry."""

WAL_VERSION = 2
"""What byte 18 of an SQLite file says if it keeps a write-ahead log."""

_CONTRADICTIONS = (
    "UNIQUE constraint",
    "FOREIGN KEY constraint",
    "unique constraint",
    "foreign key constraint",
)

logger = logging.getLogger(__name__)


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
    place = lease_place(workspace)
    try:
        with _database_errors(url), _lease(place if write else None) as lease:
            _bring_up_to_date(engine, place=None if write else place)
            with engine.execution_options(dpbench_write=write).begin() as connection:
                if write:
                    lock_writers(connection)
                yield connection
                if lease is not None:
                    lease.check()
    finally:
        engine.dispose()


def upgrade_registry(workspace: Workspace) -> None:
    """Bring the registry to the newest tables, on a server too.

    Raises:
        WorkspaceError: If it is damaged, made by a newer dpbench, or out of reach.
    """
    url = registry_url(workspace)
    engine = _engine(url)
    try:
        with _database_errors(url):
            _bring_up_to_date(engine, place=lease_place(workspace), is_asked=True)
    finally:
        engine.dispose()


def registry_url(workspace: Workspace) -> URL:
    """Return where the registry is, as SQLAlchemy has it.

    Raises:
        ConfigError: If ``dpbench.toml`` names no usable URL.
    """
    if workspace.config.registry is None:
        folder = _index_folder(workspace)
        return URL.create("sqlite", database=str(folder / "registry.db"))
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


def lease_place(workspace: Workspace) -> Path | None:
    """Return the lease that writers of the registry take; None if locks will do.

    Machines with an index each take the lease of the folder that they share.
    """
    path = sqlite_path(registry_url(workspace))
    if path is None:
        return None
    if workspace.config.index is not None and not workspace.is_remote:
        return workspace.root / LEASE
    is_shared = file_system_of(path.parent) in NETWORK_FILE_SYSTEMS
    return path.with_name(LEASE) if is_shared else None


def has_kernel_lock(workspace: Workspace) -> bool:
    """Tell whether a write transaction keeps out all others as long as it lasts.

    A lease can be lost to another machine, a server's connection can be cut, and the
    writers of a remote store may have registries of their own.
    """
    is_sqlite = sqlite_path(registry_url(workspace)) is not None
    return is_sqlite and not workspace.is_remote and lease_place(workspace) is None


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
        kind = file_system_of(path.parent)
        is_shared = kind in NETWORK_FILE_SYSTEMS
        if is_shared:
            _tell_once(path, str(kind))
            _leave_wal(path)
        event.listen(engine, "connect", partial(_prepare_sqlite, wal=not is_shared))
        event.listen(engine, "begin", _begin_sqlite)
    return engine


def _index_folder(workspace: Workspace) -> Path:
    """Return the folder of the SQLite registry, made if it is one of ours."""
    index = workspace.config.index
    if index is None:
        return workspace.truth
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    base = Path(home) / "dpbench" / "index"
    if index != "local":
        base = Path(os.path.expandvars(index)).expanduser()
        if not base.is_absolute():
            raise ConfigError(
                f"{workspace.root / 'dpbench.toml'}: index = '{index}'; expected "
                "'local' or the absolute path of a folder on this machine's disk."
            )
    name = hashlib.sha256(str(workspace.truth.resolve()).encode()).hexdigest()[:16]
    with disk_errors(base):
        (base / name).mkdir(parents=True, exist_ok=True)
    return base / name


@contextmanager
def _lease(place: Path | None) -> Iterator[Lease | None]:
    if place is None:
        yield None
        return
    with writer_lease(place) as lease:
        yield lease


def _prepare_sqlite(connection: sqlite3.Connection, _: Any, *, wal: bool) -> None:
    connection.isolation_level = None  # we say BEGIN ourselves
    connection.execute(f"PRAGMA busy_timeout = {int(BUSY_TIMEOUT * 1000)}")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA synchronous = FULL")
    if wal:
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


def _leave_wal(path: Path) -> None:
    """Give a registry that was made on a local disk a rollback journal."""
    try:
        with path.open("rb") as file:
            has_wal = file.read(20)[18:19] == bytes([WAL_VERSION])
    except FileNotFoundError:
        return
    if not has_wal:
        return
    connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT, isolation_level=None)
    try:
        # Without a second user the log needs no shared memory.
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        connection.execute("PRAGMA journal_mode = DELETE")
    finally:
        connection.close()


@cache
def _tell_once(path: Path, kind: str) -> None:
    logger.warning(
        "%s: lies on a network file system (%s), where SQLite's write-ahead log does "
        "not work: it keeps a rollback journal, and writers take turns. PostgreSQL, or "
        "index = 'local' in dpbench.toml, is faster.",
        path,
        kind,
    )


def _begin_sqlite(connection: Connection) -> None:
    is_writer = connection.get_execution_options().get("dpbench_write", True)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if is_writer else "BEGIN")


def _bring_up_to_date(
    engine: Engine, *, place: Path | None, is_asked: bool = False
) -> None:
    reader = engine.execution_options(dpbench_write=False)
    with reader.begin() as connection:
        revision = current_revision(connection)
    if revision != HEAD:
        path = sqlite_path(engine.url)
        with _lease(place), engine.begin() as connection:
            lock_writers(connection)
            upgrade(connection, path, is_asked=is_asked)


@contextmanager
def _database_errors(url: URL) -> Iterator[None]:
    """Word what the database driver says; bugs of ours rise as they are."""
    try:
        yield
    except DBAPIError as error:
        name = sqlite_path(url) or url.render_as_string(hide_password=True)
        reason = " ".join(str(error.orig).split()).rstrip(".")
        is_known = error.connection_invalidated or _is_operational(error)
        is_known = is_known or _is_contradiction(reason)
        if not (is_known or _is_damage(reason) or "permission denied" in reason):
            raise
        raise WorkspaceError(f"{name}: {reason}. {_advice(reason)}") from error


def _is_damage(reason: str) -> bool:
    return "not a database" in reason or "malformed" in reason


def _is_contradiction(reason: str) -> bool:
    """Tell whether a row of other files is in the way of one of these files."""
    return any(words in reason for words in _CONTRADICTIONS)


def _advice(reason: str) -> str:
    """Say what to do about an error of the database."""
    if _is_contradiction(reason):
        return (
            "The registry holds rows of other files than this workspace's. A registry "
            "serves one workspace: give this one its own ('registry' in dpbench.toml), "
            "or run 'dpbench registry rebuild' if it is the only one."
        )
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
        (
            ("locking protocol", "disk I/O error"),
            "If this file system has no locks, set index = 'local' in dpbench.toml.",
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
