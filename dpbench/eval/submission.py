"""Submissions: records and the predictions they were scored from, in one plain zip.

    submission.json            what the file is
    results/DIGEST.json        canonical JSON of each record, named by its sha256
    predictions/SHA256.npz     kept predictions and answers, named by their sha256

There is no code in it and none is looked for. Reading trusts nothing: names come from a
list of two forms, sizes are bounded before a byte is unpacked, and content must fit its
name.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

from dpbench.config import canonical_json
from dpbench.errors import EvaluationError
from dpbench.eval.filing import find_record
from dpbench.eval.record import Record, record_from_payload
from dpbench.eval.strict_json import MOST_BYTES, strict_loads
from dpbench.eval.strict_npz import DAMAGE, check_members
from dpbench.eval.task_results import PredictionFile
from dpbench.store.files import disk_errors, write_atomically
from dpbench.store.workspace import Workspace

SCHEMA = "dpbench.submission"
VERSION = 1

CARD = "submission.json"
"""What says that a zip is a submission."""

MOST_MEMBERS = 20_001
"""Most files in one submission."""

MOST_TOTAL = 8 << 30
"""Most bytes of all files together, unpacked."""

MOST_PREDICTIONS = 1 << 30
"""Most bytes of one file of predictions."""

MEMBER = re.compile(
    r"submission\.json|results/[0-9a-f]{64}\.json|predictions/[0-9a-f]{64}\.npz"
)
"""All names that a submission may hold; none of them leads out of a folder."""

LONG_AGO = (1980, 1, 1, 0, 0, 0)
"""Time of all members: the same records give the same bytes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Submitted:
    """A record from elsewhere, decoded and not yet believed."""

    digest: str
    """sha256 of its canonical JSON."""
    payload: dict[str, Any]
    record: Record
    predictions: Mapping[str, bytes]
    """sha256 -> file, as far as they came with it; content fits the name."""


def prediction_files(record: Record) -> list[PredictionFile]:
    """List the files that the numbers of a record can be computed again from."""
    found = [result.kept for _, result in sorted(record.tasks.items())]
    if record.accuracy is not None:
        found.insert(0, record.accuracy.predictions)
    return [file for file in found if file is not None]


def write_submission(
    workspace: Workspace, digests: Sequence[str], path: Path
) -> list[str]:
    """Write records and their predictions to one file.

    Args:
        workspace: Holds them.
        digests: Of the records, or their first digits.
        path: The file; ``.zip``.

    Returns:
        What is missing in it, a line each: predictions that are not kept here.

    Raises:
        EvaluationError: If a record does not exist.
        WorkspaceError: If the file cannot be written.
    """
    members: dict[str, bytes] = {}
    notes: list[str] = []
    names: list[str] = []
    for digest in digests:
        name, payload = find_record(workspace, digest)
        record = record_from_payload(payload, where=f"result {name[:12]}")
        names.append(name)
        members[f"results/{name}.json"] = canonical_json(payload)
        for file in prediction_files(record):
            data = _own_file(workspace, file)
            if data is None:
                notes.append(
                    f"result {name[:12]}: the predictions {file.sha256[:12]} are not "
                    "kept here; who imports it cannot compute its numbers again."
                )
            else:
                members[f"predictions/{file.sha256}.npz"] = data
    card = {"schema": SCHEMA, "version": VERSION, "results": sorted(set(names))}
    buffer = BytesIO()
    with ZipFile(buffer, "w") as archive:
        for name, data in [(CARD, canonical_json(card)), *sorted(members.items())]:
            info = ZipInfo(name, LONG_AGO)
            info.compress_type = ZIP_DEFLATED
            info.external_attr = 0o100644 << 16
            archive.writestr(info, data)
    with disk_errors(path):
        write_atomically(path, buffer.getvalue())
    return notes


def read_submission(path: Path) -> Iterator[Submitted | EvaluationError]:
    """Read what a file brings: a submission, or one record as plain JSON.

    Args:
        path: ``.zip`` or ``.json``, by content.

    Yields:
        Each record, or why it is none.

    Raises:
        EvaluationError: If the file as a whole cannot be taken.
    """
    with _opened(path) as head:
        if head[:2] != b"PK":
            yield read_record(_bounded(path), where=str(path), predictions={})
            return
    try:
        with ZipFile(path) as archive:
            members = _members(archive, path)
            for name in sorted(members):
                if name.startswith("results/"):
                    yield _read_one(archive, members, name, path)
    except DAMAGE as error:
        raise _no_submission(path, f"cannot be read ({error})") from error


def read_record(
    data: bytes, *, where: str, predictions: Mapping[str, bytes]
) -> Submitted | EvaluationError:
    """Decode one record strictly.

    Args:
        data: JSON; of any layout.
        where: File, the start of every message.
        predictions: Files that may belong to it, by sha256.

    Returns:
        The record, or the error that says why it is none.
    """
    try:
        payload = strict_loads(data, where=where)
        record = record_from_payload(payload, where=where)
    except EvaluationError as error:
        return error
    except (OverflowError, RecursionError, TypeError) as error:
        return EvaluationError(f"{where}: {error}; expected a dpbench result record.")
    wanted = {file.sha256 for file in prediction_files(record)}
    return Submitted(
        digest=hashlib.sha256(canonical_json(payload)).hexdigest(),
        payload=payload,
        record=record,
        predictions={k: v for k, v in predictions.items() if k in wanted},
    )


def _own_file(workspace: Workspace, file: PredictionFile) -> bytes | None:
    """Read a file of predictions if it is kept here and whole."""
    path = workspace.root / "predictions" / f"{file.sha256}.npz"
    try:
        data = path.read_bytes()
    except OSError:
        return None
    return data if hashlib.sha256(data).hexdigest() == file.sha256 else None


@contextmanager
def _opened(path: Path) -> Iterator[bytes]:
    """Yield the first bytes of a plain file."""
    try:
        with path.open("rb") as file:
            yield file.read(4)
    except OSError as error:
        raise EvaluationError(
            f"{path}: cannot be read ({error.strerror}); expected a submission of "
            "'dpbench results export', or a record as JSON."
        ) from error


def _bounded(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(MOST_BYTES + 1)


def _members(archive: ZipFile, path: Path) -> Mapping[str, ZipInfo]:
    """Check the list of members and the card, before anything else is unpacked."""
    members = check_members(
        archive, where=str(path), most=MOST_MEMBERS, most_bytes=MOST_TOTAL
    )
    for name, info in members.items():
        if MEMBER.fullmatch(name) is None:
            raise _no_submission(path, f"holds {name[:80]!r}")
        most = MOST_PREDICTIONS if name.endswith(".npz") else MOST_BYTES
        if info.file_size > most:
            raise _no_submission(path, f"holds {name} of {info.file_size} bytes")
    if CARD not in members:
        raise _no_submission(path, f"holds no {CARD}")
    card = strict_loads(archive.read(CARD), where=f"{path}: {CARD}")
    if not isinstance(card, dict) or card.get("schema") != SCHEMA:
        raise _no_submission(path, f"{CARD} is none of a submission")
    version = card.get("version")
    if not isinstance(version, int) or version > VERSION:
        raise EvaluationError(
            f"{path}: version {version!r} of submissions; expected at most {VERSION}. "
            "Read it with a newer dpbench."
        )
    return members


def _read_one(
    archive: ZipFile, members: Mapping[str, ZipInfo], name: str, path: Path
) -> Submitted | EvaluationError:
    """Read one record of a submission and the predictions that it names."""
    where = f"{path}: {name[8:20]}"
    try:
        data = _content(archive, members[name], where)
        found = read_record(data, where=where, predictions={})
        if isinstance(found, EvaluationError):
            return found
        files: dict[str, bytes] = {}
        for file in prediction_files(found.record):
            info = members.get(f"predictions/{file.sha256}.npz")
            if info is not None:
                files[file.sha256] = _content(archive, info, where)
    except EvaluationError as error:
        return error
    except DAMAGE as error:
        return EvaluationError(f"{where}: is damaged ({error}). Ask for it again.")
    return Submitted(
        digest=found.digest,
        payload=found.payload,
        record=found.record,
        predictions=files,
    )


def _content(archive: ZipFile, info: ZipInfo, where: str) -> bytes:
    """Unpack a member whose name is its sha256; never more than it says it has."""
    with archive.open(info) as file:
        data = file.read(info.file_size + 1)
    found = hashlib.sha256(data).hexdigest()
    wanted = Path(info.filename).stem
    if found != wanted:
        raise EvaluationError(
            f"{where}: the content of {info.filename} has the digest {found[:12]}; "
            f"expected {wanted[:12]}. It was changed: ask for it again."
        )
    return data


def _no_submission(path: Path, found: str) -> EvaluationError:
    return EvaluationError(
        f"{path}: {found}; expected a submission as 'dpbench results export' writes "
        "it. Nothing of it is taken."
    )
