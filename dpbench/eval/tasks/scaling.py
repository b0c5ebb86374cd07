"""Task ``scaling``: the exponent of time against atoms, with its interval."""

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from dpbench.config import to_mapping
from dpbench.errors import EvaluationError
from dpbench.eval.evaluator import AbstractEvaluator
from dpbench.eval.speed.families import FAMILIES
from dpbench.eval.speed.measuring import measure_ladders
from dpbench.eval.speed.of_evaluator import configuration_of
from dpbench.eval.speed.reporting import SOURCES, samples_of
from dpbench.eval.speed.results import Ladder
from dpbench.eval.speed.settings import LEVELS, SpeedSettings
from dpbench.eval.task_results import TaskResult
from dpbench.eval.tasks.kept import Kept
from dpbench.eval.tasks.md_throughput import ATOM_STEPS_PER_S, ladders_of
from dpbench.eval.tasks.task import Job, Task
from dpbench.metrics.definitions import metric_value
from dpbench.metrics.scaling import Exponent, time_exponent
from dpbench.metrics.statistics import spread

METRIC = "time_exponent"


@dataclass(frozen=True, kw_only=True, slots=True)
class ScalingSettings:
    """What a suite may choose."""

    sizes: tuple[int, ...] = (4096, 8192, 16384)
    """Atoms, at least, from small to large."""
    above: int = 4096
    """Atoms; smaller sizes are measured, but do not enter the fit."""
    families: tuple[str, ...] = ("dense", "water")
    """The first that the model knows is measured."""
    processes: int = 1
    """Independent processes of each size."""
    windows: int = 3
    """Timed windows of each process."""
    window_s: float = 0.5
    """Target length of a window, s."""
    timeout_s: float = 900.0
    """A process that takes longer ends the ladder, s."""

    def __post_init__(self) -> None:
        """Check what the ladder does not check."""
        if self.above < 0:
            raise EvaluationError(f"above = {self.above}; expected 0 or more atoms.")


MODES = {
    "smoke": ScalingSettings(sizes=(64, 128, 256), window_s=0.05),
    "standard": ScalingSettings(),
    "full": ScalingSettings(
        sizes=(4096, 8192, 16384, 32768, 65536), processes=3, window_s=1.0
    ),
}
"""Settings by mode; ``smoke`` stays below the bound, so it gives no exponent."""


def predict(evaluator: AbstractEvaluator, job: Job) -> Kept:
    """Time a step of dynamics at each size."""
    wished: ScalingSettings = job.settings
    settings = SpeedSettings(
        sizes=wished.sizes,
        families=wished.families,
        levels=(LEVELS[2],),
        processes=wished.processes,
        windows=wished.windows,
        window_s=wished.window_s,
        timeout_s=wished.timeout_s,
        threads=torch.get_num_threads(),
    )
    with tempfile.TemporaryDirectory(prefix="dpbench-speed-") as folder:
        configuration = configuration_of(evaluator, job.workspace, Path(folder))
        known = [f for f in FAMILIES if f in wished.families]
        for family in known:
            one = replace(settings, families=(family,))
            (found,) = measure_ladders([configuration], one, say=job.say)
            if found.ladders[0].elements:
                break
    return Kept(
        arrays={},
        facts={"ladders": to_mapping(found), "settings": to_mapping(one)},
        wall_time_s=found.wall_time_s,
    )


def score(kept: Kept, job: Job) -> TaskResult:
    """Fit the exponent; null with the reason where the sizes allow none."""
    wished: ScalingSettings = job.settings
    ladders, _ = ladders_of(kept.facts)
    (ladder,) = ladders.ladders
    fit = _fit(ladder, wished.above)
    interval = None
    if fit.ci_low is not None and fit.ci_high is not None:
        interval = (fit.ci_low, fit.ci_high)
    ran = [rung for rung in ladder.rungs if rung.status == "ok"]
    return TaskResult(
        task="scaling",
        code="",
        status="ok" if ran else "failed",
        reason=fit.reason or (None if ran else "no size of any family ran"),
        protocol={
            **to_mapping(wished),
            "family": ladder.family,
            "elements": list(ladder.elements),
            "engine": ladders.engine,
        },
        metrics=(metric_value(METRIC, fit.value, n=len(fit.sizes), interval=interval),),
        samples=samples_of(ladders),
        wall_time_s=kept.wall_time_s,
    )


def _fit(ladder: Ladder, above: int) -> Exponent:
    """Fit over what ran; processes are what is independent."""
    ran = [rung for rung in ladder.rungs if rung.status == "ok"]
    samples = []
    for rung in ran:
        level = rung.levels[LEVELS[2]]
        medians = [spread(windows).median for windows in level.samples]
        samples.append(medians if len(medians) > 1 else list(level.samples[0]))
    return time_exponent([rung.natoms for rung in ran], samples, above=above)


def cost(settings: ScalingSettings) -> float:
    """Atoms times steps; large sizes make one step a window."""
    steps = settings.processes * (settings.windows + 2)
    each = max(settings.window_s * ATOM_STEPS_PER_S, 1.0)
    return float(sum(max(size, each) * steps for size in settings.sizes))


TASK = Task(
    name="scaling",
    title="Scaling with size",
    settings=ScalingSettings,
    modes=MODES,
    predict=predict,
    score=score,
    cost=cost,
    sources=(*SOURCES, "dpbench.eval.tasks.scaling", "dpbench.metrics.scaling"),
)
