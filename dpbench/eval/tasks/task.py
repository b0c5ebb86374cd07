"""What a task is, and what it is given."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dpbench.eval.evaluator import AbstractEvaluator
from dpbench.eval.parts import Part
from dpbench.eval.task_results import TaskResult
from dpbench.eval.tasks.kept import Kept
from dpbench.store.workspace import Workspace


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """One task to be done, on one part of a dataset."""

    workspace: Workspace
    part: Part | None
    """Frames that start structures are taken from; None: the task brings its own."""
    settings: Any
    """An instance of the task's ``settings``."""
    references: Path | None = None
    """Folder of reference values that belong to the suite."""
    provenance: Mapping[str, Any] = field(default_factory=dict)
    """Of the model: what it was trained on, by what, at what cost."""
    say: Callable[[str], None] = lambda _: None
    """Told what goes on, a few words each."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """One experiment on a model."""

    name: str
    """As users type it, e.g. ``elastic``."""
    title: str
    """A few words for a table's head."""
    settings: type
    """Frozen dataclass of what a suite may choose, with a default for every field; read
    by ``config.from_mapping``, so that an unknown key is an error."""
    modes: Mapping[str, Any]
    """``smoke``, ``standard``, ``full`` -> settings."""
    predict: Callable[[AbstractEvaluator, Job], Kept]
    """The dear stage. Errors of the backend rise; a model that gives out is a fact to
    be kept, not an error."""
    score: Callable[[Kept, Job], TaskResult]
    """The cheap stage; ``code`` and ``kept`` of the result are filled by the caller."""
    cost: Callable[[Any], float]
    """Force evaluations that settings ask for, in atoms times steps, to tell the cost
    before it starts."""
    sources: tuple[str, ...] = ()
    """Modules whose source decides the numbers; their digest is the task's version."""
