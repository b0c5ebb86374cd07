"""Which files may lack a row: those in folders that have changed since they were read.

Every file of the truth comes to be by a link or a rename, which changes the time of its
folder, however the process ends. The registry keeps the time that each folder had when
its files had rows, so that a look at the times of all folders tells what to list.

A folder's time is kept only if it was ``SETTLED`` old when it was taken: the clock of a
file system ticks in milliseconds, and a file may come within the same tick.
"""

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Table, select
from sqlalchemy.dialects import sqlite

from dpbench.store import objects
from dpbench.store.catalog import tables
from dpbench.store.workspace import Workspace

SETTLED = 10 * 10**9
"""Nanoseconds for which a folder must have stood still before its time is kept; more
than the clocks of a network file system differ."""

MANY = 64
"""Folders above which all rows are asked for at once."""

BATCH = 500
"""Ids in one question."""

REFERENCES = "refs"
"""Folder of the references, beside those of the kinds."""

Mark = tuple[str, int]


@dataclass(frozen=True, kw_only=True, slots=True)
class Gap:
    """What the registry lacks."""

    records: list[tuple[objects.Kind, str]] = field(default_factory=list)
    """(kind, digest) of objects without a row."""
    versions: list[tuple[str, int]] = field(default_factory=list)
    """(dataset, number) of versions without a row, rising."""
    settled: dict[str, int] = field(default_factory=dict)
    """Times of the folders that were listed and may be kept, once all has rows."""

    @property
    def is_open(self) -> bool:
        """Whether anything lacks a row."""
        return bool(self.records or self.versions)


def find_gap(
    connection: Connection,
    workspace: Workspace,
    record_tables: Mapping[objects.Kind, Table],
) -> Gap:
    """Find the objects and versions without a row.

    Args:
        connection: To the registry.
        workspace: Whose files; those of a remote store are all listed.
        record_tables: Table of each kind of record.
    """
    if workspace.is_remote:
        return _list_everything(connection, workspace, record_tables)
    now = time.time_ns()
    query = select(tables.folder.c.path, tables.folder.c.mtime_ns)
    kept: dict[str, int] = {row.path: row.mtime_ns for row in connection.execute(query)}
    kinds = [*record_tables, REFERENCES]
    changed = [
        mark
        for kind in kinds
        for mark in _marks(workspace.objects, kind)
        if kept.get(mark[0]) != mark[1]
    ]
    gap = Gap()
    names = _names(workspace.objects, changed)
    for kind, table in record_tables.items():
        mine = [n for path, n in names.items() if path.startswith(f"{kind}/")]
        files = [name for listed in mine for name in listed if objects.is_object(name)]
        there = [name.removesuffix(".json") for name in files]
        missing = sorted(set(there) - known_ids(connection, table, there))
        gap.records.extend((kind, digest) for digest in missing)
    start = f"{REFERENCES}/"
    of_dataset = {
        path.removeprefix(start): [int(n) for n in listed if n.isdigit()]
        for path, listed in names.items()
        if path.startswith(start)
    }
    known = _known_numbers(connection, list(of_dataset))
    gap.versions.extend(
        sorted({(n, i) for n, numbers in of_dataset.items() for i in numbers} - known)
    )
    gap.settled.update(m for m in changed if m[1] < now - SETTLED)
    return gap


def keep(connection: Connection, settled: Mapping[str, int]) -> None:
    """Keep the times of folders whose files all have rows; needs the write lock."""
    rows = [{"path": path, "mtime_ns": mtime} for path, mtime in settled.items()]
    if not rows:
        return
    table = tables.folder
    insert: Any = sqlite.insert(table)
    if connection.dialect.name == "postgresql":
        from sqlalchemy.dialects import postgresql  # slow to import

        insert = postgresql.insert(table)
    update = insert.on_conflict_do_update(
        index_elements=["path"], set_={"mtime_ns": insert.excluded.mtime_ns}
    )
    connection.execute(update, rows)


def _marks(root: Path, kind: str) -> Iterator[Mark]:
    """Yield (path, time) of the folders that hold the files of a kind."""
    try:
        # os.scandir: a Path for each of a thousand folders takes longer than its stat.
        entries = os.scandir(root / kind)
    except FileNotFoundError:
        return
    with entries:
        for entry in entries:
            if not entry.name.startswith(".") and entry.is_dir():
                yield f"{kind}/{entry.name}", entry.stat().st_mtime_ns


def _names(root: Path, changed: list[Mark]) -> dict[str, list[str]]:
    """List the files of folders, without those that are being written."""
    return {
        path: [n for n in os.listdir(root / path) if not n.startswith(".")]  # noqa: PTH208
        for path, _ in changed
    }


def known_ids(connection: Connection, table: Table, ids: Sequence[str]) -> set[str]:
    """Return those of ``ids`` that have a row in ``table``."""
    if len(ids) > MANY * BATCH:
        return set(connection.scalars(select(table.c.id)))
    known: set[str] = set()
    for start in range(0, len(ids), BATCH):
        part = ids[start : start + BATCH]
        known |= set(connection.scalars(select(table.c.id).where(table.c.id.in_(part))))
    return known


def _known_numbers(connection: Connection, names: list[str]) -> set[tuple[str, int]]:
    version = tables.version
    query = select(version.c.dataset, version.c.number)
    if len(names) <= MANY:
        query = query.where(version.c.dataset.in_(names))
    return {(name, number) for name, number in connection.execute(query)}


def _list_everything(
    connection: Connection,
    workspace: Workspace,
    record_tables: Mapping[objects.Kind, Table],
) -> Gap:
    gap = Gap()
    for kind, table in record_tables.items():
        known = set(connection.scalars(select(table.c.id)))
        missing = sorted(set(objects.digests(workspace, kind)) - known)
        gap.records.extend((kind, digest) for digest in missing)
    known_ids = set(connection.scalars(select(tables.version.c.id)))
    gap.versions.extend(
        (name, number)
        for name, number, digest in objects.all_versions(workspace)
        if digest not in known_ids
    )
    return gap
