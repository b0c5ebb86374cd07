"""Many tasks at once: in this process, in processes of this machine, or by Dask.

A task is a small picklable value and is done by a function of a module. A process that
dies costs its task alone. Processes are told to end when this one is gone, and take
the programs they started with them, so that nothing writes behind the back of a loop
that was killed and started again.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar, final

from dpbench.cores import available_cores
from dpbench.errors import ConfigError, DpbenchError, WorkspaceError
from dpbench.explore.worker_process import LocalWorkers
from dpbench.explore.worker_process import TaskDied as TaskDied

Task = TypeVar("Task")
Result = TypeVar("Result")


@dataclass(frozen=True, kw_only=True, slots=True)
class Resources:
    """Section ``[resources]``: where the tasks of a stage run."""

    workers: int | None = None
    """Processes of this machine; 0 = none but this one; None = as many as the cores
    allow with ``threads`` each."""
    threads: int = 1
    """Threads of each process. They decide the order of sums, hence the last bits."""
    scheduler: str | None = None
    """Address or scheduler file of a running Dask cluster; None = this machine."""

    def __post_init__(self) -> None:
        """Check the numbers."""
        if self.workers is not None and self.workers < 0:
            raise ConfigError(f"workers = {self.workers}; expected 0 or more.")
        if self.threads < 1:
            raise ConfigError(f"threads = {self.threads}; expected 1 or more.")
        if self.workers is not None and self.scheduler is not None:
            raise ConfigError(
                "workers and scheduler: both given; expected one of them. A cluster "
                "has as many workers as were started for it."
            )

    @property
    def count(self) -> int:
        """Processes on this machine; 0 = none but this one."""
        if self.workers is not None:
            return self.workers
        return max(1, available_cores() // self.threads)


class Crew(Protocol):
    """What runs tasks, wherever that is; kept open from stage to stage."""

    def run(
        self,
        function: Callable[[Task], Result],
        tasks: Sequence[Task],
        *,
        cores: int | None = None,
    ) -> Iterator[tuple[int, Result | TaskDied]]:
        """Run every task and yield (position, result) as they come."""

    def check_reach(self, folder: Path) -> None:
        """Raise WorkspaceError if a worker does not see a folder."""

    def close(self) -> None:
        """End every process and connection."""


def spread(
    function: Callable[[Task], Result],
    tasks: Sequence[Task],
    *,
    resources: Resources,
    crew: Crew | None = None,
    cores: int | None = None,
) -> Iterator[tuple[int, Result | TaskDied]]:
    """Do tasks, several at a time, and yield their results as they come.

    Args:
        function: Of a module, so that other processes can import it.
        tasks: Picklable.
        resources: Where they run.
        crew: Processes that run already; None = new ones, ended after the last task.
        cores: That one task keeps busy, where it is not ``resources.threads``: fewer
            run at a time on this machine.

    Yields:
        (position of the task, its result), or a ``TaskDied`` where its process died or
        the function raised a ``DpbenchError``. Anything else that it raises is a bug,
        and rises here.

    Raises:
        ConfigError: If a Dask cluster cannot be used.
        WorkspaceError: If a task could not write.
    """
    if crew is not None:
        yield from crew.run(function, tasks, cores=cores)
        return
    with hired(resources) as own:
        yield from own.run(function, tasks, cores=cores)


@contextmanager
def hired(resources: Resources) -> Iterator[Crew]:
    """Hold what runs tasks, for several calls of ``spread``.

    Raises:
        ConfigError: If a Dask cluster cannot be used.
    """
    with closing(_crew(resources)) as crew:
        yield crew


def _crew(resources: Resources) -> Crew:
    if resources.scheduler is not None:
        # Imported here: distributed takes half a second, and one machine needs none.
        from dpbench.explore.spread_cluster import ClusterWorkers

        return ClusterWorkers(resources.scheduler)
    if resources.count == 0:
        return InThisProcess()
    return LocalWorkers(resources.count, threads=resources.threads)


@final
class InThisProcess:
    """Does tasks here, one after the other."""

    def run(
        self,
        function: Callable[[Task], Result],
        tasks: Sequence[Task],
        *,
        cores: int | None = None,
    ) -> Iterator[tuple[int, Result | TaskDied]]:
        """Do every task in order."""
        del cores  # one at a time
        for number, task in enumerate(tasks):
            try:
                result: Result | TaskDied = function(task)
            except WorkspaceError:
                raise  # no task can go on, and none is to blame
            except DpbenchError as error:
                result = TaskDied(reason=str(error), is_crash=False)
            yield number, result

    def check_reach(self, folder: Path) -> None:
        """Do nothing: this process sees it."""

    def close(self) -> None:
        """Do nothing: this process goes on."""
