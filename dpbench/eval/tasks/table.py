"""All tasks by name."""

from dpbench.errors import EvaluationError
from dpbench.eval.tasks import nve
from dpbench.eval.tasks.task import Task

TASKS: dict[str, Task] = {
    nve.TASK.name: nve.TASK,
}
"""Name -> task, in the order of reports."""


def task_of(name: str) -> Task:
    """Find a task.

    Raises:
        EvaluationError: If there is none of this name.
    """
    if name not in TASKS:
        raise EvaluationError(
            f"task '{name}': is unknown; expected one of {', '.join(TASKS)}."
        )
    return TASKS[name]
