"""All tasks by name."""

from dpbench.errors import EvaluationError
from dpbench.eval.tasks import (
    data_loading,
    dft_speedup,
    elastic,
    eos,
    md_throughput,
    nve,
    nvt,
    phonons,
    ramps,
    relaxation,
    scaling,
    size_transfer,
    smoothness,
    training_time,
    vacancy,
)
from dpbench.eval.tasks.task import Task

TASKS: dict[str, Task] = {
    nve.TASK.name: nve.TASK,
    nvt.TASK.name: nvt.TASK,
    ramps.TASK.name: ramps.TASK,
    eos.TASK.name: eos.TASK,
    elastic.TASK.name: elastic.TASK,
    phonons.TASK.name: phonons.TASK,
    vacancy.TASK.name: vacancy.TASK,
    relaxation.TASK.name: relaxation.TASK,
    size_transfer.TASK.name: size_transfer.TASK,
    smoothness.TASK.name: smoothness.TASK,
    md_throughput.TASK.name: md_throughput.TASK,
    scaling.TASK.name: scaling.TASK,
    dft_speedup.TASK.name: dft_speedup.TASK,
    data_loading.TASK.name: data_loading.TASK,
    training_time.TASK.name: training_time.TASK,
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
