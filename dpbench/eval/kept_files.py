"""Files of predictions in a workspace, named by their digest."""

import hashlib
from pathlib import Path

from dpbench.errors import EvaluationError
from dpbench.eval.task_results import PredictionFile
from dpbench.store.files import disk_errors, sha256_of_file, write_atomically
from dpbench.store.workspace import Workspace


def write_kept(workspace: Workspace, data: bytes, *, nframes: int) -> PredictionFile:
    """Write ``predictions/SHA256.npz``; the same bytes make the same file.

    Args:
        workspace: Takes the file.
        data: Its bytes.
        nframes: Frames that it is about, for the record.

    Raises:
        WorkspaceError: If the file cannot be written.
    """
    digest = hashlib.sha256(data).hexdigest()
    path = Path("predictions") / f"{digest}.npz"
    with disk_errors(workspace.root / path):
        if not (workspace.root / path).exists():
            write_atomically(workspace.root / path, data)
    return PredictionFile(path=path.as_posix(), sha256=digest, nframes=nframes)


def whole_kept(workspace: Workspace, file: PredictionFile, *, what: str) -> Path:
    """Return where a file lies, after a look that it is the one that was written.

    Args:
        workspace: Has the file.
        file: As a record names it.
        what: What it holds, for messages.

    Raises:
        EvaluationError: If the file is missing or damaged.
    """
    path = workspace.root / file.path
    try:
        found = sha256_of_file(path)
    except OSError as error:
        raise EvaluationError(
            f"{path}: cannot be read ({error.strerror}); expected {what}. Evaluate the "
            "model again."
        ) from error
    if found != file.sha256:
        raise EvaluationError(
            f"{path}: sha256 is {found[:12]}; expected {file.sha256[:12]}. The file "
            "was changed: evaluate the model again."
        )
    return path
