"""A task that costs nothing: it counts how often it is asked."""

import os
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dpbench.errors import BackendError, ModelError
from dpbench.eval.task_results import TaskResult
from dpbench.eval.tasks.kept import Kept
from dpbench.eval.tasks.table import TASKS
from dpbench.eval.tasks.task import Task
from dpbench.metrics.definitions import metric_value

METRIC = "force_mae_component_mev_per_ang"


@dataclass(frozen=True, kw_only=True, slots=True)
class FakeSettings:
    """What a suite may choose."""

    seed: int = 1
    """Added to the answer."""
    fails: str = ""
    """``model`` or ``backend``: what gives out."""
    calls: str = ""
    """File that each call adds a line to."""
    waits: str = ""
    """File that the first call to find it missing makes, with its process id in it; it
    then waits to be killed."""


def predict(evaluator, job):
    if job.settings.calls:
        with Path(job.settings.calls).open("a", encoding="utf-8") as file:
            file.write(f"{job.part.name} {job.settings.seed}\n")
    if job.settings.waits:
        _wait_to_be_killed(Path(job.settings.waits))
    if job.settings.fails == "model":
        raise ModelError("m.pth: the net\nbroke; expected it whole.")
    if job.settings.fails == "backend":
        raise BackendError("worker: gone; expected it there.")
    frame = job.part.version.read([int(job.part.indices[0])])
    force = evaluator.predict(frame).force
    return Kept(arrays={"force": force}, facts={"seed": job.settings.seed})


def _wait_to_be_killed(path):
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(str(os.getpid()))
    except FileExistsError:
        return
    time.sleep(600)


def score(kept, job):
    found = float(np.abs(kept.arrays["force"]).mean()) + kept.facts["seed"]
    return TaskResult(
        task="fake",
        code="",
        status="ok",
        metrics=(metric_value(METRIC, found, n=1),),
        wall_time_s=kept.wall_time_s,
    )


FAKE = Task(
    name="fake",
    title="Fake",
    settings=FakeSettings,
    modes={
        "smoke": FakeSettings(),
        "standard": FakeSettings(seed=2),
        "full": FakeSettings(seed=3),
    },
    predict=predict,
    score=score,
    cost=lambda settings: 10.0 * settings.seed,
    sources=("dpbench.eval.tasks.kept",),
)


def dask_setup(worker):
    """Make the task known to a Dask worker that preloads this file."""
    TASKS[FAKE.name] = FAKE
