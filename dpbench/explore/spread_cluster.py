"""Tasks on a Dask cluster that runs already; all workers must see the workspace."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar, final

from distributed import Client, Future, KilledWorker, as_completed

from dpbench.errors import DpbenchError, WorkspaceError
from dpbench.explore.worker_process import TaskDied
from dpbench.io.ingest_cluster import check_reach, connect

Task = TypeVar("Task")
Result = TypeVar("Result")


@final
class ClusterWorkers:
    """The workers of a Dask cluster."""

    def __init__(self, scheduler: str) -> None:
        """Connect; ConfigError if it cannot be reached or runs other versions."""
        self._client: Client = connect(scheduler)

    def run(
        self,
        function: Callable[[Task], Result],
        tasks: Sequence[Task],
        *,
        cores: int | None = None,
    ) -> Iterator[tuple[int, Result | TaskDied]]:
        """Run every task and yield (position, result) as they come.

        A task whose worker dies runs again on others, as often as Dask is told to. How
        many cores a worker has is up to who started it.
        """
        del cores
        waiting: dict[Future[Any], int] = {
            self._client.submit(function, task, pure=False): number
            for number, task in enumerate(tasks)
        }
        try:
            for future in as_completed(list(waiting)):
                number = waiting.pop(future)
                yield number, _result(future)
                future.release()
        finally:
            if waiting:  # left early: nobody waits for what still runs
                self._client.cancel(list(waiting))

    def check_reach(self, folder: Path) -> None:
        """Raise WorkspaceError if a worker does not see a folder."""
        check_reach(self._client, folder)

    def close(self) -> None:
        """Leave the cluster as it was."""
        self._client.close()


def _result(future: Future[Any]) -> Any:
    error = future.exception()
    if error is None:
        return future.result()
    if isinstance(error, KilledWorker):
        return TaskDied(reason="the Dask workers that did it died, one after the other")
    if isinstance(error, DpbenchError) and not isinstance(error, WorkspaceError):
        return TaskDied(reason=str(error), is_crash=False)
    raise error
