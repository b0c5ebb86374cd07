"""Scoring again the tasks that keep their answers."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dpbench.errors import ConfigError, DpbenchError, EvaluationError
from dpbench.eval.parts import Part
from dpbench.eval.record import Record
from dpbench.eval.rescoring import TOLERANCE, compare_metrics, is_close
from dpbench.eval.strict_npz import check_npz
from dpbench.eval.suite_membership import references_of, settings_of, suite_of
from dpbench.eval.suites.loading import Suite
from dpbench.eval.task_results import TaskResult
from dpbench.eval.tasks.doing import code_digest, score_again
from dpbench.eval.tasks.kept import FACTS
from dpbench.eval.tasks.table import TASKS
from dpbench.eval.tasks.task import Job, Task
from dpbench.store.workspace import Workspace

OF_THE_MACHINE = (
    "md_throughput",
    "scaling",
    "dft_speedup",
    "data_loading",
    "training_time",
)
"""Tasks whose answers are times: scoring them again shows that the sums are right, and
not that the times were."""

TROUBLE = (KeyError, IndexError, TypeError, ValueError, ArithmeticError)
"""What code that scores may raise on answers that no task gives."""


@dataclass(kw_only=True, slots=True)
class Rescored:
    """What was scored again, and what could not be."""

    done: list[str] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    """Times, whose sums were made again."""
    missing: list[str] = field(default_factory=list)


def rescore_tasks(
    workspace: Workspace,
    record: Record,
    part: Part | None,
    *,
    where: str,
    tolerance: float = TOLERANCE,
) -> Rescored:
    """Score every task of a record again from the answers that it keeps.

    Args:
        workspace: Has the answers.
        record: The record.
        part: Its frames; None where they are not here.
        where: The record, the start of every message.
        tolerance: Relative difference that is let through.

    Raises:
        EvaluationError: If a number differs, or answers are none of the task.
    """
    out = Rescored()
    for name, result in sorted(record.tasks.items()):
        task = TASKS.get(name)
        why = _why_not(workspace, task, result)
        if task is None or why:
            out.missing.append(f"task {name[:40]}: {why}")
            continue
        place = f"{where}: task {name}"
        suite = suite_of(record)
        try:
            job = _job(workspace, record, part, task=task, suite=suite)
        except ConfigError as error:
            out.missing.append(f"task {name}: {error}")
            continue
        again = _scored(task, result, job, place)
        if again.status != result.status:
            raise EvaluationError(
                f"{place} is '{result.status}'; scoring its answers again gives "
                f"'{again.status}'."
            )
        compare_metrics(result.metrics, again.metrics, where=place, tolerance=tolerance)
        for what in ("samples", "protocol"):
            told, found = (plain_values(getattr(r, what)) for r in (result, again))
            if not is_same(told, found, tolerance):
                raise EvaluationError(
                    f"{place}: its {what} are not those of its answers; expected them "
                    "to be. What is shown from them would be something else."
                )
        if name in OF_THE_MACHINE:
            out.told.append(f"sums of task {name}")
        else:
            out.done.append(f"task {name} from its answers")
    return out


def plain_values(value: Any) -> Any:
    """Turn values into what JSON keeps of them: lists, and null for no number."""
    if isinstance(value, Mapping):
        return {str(key): plain_values(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain_values(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def is_same(a: Any, b: Any, tolerance: float) -> bool:
    """Whether two trees of plain values are level, numbers within a tolerance."""
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(
            is_same(a[key], b[key], tolerance) for key in a
        )
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(
            is_same(x, y, tolerance) for x, y in zip(a, b, strict=True)
        )
    numbers = (int, float)
    if isinstance(a, numbers) and isinstance(b, numbers):
        return is_close(float(a), float(b), tolerance)
    return type(a) is type(b) and bool(a == b)


def _why_not(workspace: Workspace, task: Task | None, result: TaskResult) -> str:
    if task is None:
        return "is unknown here"
    if result.kept is None:
        return "kept no answers"
    if result.code != code_digest(task.sources):
        return "was scored by other code than is here"
    if not (workspace.root / result.kept.path).exists():
        return "its answers are not here"
    return ""


def _job(
    workspace: Workspace,
    record: Record,
    part: Part | None,
    *,
    task: Task,
    suite: Suite | None,
) -> Job:
    """Set up the task as it was done, from what the record says of its protocol."""
    return Job(
        workspace=workspace,
        part=part,
        settings=settings_of(task, record.tasks[task.name]),
        references=references_of(suite, record, task.name),
        provenance=record.provenance.run or {},
    )


def _scored(task: Task, result: TaskResult, job: Job, where: str) -> TaskResult:
    """Score kept answers that may be hostile."""
    if result.kept is None:
        raise EvaluationError(f"{where}: kept no answers; expected some.")
    data = (job.workspace.root / result.kept.path).read_bytes()
    shapes = check_npz(data, where=where)
    if FACTS not in shapes:
        raise EvaluationError(f"{where}: its answers tell no facts; expected some.")
    try:
        return score_again(task, result, job)
    except DpbenchError:
        raise
    except TROUBLE as error:
        found = " ".join(str(error).split())[:200]
        raise EvaluationError(
            f"{where}: its answers cannot be scored ({type(error).__name__}: {found}); "
            "expected those that the task keeps."
        ) from error
