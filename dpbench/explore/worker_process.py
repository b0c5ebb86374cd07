"""Processes of this machine that do tasks, seen from outside: started, fed, ended.

Each is a fresh interpreter in a process group of its own. It holds the end of a line to
this process; when that breaks, however this process ends, it ends its whole group, and
with it the programs that its task has started.
"""

import os
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, TypeVar, cast, final

from dpbench.child_process import start_child
from dpbench.cores import THREAD_VARIABLES
from dpbench.errors import WorkspaceError

Task = TypeVar("Task")
Result = TypeVar("Result")


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskDied:
    """A task without a result."""

    reason: str
    """Why, for people."""
    is_crash: bool = True
    """Whether its process died; False = the function raised a ``DpbenchError``."""


@final
class LocalWorkers:
    """Some processes that each do one task at a time."""

    def __init__(self, count: int, *, threads: int) -> None:
        """Remember the numbers; processes start with the first tasks."""
        self._count = count
        self._threads = threads
        self._all: list[WorkerProcess] = []

    def run(
        self,
        function: Callable[[Task], Result],
        tasks: Sequence[Task],
        *,
        cores: int | None = None,
    ) -> Iterator[tuple[int, Result | TaskDied]]:
        """Run every task and yield (position, result) as they come."""
        together = self._count * self._threads // (cores or self._threads)
        count = min(max(1, min(together, self._count)), len(tasks))
        while len(self._all) < count:
            self._all.append(WorkerProcess(threads=self._threads))
        waiting = list(range(len(tasks)))[::-1]
        idle = self._all[:count]
        busy: dict[Connection, tuple[WorkerProcess, int]] = {}
        is_over = False
        try:
            while waiting or busy:
                while waiting and idle:
                    worker, number = idle.pop(), waiting.pop()
                    busy[worker.give(function, tasks[number])] = (worker, number)
                for channel in wait(list(busy)):
                    worker, number = busy.pop(cast(Connection, channel))
                    idle.append(worker)
                    yield number, worker.take()
            is_over = True
        finally:
            if not is_over:  # left early: nobody waits for what still runs
                self.close()

    def check_reach(self, folder: Path) -> None:
        """Do nothing: processes of this machine see what this one sees."""

    def close(self) -> None:
        """End the processes, and what they have started."""
        for worker in self._all:
            worker.close()
        self._all = []


@final
class WorkerProcess:
    """A process that does tasks; it starts with the first, and again after a death."""

    def __init__(self, *, threads: int) -> None:
        """Remember the threads; nothing is started yet."""
        self._threads = threads
        self._child: subprocess.Popen[bytes] | None = None
        self._channel: Any = None
        self._lifeline: socket.socket | None = None

    def give(self, function: Callable[[Task], Result], task: Task) -> Connection:
        """Hand a task over; return what becomes readable when it is done or lost."""
        if self._child is not None and self._child.poll() is not None:
            self.close()
        if self._child is None:
            self._start()
        with suppress(BrokenPipeError):  # its death is told by ``take``
            self._channel.send((function, task))
        channel: Connection = self._channel
        return channel

    def take(self) -> Any:
        """Return the result of the task, or why there is none.

        Raises:
            WorkspaceError: If the disk is full, or may not be written.
            RuntimeError: With the traceback, if the function raised what it must not.
        """
        try:
            outcome, value = self._channel.recv()
        except (EOFError, ConnectionResetError):
            reason = f"its process {self._ending()}"
            self.close()
            return TaskDied(reason=reason)
        if outcome == "bug":
            raise RuntimeError(f"a task failed in its process:\n{value}")
        if outcome == "disk":  # no task can go on, and none is to blame
            raise WorkspaceError(value)
        if outcome == "error":
            return TaskDied(reason=value, is_crash=False)
        return value

    def close(self) -> None:
        """End the process and its group, at once."""
        if self._child is None:
            return
        with suppress(ProcessLookupError):
            os.killpg(self._child.pid, signal.SIGKILL)
        self._child.wait()
        self._channel.close()
        if self._lifeline is not None:
            self._lifeline.close()
        self._child = self._lifeline = None

    def _start(self) -> None:
        started = start_child(
            "dpbench.explore.worker_child",
            environment=dict.fromkeys(THREAD_VARIABLES, str(self._threads)),
        )
        self._child, self._channel = started.process, started.channel
        self._lifeline = started.lifeline

    def _ending(self) -> str:
        """Say how the process ended."""
        if self._child is None:
            return "is gone"
        try:
            code = self._child.wait(timeout=5)
        except subprocess.TimeoutExpired:
            return "does not answer"
        if code < 0:
            return f"was killed by {signal.Signals(-code).name}"
        return f"ended with exit status {code}"
