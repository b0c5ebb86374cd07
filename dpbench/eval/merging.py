"""All records of another workspace, or of a folder of submissions."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

from dpbench.errors import EvaluationError
from dpbench.eval.importing import Imported, import_all, import_files
from dpbench.eval.strict_json import MOST_BYTES
from dpbench.eval.submission import (
    MOST_PREDICTIONS,
    Submitted,
    prediction_files,
    read_record,
)
from dpbench.store.objects import is_object
from dpbench.store.workspace import FOLDER, Workspace

MOST_FILES = 20_000
"""Most files of a folder that are looked at."""


def merge(workspace: Workspace, folder: Path) -> list[Imported]:
    """Take every record that lies below a folder, by the same checks as an import.

    Nothing of another workspace is believed: neither its registry nor its events, and
    its ``dpbench.toml`` is not read.

    Args:
        workspace: Takes the records.
        folder: A workspace, the folder that holds its ``.dpbench``, or a folder of
            submissions and records.

    Returns:
        What became of each record.

    Raises:
        EvaluationError: If there is nothing to merge.
        WorkspaceError: If a file cannot be written.
    """
    for root in (folder, folder / FOLDER):
        if (root / "objects").is_dir():
            return import_all(workspace, _of_workspace(root), source=str(folder.name))
    if not folder.is_dir():
        raise EvaluationError(
            f"{folder}: is no folder; expected a workspace, or a folder of "
            "submissions. A single file is taken by 'dpbench results import'."
        )
    paths = sorted(
        path
        for path in folder.rglob("*")
        if path.suffix in (".zip", ".json") and _is_plain(path, folder)
    )
    if not paths or len(paths) > MOST_FILES:
        raise EvaluationError(
            f"{folder}: holds {len(paths)} files that end with .zip or .json; expected "
            f"1 to {MOST_FILES} submissions, or a workspace. Name another folder."
        )
    return import_files(workspace, paths)


def _of_workspace(root: Path) -> Iterator[Submitted | EvaluationError]:
    """Read the records of a workspace as files alone."""
    files = sorted((root / "objects" / "result").glob("??/*.json"))
    if not files:
        yield EvaluationError(
            f"{root}: holds no result record of its own; expected some. Where 'stores' "
            "names an object store, export them there."
        )
    for path in files[:MOST_FILES]:
        if not is_object(path.name) or not _is_plain(path, root):
            continue
        data = _read(path, MOST_BYTES)
        if data is None or hashlib.sha256(data).hexdigest() != path.stem:
            yield EvaluationError(
                f"{path}: the content does not fit its name; expected a record as "
                "dpbench keeps it. The file is damaged or was changed."
            )
            continue
        found = read_record(data, where=str(path), predictions={})
        if isinstance(found, EvaluationError):
            yield found
            continue
        predictions: dict[str, bytes] = {}
        for file in prediction_files(found.record):
            answers = _predictions(root, file.sha256)
            if answers is not None:
                predictions[file.sha256] = answers
        yield Submitted(
            digest=found.digest,
            payload=found.payload,
            record=found.record,
            predictions=predictions,
        )


def _predictions(root: Path, sha256: str) -> bytes | None:
    """Read predictions by their digest; None if missing, too large or changed."""
    if not is_object(f"{sha256}.json"):
        return None
    path = root / "predictions" / f"{sha256}.npz"
    data = _read(path, MOST_PREDICTIONS) if _is_plain(path, root) else None
    is_whole = data is not None and hashlib.sha256(data).hexdigest() == sha256
    return data if is_whole else None


def _read(path: Path, most: int) -> bytes | None:
    try:
        with path.open("rb") as file:
            data = file.read(most + 1)
    except OSError:
        return None
    return data if len(data) <= most else None


def _is_plain(path: Path, root: Path) -> bool:
    """Whether a path is a file that no link on the way leads to."""
    below = [path, *path.parents[: len(path.relative_to(root).parts) - 1]]
    return path.is_file() and not any(step.is_symlink() for step in below)
