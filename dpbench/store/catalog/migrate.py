"""Bringing a registry to the tables that this dpbench knows."""

import sqlite3
from pathlib import Path

from sqlalchemy import Connection, inspect, text

from dpbench.errors import WorkspaceError

HEAD = "0003"
"""The newest revision; a test holds it to the migrations folder."""

KNOWN = ("0001", "0002", "0003")
"""All revisions, oldest first."""

MIGRATIONS = Path(__file__).parent / "migrations"
"""Alembic's script folder, inside the package."""


def current_revision(connection: Connection) -> str | None:
    """Return the revision of a registry; None if it has no tables yet.

    Raises:
        WorkspaceError: If a newer dpbench has made it.
    """
    if not inspect(connection).has_table("alembic_version"):
        return None
    revision = connection.execute(text("SELECT version_num FROM alembic_version"))
    found: str | None = revision.scalar()
    if found is not None and found not in KNOWN:
        raise WorkspaceError(
            f"registry: has schema {found}; this dpbench knows schemas up to {HEAD}. "
            "A newer dpbench has made it: update dpbench, or name another --workspace."
        )
    return found


def upgrade(
    connection: Connection, sqlite_file: Path | None, *, is_asked: bool = False
) -> None:
    """Run the missing migrations inside the caller's write transaction.

    An SQLite registry with tables is copied to ``registry.db.before-HEAD`` first; a
    registry on a server is never changed unless its administrator asks for it.

    Args:
        connection: To the registry.
        sqlite_file: Its file; None = it is on a server.
        is_asked: Somebody asks for exactly this.

    Raises:
        WorkspaceError: If a server's registry is older than this dpbench.
    """
    found = current_revision(connection)
    if found == HEAD:
        return  # another process has done it while we waited for the lock
    if found is not None:
        if sqlite_file is not None:
            _back_up(sqlite_file)
        elif not is_asked:
            raise WorkspaceError(
                f"registry: has schema {found}; this dpbench needs {HEAD}, and others "
                "may still need the old one. Make a backup (pg_dump), update dpbench "
                "everywhere, and run 'dpbench registry upgrade'."
            )
    # Imported here: Alembic is slow to import and needed once in a registry's life.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, HEAD)


def _back_up(path: Path) -> None:
    """Copy the last committed state of an SQLite file beside it."""
    target = sqlite3.connect(path.with_name(f"{path.name}.before-{HEAD}"))
    source = sqlite3.connect(path)
    try:
        source.backup(target)
    finally:
        source.close()
        target.close()
