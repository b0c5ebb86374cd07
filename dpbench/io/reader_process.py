"""A process that readers run in, seen from outside: started, watched, replaced.

A reader may crash, hang or eat memory. It then costs its process, and one source:
whoever watches knows which source was being read, reads the others of the bundle
again, and tries that one once more alone before it is given up.
"""

import signal
import socket
import subprocess
import sys
from concurrent.futures import CancelledError
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from dpbench.child_process import start_child
from dpbench.cores import THREAD_VARIABLES
from dpbench.io.ingest_plan import Bundle, ReaderTable
from dpbench.io.ingest_task import TaskResult, failure
from dpbench.io.limits import ReaderLimits

TRIES = 2
"""A process may be killed from outside: the source it read is tried once more."""

START_SECONDS = 120.0
"""How long a process may take until it begins with the first source."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Lost:
    """The end of a process that did not finish its bundle."""

    source: int
    """Which source of the bundle it was reading."""
    reason: str
    is_final: bool
    """Whether another try is of no use."""


@final
class ReaderProcess:
    """One process that runs bundles, one at a time."""

    def __init__(self, limits: ReaderLimits, *, folder: Path | None = None) -> None:
        """Remember the limits; nothing is started yet.

        Args:
            limits: What each source may cost.
            folder: Where relative paths of sources begin; None = the current folder.
        """
        self._limits = limits
        self._folder = Path.cwd() if folder is None else folder
        self._is_stopped = False
        self._child: subprocess.Popen[bytes] | None = None
        self._channel: Any = None
        self._lifeline: socket.socket | None = None

    def start(self) -> None:
        """Start the process, which imports what readers need; do not wait for it."""
        if self._child is not None:
            return
        started = start_child(
            "dpbench.io.reader_child", environment=dict.fromkeys(THREAD_VARIABLES, "1")
        )
        self._child, self._channel = started.process, started.channel
        self._lifeline = started.lifeline
        self._channel.send((list(sys.path), self._folder, self._limits))

    def run(
        self, bundle: Bundle, staging: Path, readers: ReaderTable | None
    ) -> list[TaskResult]:
        """Run a bundle, whatever its readers do.

        Returns:
            One result, or several in the order of the sources where the bundle had to
            be taken apart.

        Raises:
            WorkspaceError: If the disk is full or cannot be written.
        """
        return self._run(bundle, staging, readers, tries=TRIES)

    def _run(
        self, bundle: Bundle, staging: Path, readers: ReaderTable | None, *, tries: int
    ) -> list[TaskResult]:
        found = self._attempt(bundle, staging, readers)
        if isinstance(found, TaskResult):
            return [found]
        n = found.source
        before, culprit, after = (
            Bundle(sources=bundle.sources[part])
            for part in (slice(n), slice(n, n + 1), slice(n + 1, None))
        )
        results = self._run(before, staging, readers, tries=TRIES) if n else []
        if found.is_final or tries == 1:
            results.append(_failed(culprit, found.reason))
        else:
            results += self._run(culprit, staging, readers, tries=tries - 1)
        if after.sources:
            results += self._run(after, staging, readers, tries=TRIES)
        return results

    def stop(self) -> None:
        """End the process under a ``run`` that goes on in another thread."""
        self._is_stopped = True
        if self._child is not None:
            self._child.kill()

    def close(self) -> None:
        """End the process, at once."""
        if self._child is not None:
            self._child.kill()
            self._child.wait()
            self._channel.close()
        if self._lifeline is not None:
            self._lifeline.close()
        self._child = self._lifeline = None

    def _attempt(
        self, bundle: Bundle, staging: Path, readers: ReaderTable | None
    ) -> TaskResult | _Lost:
        """Run a bundle once; say which source the process was lost with, if it was."""
        if self._child is not None and self._child.poll() is not None:
            self.close()
        if self._is_stopped:
            raise CancelledError
        self.start()
        source = -1
        try:
            self._channel.send((bundle, staging, readers))
            while True:
                number = max(source, 0)
                allowed = self._limits.seconds_for(bundle.sources[number].n_bytes)
                if source < 0:  # the process itself may still be starting
                    allowed = max(allowed, START_SECONDS)
                if not self._channel.poll(allowed):
                    self.close()
                    return _Lost(
                        source=number,
                        reason=_too_slow(bundle.sources[number].path, allowed),
                        is_final=True,
                    )
                word, content = self._channel.recv()
                if word == "reading":
                    source += 1
                elif word == "done":
                    return _result(content)
                elif word == "error":
                    raise content
                else:
                    self.close()
                    return _Lost(source=number, reason=str(content), is_final=True)
        except (EOFError, ConnectionError):
            number = max(source, 0)
            reason = self._died(bundle.sources[number].path)
            self.close()
            if self._is_stopped:
                raise CancelledError from None
            return _Lost(source=number, reason=reason, is_final=False)
        except BaseException:  # Ctrl-C too: the process must not work on
            self.close()
            raise

    def _died(self, path: str) -> str:
        code = self._child.wait() if self._child is not None else 0
        how = f"exit status {code}"
        if code < 0:
            how = f"killed by {signal.Signals(-code).name}"
        return (
            f"{path}: the process that read it died ({how}), twice; expected it to end."
            " A crash in a reader's library, or out of memory: check the file, or read "
            "it apart with --workers 0 to see why."
        )


def _result(content: object) -> TaskResult:
    if not isinstance(content, TaskResult):
        raise TypeError(f"a reader process sent {type(content)}, not a TaskResult")
    return content


def _too_slow(path: str, seconds: float) -> str:
    return (
        f"{path}: the reader was stopped after {seconds:.0f} s; expected it to end "
        "sooner. If the file is sound, allow more time: --limit seconds=1200."
    )


def _failed(bundle: Bundle, reason: str) -> TaskResult:
    sources = tuple(failure(source, reason) for source in bundle.sources)
    return TaskResult(sources=sources, data=None, quarantine=None, theories=())
