"""What the user of an evaluation may choose."""

from dataclasses import dataclass
from typing import Literal

from dpbench.errors import EvaluationError
from dpbench.eval.stability import StabilitySettings
from dpbench.eval.throughput import ThroughputSettings
from dpbench.models.sel import SelOverflow

Mode = Literal["smoke", "standard", "full"]

DEFAULT_TASKS: tuple[str, ...] = ("accuracy", "stability", "throughput")
"""Tasks with a field of their own in records; ``eval.tasks.table`` has the others."""
PRECISIONS: tuple[str, ...] = ("float64", "float32")

STABILITY: dict[Mode, StabilitySettings] = {
    "smoke": StabilitySettings(steps=400, seeds=(0,), sample_every=2),
    "standard": StabilitySettings(steps=1000, seeds=(0, 1, 2), sample_every=5),
    "full": StabilitySettings(steps=10_000, seeds=(0, 1, 2), sample_every=10),
}
"""Length of the constant-energy runs by mode."""

THROUGHPUT: dict[Mode, ThroughputSettings] = {
    "smoke": ThroughputSettings(window_s=0.2, nsizes=2, max_natoms=300),
    "standard": ThroughputSettings(window_s=0.5, nsizes=3, max_natoms=4000),
    "full": ThroughputSettings(window_s=5.0, repeats=10, nsizes=5, max_natoms=32_000),
}
"""Windows and sizes of the timings by mode."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """How to evaluate."""

    tasks: tuple[str, ...] = DEFAULT_TASKS
    """What to measure."""
    mode: Mode = "standard"
    """How much to spend on dynamics and timings; accuracy is the same in all."""
    backends: tuple[str, ...] = ()
    """What evaluates the model; empty: dpbench's kernels where they serve, else the
    backend that the file is of."""
    trust: tuple[str, ...] = ()
    """sha256 of foreign programs that may be opened."""
    precision: str | None = None
    """``float64`` or ``float32``; None: the model's own."""
    device: str = "cpu"
    """Torch's name of the device."""
    temperature: float = 300.0
    """K, of the dynamics."""
    name: str | None = None
    """The model's name in tables; None: its file's, or its run's."""
    split: str | None = None
    """Split whose parts are meant, by name or digest; None: the training's own."""
    sel_overflow: SelOverflow | None = None
    """What to do with more neighbours than the model's ``sel``; None: what its training
    did."""
    command: tuple[str, ...] = ()
    """What the user typed, for the record."""

    def __post_init__(self) -> None:
        """Check every choice."""
        # Imported here: tasks open models with these options.
        from dpbench.eval.tasks.table import TASKS

        known_tasks = (*DEFAULT_TASKS, *TASKS)
        choices = [("task", task, known_tasks) for task in self.tasks]
        if self.precision is not None:
            choices.append(("precision", self.precision, PRECISIONS))
        for what, value, known in choices:
            if value not in known:
                raise EvaluationError(
                    f"{what} '{value}': is unknown; expected {' or '.join(known)}."
                )
        if len(set(self.backends)) < len(self.backends):
            raise EvaluationError(
                f"backends {', '.join(self.backends)}: one is named twice; expected "
                "each once."
            )
        if not self.tasks:
            raise EvaluationError(
                f"no task is named; expected some of {', '.join(known_tasks)}."
            )
        if not self.temperature > 0:
            raise EvaluationError(
                f"temperature = {self.temperature} K; expected a positive number."
            )
