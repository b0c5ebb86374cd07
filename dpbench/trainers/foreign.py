"""What a foreign trainer must tell so that dpbench can run it on a split.

A trainer reads a configuration of its own kind. dpbench sets in it what decides the
data, the seed, the elements and the length; everything else stays as it was written,
and every change is said.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dpbench.train.history import CurveRow
from dpbench.trainers.export import Exported

if TYPE_CHECKING:
    from dpbench.trainers.growing import AbstractFollower

MODEL_FACTS = "model-facts.json"
"""What the last stage of a trainer writes about the model, in the run's folder."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """What is to be trained."""

    where: str
    """Name of the configuration file, the start of every message."""
    theirs: Mapping[str, Any]
    """The configuration as it was read."""
    source: Path
    """Folder that the configuration lies in."""
    data: Exported
    """The split, written for this trainer; paths are relative to the run's folder."""
    suffix: str
    """Suffix of the model file that is wanted, with the dot."""
    steps: int | None = None
    """Optimiser steps; None = as the configuration says."""
    seed: int | None = None
    """Seed of the run; None = as the configuration says."""
    device: str = "cpu"
    """``cpu``, ``cuda`` or ``cuda:N``."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage:
    """One program run in the trainer's environment."""

    name: str
    """In a word, for messages: ``train``, ``freeze``."""
    module: str
    """What ``python -m`` is given; empty: ``arguments`` stand alone."""
    arguments: tuple[str, ...]
    """Behind it."""
    makes: str = ""
    """File or folder that must be there afterwards, relative to the run's folder."""
    is_needed: bool = True
    """Whether the run has failed if this stage fails."""
    env: Mapping[str, str] = field(default_factory=dict)
    """Environment variables besides those of the environment."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Planned:
    """A run that can be started."""

    files: Mapping[str, bytes]
    """What to write into the run's folder first, by name."""
    used: Mapping[str, Any]
    """The configuration as it will be used; plain JSON values."""
    notes: tuple[str, ...]
    """What was set or left out of theirs, a line each."""
    stages: tuple[Stage, ...]
    """What to run, training first."""
    steps: int
    """Optimiser steps that will be made."""
    seed: int | None
    """Seed of the run, if it is known."""
    precision: str
    """Of the model."""
    type_map: tuple[str, ...]
    """Elements of the model."""
    outputs: tuple[str, ...]
    """Model files, the wanted one first; relative to the run's folder."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Seen:
    """How far a training is, as its files tell."""

    steps: int = 0
    """Optimiser steps done."""
    loss: float | None = None
    """Newest training loss, in the trainer's own units."""
    rows: tuple[CurveRow, ...] = ()
    """The learning curve until here; ``wall_time`` is NaN."""
    is_nan: bool = False
    """Whether the loss is not a number any more."""


class AbstractTrainer(ABC):
    """One foreign trainer."""

    name: str
    """As ``--trainer`` takes it."""
    title: str
    """The name that people know."""
    backend: str
    """Backend whose environment it runs in, and which evaluates its models."""
    packages: tuple[str, ...]
    """Packages whose versions the record names."""
    format: str
    """Format of ``dpbench dataset export`` that it reads."""
    suffixes: tuple[str, ...]
    """Model files that it can end in, the default first."""
    runs_configuration: bool = False
    """Whether its configuration names what is run: a program, more or less."""

    @abstractmethod
    def read(self, path: Path) -> dict[str, Any]:
        """Read a configuration; ConfigError if it is none of this trainer's."""

    @abstractmethod
    def plan(self, job: Job) -> Planned:
        """Rewrite the configuration for the split; ConfigError where it cannot be."""

    @abstractmethod
    def follow(self, folder: Path) -> "AbstractFollower":
        """Return what follows the learning curve of a run in this folder."""

    def look(self, folder: Path) -> Seen:
        """Say how far a run is; what is not there yet is not an error."""
        return self.follow(folder).look()
