"""How a record stands here: made here, from elsewhere and checked, or only told.

A record is never changed. What this workspace found out about one from elsewhere is an
event of kind ``imported`` beside it, and the newest one counts. A record without such
an event was made here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from sqlalchemy import select

from dpbench.eval.record import DatasetFacts, Record
from dpbench.store import catalog
from dpbench.store.catalog import tables
from dpbench.store.events import new_event
from dpbench.store.workspace import Workspace

EVENT = "imported"
"""Kind of the events."""

UNVERIFIED = "unverified"
"""How the mark of a record begins whose numbers could not be computed again."""

Status = Literal["verified", "unverified"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Standing:
    """What is known here of a record from elsewhere."""

    status: Status
    """``verified``: every number that can be was computed again, and agreed."""
    checks: tuple[str, ...]
    """What was done, in words."""
    reasons: tuple[str, ...] = ()
    """Why it is unverified."""
    flags: tuple[str, ...] = ()
    """What costs the row its rank although its numbers agree."""
    label: str | None = None
    """What the dataset version is called here, ``water-v2``."""
    source: str = ""
    """Name of the file that it came in."""
    at: str = ""
    """When it was looked at, ISO 8601."""

    @property
    def marks(self) -> tuple[str, ...]:
        """Why the row takes no rank."""
        unverified = (
            (f"{UNVERIFIED}: {'; '.join(self.reasons)}",)
            if self.status == "unverified"
            else ()
        )
        return (*unverified, *self.flags)


def standing_event(record: Record, digest: str, standing: Standing) -> dict[str, Any]:
    """Write what was found out as an event."""
    return new_event(
        EVENT,
        record.dataset.name,
        result=digest,
        status=standing.status,
        checks=list(standing.checks),
        reasons=list(standing.reasons),
        flags=list(standing.flags),
        label=standing.label,
        source=standing.source,
    )


def standings(workspace: Workspace) -> dict[str, Standing]:
    """Read how records from elsewhere stand: digest -> standing."""
    catalog.synchronise(workspace)
    row = tables.history.c
    query = select(row.payload).where(row.event == EVENT).order_by(row.at, row.id)
    with catalog.transaction(workspace, write=False) as connection:
        payloads: list[Mapping[str, Any]] = list(connection.scalars(query))
    return {
        payload["result"]: Standing(
            status=payload["status"],
            checks=tuple(payload["checks"]),
            reasons=tuple(payload["reasons"]),
            flags=tuple(payload["flags"]),
            label=payload["label"],
            source=payload["source"],
            at=payload["at"],
        )
        for payload in payloads
    }


def as_it_stands(
    record: Record, standing: Standing | None, *, names: Mapping[str, str] | None = None
) -> Record:
    """Mark a record from elsewhere; call its data and model what they are called here.

    Args:
        record: As it was filed.
        standing: None of a record that was made here.
        names: Digest of a model that was measured here -> its name here.
    """
    if standing is None:
        return record
    name = (names or {}).get(record.model.digest, record.model.name)
    record = replace(record, model=replace(record.model, name=name))
    marks = [mark for mark in standing.marks if mark not in record.marks]
    dataset = record.dataset
    if standing.label is not None:
        dataset = _called(dataset, standing.label)
    return replace(record, marks=(*record.marks, *marks), dataset=dataset)


def is_unverified(record: Record) -> bool:
    """Whether a record that was read by ``read_records`` is only told."""
    return any(mark.startswith(UNVERIFIED) for mark in record.marks)


def _called(dataset: DatasetFacts, label: str) -> DatasetFacts:
    name, _, number = label.rpartition("-v")
    if not number.isdigit():
        return dataset
    return replace(dataset, name=name, number=int(number), label=label)
