"""Processes that were measured already, so that an interrupted measurement goes on.

They are kept for a day at most, below the workspace, and only for the same files,
settings, hardware and software: rounds stay side by side in time as far as they can.
"""

import hashlib
import json
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dpbench.config import canonical_json, from_mapping, to_mapping
from dpbench.errors import ConfigError
from dpbench.eval.speed.configurations import Configuration, ProbeJob
from dpbench.eval.speed.processes import Probed
from dpbench.eval.speed.settings import SpeedSettings
from dpbench.store.files import disk_errors, sha256_of_file, write_atomically
from dpbench.store.workspace import Workspace

FOLDER = Path("derived") / "throughput"
"""Of the workspace."""

LONGEST_S = 86_400.0
"""Age at which what was kept is measured again."""

LASTING = ("ok", "out_of_memory", "timeout")
"""Ends of a process that a second try would not change; it costs minutes to see."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Observed:
    """One process, and what the machine did meanwhile."""

    probed: Probed
    seconds: float
    """From its start to its end."""
    others_cores: float | None
    """Cores that other programs kept busy."""


@dataclass(frozen=True, kw_only=True, slots=True)
class KeptProbes:
    """The processes of one measurement, as far as they ended."""

    folder: Path

    def find(self, job: ProbeJob, number: int) -> Observed | None:
        """Return the process of a round; None where it is to be measured.

        Args:
            job: What it does.
            number: Of the round.
        """
        path = self._path(job, number)
        try:
            if time.time() - path.stat().st_mtime > LONGEST_S:
                return None
            told = json.loads(path.read_text(encoding="utf-8"))
            return from_mapping(Observed, told, where=str(path))
        except (OSError, ValueError, ConfigError):  # not there, or damaged
            return None

    def keep(self, job: ProbeJob, number: int, found: Observed) -> None:
        """Write down a process that ended as it would again.

        Raises:
            WorkspaceError: If the disk cannot be written.
        """
        if found.probed.status not in LASTING:
            return
        path = self._path(job, number)
        with disk_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, canonical_json(to_mapping(found)))

    def count(self) -> int:
        """Return how many processes are kept."""
        return len(list(self.folder.glob("*.json")))

    def drop(self) -> None:
        """Remove all, once the records are filed."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _path(self, job: ProbeJob, number: int) -> Path:
        """Name a process; free memory, which differs from run to run, is no part."""
        whole = to_mapping(replace(job, memory=0)) | {"round": number}
        whole["configuration"] = _identity(job.configuration)
        return self.folder / f"{_digest(whole)[:24]}.json"


def open_kept(
    workspace: Workspace,
    configurations: Sequence[Configuration],
    settings: SpeedSettings,
    *,
    machine: dict[str, Any],
) -> KeptProbes:
    """Open what an earlier measurement of the same things left.

    Args:
        workspace: Has it.
        configurations: Competitors.
        settings: Sizes, families, processes, windows.
        machine: Hardware and software.
    """
    content = {
        "machine": machine,
        "settings": to_mapping(settings),
        "configurations": [_identity(item) for item in configurations],
    }
    return KeptProbes(folder=workspace.root / FOLDER / _digest(content)[:24])


def _identity(configuration: Configuration) -> dict[str, Any]:
    """Describe a configuration by the content of its file, wherever that lies."""
    told: dict[str, Any] = to_mapping(configuration)
    path = None if configuration.path is None else Path(configuration.path)
    if path is not None and path.is_file():
        told["path"] = sha256_of_file(path)
    return told


def _digest(content: dict[str, Any]) -> str:
    return hashlib.sha256(canonical_json(content)).hexdigest()
