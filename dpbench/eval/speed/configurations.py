"""What is measured: one model file on one backend, in one precision."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from dpbench.config import from_mapping, to_mapping
from dpbench.errors import EvaluationError

Engine = Literal["dpbench", "ase", "lammps"]

ENGINES: tuple[Engine, ...] = ("dpbench", "ase", "lammps")
"""Engines of molecular dynamics that steps are timed in."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Configuration:
    """One competitor; plain data, so that a process of its own can be told."""

    label: str
    """Unique in a run, as tables show it."""
    backend: str
    """``dpbench``, or the card of a backend."""
    path: str | None
    """The file that is opened; None where the backend needs none."""
    type_map: tuple[str, ...]
    """Elements that it knows."""
    rcut: float | None = None
    """Cutoff radius, Å."""
    precision: str | None = None
    """Of dpbench's kernels; None keeps the model's."""
    device: str = "cpu"
    """Torch's name of the device."""
    is_exact: bool = False
    """Whether dpbench evaluates the embedding nets, not tables of them."""
    engine: Engine = "ase"
    """What does the molecular dynamics."""
    trusted: str | None = None
    """sha256 of the file, where it is a program that may be opened."""
    own_cards: str | None = None
    """Folder of the user's own cards of backends."""
    lammps_backend: str | None = None
    """Backend in whose environment LAMMPS runs."""
    pair: tuple[str, ...] = ()
    """Commands that give LAMMPS the potential."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ProbeJob:
    """What one process does: one configuration, one structure."""

    configuration: Configuration
    family: str
    elements: tuple[str, ...]
    natoms: int
    """Atoms, at least."""
    levels: tuple[str, ...]
    windows: int
    window_s: float
    threads: int
    temperature: float
    """K."""
    tdamp: float
    """fs."""
    timestep: float
    """fs."""
    skin: float
    """Å."""
    seed: int
    memory: int
    """Bytes that the process and its children may hold."""
    timeout_s: float
    """Of one call of a foreign backend."""
    busy_ms: float = 0.0
    """Busy wait planted into every step, ms; a test recovers it."""
    slow_first_s: float = 0.0
    """Busy wait planted into the first call, s; it must change nothing."""


def write_job(path: Path, job: ProbeJob) -> None:
    """Write a job for the process that does it."""
    path.write_text(json.dumps(to_mapping(job)), encoding="utf-8")


def read_job(path: Path) -> ProbeJob:
    """Read what ``write_job`` wrote."""
    told: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return from_mapping(ProbeJob, told, where=str(path))


def distinct(configurations: list[Configuration]) -> list[Configuration]:
    """Number labels that occur twice.

    Raises:
        EvaluationError: If nothing is to be measured.
    """
    if not configurations:
        raise EvaluationError(
            "nothing to measure; expected a model or a backend that needs none."
        )
    seen: dict[str, int] = {}
    found = []
    for item in configurations:
        count = seen[item.label] = seen.get(item.label, 0) + 1
        label = item.label if count == 1 else f"{item.label} ({count})"
        found.append(replace(item, label=label))
    return found
