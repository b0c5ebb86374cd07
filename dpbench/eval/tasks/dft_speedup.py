"""Task ``dft_speedup``: a model against the DFT that labelled the same frames."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dpbench.config import to_mapping
from dpbench.errors import EvaluationError
from dpbench.eval.evaluator import AbstractEvaluator
from dpbench.eval.parts import Part
from dpbench.eval.task_results import TaskResult
from dpbench.eval.tasks.kept import Kept
from dpbench.eval.tasks.task import Job, Task
from dpbench.eval.timing import Case, measure
from dpbench.io.wall_time import WallTime, dft_wall_time
from dpbench.metrics.definitions import metric_value
from dpbench.metrics.statistics import spread
from dpbench.store.files import sha256_of_file

METRIC = "speedup_over_dft"

UNTOLD = "no source of these frames tells its wall time, or none lies where it was read"


@dataclass(frozen=True, kw_only=True, slots=True)
class DftSpeedupSettings:
    """What a suite may choose."""

    nframes: int = 8
    """Frames, spread over the part."""
    windows: int = 5
    """Timed windows of each frame."""
    window_s: float = 0.2
    """Target length of a window, s."""

    def __post_init__(self) -> None:
        """Check every number."""
        if self.nframes < 1 or self.windows < 1 or not self.window_s > 0:
            raise EvaluationError(
                f"nframes = {self.nframes}, windows = {self.windows}, window_s = "
                f"{self.window_s}; expected positive numbers."
            )


MODES = {
    "smoke": DftSpeedupSettings(nframes=2, windows=3, window_s=0.05),
    "standard": DftSpeedupSettings(),
    "full": DftSpeedupSettings(nframes=32, window_s=1.0),
}


def predict(evaluator: AbstractEvaluator, job: Job) -> Kept:
    """Time single frames with their neighbour search; read what their DFT took."""
    settings: DftSpeedupSettings = job.settings
    part = job.part
    if part is None:
        raise EvaluationError(
            "dft_speedup: is given no frames; expected a part of a dataset, whose "
            "sources tell how long DFT took. Name one with --dataset."
        )
    begin = time.perf_counter()
    count = min(settings.nframes, len(part.indices))
    places = np.linspace(0, len(part.indices) - 1, count).astype(np.int64)
    chosen = np.unique(part.indices[places])
    walls = [_wall_of(part, int(index)) for index in chosen]
    kept: list[dict[str, Any]] = []
    for index, wall in zip(chosen.tolist(), walls, strict=True):
        if wall is None:
            continue
        frame = part.version.read([index])
        job.say(f"timing frame {index} of {part.version.label}")
        case = Case(
            name="frame",
            step=lambda frame=frame: evaluator.forward(frame),  # type: ignore[misc]
            synchronise=evaluator.synchronise,
        )
        (found,) = measure([case], window_s=settings.window_s, repeats=settings.windows)
        kept.append(
            {
                "frame": index,
                "natoms": len(frame.z),
                "dft_s": wall[0],
                "dft_cores": wall[1],
                "model_s": list(found.samples),
            }
        )
    return Kept(
        arrays={},
        facts={"frames": kept, "asked": len(chosen)},
        wall_time_s=round(time.perf_counter() - begin, 3),
    )


def _wall_of(part: Part, index: int) -> tuple[float, int | None] | None:
    """Return the wall time of DFT per frame, s, and its cores.

    A source's time is shared by all frames that were read from it; the file must be the
    one that was ingested.
    """
    version = part.version
    source = version.sources[int(version.source_of[index])]
    path = Path(source.path)
    found: WallTime | None = dft_wall_time(path)
    if found is None or not source.n_read:
        return None
    if sha256_of_file(path) != source.sha256:
        return None
    return found.seconds / source.n_read, found.cores


def score(kept: Kept, job: Job) -> TaskResult:
    """Divide; null where no source tells its time."""
    frames = kept.facts["frames"]
    ratios = [one["dft_s"] / spread(one["model_s"]).median for one in frames]
    if ratios:
        summary = spread(ratios)
        value = metric_value(
            METRIC,
            summary.median,
            n=len(ratios),
            interval=(summary.ci_low, summary.ci_high) if len(ratios) > 1 else None,
        )
    else:
        value = metric_value(METRIC, None, n=0)
    return TaskResult(
        task="dft_speedup",
        code="",
        status="ok" if ratios else "no_reference",
        reason=None if ratios else UNTOLD,
        protocol={
            **to_mapping(job.settings),
            "dft_time": "wall time of the calculation over the frames read from it",
            "model_time": "neighbour search and evaluation of one frame",
            "cores": "not divided out; samples tell those of DFT",
        },
        metrics=(value,),
        samples={"frames": frames, "asked": kept.facts["asked"]},
        wall_time_s=kept.wall_time_s,
    )


def cost(settings: DftSpeedupSettings) -> float:
    """Atoms times steps, at a usual model's speed on one core."""
    return settings.nframes * (settings.windows + 2) * settings.window_s * 5e4


TASK = Task(
    name="dft_speedup",
    title="Speed-up over DFT",
    settings=DftSpeedupSettings,
    modes=MODES,
    predict=predict,
    score=score,
    cost=cost,
    sources=(
        "dpbench.eval.tasks.dft_speedup",
        "dpbench.eval.timing",
        "dpbench.io.wall_time",
    ),
)
