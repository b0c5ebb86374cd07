"""The books of an exploration: what is done, and by which configuration.

    explorations/NAME/exploration.json      the configurations, each from where on
    explorations/NAME/lock                  held by the one process that works on it
    explorations/NAME/start/{label,ingest}.json
    explorations/NAME/iter.000000/{train,explore,select,label,ingest,assess}.json
    explorations/NAME/labels/KEY/           every label that was ever paid for

A stage is done when its file is there. Whatever ends the process between two files
leaves tasks that are finished, which are read and not done again.
"""

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from dpbench.config import canonical_json
from dpbench.errors import WorkspaceError
from dpbench.explore.stage_results import (
    STAGES,
    AssessResult,
    ExploreResult,
    IngestResult,
    LabelResult,
    SelectResult,
    TrainResult,
    iteration_folder,
    read_refused,
    read_result,
)
from dpbench.store.file_systems import is_network
from dpbench.store.files import disk_errors, write_atomically
from dpbench.store.lease import is_held, writer_lease
from dpbench.store.workspace import Workspace

FOLDER: Final = "explorations"
"""Folder of all explorations in a workspace."""

RECORD: Final = "exploration.json"
"""Configurations of an exploration."""

FORMAT: Final = 1
"""Format of that file."""

Result = TypeVar("Result")


@dataclass(frozen=True, kw_only=True, slots=True)
class Iteration:
    """What is done of an iteration."""

    number: int
    """Counts from 0."""
    folder: Path
    """Where it is."""

    @property
    def train(self) -> TrainResult | None:
        """The models."""
        return read_result(self.folder, TrainResult)

    @property
    def explore(self) -> ExploreResult | None:
        """The walks."""
        return read_result(self.folder, ExploreResult)

    @property
    def select(self) -> SelectResult | None:
        """The choice."""
        return read_result(self.folder, SelectResult)

    @property
    def label(self) -> LabelResult | None:
        """The labels."""
        return read_result(self.folder, LabelResult)

    @property
    def refused(self) -> LabelResult | None:
        """The labels that the loop has stopped for: too many failed."""
        return read_refused(self.folder)

    @property
    def ingest(self) -> IngestResult | None:
        """The version."""
        return read_result(self.folder, IngestResult)

    @property
    def assess(self) -> AssessResult | None:
        """Errors before and after."""
        return read_result(self.folder, AssessResult)

    @property
    def done(self) -> tuple[str, ...]:
        """Names of the stages that are done."""
        return tuple(n for n in STAGES if (self.folder / f"{n}.json").is_file())


@dataclass(frozen=True, kw_only=True, slots=True)
class ConfigEntry:
    """A configuration, and from where on it counts."""

    iteration: int
    """First iteration that it holds for, wholly or in part."""
    digest: str
    """sha256 of its canonical JSON."""
    config: dict[str, Any]
    """The configuration in plain values."""
    base: str
    """Folder that its file names are relative to."""
    changed: tuple[str, ...] = ()
    """Keys that differ from the entry before, ``key: old -> new``."""


def exploration_folder(workspace: Workspace, name: str) -> Path:
    """Return where the exploration of a dataset is, or would be."""
    return workspace.root / FOLDER / name


def iterations_of(root: Path) -> tuple[Iteration, ...]:
    """List the iterations that have begun, in order."""
    numbers = sorted(
        int(folder.name.removeprefix("iter."))
        for folder in root.glob("iter.*")
        if folder.name.removeprefix("iter.").isdigit()
    )
    return tuple(iteration_at(root, number) for number in numbers)


def iteration_at(root: Path, number: int) -> Iteration:
    """Return an iteration, begun or not."""
    return Iteration(number=number, folder=iteration_folder(root, number))


def read_record(root: Path) -> tuple[ConfigEntry, ...]:
    """Read the configurations of an exploration, oldest first; none if it is new.

    Raises:
        WorkspaceError: If the file is damaged or of another format.
    """
    path = root / RECORD
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        if told["format"] != FORMAT:
            raise ValueError(f"format {told['format']}, expected {FORMAT}")
        return tuple(
            ConfigEntry(**{**entry, "changed": tuple(entry["changed"])})
            for entry in told["configs"]
        )
    except FileNotFoundError:
        return ()
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WorkspaceError(
            f"{path}: cannot be read ({error}); expected the configurations of an "
            "exploration. Restore it from a copy, or move its folder away."
        ) from error


def write_record(root: Path, entries: tuple[ConfigEntry, ...]) -> None:
    """Write the configurations; the last one is the one in force.

    Raises:
        WorkspaceError: If the file cannot be written.
    """
    last = entries[-1]
    told = {
        "format": FORMAT,
        "dataset": last.config["dataset"],
        "digest": last.digest,
        "config": last.config,
        "configs": [
            {
                "iteration": entry.iteration,
                "digest": entry.digest,
                "config": entry.config,
                "base": entry.base,
                "changed": list(entry.changed),
            }
            for entry in entries
        ],
    }
    path = root / RECORD
    with disk_errors(path):
        write_atomically(path, json.dumps(told, indent=1).encode())


def config_digest(config: Mapping[str, Any]) -> str:
    """Return the sha256 of a configuration in plain values."""
    return hashlib.sha256(canonical_json(config)).hexdigest()


@contextmanager
def only_one(root: Path) -> Iterator[None]:
    """Keep every other process from working on the exploration while the block runs.

    The kernel lets go however this process ends; on a network file system a lease with
    a heartbeat does.

    Raises:
        WorkspaceError: If another process works on it.
    """
    with disk_errors(root):
        root.mkdir(parents=True, exist_ok=True)
    if is_network(root):
        with writer_lease(root / "lease"):
            yield
        return
    path = root / "lock"
    with disk_errors(path):
        descriptor = os.open(path, os.O_CREAT | os.O_RDWR, 0o644)
    try:
        _lock(descriptor, path)
        yield
    finally:
        os.close(descriptor)


def is_worked_on(root: Path) -> bool:
    """Tell whether a process works on the exploration, by what ``only_one`` holds."""
    if is_network(root):
        return is_held(root / "lease")
    try:
        descriptor = os.open(root / "lock", os.O_RDWR)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


def _lock(descriptor: int, path: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        holder = os.pread(descriptor, 40, 0).decode(errors="replace").strip()
        raise WorkspaceError(
            f"{path}: another process{f' ({holder})' if holder else ''} works on this "
            "exploration; expected none. Wait for it, or end it: what it has done is "
            "kept."
        ) from error
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
