"""Task ``md_throughput``: ladders of sizes in processes of their own.

The engine is that of ``dpbench bench throughput``, which measures several
configurations side by side; here it is one, so nothing takes turns.
"""

import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from dpbench.config import from_mapping, to_mapping
from dpbench.eval.evaluator import AbstractEvaluator
from dpbench.eval.speed import machine, reporting
from dpbench.eval.speed.measuring import measure_ladders
from dpbench.eval.speed.of_evaluator import configuration_of
from dpbench.eval.speed.reporting import SOURCES, task_result
from dpbench.eval.speed.results import Ladders
from dpbench.eval.speed.settings import MODES, SpeedSettings
from dpbench.eval.task_results import TaskResult
from dpbench.eval.tasks.kept import Kept
from dpbench.eval.tasks.task import Job, Task

ATOM_STEPS_PER_S = 5e4
"""Of a usual model on one core, to turn seconds into atoms times steps."""


def predict(evaluator: AbstractEvaluator, job: Job) -> Kept:
    """Climb the ladders with the model that is open, each size in other processes."""
    settings = replace(job.settings, threads=torch.get_num_threads())
    before = machine.conditions()
    with tempfile.TemporaryDirectory(prefix="dpbench-speed-") as folder:
        configuration = configuration_of(evaluator, job.workspace, Path(folder))
        (found,) = measure_ladders([configuration], settings, say=job.say)
    conditions = {"machine_before": before, "machine_after": machine.conditions()}
    return Kept(
        arrays={},
        facts={
            "ladders": to_mapping(found),
            "settings": to_mapping(settings),
            "conditions": conditions,
        },
        wall_time_s=found.wall_time_s,
    )


def ladders_of(facts: Mapping[str, Any]) -> tuple[Ladders, SpeedSettings]:
    """Read back what ``predict`` kept."""
    return (
        from_mapping(Ladders, facts["ladders"], where="kept ladders"),
        from_mapping(SpeedSettings, facts["settings"], where="kept settings"),
    )


def score(kept: Kept, job: Job) -> TaskResult:
    """Lay out times; the headline is that of the reference size."""
    ladders, settings = ladders_of(kept.facts)
    return task_result(settings, ladders, conditions=kept.facts["conditions"])


def cost(settings: SpeedSettings) -> float:
    """Atoms times steps: windows last as long as asked, whatever a step takes."""
    cases = len(settings.families) * len(settings.sizes) * settings.processes
    windows = len(settings.levels) * (settings.windows + 2)
    return cases * windows * settings.window_s * ATOM_STEPS_PER_S


TASK = Task(
    name=reporting.TASK,
    title="Throughput",
    settings=SpeedSettings,
    modes=MODES,
    predict=predict,
    score=score,
    cost=cost,
    sources=(*SOURCES, "dpbench.eval.tasks.md_throughput"),
)
