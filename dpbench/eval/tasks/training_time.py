"""Task ``training_time``: time and steps of training to a target accuracy.

Nothing is trained: the learning curve that the run left in the workspace is read.
"""

import csv
from dataclasses import dataclass
from typing import Any

from dpbench.config import to_mapping
from dpbench.errors import EvaluationError
from dpbench.eval.evaluator import AbstractEvaluator
from dpbench.eval.task_results import TaskResult
from dpbench.eval.tasks.kept import Kept
from dpbench.eval.tasks.task import Job, Task
from dpbench.metrics.definitions import metric_value
from dpbench.store.workspace import Workspace
from dpbench.train.history import CURVE_FILE

TIME, STEPS = "training_time_to_target_s", "training_steps_to_target"

MOST_ROWS = 2000
"""Rows of a curve that a record keeps, evenly spread."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingTimeSettings:
    """What a suite may choose."""

    target: float = 0.1
    """Force RMSE per component on the run's own validation frames, eV/Å."""

    def __post_init__(self) -> None:
        """Check the target."""
        if not self.target > 0:
            raise EvaluationError(
                f"target = {self.target} eV/Å; expected a positive number."
            )


MODES = dict.fromkeys(("smoke", "standard", "full"), TrainingTimeSettings())
"""The same in all: reading a file costs nothing."""


def predict(evaluator: AbstractEvaluator, job: Job) -> Kept:
    """Read the learning curve of the run that made the model."""
    told = job.provenance
    run = str(told.get("run_id") or "")
    rows = read_curve(job.workspace, run) if run else []
    facts = {
        "run_id": run or None,
        "rows": rows,
        "wall_time_s": told.get("wall_time_s"),
        "steps": told.get("steps"),
        "threads": told.get("threads"),
        "device": told.get("device"),
        "seed": told.get("seed"),
    }
    return Kept(arrays={}, facts=facts)


def read_curve(workspace: Workspace, run: str) -> list[dict[str, float]]:
    """Read step, seconds and force RMSE of each validation; empty without a curve."""
    if run != run.replace("/", "").replace("\\", "") or run.startswith("."):
        return []  # no name of a run
    path = workspace.root / "runs" / run / CURVE_FILE
    found = []
    try:
        with path.open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                values = [row.get(k) or "" for k in ("step", "wall_time", _FORCE)]
                if all(values):
                    step, seconds, force = map(float, values)
                    found.append({"step": step, "seconds": seconds, "force": force})
    except (OSError, ValueError, csv.Error):
        return []
    return found


_FORCE = "rmse_f_validation"


def score(kept: Kept, job: Job) -> TaskResult:
    """Find when the target was first reached; null where it never was."""
    settings: TrainingTimeSettings = job.settings
    rows: list[dict[str, float]] = kept.facts["rows"]
    hit = next((row for row in rows if row["force"] <= settings.target), None)
    status: Any = "ok"
    reason = None
    if not rows:
        status = "no_reference"
        reason = "the workspace has no learning curve of the run that made the model"
    elif hit is None:
        best = min(row["force"] for row in rows)
        reason = f"the target was not reached: {best:.4g} eV/Å at best"
    stride = -(-len(rows) // MOST_ROWS) or 1
    return TaskResult(
        task="training_time",
        code="",
        status=status,
        reason=reason,
        protocol={
            **to_mapping(settings),
            "target_is": "force RMSE per component on validation frames, eV/Å",
            "clock": "training alone, over all sessions; start-up is not in it",
        },
        metrics=(
            metric_value(TIME, None if hit is None else hit["seconds"], n=len(rows)),
            metric_value(STEPS, None if hit is None else hit["step"], n=len(rows)),
        ),
        samples={**kept.facts, "rows": rows[::stride]},
    )


def cost(settings: TrainingTimeSettings) -> float:
    """Force evaluations: none."""
    return 0.0


TASK = Task(
    name="training_time",
    title="Training time",
    settings=TrainingTimeSettings,
    modes=MODES,
    predict=predict,
    score=score,
    cost=cost,
    sources=("dpbench.eval.tasks.training_time",),
)
