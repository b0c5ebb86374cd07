"""The folder of a run, and finding one to go on with."""

import logging
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from dpbench.errors import ModelError, TrainingError
from dpbench.store.files import disk_errors
from dpbench.store.workspace import Workspace
from dpbench.train.state import Checkpoint, checkpoints, load_checkpoint

LOG_FILE = "log.txt"
"""Log of a run, in its folder."""

log = logging.getLogger(__name__)


def new_run(workspace: Workspace, dataset: str) -> tuple[str, Path]:
    """Make the folder of a new run; its name is date, dataset and a random part.

    Raises:
        WorkspaceError: If it cannot be made.
    """
    stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    run_id = f"{stamp}-{dataset}-{secrets.token_hex(2)}"
    folder = workspace.runs / run_id
    with disk_errors(folder):
        folder.mkdir(parents=True)
    return run_id, folder


def find_checkpoint(workspace: Workspace, name: str | Path) -> Checkpoint:
    """Load what ``--resume`` names: a checkpoint, a run's folder, or a run.

    Of a run, the newest checkpoint that can be read is taken.

    Raises:
        TrainingError: If there is no such run, or it has no checkpoint.
        ModelError: If a checkpoint that was named itself is damaged.
    """
    path = Path(name)
    if path.is_file():
        return load_checkpoint(path)
    folder = path if path.is_dir() else workspace.runs / name
    if not folder.is_dir():
        known = sorted(p.name for p in workspace.runs.glob("*") if checkpoints(p))
        has = (
            f"those with checkpoints are {', '.join(known[-5:])}. Name one of those."
            if known
            else "it has none with a checkpoint. Begin one with --dataset."
        )
        raise TrainingError(
            f"{name}: no checkpoint, folder or run of {workspace.root} is called so; "
            f"{has}"
        )
    for candidate in reversed(checkpoints(folder)):
        try:
            return load_checkpoint(candidate)
        except ModelError as error:
            log.warning("%s The one before it is tried.", error)
    raise TrainingError(
        f"{folder}: holds no checkpoint that can be read; expected "
        "checkpoint-STEP.pth. Start the run again."
    )


def check_writable(target: Path) -> None:
    """Make the folder of the model file, before hours of work.

    Raises:
        TrainingError: If it cannot be made or written to.
    """
    probe = target.with_name(f".{target.name}.probe")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise TrainingError(
            f"{target.parent}: cannot be written ({error.strerror}); expected a folder "
            "for the model. Name another with --out."
        ) from error


@contextmanager
def logging_to(folder: Path) -> Iterator[None]:
    """Write what dpbench logs into the run's log file too."""
    logger = logging.getLogger("dpbench")
    handler = logging.FileHandler(folder / LOG_FILE, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(min(level or logging.WARNING, logging.INFO))
    quiet = [h for h in logger.handlers if h is not handler and h.level == 0]
    for other in quiet:  # the command line stays as loud as it was asked to be
        other.setLevel(level or logging.WARNING)
    try:
        yield
    finally:
        for other in quiet:
            other.setLevel(logging.NOTSET)
        logger.setLevel(level)
        logger.removeHandler(handler)
        handler.close()
