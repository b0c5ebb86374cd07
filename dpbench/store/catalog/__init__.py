"""The SQL registry: an index of the workspace's objects, which can be made again.

``register_*`` write an object and its row; ``results``, ``models`` and ``runs`` read
them back. Tables are made by the Alembic migrations in ``migrations/`` alone.
"""

from typing import Any

from sqlalchemy import delete, select, text

from dpbench.errors import WorkspaceError
from dpbench.store import objects
from dpbench.store.catalog import guards, tables
from dpbench.store.catalog.engine import (
    registry_url,
    sqlite_path,
    transaction,
    upgrade_registry,
)
from dpbench.store.catalog.index import catch_up, index_object, is_behind
from dpbench.store.catalog.migrate import HEAD
from dpbench.store.workspace import Workspace

__all__ = [
    "catch_up",
    "models",
    "rebuild",
    "register_event",
    "register_model",
    "register_result",
    "register_run",
    "register_split",
    "results",
    "runs",
    "split_payloads",
    "synchronise",
    "transaction",
    "upgrade",
]


def register_model(workspace: Workspace, payload: dict[str, Any]) -> str:
    """File a model; ``payload`` may say ``digest`` and ``created_at``.

    Returns:
        Digest of the object.

    Raises:
        WorkspaceError: If it cannot be written.
    """
    return _register(workspace, "model", payload)


def register_run(workspace: Workspace, payload: dict[str, Any]) -> str:
    """File a run; ``payload`` may say ``run_id``, ``kind`` and ``created_at``.

    Returns:
        Digest of the object.

    Raises:
        WorkspaceError: If it cannot be written.
    """
    return _register(workspace, "run", payload)


def register_result(workspace: Workspace, payload: dict[str, Any]) -> str:
    """File a result record; ``payload`` may say ``created_at``.

    Returns:
        Digest of the object.

    Raises:
        WorkspaceError: If it cannot be written.
    """
    return _register(workspace, "result", payload)


def register_event(workspace: Workspace, payload: dict[str, Any]) -> str:
    """File an event as ``store.events`` writes it; returns the object's digest."""
    return _register(workspace, "event", payload)


def register_split(workspace: Workspace, payload: dict[str, Any]) -> str:
    """File a split as ``store.splits`` writes it; returns the object's digest."""
    return _register(workspace, "split", payload)


def models(workspace: Workspace) -> list[dict[str, Any]]:
    """Read the payloads of all models, oldest first."""
    return _payloads(workspace, "model")


def runs(workspace: Workspace) -> list[dict[str, Any]]:
    """Read the payloads of all runs, oldest first."""
    return _payloads(workspace, "run")


def results(workspace: Workspace) -> list[dict[str, Any]]:
    """Read the payloads of all result records, oldest first."""
    return _payloads(workspace, "result")


def synchronise(workspace: Workspace) -> None:
    """Index what a killed process has left without a row; cheap if there is none."""
    with transaction(workspace, write=False) as connection:
        behind = is_behind(connection, workspace)
    if behind:
        with transaction(workspace, write=True) as connection:
            catch_up(connection, workspace)


def rebuild(workspace: Workspace) -> int:
    """Make the registry again from the objects and manifests.

    A damaged SQLite file is moved aside to ``registry.db.damaged`` first.

    Returns:
        Number of objects indexed.

    Raises:
        WorkspaceError: If the registry cannot be written.
        DatasetError: If an object or manifest is damaged.
    """
    _move_damaged_aside(workspace)
    with transaction(workspace, write=True) as connection, guards.lifted(connection):
        for table in reversed(tables.metadata.sorted_tables):
            connection.execute(delete(table))
        return catch_up(connection, workspace)


def split_payloads(workspace: Workspace, dataset_digest: str) -> list[dict[str, Any]]:
    """Read the splits of one content, in the order of their objects' names.

    Raises:
        DatasetError: If one is damaged.
    """
    synchronise(workspace)
    split = tables.split
    query = select(split.c.id).where(split.c.dataset_digest == dataset_digest)
    with transaction(workspace, write=False) as connection:
        digests = sorted(connection.scalars(query))
    return [objects.get(workspace, "split", digest) for digest in digests]


def upgrade(workspace: Workspace) -> str:
    """Bring the registry to the newest tables, on a server too, and fill them.

    Returns:
        The schema that it has now.

    Raises:
        WorkspaceError: If it is damaged, made by a newer dpbench, or out of reach.
    """
    upgrade_registry(workspace)
    synchronise(workspace)
    return HEAD


def _register(workspace: Workspace, kind: objects.Kind, payload: dict[str, Any]) -> str:
    digest = objects.put(workspace, kind, payload)
    payload = objects.get(workspace, kind, digest)  # keys as a rebuild finds them
    with transaction(workspace, write=True) as connection:
        index_object(connection, kind, digest, payload)
    return digest


def _payloads(workspace: Workspace, kind: objects.Kind) -> list[dict[str, Any]]:
    synchronise(workspace)
    table = tables.metadata.tables[kind]
    with transaction(workspace, write=False) as connection:
        query = select(table.c.payload).order_by(table.c.created_at, table.c.id)
        return list(connection.scalars(query))


def _move_damaged_aside(workspace: Workspace) -> None:
    path = sqlite_path(registry_url(workspace))
    if path is None or not path.exists():
        return
    try:
        with transaction(workspace, write=False) as connection:
            if connection.scalar(text("PRAGMA quick_check")) == "ok":
                return
    except WorkspaceError as error:
        if "damaged" not in str(error):
            raise
    path.replace(path.with_name(f"{path.name}.damaged"))
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
