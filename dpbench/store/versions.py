"""Making the next version of a dataset out of sealed segments.

Truth is files: a version exists from the moment its reference is made, which is one
exclusive link, and everything that it names is on disk by then. The SQL rows follow in
the same write transaction; a process killed in between leaves rows to be added later,
never half a version.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, select

from dpbench.errors import DatasetError, WorkspaceError
from dpbench.store import objects
from dpbench.store.catalog import tables
from dpbench.store.catalog.engine import has_kernel_lock, transaction
from dpbench.store.catalog.index import catch_up, index_version
from dpbench.store.dataset import DatasetVersion
from dpbench.store.events import key_of, retractions
from dpbench.store.staging import publish, upload_early
from dpbench.store.theory.mixture import refuse_mixture
from dpbench.store.version_draft import (
    ROLES,
    Draft,
    NewContent,
    Payload,
    without_frames,
)
from dpbench.store.workspace import Workspace

__all__ = [
    "ROLES",
    "NewContent",
    "Outcome",
    "commit_version",
    "derive_version",
    "newest_version",
    "replace_segments",
]

CLAIM_TRIES = 20
"""Times that a commit starts again after that of a machine with another lock, or whose
files show late, as on NFS."""

Head = DatasetVersion | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What committing came to."""

    version: DatasetVersion | None
    """The newest version; None if the dataset has none."""
    is_new: bool
    """Whether this call has made it."""
    n_added: int
    """Frames that it has more than its parent."""
    n_repeated: int
    """Frames left out because they are there already."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Made:
    """A payload, and the staged segments that it needs."""

    payload: Payload
    segments: tuple[Path, ...] = ()
    theories: tuple[dict[str, Any], ...] = ()


def newest_version(workspace: Workspace, name: str) -> DatasetVersion | None:
    """Open the newest version that is not retracted; None if there is none."""
    return _head(workspace, key_of(workspace, name))


def _head(workspace: Workspace, key: str) -> DatasetVersion | None:
    retracted = retractions(workspace)
    for number in reversed(objects.version_numbers(workspace, key)):
        object_id = objects.version_digest(workspace, key, number)
        if object_id not in retracted:
            return DatasetVersion(workspace, object_id)
    return None


def commit_version(
    workspace: Workspace,
    name: str,
    content: NewContent,
    *,
    created_at: str,
    note: str = "",
    allow_mixed_theory: bool = False,
    expected_head: str | None = None,
) -> Outcome:
    """Add segments to a dataset as its next version; nothing new makes none.

    Frames whose digest is in the dataset already, or earlier in ``content``, are
    masked. Two processes may do this at once: one waits for the other's version.
    ``expected_head`` is the object id of the version whose sources ``content`` leaves
    out; None if it leaves out none.

    Raises:
        DatasetError: If levels of theory would mix, or the dataset is damaged, or
            ``expected_head`` has been retracted.
        WorkspaceError: If the disk or the registry cannot be written.
    """
    made: list[tuple[Head, Draft]] = []

    key = key_of(workspace, name)

    def add_to(head: Head, number: int) -> _Made | None:
        _refuse_new_owner(workspace, name, key)
        if expected_head is not None:
            _refuse_retracted(workspace, expected_head)
        draft = Draft(head, content)
        made.append((head, draft))
        if not draft.has_news:
            return None
        mixed = refuse_mixture(
            name, draft.levels(content.staging), allow=allow_mixed_theory
        )
        return _Made(
            payload=draft.payload(
                key, number, created_at=created_at, note=note, mixed_theory=mixed
            ),
            segments=tuple(content.staging / segment for segment in draft.segments),
            theories=tuple(draft.theories),
        )

    upload_early(workspace, _news_of(workspace, name, content))
    version = _commit(workspace, key, add_to)
    head, draft = made[-1]
    if version is None:
        return Outcome(
            version=head, is_new=False, n_added=0, n_repeated=draft.n_repeated
        )
    return Outcome(
        version=version,
        is_new=True,
        n_added=version.nframes - (head.nframes if head else 0),
        n_repeated=draft.n_repeated,
    )


def _refuse_new_owner(workspace: Workspace, name: str, key: str) -> None:
    """Refuse to go on where ``name`` no longer means the dataset ``key``."""
    if key_of(workspace, name, is_quiet=True) != key:
        raise WorkspaceError(
            f"{name}: another dataset has just been given this name; nothing was "
            "added. Run the command again to add to that one, or choose another name."
        )


def derive_version(
    workspace: Workspace,
    head: DatasetVersion,
    *,
    exclude: Mapping[str, NDArray[np.int64]],
    created_at: str,
    note: str = "",
) -> DatasetVersion:
    """Make the next version of a dataset: the frames of ``head`` without some.

    The segments are shared; the rows are masked, each under its reason.

    Args:
        workspace: Where the dataset is.
        head: The version to start from.
        exclude: Frame indices in version order by reason; a frame under two reasons
            is masked under the first.
        created_at: Time, ISO 8601.
        note: Kept with the version.

    Raises:
        DatasetError: If there is nothing to leave out, or nothing would be left, or
            ``head`` is not the newest version.
        WorkspaceError: If the disk or the registry cannot be written.
    """
    payload = without_frames(head, exclude, created_at=created_at, note=note)

    def without(newest: Head, number: int) -> _Made:
        _refuse_news(newest, head)
        return _Made(payload={**payload, "number": number})

    return _must_commit(workspace, head, without)


def replace_segments(
    workspace: Workspace,
    head: DatasetVersion,
    content: NewContent,
    *,
    created_at: str,
    note: str = "",
) -> DatasetVersion:
    """Make the next version of a dataset: the frames of ``head`` in other segments.

    Args:
        workspace: Where the dataset is.
        head: The version to start from.
        content: The new segments; without any of quarantine, those of ``head`` stay.
        created_at: Time, ISO 8601.
        note: Kept with the version.

    Raises:
        DatasetError: If the content is not that of ``head``, or another version was
            made meanwhile.
        WorkspaceError: If the disk or the registry cannot be written.
    """
    upload_early(workspace, [content.staging / name for name in content.data])

    def replaced(newest: Head, number: int) -> _Made:
        _refuse_news(newest, head)
        draft = Draft(None, content)
        if not content.quarantine:
            draft.take_quarantine(head)
        payload = draft.payload(head.key, number, created_at=created_at, note=note)
        if payload["digest"] != head.digest:
            raise DatasetError(
                f"{head.label}: the new segments hold {payload['digest'][:17]}; "
                f"expected the same frames, {head.digest[:17]}. Nothing was changed."
            )
        payload |= {
            "parent": head.object_id,
            "theories": list(head.payload["theories"]),
        }
        if "mixed_theory" in head.payload:
            payload["mixed_theory"] = head.payload["mixed_theory"]
        segments = tuple(content.staging / segment for segment in draft.segments)
        return _Made(payload=payload, segments=segments)

    return _must_commit(workspace, head, replaced)


def _refuse_news(newest: Head, head: DatasetVersion) -> None:
    """Refuse to go on from a version that is no longer the newest in force."""
    if newest is None:
        raise DatasetError(
            f"{head.label}: was retracted meanwhile, and no version of the dataset is "
            "in force; expected the newest. Nothing was changed. See 'dpbench dataset "
            f"log {head.label.rpartition('-v')[0]}'."
        )
    if newest.object_id != head.object_id:
        raise DatasetError(
            f"{head.label}: is not the newest version, {newest.label} is; expected the "
            "newest, or what was added since would be missing from the next. Run the "
            f"command on {newest.label}."
        )


def _refuse_retracted(workspace: Workspace, object_id: str) -> None:
    """Refuse what was read against a version that has been retracted since."""
    known = retractions(workspace).get(object_id)
    if known is not None:
        label = DatasetVersion(workspace, object_id).label
        raise DatasetError(
            f"{label}: was retracted meanwhile, by {known.by} at {known.at}: "
            f"{known.reason}; expected it in force, since sources that are in it were "
            "not read again. Nothing was added. Run the command again."
        )


def _must_commit(
    workspace: Workspace, head: DatasetVersion, make: Callable[[Head, int], _Made]
) -> DatasetVersion:
    version = _commit(workspace, head.key, make)
    if version is None:
        raise AssertionError("a version was made of nothing")
    return version


class _TakenError(WorkspaceError):
    """Another process has made the version of that number."""


def _commit(
    workspace: Workspace, key: str, make: Callable[[Head, int], _Made | None]
) -> DatasetVersion | None:
    """Make the next version of a dataset; None if ``make`` finds nothing new."""
    for _ in range(1 if has_kernel_lock(workspace) else CLAIM_TRIES):
        try:
            return _commit_once(workspace, key, make)
        except _TakenError as error:
            taken = error  # by a machine whose version was no news here: go on from it
    raise taken


def _commit_once(
    workspace: Workspace, key: str, make: Callable[[Head, int], _Made | None]
) -> DatasetVersion | None:
    with transaction(workspace, write=True) as connection:
        catch_up(connection, workspace)
        numbers = objects.version_numbers(workspace, key)
        number = numbers[-1] + 1 if numbers else 1
        made = make(_head(workspace, key), number)
        if made is None:
            return None
        claimed = _publish(workspace, made)
        try:
            return _index(workspace, connection, made.payload)
        except BaseException:
            # Only here, where the rows cannot be there yet and others are kept out:
            # whatever ends the process later, the version stays and gets its rows.
            if has_kernel_lock(workspace):
                objects.release_version(workspace, key, number=claimed)
            raise


def _publish(workspace: Workspace, made: _Made) -> int:
    """Put everything in its place, the version's reference last; return its number."""
    for folder in made.segments:
        publish(workspace, folder)
    for theory in made.theories:
        objects.put(workspace, "theory", theory)
    digest = objects.put(workspace, "version", made.payload)
    key, number = made.payload["dataset"], int(made.payload["number"])
    if not objects.claim_version(workspace, key, number=number, digest=digest):
        raise _TakenError(
            f"{key}-v{number}: another process has made it without this registry's "
            "lock; expected one registry a workspace. Run the command again."
        )
    return number


def _news_of(workspace: Workspace, name: str, content: NewContent) -> list[Path]:
    """List the staged segments that a version of now would name."""
    if not workspace.is_remote:
        return []
    head = _head(workspace, key_of(workspace, name, is_quiet=True))
    draft = Draft(head, content)
    return [content.staging / segment_id for segment_id in draft.segments]


def _index(
    workspace: Workspace, connection: Connection, payload: dict[str, Any]
) -> DatasetVersion:
    digest = objects.digest_of(payload)
    for ancestor in _without_rows(workspace, connection, payload["parent"]):
        known = objects.get(workspace, "version", ancestor)
        index_version(connection, workspace, ancestor, known)
    index_version(connection, workspace, digest, payload)
    return DatasetVersion(workspace, digest)


def _without_rows(
    workspace: Workspace, connection: Connection, object_id: str | None
) -> list[str]:
    """List a version and its ancestors as far as they lack rows, the oldest first.

    A machine with a registry of its own may have made them since ``catch_up``, or a
    network file system show them late.
    """
    found: list[str] = []
    column = tables.version.c.id
    while object_id is not None:
        if connection.scalar(select(column).where(column == object_id)) is not None:
            break
        found.append(object_id)
        object_id = objects.get(workspace, "version", object_id)["parent"]
    return found[::-1]
