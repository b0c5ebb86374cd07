"""Running the tasks of an ingest on a Dask cluster that runs already.

Workers on any node write segments into the workspace, which all must see; this process
alone writes SQL. Each worker runs readers in a process of their own, so that one that
crashes or hangs costs one source here too.
"""

import contextlib
import logging
import sys
import uuid
import warnings
from collections.abc import Generator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, cast, final

import distributed
import numpy
from distributed import (
    Client,
    Future,
    KilledWorker,
    WorkerPlugin,
    as_completed,
    get_worker,
)
from distributed.versions import VersionMismatchWarning

import dpbench
from dpbench.errors import ConfigError, WorkspaceError
from dpbench.io.ingest_plan import Bundle, PlannedSource, ReaderTable
from dpbench.io.ingest_pool import Numbered
from dpbench.io.ingest_task import TaskResult, failure
from dpbench.io.limits import ReaderLimits
from dpbench.io.reader_process import ReaderProcess

if TYPE_CHECKING:
    from distributed import Worker

logger = logging.getLogger(__name__)

CONNECT_SECONDS = 20
"""How long the scheduler may take to answer."""

WORKER_SECONDS = 600
"""How long to wait for the first worker: batch systems queue them."""

_PROBE = "reach"
"""Begins the name of the file by which workers show that they see the workspace."""


@final
class DaskCluster:
    """A running Dask cluster, named by its scheduler."""

    def __init__(self, scheduler: str, limits: ReaderLimits) -> None:
        """Connect, wait for a first worker and compare versions.

        Args:
            scheduler: ``tcp://host:8786``, or the file that
                ``dask scheduler --scheduler-file`` writes.
            limits: What each source may cost.

        Raises:
            ConfigError: If the scheduler cannot be reached, has no worker, or its
                workers run other versions.
        """
        self._client = connect(scheduler)
        try:
            plugin = _Readers(limits, Path.cwd())
            self._plugin = plugin.name
            self._client.register_plugin(plugin)
        except BaseException:
            self._client.close()
            raise

    def count_for(self, sources: Sequence[PlannedSource]) -> int:
        """Return how many threads the workers have now."""
        del sources
        threads: dict[str, int] = self._client.nthreads()
        return max(1, sum(threads.values()))

    def run(
        self, tasks: Sequence[Bundle], staging: Path, readers: ReaderTable | None
    ) -> Generator[Numbered, None, None]:
        """Run every task and yield results as they come.

        A task whose worker dies runs again on another. One that takes several workers
        with it is taken apart, so that only the source that does it fails.
        """
        staging = staging.resolve()
        check_reach(self._client, staging)

        def submit(task: Bundle) -> Future[list[TaskResult]]:
            future: Future[list[TaskResult]] = self._client.submit(
                _run_on_worker, self._plugin, task, staging, readers, pure=False
            )
            return future

        waiting: dict[Future[list[TaskResult]], tuple[tuple[int, ...], Bundle]] = {
            submit(task): ((n,), task) for n, task in enumerate(tasks)
        }
        completed = as_completed(list(waiting))
        for future in completed:
            number, task = waiting.pop(future)
            error = future.exception()
            if error is None:
                for part, result in enumerate(future.result()):
                    yield (*number, part), result
            elif not isinstance(error, KilledWorker):
                raise error
            elif len(task.sources) > 1:
                for i, single in enumerate(task.apart()):
                    retry = submit(single)
                    waiting[retry] = ((*number, i), single)
                    completed.add(retry)
            else:
                yield (*number, 0), _gave_up(task)
            future.release()

    def close(self) -> None:
        """End the reader processes of this ingest, and leave the cluster as it was."""
        # A scheduler that is gone has nothing left to clean up.
        with contextlib.suppress(OSError, KeyError, ValueError):
            self._client.unregister_worker_plugin(self._plugin)
        self._client.close()


def connect(scheduler: str) -> Client:
    """Connect to a running cluster, wait for a first worker and compare versions.

    Args:
        scheduler: ``tcp://host:8786``, or the file that
            ``dask scheduler --scheduler-file`` writes.

    Raises:
        ConfigError: If the scheduler cannot be reached, has no worker, or its workers
            run other versions.
    """
    client = _connect(scheduler)
    try:
        _wait_for_worker(client, scheduler)
        _check_versions(client, scheduler)
    except BaseException:
        client.close()
        raise
    return client


def check_reach(client: Client, folder: Path) -> None:
    """Refuse workers that do not see a folder of the workspace.

    Raises:
        WorkspaceError: If one does not.
    """
    probe = folder / f"{_PROBE}-{uuid.uuid4().hex}"
    probe.write_text("")
    try:
        answers: Mapping[str, bool] = client.run(_sees, probe)
    finally:
        probe.unlink()
    blind = sorted(worker for worker, sees in answers.items() if not sees)
    if blind:
        raise WorkspaceError(
            f"{folder.parent}: {len(blind)} of {len(answers)} Dask workers do not "
            f"see it ({blind[0]}); expected a file system that all nodes share. Put"
            " the workspace there: --workspace DIR."
        )


@final
class _Readers(WorkerPlugin):
    """The reader processes of one ingest on one Dask worker, one for each thread."""

    def __init__(self, limits: ReaderLimits, folder: Path) -> None:
        self.name = f"dpbench-readers-{uuid.uuid4().hex}"
        self._limits = limits
        self._folder = folder

    def setup(self, worker: "Worker") -> None:
        """Share the worker's memory among its threads; start nothing yet."""
        self.idle: SimpleQueue[ReaderProcess] = SimpleQueue()
        threads = worker.state.nthreads
        limits = self._limits.shared_by(threads)
        given = worker.memory_manager.memory_limit
        if self._limits.memory is None and given:
            limits = replace(limits, memory=int(given) // threads)
        for _ in range(threads):
            self.idle.put(ReaderProcess(limits, folder=self._folder))

    def teardown(self, worker: "Worker") -> None:
        """End the processes that are idle; the others end with the worker."""
        del worker
        with contextlib.suppress(Empty):
            while True:
                self.idle.get_nowait().close()


def _run_on_worker(
    plugin: str, task: Bundle, staging: Path, readers: ReaderTable | None
) -> list[TaskResult]:
    """Run a bundle in a reader process of the Dask worker that this runs in."""
    readers_here = cast(_Readers, get_worker().plugins[plugin])
    idle = readers_here.idle
    process = idle.get()
    try:
        return process.run(task, staging, readers)
    finally:
        idle.put(process)


def _sees(path: Path) -> bool:
    return path.exists()


def _connect(scheduler: str) -> Client:
    is_file = Path(scheduler).is_file()
    if not is_file and "://" not in scheduler:
        raise ConfigError(
            f"--scheduler '{scheduler}': neither a file nor an address; expected "
            "tcp://HOST:PORT, or the file of 'dask scheduler --scheduler-file FILE'."
        )
    try:
        with warnings.catch_warnings():
            # Versions are compared below, and told in one line.
            warnings.simplefilter("ignore", VersionMismatchWarning)
            if is_file:
                return Client(scheduler_file=scheduler, timeout=CONNECT_SECONDS)
            return Client(scheduler, timeout=CONNECT_SECONDS)
    except (OSError, ValueError, TimeoutError) as error:
        raise ConfigError(
            f"--scheduler '{scheduler}': no Dask scheduler answers "
            f"({type(error).__name__}); expected one within {CONNECT_SECONDS} s. Start "
            "it, or leave --scheduler out to use this machine."
        ) from error


def _wait_for_worker(client: Client, scheduler: str) -> None:
    if not client.nthreads():
        logger.warning("%s: has no worker yet, waiting for the first", scheduler)
    try:
        client.wait_for_workers(1, timeout=WORKER_SECONDS)
    except TimeoutError as error:
        raise ConfigError(
            f"--scheduler '{scheduler}': has no worker; expected one within "
            f"{WORKER_SECONDS} s. Check that the batch jobs that start them run."
        ) from error


def _check_versions(client: Client, scheduler: str) -> None:
    """Refuse workers whose versions would make another dataset, or none.

    Raises:
        ConfigError: If Python (minor), distributed, numpy or dpbench differ from here.
    """
    here = _versions()
    try:
        found: Mapping[str, dict[str, str]] = client.run(_versions)
    except ImportError as error:
        raise ConfigError(
            f"--scheduler '{scheduler}': its workers cannot import dpbench ({error}); "
            "expected them in the environment that this runs in. Start them from there."
        ) from error
    for worker, there in sorted(found.items()):
        for name, version in here.items():
            if there[name] != version:
                raise ConfigError(
                    f"--scheduler '{scheduler}': {name} {there[name]} on worker "
                    f"{worker}; expected {version} as here. Start the workers from the "
                    "same environment."
                )


def _versions() -> dict[str, str]:
    """Return the versions that must agree, of the process that runs this."""
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    modules = {m.__name__: m.__version__ for m in (dpbench, distributed, numpy)}
    return {"python": python, **modules}


def _gave_up(task: Bundle) -> TaskResult:
    source = task.sources[0]
    reason = (
        f"{source.path}: the Dask workers that read it died, one after the other; "
        "expected them to live. Read it on this machine, without --scheduler, to see "
        "why."
    )
    return TaskResult(
        sources=(failure(source, reason),), data=None, quarantine=None, theories=()
    )
