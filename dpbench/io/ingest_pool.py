"""Running the tasks of an ingest, here or in Dask worker processes."""

import logging
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from dpbench.cores import available_cores
from dpbench.io.ingest_plan import Bundle, PlannedSource, ReaderTable
from dpbench.io.ingest_task import TaskResult, failure, run_task

if TYPE_CHECKING:
    from distributed import LocalCluster

SMALL_BYTES = 128_000_000
"""Below this size, parsing here is done about when worker processes have started."""

Numbered = tuple[tuple[int, ...], TaskResult]
"""Position of a task in the order of the version, and its result."""

LOOPBACK = "127.0.0.1:0"
"""Where Dask's HTTP servers listen: this machine only, on any free port."""


def run_tasks(
    tasks: Sequence[Bundle],
    staging: Path,
    readers: ReaderTable | None,
    *,
    workers: int,
) -> Iterator[Numbered]:
    """Run every task and yield results as they come.

    Args:
        tasks: Bundles in the order of the version.
        staging: Where segments are written.
        readers: Reader by format; None = the reader table.
        workers: Processes; 0 = none but this one.

    Yields:
        The task's position, and its result. A task whose worker died is taken apart,
        so that only the source that kills its reader fails.
    """
    if workers == 0 or not tasks:
        for number, task in enumerate(tasks):
            yield (number,), run_task(task, staging, readers)
        return
    with ExitStack() as stack:
        yield from _run_in_dask(
            stack, tasks, staging, readers, workers=min(workers, len(tasks))
        )


def choose_workers(sources: Sequence[PlannedSource]) -> int:
    """Return as many processes as there are cores, or none where there is little."""
    is_small = sum(source.n_bytes for source in sources) < SMALL_BYTES
    return 0 if is_small or len(sources) == 1 else available_cores()


def _run_in_dask(
    stack: ExitStack,
    tasks: Sequence[Bundle],
    staging: Path,
    readers: ReaderTable | None,
    *,
    workers: int,
) -> Iterator[Numbered]:
    # Imported here: distributed takes a second to import, and small inputs need none.
    import dask
    from distributed import Client, Future, KilledWorker, as_completed

    settings = {
        "distributed.worker.multiprocessing-method": "spawn",
        # One task a worker and no queue behind it: when a worker dies, only the task
        # that killed it is to blame.
        "distributed.scheduler.worker-saturation": 1.0,
        "distributed.scheduler.allowed-failures": 1,
        "distributed.diagnostics.nvml": False,
    }
    stack.enter_context(dask.config.set(settings))
    cluster = stack.enter_context(_start_cluster(workers, staging))
    client = stack.enter_context(Client(cluster))

    def submit(task: Bundle) -> "Future[TaskResult]":
        future: Future[TaskResult] = client.submit(
            run_task, task, staging, readers, pure=False
        )
        return future

    waiting: dict[Future[TaskResult], tuple[tuple[int, ...], Bundle]] = {
        submit(task): ((n,), task) for n, task in enumerate(tasks)
    }
    completed = as_completed(list(waiting))
    for future in completed:
        number, task = waiting.pop(future)
        error = future.exception()
        if error is None:
            yield number, future.result()
        elif not isinstance(error, KilledWorker):
            raise error
        elif len(task.sources) > 1:
            for i, single in enumerate(task.apart()):
                retry = submit(single)
                waiting[retry] = ((*number, i), single)
                completed.add(retry)
        else:
            yield number, _died(task)
        future.release()


def _start_cluster(workers: int, staging: Path) -> "LocalCluster":
    from distributed import LocalCluster

    with _children_deaf_to_interrupts():
        return LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=True,
            dashboard_address=None,
            # Even without dashboards there are HTTP servers: keep them off the network,
            # and off one fixed port, so that two ingests can run at once.
            scheduler_kwargs={"dashboard_address": LOOPBACK},
            worker_dashboard_address=LOOPBACK,
            silence_logs=logging.CRITICAL,
            memory_limit=None,
            local_directory=str(staging),
        )


@contextmanager
def _children_deaf_to_interrupts() -> Iterator[None]:
    """Start processes that leave Ctrl-C to this one, which then stops them."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may choose what a signal does
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _died(task: Bundle) -> TaskResult:
    source = task.sources[0]
    reason = (
        f"{source.path}: the process that read it died, twice (out of memory, or a "
        "crash in a reader's library); expected it to end. Read it apart with "
        "--workers 0 to see why."
    )
    return TaskResult(
        sources=(failure(source, reason),), data=None, quarantine=None, theories=()
    )
