"""Task ``data_loading``: frames a second that the store gives a training."""

import time
from dataclasses import dataclass

import numpy as np

from dpbench.config import to_mapping
from dpbench.errors import EvaluationError
from dpbench.eval.evaluator import AbstractEvaluator
from dpbench.eval.task_results import TaskResult
from dpbench.eval.tasks.kept import Kept
from dpbench.eval.tasks.task import Job, Task
from dpbench.eval.timing import Case, measure
from dpbench.metrics.definitions import metric_value
from dpbench.metrics.statistics import spread
from dpbench.store.gather.buffer import FrameBuffer

METRIC = "loader_frames_per_s"


@dataclass(frozen=True, kw_only=True, slots=True)
class DataLoadingSettings:
    """What a suite may choose."""

    batch: int = 32
    """Frames of a batch, drawn at random from the part."""
    windows: int = 10
    """Timed windows."""
    window_s: float = 0.2
    """Target length of a window, s."""
    seed: int = 0
    """Of the batches."""

    def __post_init__(self) -> None:
        """Check every number."""
        if self.batch < 1 or self.windows < 1 or not self.window_s > 0:
            raise EvaluationError(
                f"batch = {self.batch}, windows = {self.windows}, window_s = "
                f"{self.window_s}; expected positive numbers."
            )


MODES = {
    "smoke": DataLoadingSettings(windows=5, window_s=0.05),
    "standard": DataLoadingSettings(),
    "full": DataLoadingSettings(windows=30, window_s=1.0),
}

NBATCHES = 256
"""Batches that take turns, so that none is asked for twice in a row."""


def predict(evaluator: AbstractEvaluator, job: Job) -> Kept:
    """Read random batches into one buffer, files warm; the model has no part in it."""
    settings: DataLoadingSettings = job.settings
    part = job.part
    if part is None:
        raise EvaluationError(
            "data_loading: is given no frames; expected a part of a dataset. Name one "
            "with --dataset."
        )
    begin = time.perf_counter()
    rng = np.random.default_rng(settings.seed)
    chosen = rng.integers(0, len(part.indices), (NBATCHES, settings.batch))
    batches = part.indices[chosen]
    buffer, turn = FrameBuffer(), [0]
    part.version.read(np.unique(batches))  # warms the files up

    def step() -> None:
        turn[0] += 1
        part.version.read(batches[turn[0] % NBATCHES], buffer)

    case = Case(name="batch", step=step)
    (found,) = measure([case], window_s=settings.window_s, repeats=settings.windows)
    natoms = float(part.version.natoms[part.indices].mean())
    return Kept(
        arrays={"seconds": np.array(found.samples)},
        facts={"frames": len(part.indices), "atoms_per_frame": round(natoms, 3)},
        wall_time_s=round(time.perf_counter() - begin, 3),
    )


def score(kept: Kept, job: Job) -> TaskResult:
    """Turn seconds of a batch into frames a second."""
    settings: DataLoadingSettings = job.settings
    rates = (settings.batch / kept.arrays["seconds"]).tolist()
    summary = spread(rates)
    return TaskResult(
        task="data_loading",
        code="",
        status="ok",
        protocol={
            **to_mapping(settings),
            "files": "warm: read once before",
            "threads": 1,
            "interval_over": "windows of one process",
        },
        metrics=(
            metric_value(
                METRIC,
                summary.median,
                n=len(rates),
                interval=(summary.ci_low, summary.ci_high),
            ),
        ),
        samples={"frames_per_s": rates, **kept.facts},
        wall_time_s=kept.wall_time_s,
    )


def cost(settings: DataLoadingSettings) -> float:
    """Force evaluations: none."""
    return 0.0


TASK = Task(
    name="data_loading",
    title="Data loading",
    settings=DataLoadingSettings,
    modes=MODES,
    predict=predict,
    score=score,
    cost=cost,
    sources=("dpbench.eval.tasks.data_loading", "dpbench.eval.timing"),
)
