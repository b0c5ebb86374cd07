"""Records from elsewhere: computed again from their predictions before they count.

Nothing that was sent is run. A record is decoded within limits, checked by itself, and
scored again on the dataset version of the same content digest here. Agreement files it
as verified; a number that differs refuses it; where predictions or data are missing it
is filed apart, marked as unverified, and takes no rank.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Literal

import numpy as np

from dpbench.errors import ConfigError, EvaluationError
from dpbench.eval.judging import judge
from dpbench.eval.record import Record
from dpbench.eval.self_check import check_itself, check_origin
from dpbench.eval.standing import Standing, standing_event, standings
from dpbench.eval.strict_json import strict_loads
from dpbench.eval.strict_npz import check_npz
from dpbench.eval.submission import Submitted, prediction_files, read_submission
from dpbench.eval.tasks.kept import FACTS
from dpbench.store import catalog, objects
from dpbench.store.files import disk_errors, write_atomically
from dpbench.store.references import check_name, check_part
from dpbench.store.workspace import Workspace

DIGEST = re.compile(r"[0-9a-f]{64}")

Outcome = Literal["verified", "unverified", "known", "refused"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Imported:
    """What became of one record."""

    outcome: Outcome
    digest: str | None
    """None where it could not even be decoded."""
    words: str
    """Why, or what was checked."""


def import_files(workspace: Workspace, paths: Iterable[Path]) -> list[Imported]:
    """Take the records of submissions; one that is refused does not stop the others.

    Args:
        workspace: Has the data, and takes the records.
        paths: Files of ``dpbench results export``, or records as JSON.

    Returns:
        What became of each record.

    Raises:
        WorkspaceError: If a file cannot be written.
    """
    known = _Known(
        own=set(objects.digests(workspace, "result")), standing=standings(workspace)
    )
    out: list[Imported] = []
    for path in paths:
        out += import_all(workspace, _records(path), source=path.name, known=known)
    return out


def import_all(
    workspace: Workspace,
    found: Iterable[Submitted | EvaluationError],
    *,
    source: str,
    known: "_Known | None" = None,
) -> list[Imported]:
    """Take records that were read; see ``import_files``."""
    if known is None:
        known = _Known(
            own=set(objects.digests(workspace, "result")), standing=standings(workspace)
        )
    return [_import_one(workspace, item, source, known) for item in found]


@dataclass(kw_only=True, slots=True)
class _Known:
    """What is filed here already."""

    own: set[str]
    standing: dict[str, Standing]

    def has(self, digest: str) -> bool:
        """Whether nothing can be learned of it any more."""
        if digest not in self.own:
            return False
        standing = self.standing.get(digest)
        return standing is None or standing.status == "verified"


def _records(path: Path) -> Iterator[Submitted | EvaluationError]:
    try:
        yield from read_submission(path)
    except EvaluationError as error:
        yield error


def _import_one(
    workspace: Workspace,
    item: Submitted | EvaluationError,
    source: str,
    known: _Known,
) -> Imported:
    if isinstance(item, EvaluationError):
        return Imported(outcome="refused", digest=None, words=str(item))
    digest = item.digest
    if known.has(digest):
        return Imported(outcome="known", digest=digest, words="is here already")
    where = f"result {digest[:12]}"
    try:
        _check_names(item.record, where)
        check_origin(item.record, where=where)
        check_itself(item.record, where=where)
        written = _keep(workspace, item, where)
    except EvaluationError as error:
        return Imported(outcome="refused", digest=digest, words=str(error))
    try:
        standing = judge(workspace, item.record, source=source, where=where)
    except EvaluationError as error:
        for path in written:
            path.unlink(missing_ok=True)
        return Imported(outcome="refused", digest=digest, words=str(error))
    _file(workspace, item, standing, known)
    words = standing.reasons if standing.status == "unverified" else standing.checks
    return Imported(
        outcome=standing.status,
        digest=digest,
        words="; ".join((*words, *standing.flags)),
    )


def _file(
    workspace: Workspace, item: Submitted, standing: Standing, known: _Known
) -> None:
    """File what was found out, and then the record.

    The event comes first: a process killed in between leaves an event without a record,
    and never a record that looks as if it was made here.
    """
    before = known.standing.get(item.digest)
    is_news = before is None or (before.status, before.reasons, before.flags) != (
        standing.status,
        standing.reasons,
        standing.flags,
    )
    if is_news:
        event = standing_event(item.record, item.digest, standing)
        catalog.register_event(workspace, event)
    catalog.register_result(workspace, item.payload)
    known.own.add(item.digest)
    known.standing[item.digest] = standing


def _check_names(record: Record, where: str) -> None:
    """Check the names that lead to files and tables here.

    Raises:
        EvaluationError: If one is not of the form that dpbench writes.
    """
    try:
        check_name(record.dataset.name)
        check_part(record.part)
    except ConfigError as error:
        raise EvaluationError(f"{where}: {error}") from error
    texts = [
        record.dataset.name * 2,  # a key of the registry has 200 letters at most
        record.model.name,
        record.dataset.label,
        record.backend,
        record.precision,
        record.hardware.label,
    ]
    if any(len(text) > 300 or "\n" in text for text in texts):
        raise EvaluationError(
            f"{where}: has a name of more than 300 letters or several lines; expected "
            "names that fit into a table."
        )
    for file in prediction_files(record):
        is_digest = len(file.sha256) == 64 and set(file.sha256) <= set(
            "0123456789abcdef"
        )
        if not is_digest or file.path != f"predictions/{file.sha256}.npz":
            raise EvaluationError(
                f"{where}: keeps predictions at {file.path[:80]!r}; expected "
                "predictions/SHA256.npz, with their own sha256."
            )


def _keep(workspace: Workspace, item: Submitted, where: str) -> list[Path]:
    """Write the predictions that came with a record; return those that are new."""
    for sha256, data in item.predictions.items():
        place = f"{where}: predictions {sha256[:12]}"
        if FACTS in check_npz(data, where=place):
            with np.load(BytesIO(data), allow_pickle=False) as arrays:
                facts = arrays[FACTS].tobytes()
            strict_loads(facts, where=place, may_be_nan=True)
    written: list[Path] = []
    for sha256, data in item.predictions.items():
        path = workspace.root / "predictions" / f"{sha256}.npz"
        if path.exists():
            continue
        with disk_errors(path):
            write_atomically(path, data)
        written.append(path)
    return written
