"""Result records in a workspace: read, list, find, write."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import ColumnElement, Select, or_, select

from dpbench.errors import EvaluationError
from dpbench.eval.record import Record, record_from_payload
from dpbench.eval.standing import Standing, as_it_stands, standings
from dpbench.store import catalog, objects
from dpbench.store.catalog import tables
from dpbench.store.files import disk_errors, write_atomically
from dpbench.store.references import parse_reference
from dpbench.store.workspace import Workspace


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """Which records are asked for; None asks for nothing."""

    suite: str | None = None
    """``si-lda`` for all its versions, or ``si-lda-v1``."""
    model: str | None = None
    """Name in tables, or the first digits of the digest."""
    dataset: str | None = None
    """``NAME[-vN][:PART]``."""
    hardware: str | None = None
    """Id, or words of the label."""
    backend: str | None = None
    task: str | None = None
    since: str | None = None
    """Date or time, ISO 8601."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Listed:
    """One record as the registry knows it, without reading its file."""

    digest: str
    created_at: str
    model: str
    data: str
    """``water-v2:test``."""
    suite: str
    backend: str
    precision: str
    tasks: str
    hardware: str
    force_rmse: float | None
    """meV/Å."""
    md_speed: float | None
    """µs/atom/step."""
    standing: Standing | None
    """None of a record that was made here."""


def list_records(workspace: Workspace, wanted: Wanted | None = None) -> list[Listed]:
    """List records by the registry alone, oldest first.

    Raises:
        ConfigError: If the dataset asked for is none of the form NAME[-vN][:PART].
        WorkspaceError: If the registry cannot be read.
    """
    standing = standings(workspace)  # brings the registry up to date
    row = tables.result.c
    columns = [column for column in row if column.name != "payload"]
    query = _filtered(select(*columns), wanted or Wanted())
    with catalog.transaction(workspace, write=False) as connection:
        found = connection.execute(query.order_by(row.created_at, row.id)).all()
    return [
        Listed(
            digest=one.id,
            created_at=one.created_at or "",
            model=one.model or "",
            data=f"{one.dataset or ''}:{one.part or ''}",
            suite=one.suite or "",
            backend=one.backend or "",
            precision=one.precision or "",
            tasks=one.tasks or "",
            hardware=one.hardware or "",
            force_rmse=one.force_rmse,
            md_speed=one.md_speed,
            standing=standing.get(one.id),
        )
        for one in found
    ]


def read_records(workspace: Workspace) -> dict[str, Record]:
    """Read all records of a workspace as they stand here: digest -> record.

    A record from elsewhere bears the marks of its standing: what could not be computed
    again takes no rank. A model that was measured here keeps the name that it has here.

    Raises:
        EvaluationError: If one is no valid record.
        DatasetError: If one is damaged.
    """
    standing = standings(workspace)
    records = {
        digest: record_from_payload(payload, where=f"result {digest[:12]}")
        for digest, payload in objects.all_of(workspace, "result").items()
    }
    own = (record for digest, record in records.items() if digest not in standing)
    names = {
        record.model.digest: record.model.name
        for record in sorted(own, key=lambda record: record.created_at)
    }
    return {
        digest: as_it_stands(record, standing.get(digest), names=names)
        for digest, record in records.items()
    }


def find_record(workspace: Workspace, digest: str) -> tuple[str, dict[str, Any]]:
    """Find one record by its digest or the start of it.

    Raises:
        EvaluationError: If no record, or more than one, fits.
    """
    known = objects.digests(workspace, "result")
    fitting = [name for name in known if name.startswith(digest)]
    if len(fitting) != 1:
        found = f"{len(fitting)} records fit" if fitting else "there is no such record"
        raise EvaluationError(
            f"result {digest}: {found}; expected the digest of one, or its first "
            "digits. See 'dpbench results list'."
        )
    return fitting[0], objects.get(workspace, "result", fitting[0])


def write_record(path: Path, payload: Mapping[str, Any]) -> None:
    """Write a record to a file of its own, as indented JSON.

    Raises:
        WorkspaceError: If it cannot be written.
    """
    text = json.dumps(payload, indent=1, ensure_ascii=False, allow_nan=False)
    with disk_errors(path):
        write_atomically(path, (text + "\n").encode())


def _filtered(query: Select[Any], wanted: Wanted) -> Select[Any]:
    """Add what is asked for to a query."""
    row = tables.result.c
    asked: list[ColumnElement[bool]] = []
    if wanted.suite is not None:
        versions = row.suite.startswith(f"{wanted.suite}-v", autoescape=True)
        asked.append(or_(row.suite == wanted.suite, versions))
    if wanted.model is not None:
        digits = row.model_digest.startswith(wanted.model, autoescape=True)
        bare = row.model_digest.startswith(f"sha256:{wanted.model}", autoescape=True)
        asked.append(or_(row.model == wanted.model, digits, bare))
    if wanted.dataset is not None:
        asked += _of_dataset(wanted.dataset)
    if wanted.hardware is not None:
        label = row.hardware.icontains(wanted.hardware, autoescape=True)
        asked.append(or_(row.hardware_id == wanted.hardware, label))
    if wanted.backend is not None:
        asked.append(row.backend == wanted.backend)
    if wanted.task is not None:
        names = "," + row.tasks + ","
        asked.append(names.contains(f",{wanted.task},", autoescape=True))
    if wanted.since is not None:
        asked.append(row.created_at >= wanted.since)
    return query.where(*asked)


def _of_dataset(text: str) -> list[ColumnElement[bool]]:
    row, reference = tables.result.c, parse_reference(text)
    if reference.number is None:
        start = row.dataset.startswith(f"{reference.name}-v", autoescape=True)
        found: list[ColumnElement[bool]] = [start]
    else:
        found = [row.dataset == f"{reference.name}-v{reference.number}"]
    if reference.part is not None:
        found.append(row.part == reference.part)
    return found
