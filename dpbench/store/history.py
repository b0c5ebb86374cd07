"""The history of a dataset: its versions, what changed in each, names, retractions."""

from dataclasses import asdict
from typing import Any

from sqlalchemy import Connection

from dpbench.errors import ConfigError, DatasetError
from dpbench.store import objects
from dpbench.store.catalog.engine import transaction
from dpbench.store.catalog.index import catch_up, index_object
from dpbench.store.diff import count_changes
from dpbench.store.events import (
    Retraction,
    check_new_name,
    events_of,
    existing_key,
    find_version,
    name_of,
    new_event,
    retractions,
)
from dpbench.store.references import DatasetReference
from dpbench.store.workspace import Workspace


def retraction(workspace: Workspace, object_id: str) -> Retraction | None:
    """Return why a version was taken back; None if it holds."""
    return retractions(workspace).get(object_id)


def rename(workspace: Workspace, old: str, new: str) -> str:
    """Call a dataset otherwise; the old name goes on finding it.

    Returns:
        What it was called until now.

    Raises:
        ConfigError: If ``new`` is no name for a dataset, or its name already.
        DatasetError: If there is no ``old``, or another dataset bears ``new``.
        WorkspaceError: If it cannot be written.
    """
    # Under the write lock, so that nobody takes the name at the same time.
    with transaction(workspace, write=True) as connection:
        catch_up(connection, workspace)
        key = check_new_name(workspace, old, new)
        before = name_of(workspace, key)
        payload = new_event("renamed", key, name=new, before=before)
        _file(workspace, connection, payload)
    return before


def retract(workspace: Workspace, reference: DatasetReference, reason: str) -> str:
    """Take a version back: it is not used any more, and its record stays.

    Args:
        workspace: Where it is.
        reference: The version, with its number.
        reason: Why, for everybody who asks for it.

    Returns:
        Label of the version.

    Raises:
        ConfigError: If the version has no number, or there is no reason.
        DatasetError: If there is no such version, or it was retracted before.
        WorkspaceError: If it cannot be written.
    """
    if reference.number is None or reference.part is not None:
        raise ConfigError(
            f"{reference}: is not one version; expected its number, such as "
            f"{reference.name}-v1. See 'dpbench dataset log {reference.name}'."
        )
    if not reason.strip():
        raise ConfigError(
            f"{reference}: the reason is empty; expected what is wrong with it, since "
            "everybody who asks for this version will read it. Say it with --reason."
        )
    with transaction(workspace, write=True) as connection:
        catch_up(connection, workspace)
        object_id = find_version(workspace, reference, allow_retracted=True)
        known = retraction(workspace, object_id)
        if known is not None:
            raise DatasetError(
                f"{reference}: was retracted already, by {known.by} at {known.at}: "
                f"{known.reason}. There is nothing to do."
            )
        key = objects.get(workspace, "version", object_id)["dataset"]
        payload = new_event("retracted", key, version=object_id, reason=reason.strip())
        _file(workspace, connection, payload)
    return f"{name_of(workspace, key)}-v{reference.number}"


def history(workspace: Workspace, name: str) -> dict[str, Any]:
    """Tell the history of a dataset as plain values, oldest version first.

    Raises:
        DatasetError: If there is no such dataset, or a file is damaged.
    """
    key = existing_key(workspace, name)
    called = name_of(workspace, key)
    payloads: dict[str, dict[str, Any]] = {}
    for number in objects.version_numbers(workspace, key):
        object_id = objects.version_digest(workspace, key, number)
        payloads[object_id] = objects.get(workspace, "version", object_id)
    retracted = retractions(workspace)
    renamings = events_of(workspace, "renamed")
    return {
        "name": called,
        "key": key,
        "names": [
            {pick: event[pick] for pick in ("name", "before", "at", "by")}
            for event in renamings
            if event["dataset"] == key
        ],
        "versions": [
            _entry(workspace, object_id, called, payloads, retracted)
            for object_id in payloads
        ],
    }


def _file(
    workspace: Workspace, connection: Connection, payload: dict[str, Any]
) -> None:
    digest = objects.put(workspace, "event", payload)
    found = objects.get(workspace, "event", digest)  # keys as a rebuild finds them
    index_object(connection, "event", digest, found)


def _entry(
    workspace: Workspace,
    object_id: str,
    called: str,
    payloads: dict[str, dict[str, Any]],
    retracted: dict[str, Retraction],
) -> dict[str, Any]:
    payload = payloads[object_id]
    parent_id = payload["parent"]
    parent = payloads.get(parent_id) if parent_id else _NOTHING
    if parent is None:
        parent = objects.get(workspace, "version", parent_id)
    known = retracted.get(object_id)
    return {
        "label": f"{called}-v{payload['number']}",
        "object": object_id,
        "digest": payload["digest"],
        "parent": f"{called}-v{parent['number']}" if parent_id else None,
        "created_at": payload["created_at"],
        "n_frames": payload["n_frames"],
        "n_quarantined": sum(payload["quarantined"].values()),
        **count_changes(workspace, parent, payload),
        "note": payload["note"],
        "mixed_theory": payload.get("mixed_theory") or [],
        "retraction": asdict(known) if known else None,
    }


_NOTHING: dict[str, Any] = {
    "digest": None,
    "data": [],
    "quarantine": [],
}
"""What a first version is compared with."""
