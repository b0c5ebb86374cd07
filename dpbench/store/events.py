"""What happened to datasets after they were made: renamings and retractions.

An event is an immutable object that names the dataset, as all truth is. A dataset is
kept under the name that it was made with, its key; what users call it follows from the
events. Retracting a version takes nothing away: the record stays, with the reason.
"""

import getpass
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any

from dpbench.errors import ConfigError, DatasetError
from dpbench.store import objects
from dpbench.store.references import DatasetReference, check_name
from dpbench.store.workspace import Workspace

FORMAT = 1
"""Version of an event object."""

Payload = Mapping[str, Any]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Retraction:
    """Why a version was taken back."""

    reason: str
    """In the words of who did it."""
    at: str
    """Time, ISO 8601."""
    by: str
    """User who did it."""


def new_event(event: str, key: str, **content: Any) -> dict[str, Any]:
    """Write an event: ``key`` is the dataset that it is about."""
    return {
        "format": FORMAT,
        "event": event,
        "dataset": key,
        "at": datetime.now(UTC).isoformat(),
        "by": _user(),
        **content,
    }


def events_of(workspace: Workspace, event: str) -> list[dict[str, Any]]:
    """Read all events of one kind, oldest first.

    Raises:
        DatasetError: If one is damaged.
    """
    digests = objects.digests(workspace, "event")
    payloads = [_read(workspace, digest) for digest in digests]
    mine = [payload for payload in payloads if payload.get("event") == event]
    return sorted(mine, key=lambda payload: str(payload["at"]))


def retractions(workspace: Workspace) -> dict[str, Retraction]:
    """Return the retracted versions by the digest of their object."""
    return {
        payload["version"]: Retraction(
            reason=payload["reason"], at=payload["at"], by=payload["by"]
        )
        for payload in events_of(workspace, "retracted")
    }


def current_names(workspace: Workspace) -> dict[str, str]:
    """Return {key: name} of the datasets that bear another name than their key."""
    return {p["dataset"]: p["name"] for p in events_of(workspace, "renamed")}


def name_of(workspace: Workspace, key: str) -> str:
    """Return what a dataset is called today."""
    return current_names(workspace).get(key, key)


def key_of(workspace: Workspace, name: str, *, is_quiet: bool = False) -> str:
    """Return the key of the dataset called ``name``, today or formerly.

    A name of today goes before a former one; an unknown name is its own key. Machines
    with registries of their own may give one name twice: the dataset that was made
    under it keeps it.

    Args:
        workspace: Where it is.
        name: A name.
        is_quiet: Do not tell that the dataset bears another name today.
    """
    renamings = events_of(workspace, "renamed")
    today: dict[str, str] = {p["dataset"]: p["name"] for p in renamings}
    for key, current in today.items():
        if current == name:
            is_made = name not in today and objects.version_numbers(workspace, name)
            return name if is_made else key
    former = {p["name"]: str(p["dataset"]) for p in reversed(renamings)}
    key = name if name in today else former.get(name, name)
    if key in today and not is_quiet:
        _tell_once(workspace.truth, name, today[key])
    return key


def existing_key(workspace: Workspace, name: str) -> str:
    """Return the key of a dataset that exists.

    Raises:
        DatasetError: If there is no such dataset.
    """
    key = key_of(workspace, name)
    if not objects.version_numbers(workspace, key):
        raise DatasetError(_unknown_dataset(workspace, name))
    return key


def find_version(
    workspace: Workspace, reference: DatasetReference, *, allow_retracted: bool = False
) -> str:
    """Find the object of a version; without a number the newest not retracted.

    Args:
        workspace: Where it is.
        reference: The version, or the dataset.
        allow_retracted: Find a retracted version, too, if it is named by its number.

    Raises:
        DatasetError: If there is no such version, or it is retracted.
    """
    key = existing_key(workspace, reference.name)
    numbers = objects.version_numbers(workspace, key)
    name = name_of(workspace, key)
    if reference.number is not None and reference.number not in numbers:
        raise DatasetError(
            f"{name}-v{reference.number}: there is no such version; {name} has "
            f"versions 1 to {numbers[-1]}. See 'dpbench dataset log {name}'."
        )
    retracted = retractions(workspace)
    if reference.number is not None:
        object_id = objects.version_digest(workspace, key, reference.number)
        if object_id in retracted and not allow_retracted:
            raise _is_retracted(f"{name}-v{reference.number}", retracted[object_id])
        return object_id
    for number in reversed(numbers):
        object_id = objects.version_digest(workspace, key, number)
        if object_id not in retracted:
            return object_id
    newest = objects.version_digest(workspace, key, numbers[-1])
    raise _is_retracted(f"{name}-v{numbers[-1]}", retracted[newest])


def check_new_name(workspace: Workspace, old: str, new: str) -> str:
    """Return the key of ``old`` if it may be called ``new``.

    Raises:
        ConfigError: If ``new`` is no name for a dataset.
        DatasetError: If there is no ``old``, or another dataset bears ``new``.
    """
    check_name(new)
    key = existing_key(workspace, old)
    if name_of(workspace, key) == new:
        raise ConfigError(f"{old}: is called {new} already. Choose another name.")
    taken = key_of(workspace, new, is_quiet=True)
    if taken != key and objects.version_numbers(workspace, taken):
        raise DatasetError(
            f"{new}: is the name, or a former name, of another dataset; expected a "
            "free one, since records refer to datasets by name. Choose another name."
        )
    return key


def known_names(workspace: Workspace) -> list[str]:
    """List the datasets by what they are called today."""
    today = current_names(workspace)
    return sorted(today.get(key, key) for key in objects.dataset_names(workspace))


def _is_retracted(label: str, retraction: Retraction) -> DatasetError:
    return DatasetError(
        f"{label}: was retracted by {retraction.by} at {retraction.at}: "
        f"{retraction.reason}. Use another version; see 'dpbench dataset log "
        f"{label.rpartition('-v')[0]}'."
    )


def _unknown_dataset(workspace: Workspace, name: str) -> str:
    known = known_names(workspace)
    near = get_close_matches(name, known, n=1)
    hint = f" -- did you mean '{near[0]}'?" if near else "."
    has = f"this workspace has {', '.join(known[:10])}" if known else "there is none"
    return f"{name}: there is no such dataset in {workspace.root}; {has}{hint}"


def _read(workspace: Workspace, digest: str) -> dict[str, Any]:
    """Read an event once a process: its content cannot change."""
    known = _known_events(workspace.truth)
    if digest not in known:
        known[digest] = objects.get(workspace, "event", digest)
    return known[digest]


@cache
def _tell_once(_: Path, former: str, name: str) -> None:
    """Say once a process and workspace that a dataset bears another name."""
    logger.warning("%s is called %s now", former, name)


@cache
def _known_events(_: Path) -> dict[str, dict[str, Any]]:
    return {}


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container may know no name for its user
        return "unknown"
