"""Rows of the registry, made from objects and manifests alone."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Table
from sqlalchemy.dialects import sqlite

from dpbench.store import objects
from dpbench.store.catalog import marks, tables
from dpbench.store.catalog.result_facts import result_facts
from dpbench.store.masks import excluded_count
from dpbench.store.segment.manifest import copy_ahead, read_manifest
from dpbench.store.workspace import Workspace

Row = dict[str, Any]

RECORD_TABLES: dict[objects.Kind, Table] = {
    "theory": tables.theory,
    "split": tables.split,
    "model": tables.model,
    "run": tables.run,
    "result": tables.result,
    "event": tables.history,
}
"""Kinds whose objects become one row each."""


def index_object(
    connection: Connection, kind: objects.Kind, digest: str, payload: Row
) -> None:
    """Add the row of one theory, split, model, run, result or event, and its date."""
    row = {"id": digest, **_COLUMNS[kind](payload)}
    _insert(connection, RECORD_TABLES[kind], [row])
    at = payload.get("at" if kind == "event" else "created_at")
    _insert_event(connection, kind, digest, at)


def index_version(
    connection: Connection, workspace: Workspace, digest: str, payload: Row
) -> None:
    """Add the rows of a version: its dataset, segments, sources and theories.

    Raises:
        DatasetError: If a segment's manifest is missing or damaged.
    """
    for fingerprint in _without_row(connection, tables.theory, payload["theories"]):
        theory = objects.get(workspace, "theory", fingerprint)
        index_object(connection, "theory", fingerprint, theory)
    parts = [(role, payload[role]) for role in ("data", "quarantine")]
    used = [entry["id"] for _, entries in parts for entry in entries]
    new = _without_row(connection, tables.segment, used)
    copy_ahead(workspace, new)
    for segment_id in new:
        _index_segment(connection, read_manifest(workspace, segment_id))
    created_at = payload["created_at"]
    name = {"name": payload["dataset"], "created_at": created_at}
    _insert(connection, tables.dataset, [name])
    row = {
        "id": digest,
        "parent_id": payload["parent"],
        "n_quarantined": sum(payload["quarantined"].values()),
        **_pick(payload, "dataset", "number", "digest", "n_frames", "n_atoms"),
        **_pick(payload, "created_at", "note"),
        "mixed_theory": payload.get("mixed_theory"),
    }
    _insert(connection, tables.version, [row])
    rows = [
        {
            "version_id": digest,
            "role": role,
            "ordinal": ordinal,
            "segment_id": entry["id"],
            "n_excluded": excluded_count(entry["excluded"]),
        }
        for role, entries in parts
        for ordinal, entry in enumerate(entries)
    ]
    _insert(connection, tables.version_segment, rows)
    _insert_event(connection, "version", digest, created_at)


def catch_up(connection: Connection, workspace: Workspace) -> int:
    """Index every object that has no row yet; needs the write lock.

    A process killed between writing an object and indexing it leaves such a gap.

    Returns:
        Number of objects indexed.
    """
    gap = marks.find_gap(connection, workspace, RECORD_TABLES)
    for kind, digest in gap.records:
        index_object(connection, kind, digest, objects.get(workspace, kind, digest))
    for name, number in gap.versions:
        digest = objects.version_digest(workspace, name, number)
        payload = objects.get(workspace, "version", digest)
        index_version(connection, workspace, digest, payload)
    marks.keep(connection, gap.settled)
    return len(gap.records) + len(gap.versions)


def is_behind(connection: Connection, workspace: Workspace) -> bool:
    """Tell whether objects exist that have no row, or many folders have no mark."""
    gap = marks.find_gap(connection, workspace, RECORD_TABLES)
    return gap.is_open or len(gap.settled) > marks.MANY


def _index_segment(connection: Connection, manifest: Row) -> None:
    segment = tables.segment
    _insert(connection, segment, [_pick(manifest, *segment.c.keys())])
    sources = [
        {
            "theory_id": source["theory"],
            **_pick(source, "id", "sha256", "path", "format", "reader_version", "code"),
            **_pick(source, "code_version", "complete", "bytes", "n_read", "n_kept"),
            **_pick(source, "quarantined"),
        }
        for source in manifest["sources"]
    ]
    _insert(connection, tables.source, sources)
    ranges = [
        {
            "segment_id": manifest["id"],
            "source_id": source["id"],
            **_pick(source, "frame_start", "frame_stop"),
        }
        for source in manifest["sources"]
    ]
    _insert(connection, tables.segment_source, ranges)


def _without_row(connection: Connection, table: Table, ids: Sequence[str]) -> list[str]:
    """Return those of ``ids`` that have no row, in their order.

    Most versions share nearly all their segments with the one before.
    """
    known = marks.known_ids(connection, table, ids)
    return [name for name in dict.fromkeys(ids) if name not in known]


def _insert_event(
    connection: Connection, kind: str, digest: str, at: str | None
) -> None:
    row = {"object_type": kind, "object_id": digest, "verb": "created", "at": at}
    _insert(connection, tables.event, [row])


def _insert(connection: Connection, table: Table, rows: Sequence[Row]) -> None:
    """Insert rows; one that is there already says the same and is left alone."""
    if not rows:
        return
    insert: Any = sqlite.insert(table)
    if connection.dialect.name == "postgresql":
        from sqlalchemy.dialects import postgresql  # slow to import

        insert = postgresql.insert(table)
    connection.execute(insert.on_conflict_do_nothing(), list(rows))


def _pick(mapping: Mapping[str, Any], *names: str) -> Row:
    return {name: mapping[name] for name in names}


def _theory_columns(payload: Row) -> Row:
    return {
        "code": payload.get("code"),
        "functional": payload.get("functional"),
        "payload": payload,
    }


def _split_columns(payload: Row) -> Row:
    return {
        **_pick(payload, "digest", "dataset_digest", "strategy", "seed", "sizes"),
        "name": payload.get("name"),
        "dataset": payload.get("dataset"),
    }


def _model_columns(payload: Row) -> Row:
    return {
        "digest": payload.get("digest"),
        "created_at": payload.get("created_at"),
        "payload": payload,
    }


def _run_columns(payload: Row) -> Row:
    return {
        "run_id": payload.get("run_id"),
        "kind": payload.get("kind"),
        "created_at": payload.get("created_at"),
        "payload": payload,
    }


def _result_columns(payload: Row) -> Row:
    return {
        "created_at": payload.get("created_at"),
        "payload": payload,
        **result_facts(payload),
    }


def _history_columns(payload: Row) -> Row:
    return {
        "event": payload.get("event"),
        "dataset": payload.get("dataset"),
        "at": payload.get("at"),
        "payload": payload,
    }


_COLUMNS = {
    "theory": _theory_columns,
    "split": _split_columns,
    "model": _model_columns,
    "run": _run_columns,
    "result": _result_columns,
    "event": _history_columns,
}
