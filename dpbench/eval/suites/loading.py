"""Finding and reading suites, and the seal on those that are published."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dpbench.config import from_mapping, read_toml, to_mapping
from dpbench.errors import ConfigError, EvaluationError
from dpbench.eval.options import STABILITY, THROUGHPUT
from dpbench.eval.suites.format import (
    Mode,
    PublishedFile,
    PublishedRow,
    SuiteData,
    SuiteFile,
    SuiteTask,
)
from dpbench.eval.tasks.table import TASKS
from dpbench.registry_files import registry_folder

FROZEN = "frozen.json"
"""In ``registry/suites``: sha256 of every file of every published suite."""

_VERSION = re.compile(r"(?P<name>.+)-v(?P<number>[0-9]+)")
_FILE = re.compile(r"v([0-9]+)\.toml")

OWN: Mapping[str, Mapping[Any, Any]] = {
    "accuracy": {},
    "stability": STABILITY,
    "throughput": THROUGHPUT,
}
"""Settings by mode of the tasks with a field of their own in records; none: there is
nothing to choose."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Suite:
    """A suite, read and checked."""

    file: SuiteFile
    """What it says."""
    path: Path
    """Where it says it."""
    digest: str
    """sha256 of the file's bytes."""

    @property
    def label(self) -> str:
        """``si-lda-v1``, as records have it."""
        return f"{self.file.name}-v{self.file.version}"

    @property
    def folder(self) -> Path:
        """Folder of the suite: references and data lie in it."""
        return self.path.parent

    def data(self, key: str) -> SuiteData:
        """Return a dataset of the suite by its key."""
        return next(data for data in self.file.data if data.key == key)

    def settings(self, task: SuiteTask, mode: Mode) -> Any:
        """Return the settings of a task in a mode; None where there are none.

        Raises:
            ConfigError: If a key or value is none of the task's.
        """
        chosen = {**task.settings, **task.modes.get(mode, {})}
        return _settings(task.task, mode, chosen, where=f"{self.path}: {task.task}")

    def published(self) -> tuple[PublishedRow, ...]:
        """Read the rows of others.

        Raises:
            ConfigError: If a file is missing or has an unknown key.
        """
        rows: list[PublishedRow] = []
        for published in self.file.published:
            path = self.folder / published.file
            rows += from_mapping(PublishedFile, read_toml(path), where=str(path)).row
        return tuple(rows)


def load_suite(name: str, *, folder: Path | None = None) -> Suite:
    """Read a suite.

    Args:
        name: ``si-lda`` for its newest version, ``si-lda-v1``, or the path of a file.
        folder: Of all suites; None: the registry's.

    Raises:
        ConfigError: If there is none, or a key or value of it is wrong.
    """
    path = _find(name, suites_folder() if folder is None else folder)
    file = from_mapping(SuiteFile, read_toml(path), where=str(path))
    found = _FILE.fullmatch(path.name)
    if found is None or int(found[1]) != file.version or path.parent.name != file.name:
        raise ConfigError(
            f"{path}: says that it is version {file.version} of '{file.name}'; "
            f"expected it at {file.name}/v{file.version}.toml. Rename one of them."
        )
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    suite = Suite(file=file, path=path, digest=f"sha256:{digest}")
    for task in file.task:
        for mode in ("smoke", "standard", "full"):
            suite.settings(task, mode)
        if task.references and not (suite.folder / task.references).is_dir():
            raise ConfigError(
                f"{path}: {task.task}: there is no folder {task.references} beside "
                "it; expected one with reference values."
            )
    return suite


def list_suites(folder: Path | None = None) -> list[Suite]:
    """Read the newest version of every suite, by name."""
    root = suites_folder() if folder is None else folder
    return [load_suite(name, folder=root) for name in _names(root)]


def shipped_references(task: str, dataset: str) -> Path | None:
    """Find the reference values that a suite that ships has for a task on a dataset.

    Args:
        task: Name of the task.
        dataset: Content digest of the version.

    Returns:
        Their folder; None where no suite has any.
    """
    for suite in list_suites():
        keys = {data.key for data in suite.file.data if data.digest == dataset}
        for known in suite.file.task:
            if known.task == task and known.data in keys and known.references:
                return suite.folder / known.references
    return None


def suites_folder() -> Path:
    """Return the folder of the suites that ship."""
    return registry_folder() / "suites"


def files_of(folder: Path) -> dict[str, str]:
    """Digest all files of all suites: path below ``folder`` -> sha256."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(
            path.read_bytes()
        ).hexdigest()
        for path in sorted(folder.glob("*/**/*"))
        if path.is_file()
    }


def frozen_files(folder: Path) -> dict[str, str]:
    """Read the seal of published suites: path below ``folder`` -> sha256.

    Raises:
        ConfigError: If it is missing or no JSON.
    """
    path = folder / FROZEN
    try:
        found: dict[str, str] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: cannot be read ({error}).") from error
    return found


def is_frozen(suite: Suite) -> bool:
    """Say whether a suite is a published one: its file is sealed as it is."""
    folder = suite.folder.parent
    if not (folder / FROZEN).is_file():
        return False
    name = suite.path.relative_to(folder).as_posix()
    return frozen_files(folder).get(name) == suite.digest.removeprefix("sha256:")


def _settings(task: str, mode: str, chosen: Mapping[str, Any], *, where: str) -> Any:
    if task in OWN:
        by_mode = OWN[task]
    elif task in TASKS:
        by_mode = TASKS[task].modes
    else:
        raise ConfigError(
            f"{where}: is no task; expected one of {', '.join((*OWN, *TASKS))}."
        )
    if not by_mode:
        if chosen:
            raise ConfigError(f"{where}: has no settings; found {', '.join(chosen)}.")
        return None
    default = by_mode[mode]
    keys = {**to_mapping(default), **chosen}
    try:
        return from_mapping(type(default), keys, where=where)
    except EvaluationError as error:  # of the task's own checks
        raise ConfigError(f"{where}: {error}") from error


def _find(name: str, folder: Path) -> Path:
    if name.endswith(".toml"):
        return Path(name)
    found = _VERSION.fullmatch(name)
    if found is not None:
        path = folder / found["name"] / f"v{int(found['number'])}.toml"
    else:
        numbers = [
            int(match[1])
            for path in (folder / name).glob("v*.toml")
            if (match := _FILE.fullmatch(path.name))
        ]
        path = folder / name / f"v{max(numbers, default=1)}.toml"
    if not path.is_file():
        raise ConfigError(
            f"suite '{name}': is unknown; expected one of {', '.join(_names(folder))}, "
            "or the path of a suite's file."
        )
    return path


def _names(folder: Path) -> list[str]:
    return sorted({path.parent.name for path in folder.glob("*/v*.toml")})
