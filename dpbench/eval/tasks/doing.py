"""Doing a task: ask the model, keep its answers, score them, name the code."""

import ast
import hashlib
import importlib.util
import io
import time
import tokenize
from dataclasses import replace
from functools import cache
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
    """Digest the code of some modules, whatever order they are named in.

    Comments, docstrings and blank lines do not enter: they move no number.

    Raises:
        EvaluationError: If one has no source.
    """
    digest = hashlib.sha256()
    for name in sorted(set(modules)):
        digest.update(f"{name} {_code_of(name)}\n".encode())
    return f"sha256:{digest.hexdigest()}"


@cache
def _code_of(module: str) -> str:
    """Digest one module, once a process: many tasks and units share modules."""
    return hashlib.sha256(bare_code(_source(module)).encode()).hexdigest()


def bare_code(source: str) -> str:
    """Take comments, docstrings and blank lines out of a module's source.

    The text that is left, and not a tree of it, which other Pythons write otherwise.
    """
    lines = source.splitlines()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            first, last = node.lineno - 1, node.end_lineno or node.lineno
            lines[first:last] = [""] * (last - first)
    return "\n".join(line.rstrip() for line in lines if line.strip())


def _source(module: str) -> str:
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        raise EvaluationError(
            f"module {module}: has no source; expected the file that decides a task's "
            "numbers. Mend the 'sources' of the task."
        )
    return Path(spec.origin).read_text(encoding="utf-8")
