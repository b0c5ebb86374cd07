"""Whether a record is what the suite that it names asks for."""

import re
from pathlib import Path
from typing import Any

from dpbench.config import from_mapping
from dpbench.errors import ConfigError, EvaluationError
from dpbench.eval.options import DEFAULT_TASKS
from dpbench.eval.record import Record
from dpbench.eval.suites.format import SuiteTask
from dpbench.eval.suites.loading import Suite, load_suite
from dpbench.eval.task_results import TaskResult
from dpbench.eval.tasks.doing import SETTINGS
from dpbench.eval.tasks.table import TASKS
from dpbench.eval.tasks.task import Task

LABEL = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*-v[1-9][0-9]{0,5}")
"""Form of a suite's label; whatever else a record says is no path to open."""


def suite_of(record: Record) -> Suite | None:
    """Load the suite that a record names; None without one, or where it is not here.

    Raises:
        EvaluationError: If the suite here has another digest.
    """
    if record.suite is None or LABEL.fullmatch(record.suite) is None:
        return None
    try:
        suite = load_suite(record.suite)
    except ConfigError:
        return None
    if record.suite_digest != suite.digest:
        raise EvaluationError(
            f"suite {record.suite}: the record was made with "
            f"{str(record.suite_digest)[:19]}; this dpbench has {suite.digest[:19]}. A "
            "published suite never changes: one of the two files was."
        )
    return suite


def check_membership(record: Record, suite: Suite, *, where: str) -> None:
    """Check that data, part and settings of a record are those of a suite.

    Raises:
        EvaluationError: If the suite asks for no such thing.
    """
    own = [name for name in DEFAULT_TASKS if getattr(record, name) is not None]
    for name in (*own, *sorted(record.tasks)):
        units = units_of(suite, record, name)
        if not units:
            raise EvaluationError(
                f"{where}: {name} on {record.dataset.label}:{record.part} is no part "
                f"of {suite.label}; expected its data, split and part."
            )
        if not any(_is_as_asked(record, suite, unit) for unit in units):
            raise EvaluationError(
                f"{where}: {name} was done with other settings than {suite.label} asks "
                f"for in mode {record.mode}."
            )


def units_of(suite: Suite | None, record: Record, task: str) -> list[SuiteTask]:
    """Find what a suite asks of a task on the frames of a record."""
    if suite is None or record.split is None:
        return []
    found = []
    for entry in suite.file.task:
        data = suite.data(entry.data)
        if (entry.task, entry.part, data.digest, data.split.digest) == (
            task,
            record.part,
            record.dataset.digest,
            record.split.digest,
        ):
            found.append(entry)
    return found


def references_of(suite: Suite | None, record: Record, task: str) -> Path | None:
    """Return the folder of reference values that a suite gives a task."""
    for entry in units_of(suite, record, task):
        if suite is not None and entry.references:
            return suite.folder / entry.references
    return None


def settings_of(task: Task, result: TaskResult) -> Any:
    """Read the settings that a task was done with from its protocol.

    Raises:
        ConfigError: If one is none of the task's.
    """
    told: dict[str, Any] = result.protocol.get(SETTINGS, result.protocol)
    if SETTINGS not in result.protocol:  # a task that failed tells nothing else
        told = {k: v for k, v in told.items() if k in task.settings.__annotations__}
    found: Any = from_mapping(task.settings, told, where=f"protocol of {task.name}")
    return found


def _is_as_asked(record: Record, suite: Suite, unit: SuiteTask) -> bool:
    asked = suite.settings(unit, record.mode)
    if unit.task == "stability" and record.stability is not None:
        protocol = record.stability.protocol
        seeds = tuple(run.seed for run in record.stability.runs)
        done = (protocol.steps, protocol.temperature, seeds)
        return done == (asked.steps, asked.temperature, tuple(asked.seeds))
    task = TASKS.get(unit.task)
    if task is None or unit.task not in record.tasks:
        return True
    try:
        return bool(settings_of(task, record.tasks[unit.task]) == asked)
    except ConfigError:
        return False
