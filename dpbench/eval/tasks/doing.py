"""Doing a task: ask the model, keep its answers, score them, name the code."""

import hashlib
import importlib.util
import time
from dataclasses import replace
from pathlib import Path

from dpbench.config import to_mapping
from dpbench.errors import EvaluationError, ModelError, SimulationError
from dpbench.eval.evaluator import AbstractEvaluator
from dpbench.eval.task_results import PredictionFile, TaskResult
from dpbench.eval.tasks.kept import keep_answers, load_answers
from dpbench.eval.tasks.task import Job, Task

SETTINGS = "settings"
"""Key of a protocol: all settings of the task, so that it can be done again."""


def do_task(task: Task, evaluator: AbstractEvaluator, job: Job) -> TaskResult:
    """Do both stages of a task.

    Args:
        task: The task.
        evaluator: The model on its backend.
        job: Frames, settings and references.

    Returns:
        The result. A model that gives out is a result, too: its status is ``failed``
        and its reason says why.

    Raises:
        BackendError: If the backend fails: that says nothing of the model.
        EvaluationError: If the job lacks what the task needs.
        WorkspaceError: If the answers cannot be written.
    """
    begin = time.perf_counter()
    code = code_digest(task.sources)
    try:
        kept = task.predict(evaluator, job)
    except (ModelError, SimulationError) as error:
        return TaskResult(
            task=task.name,
            code=code,
            status="failed",
            reason=" ".join(str(error).split()),
            protocol=to_mapping(job.settings),
            wall_time_s=round(time.perf_counter() - begin, 3),
        )
    file = keep_answers(job.workspace, kept)
    return _completed(task.score(kept, job), job, code=code, kept=file)


def score_again(task: Task, result: TaskResult, job: Job) -> TaskResult:
    """Repeat the cheap stage from the answers that a result was scored from.

    Raises:
        EvaluationError: If nothing was kept, or it is missing or damaged.
    """
    if result.kept is None:
        raise EvaluationError(
            f"task '{result.task}': kept no answers ({result.reason or 'no reason'}); "
            "expected some to score. Evaluate the model again."
        )
    kept = load_answers(job.workspace, result.kept)
    scored = task.score(kept, job)
    code = code_digest(task.sources)
    return _completed(scored, job, code=code, kept=result.kept)


def _completed(
    scored: TaskResult, job: Job, *, code: str, kept: PredictionFile
) -> TaskResult:
    """Add what every task tells: its settings, its code, its answers."""
    told = {**scored.protocol, SETTINGS: to_mapping(job.settings)}
    return replace(scored, protocol=told, code=code, kept=kept)


def code_digest(modules: tuple[str, ...]) -> str:
    """Digest the source of some modules, whatever order they are named in.

    Raises:
        EvaluationError: If one has no source.
    """
    digest = hashlib.sha256()
    for name in sorted(set(modules)):
        source = hashlib.sha256(_source(name)).hexdigest()
        digest.update(f"{name} {source}\n".encode())
    return f"sha256:{digest.hexdigest()}"


def _source(module: str) -> bytes:
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        raise EvaluationError(
            f"module {module}: has no source; expected the file that decides a task's "
            "numbers. Mend the 'sources' of the task."
        )
    return Path(spec.origin).read_bytes()
