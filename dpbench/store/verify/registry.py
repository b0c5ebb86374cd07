"""Verifying the registry: its rows say what the files say."""

import hashlib
import json
from typing import Any

from sqlalchemy import Connection, Table, create_engine, select, text

from dpbench.errors import DatasetError, WorkspaceError
from dpbench.store import catalog
from dpbench.store.catalog import tables
from dpbench.store.catalog.engine import registry_url, sqlite_path
from dpbench.store.shelf import Shelf
from dpbench.store.verify.findings import Findings
from dpbench.store.workspace import Workspace

ADVICE = "run 'dpbench registry rebuild'"

KINDS = ("theory", "version", "split", "model", "run", "result", "event")

COMPARISONS = 3
"""Times that a table must differ from the files before it is told."""

TABLE_OF = {"event": tables.history}


def verify_rows(workspace: Workspace, shelf: Shelf, findings: Findings) -> None:
    """Look for files that the registry knows and that are gone."""
    where = str(sqlite_path(registry_url(workspace)) or "registry")
    try:
        with catalog.transaction(workspace, write=False) as connection:
            if connection.dialect.name == "sqlite":
                told = connection.scalar(text("PRAGMA integrity_check"))
                if told != "ok":
                    findings.add(where, f"is damaged ({told}); {ADVICE}")
                    return
            _missing_files(connection, shelf, findings)
    except (WorkspaceError, ValueError) as error:
        findings.add(where, f"cannot be read ({error}); {ADVICE}")


def verify_index(workspace: Workspace, findings: Findings) -> None:
    """Make the index again in a place of its own, and compare all rows.

    Only where every file is whole: the index cannot be made of others.
    """
    where = str(sqlite_path(registry_url(workspace)) or "registry")
    try:
        wrong = set(tables.metadata.tables)
        for _ in range(COMPARISONS):
            # Somebody may commit between the reading of files and that of rows: what
            # differs every time, with other files each, is wrong.
            catalog.synchronise(workspace)
            wrong &= _differing(workspace)
            if not wrong:
                return
    except (WorkspaceError, DatasetError, ValueError) as error:
        findings.add(where, f"cannot be compared with the files: {error}")
        return
    for name in sorted(wrong):
        found = f"table {name} does not say what the files say"
        findings.add(where, f"{found}; {ADVICE}")


def _differing(workspace: Workspace) -> set[str]:
    """Return the tables that say otherwise than an index that is made of the files."""
    engine = create_engine("sqlite://")
    try:
        with engine.begin() as fresh:
            tables.metadata.create_all(fresh)
            catalog.catch_up(fresh, workspace)
            with catalog.transaction(workspace, write=False) as connection:
                return {
                    name
                    for name, table in tables.metadata.tables.items()
                    if table not in tables.UNFROZEN
                    and _sum(fresh, table) != _sum(connection, table)
                }
    finally:
        engine.dispose()


def split_ids(workspace: Workspace, digests: set[str]) -> list[str]:
    """Return the splits of these contents, as far as the registry knows them."""
    query = select(tables.split.c.id, tables.split.c.dataset_digest)
    with catalog.transaction(workspace, write=False) as connection:
        return sorted(i for i, digest in connection.execute(query) if digest in digests)


def _missing_files(connection: Connection, shelf: Shelf, findings: Findings) -> None:
    for kind in KINDS:
        table = TABLE_OF.get(kind, tables.metadata.tables[kind])
        there = {key.rsplit("/", 1)[-1] for key in shelf.keys(f"objects/{kind}")}
        for digest in sorted(connection.scalars(select(table.c.id))):
            if f"{digest}.json" in there:
                continue
            file = f"objects/{kind}/{digest[:2]}/{digest}.json"
            where = shelf.where(file)
            if where not in findings.places and shelf.read(file) is None:
                findings.add(where, f"is missing; the registry knows this {kind}")
    row = tables.version.c
    known = set(shelf.keys("objects/refs"))
    for name, number in connection.execute(select(row.dataset, row.number)):
        key = f"objects/refs/{name}/{number}"
        if key in known or shelf.where(key) in findings.places:
            continue
        if shelf.read(key) is None:  # it may have come since the list was made
            found = f"is missing; the registry knows {name}-v{number}"
            findings.add(shelf.where(key), found)


def _sum(connection: Connection, table: Table) -> tuple[int, int]:
    """Sum up the rows of a table in a way that does not depend on their order."""
    n_rows, total = 0, 0
    for row in connection.execute(select(table)):
        digest = hashlib.sha256(_row_text(tuple(row)).encode()).digest()
        n_rows, total = n_rows + 1, (total + int.from_bytes(digest)) % 2**256
    return n_rows, total


def _row_text(values: tuple[Any, ...]) -> str:
    return json.dumps(values, sort_keys=True)
