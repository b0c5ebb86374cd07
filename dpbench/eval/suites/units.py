"""Units: one task on one part by one backend, and the key that names what it measures.

The key is the sha256 of the data, the code of the benchmark, the parameters, the model,
the program that evaluates it and the class of the hardware. Where a workspace holds a
record under that key, it is not measured again.
"""

import functools
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dpbench.backends.cards import NATIVE
from dpbench.backends.evidence import evidence_of
from dpbench.config import canonical_json, to_mapping
from dpbench.eval.fingerprint import software_fingerprint
from dpbench.eval.options import DEFAULT_TASKS, Options
from dpbench.eval.suites.data import Prepared
from dpbench.eval.suites.format import SuiteTask
from dpbench.eval.suites.loading import Suite
from dpbench.eval.tasks.doing import code_digest
from dpbench.eval.tasks.table import TASKS
from dpbench.store.files import sha256_of_file
from dpbench.store.workspace import Workspace

OWN_SOURCES: dict[str, tuple[str, ...]] = {
    "accuracy": (
        "dpbench.eval.predict",
        "dpbench.eval.score",
        "dpbench.eval.error_series",
        "dpbench.eval.baseline",
        "dpbench.eval.fidelity",
        "dpbench.metrics.accuracy",
        "dpbench.metrics.blocks",
        "dpbench.metrics.composition",
        "dpbench.metrics.frame_errors",
        "dpbench.metrics.statistics",
    ),
    "stability": (
        "dpbench.eval.stability",
        "dpbench.eval.structures",
        "dpbench.metrics.drift",
    ),
    "throughput": (
        "dpbench.eval.throughput",
        "dpbench.eval.structures",
        "dpbench.eval.timing",
    ),
}
"""Modules whose source decides the numbers of the tasks that have no ``sources``."""

ROOMS = ("kernels", "models", "md")
"""Rooms whose source is the program that evaluates on dpbench's own backend."""

TIMED = ("throughput", "md_throughput", "scaling", "dft_speedup", "data_loading")
"""Tasks that read the clock: they run alone, one after the other."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Unit:
    """One task on one part by one backend; all that a worker must be told."""

    suite: str
    """``si-lda-v1``."""
    suite_digest: str
    """Of its file."""
    model: Path
    """The model's file."""
    backend: str
    """Who evaluates."""
    options: Options
    """Of the evaluation; ``backends`` names the backend alone."""
    task: SuiteTask
    """Task, key of the dataset, part."""
    settings: Any
    """Of the task, in the mode."""
    references: Path | None
    """Folder of reference values."""
    version: str
    """Label of the dataset version in this workspace."""
    split: str
    """Digest of the split."""
    natoms: int
    """Atoms of the part's frames together."""
    params: dict[str, Any]
    """What the key is made of, but for the hardware."""

    @property
    def name(self) -> str:
        """``elastic on si8:test``."""
        return f"{self.task.task} on {self.task.data}:{self.task.part}"

    @property
    def is_timed(self) -> bool:
        """Whether it reads the clock."""
        return self.task.task in TIMED

    def key(self, hardware: str) -> str:
        """Name what it measures, on a class of hardware."""
        content = canonical_json({**self.params, "hardware": hardware})
        return hashlib.sha256(content).hexdigest()


def lay_out(
    workspace: Workspace,
    suite: Suite,
    prepared: Iterable[Prepared],
    *,
    model: Path,
    backend: str,
    options: Options,
) -> list[Unit]:
    """Name the units of one model on one backend, in the suite's order.

    Args:
        workspace: Has cards of its own.
        suite: The suite.
        prepared: Its datasets; tasks on others are left out.
        model: The model's file.
        backend: Who evaluates.
        options: Mode, precision, device.

    Raises:
        EvaluationError: If a task's source cannot be read.
        BackendError: If the backend is not installed any more.
    """
    here = {item.data.key: item for item in prepared}
    shared = {
        "model": sha256_of_file(model),
        "backend": backend,
        "program": program_digest(workspace, backend),
        "precision": options.precision,
        "device": options.device,
        "sel_overflow": options.sel_overflow,
    }
    units = []
    for task in suite.file.task:
        if task.data in here:
            item = here[task.data]
            settings = suite.settings(task, options.mode)
            folder = None if task.references is None else suite.folder / task.references
            rows = item.split.part(task.part)
            unit = Unit(
                suite=suite.label,
                suite_digest=suite.digest,
                model=model,
                backend=backend,
                options=options,
                task=task,
                settings=settings,
                references=folder,
                version=item.version.label,
                split=item.split.digest,
                natoms=int(item.version.natoms[rows].sum()),
                params=shared | _params(task, item, settings, folder),
            )
            units.append(unit)
    return units


def _params(
    task: SuiteTask, item: Prepared, settings: Any, folder: Path | None
) -> dict[str, Any]:
    """Name what a task measures, but for the model and what evaluates it."""
    return {
        "data": item.version.digest,
        "split": item.split.digest,
        "part": task.part,
        "task": task.task,
        "code": _code_of(task.task),
        "settings": None if settings is None else to_mapping(settings),
        "references": None if folder is None else _folder_digest(folder),
    }


def program_digest(workspace: Workspace, backend: str) -> str:
    """Digest the program that evaluates: our own rooms, or a backend's environment."""
    if backend != NATIVE:
        found = evidence_of(backend, own_cards=workspace.root / "backends")
        return f"{found['digest']}"
    return _own_program()


@functools.cache
def _own_program() -> str:
    """Digest the source of our kernels, models and dynamics, and what they run on."""
    package = Path(__file__).resolve().parents[2]
    digest = hashlib.sha256(canonical_json(software_fingerprint().packages))
    for room in ROOMS:
        for path in sorted((package / room).rglob("*")):
            if path.suffix in (".py", ".cu", ".c", ".cpp", ".h"):
                digest.update(path.relative_to(package).as_posix().encode())
                digest.update(path.read_bytes())
    return f"sha256:{digest.hexdigest()}"


def _code_of(task: str) -> str:
    own = task in DEFAULT_TASKS
    return code_digest(OWN_SOURCES[task] if own else TASKS[task].sources)


def _folder_digest(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            digest.update(path.relative_to(folder).as_posix().encode())
            digest.update(bytes.fromhex(sha256_of_file(path)))
    return f"sha256:{digest.hexdigest()}"
