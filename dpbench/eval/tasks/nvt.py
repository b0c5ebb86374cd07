"""Task ``nvt``: does the model move as the ab initio runs do?"""

import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpbench.eval.evaluator import AbstractEvaluator
from dpbench.eval.motion.running import make_runs
from dpbench.eval.tasks.kept import Kept
from dpbench.eval.tasks.nvt_scoring import score
from dpbench.eval.tasks.nvt_settings import (
    MODES,
    NvtSettings,
    chosen_references,
    clock_of,
    plan_of,
    start_of,
)
from dpbench.eval.tasks.task import Job, Task


def predict(evaluator: AbstractEvaluator, job: Job) -> Kept:
    """Run the model from, at and as long as each reference."""
    begin = time.perf_counter()
    settings: NvtSettings = job.settings
    references, _ = chosen_references(job)
    arrays: dict[str, NDArray[Any]] = {}
    systems = []
    for number, reference in enumerate(references):
        job.say(f"nvt {number + 1}/{len(references)}: {reference.formula}")
        clock, plan = clock_of(reference, settings), plan_of(reference, settings)
        runs = make_runs(evaluator, start_of(reference), plan)
        late = slice(clock.equilibration, None)
        arrays[f"coord_{number}"] = runs.values["coord"][:, late].astype(np.float32)
        for name in ("virial", "temperature"):
            arrays[f"{name}_{number}"] = runs.values[name][:, late]
        systems.append(
            {
                "source": reference.source,
                "formula": reference.formula,
                "natoms": len(reference.z),
                "timestep_fs": clock.timestep,
                "interval_fs": clock.interval,
                "steps": plan.steps,
                "runs": runs.endings,
            }
        )
    return Kept(
        arrays=arrays,
        facts={"systems": systems},
        wall_time_s=round(time.perf_counter() - begin, 3),
    )


def cost(settings: NvtSettings) -> float:
    """Atoms times steps of all runs, for references of 64 atoms 1 fs apart."""
    steps = settings.nframes + settings.equilibration
    return float(settings.ntrajectories * len(settings.seeds) * steps * 64)


TASK = Task(
    name="nvt",
    title="Observables (NVT)",
    settings=NvtSettings,
    modes=MODES,
    predict=predict,
    score=score,
    cost=cost,
    sources=(
        "dpbench.eval.tasks.nvt",
        "dpbench.eval.tasks.nvt_scoring",
        "dpbench.eval.tasks.nvt_settings",
        "dpbench.eval.motion.andersen",
        "dpbench.eval.motion.fields",
        "dpbench.eval.motion.observed",
        "dpbench.eval.motion.references",
        "dpbench.eval.motion.replicas",
        "dpbench.eval.motion.running",
        "dpbench.eval.motion.starts",
        "dpbench.eval.motion.summary",
        "dpbench.eval.motion.watching",
        "dpbench.metrics.adf",
        "dpbench.metrics.diffusion",
        "dpbench.metrics.equipartition",
        "dpbench.metrics.periodic",
        "dpbench.metrics.pressure",
        "dpbench.metrics.rdf",
        "dpbench.metrics.vdos",
        "dpbench.metrics.wasserstein",
    ),
)
