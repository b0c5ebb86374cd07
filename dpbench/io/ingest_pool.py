"""Running the tasks of an ingest: in reader processes of this machine, or here.

The processes are light, and the first starts while the sources are still being looked
for. Threads of this process each hand bundles to one of them.
"""

from collections.abc import Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from pathlib import Path
from queue import SimpleQueue
from typing import Protocol, final

from dpbench.cores import available_cores
from dpbench.io.ingest_plan import Bundle, PlannedSource, ReaderTable
from dpbench.io.ingest_task import TaskResult, run_task
from dpbench.io.limits import ReaderLimits, limited
from dpbench.io.reader_process import ReaderProcess

WORTH_A_PROCESS = 32_000_000
"""Bytes; with less for each, starting another process takes longer than it saves."""

Numbered = tuple[tuple[int, ...], TaskResult]
"""Position of a task in the order of the version, and its result."""


class Engine(Protocol):
    """What runs bundles, wherever that is."""

    def count_for(self, sources: Sequence[PlannedSource]) -> int:
        """Return how many bundles will run at the same time."""

    def run(
        self, tasks: Sequence[Bundle], staging: Path, readers: ReaderTable | None
    ) -> Generator[Numbered, None, None]:
        """Run every task and yield results as they come.

        Args:
            tasks: Bundles in the order of the version.
            staging: Where segments are written.
            readers: Reader by format; None = the reader table.
        """

    def close(self) -> None:
        """End every process and connection."""


@final
class InThisProcess:
    """Runs bundles here, where a crash of a reader ends all: for debugging."""

    def __init__(self, limits: ReaderLimits) -> None:
        """Remember the limits; that of memory does not hold here."""
        self._limits = limits

    def count_for(self, sources: Sequence[PlannedSource]) -> int:
        """Return 0: no process but this one."""
        del sources
        return 0

    def run(
        self, tasks: Sequence[Bundle], staging: Path, readers: ReaderTable | None
    ) -> Generator[Numbered, None, None]:
        """Run every task in order."""
        for number, task in enumerate(tasks):
            with limited(self._limits):
                result = run_task(task, staging, readers)
            yield (number,), result

    def close(self) -> None:
        """Do nothing: this process goes on."""


@final
class LocalProcesses:
    """Reader processes on this machine."""

    def __init__(self, limits: ReaderLimits, *, workers: int | None) -> None:
        """Start the first process, or all that were asked for.

        They import what readers need while sources are looked for and hashed.

        Args:
            limits: What each source may cost.
            workers: Processes; None = chosen by size.
        """
        self._wanted = workers
        self._limits = limits.shared_by(workers or available_cores())
        self._all = [ReaderProcess(self._limits) for _ in range(workers or 1)]
        for process in self._all:
            process.start()

    def count_for(self, sources: Sequence[PlannedSource]) -> int:
        """Return as many as were asked for, else as are worth it; start them."""
        count = self._wanted or worthwhile(sources)
        while len(self._all) < min(count, len(sources)):
            self._all.append(ReaderProcess(self._limits))
            self._all[-1].start()
        return count

    def run(
        self, tasks: Sequence[Bundle], staging: Path, readers: ReaderTable | None
    ) -> Generator[Numbered, None, None]:
        """Run every task, each in whichever process is free."""
        idle: SimpleQueue[ReaderProcess] = SimpleQueue()
        for process in self._all:
            idle.put(process)

        def run_one(task: Bundle) -> list[TaskResult]:
            process = idle.get()
            try:
                return process.run(task, staging, readers)
            finally:
                idle.put(process)

        with ThreadPoolExecutor(max_workers=len(self._all)) as threads:
            waiting: dict[Future[list[TaskResult]], int] = {
                threads.submit(run_one, task): number
                for number, task in enumerate(tasks)
            }
            try:
                for future in as_completed(list(waiting)):
                    number = waiting.pop(future)
                    for part, result in enumerate(future.result()):
                        yield (number, part), result
            finally:
                threads.shutdown(wait=False, cancel_futures=True)
                if waiting:
                    for process in self._all:
                        process.stop()

    def close(self) -> None:
        """End the processes."""
        for process in self._all:
            process.close()


def worthwhile(sources: Sequence[PlannedSource]) -> int:
    """Return how many processes pay for their start, at most one a core."""
    size = sum(source.n_bytes for source in sources)
    return max(1, min(available_cores(), size // WORTH_A_PROCESS, len(sources)))
