"""What the user wishes to be measured, and the competitors that come of it."""

from dataclasses import dataclass, field
from pathlib import Path

from dpbench.eval.opening import Subject
from dpbench.eval.record import BackendFacts
from dpbench.eval.speed.configurations import Configuration, Engine
from dpbench.eval.task_results import Fidelity

EXACT = "dpbench-exact"
"""Backend name of dpbench's kernels with the embedding nets evaluated."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Wish:
    """What the user asks to be measured."""

    models: tuple[Path, ...] = ()
    backends: tuple[str, ...] = ()
    """Empty: dpbench's kernels, or the backend that a file is of."""
    precisions: tuple[str | None, ...] = (None,)
    """Of dpbench's kernels."""
    engine: Engine | None = None
    """Of the dynamics; None: each backend's best."""
    device: str = "cpu"
    trust: tuple[str, ...] = ()
    """sha256 of programs that may be opened."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Competitor:
    """A configuration, and what its record says of it."""

    configuration: Configuration
    subject: Subject
    facts: BackendFacts | None
    """The foreign program; None for dpbench's own kernels."""
    notes: dict[str, str] = field(default_factory=dict)
    """How the file that is opened was made."""
    fidelity: Fidelity | None = None
    """Against the same weights in float64; None where it is that, or there is none."""
