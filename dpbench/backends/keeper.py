"""The keeper of a worker: starts it, listens to what it prints, watches its memory.

All of it happens in one thread that lives as long as the worker. Linux ends a process
with the *thread* that started it (PR_SET_PDEATHSIG), so a worker must not be started by
a thread that may end before.
"""

import fcntl
import os
import select
import signal
import subprocess
import termios
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import final

TAIL = 16_384
"""Bytes of output that are kept."""

WORDS = 300
"""Characters of the last words in a message."""

LINE = 500
"""Characters of a line that is passed on."""

WATCH_SECONDS = 0.2
"""How often memory is looked at."""

SEARCH_SECONDS = 2.0
"""How often new processes of the worker are searched for."""

GRACE_SECONDS = 2.0
"""How long a worker without a sandbox may take to end what it started."""


@final
class Keeper:
    """One process and all that it starts."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        env: Mapping[str, str],
        fds: Sequence[int],
        memory_limit: int,
    ) -> None:
        """Remember what to start.

        Args:
            command: Program and arguments.
            env: All of its environment variables.
            fds: File descriptors that it inherits.
            memory_limit: Bytes that it and its children may hold.
        """
        self._command = list(command)
        self._env = dict(env)
        self._fds = tuple(fds)
        self._limit = memory_limit
        self._tail = bytearray()
        self._line = bytearray()
        self.lines: deque[str] = deque(maxlen=1000)
        self.too_large: int | None = None
        self.exit_status: int | None = None
        self.peak = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._failure: OSError | None = None
        self._output: int | None = None
        self._is_reading = False
        self._started = threading.Event()
        self._ended = threading.Event()

    def start(self) -> None:
        """Start it.

        Raises:
            OSError: If there is no such program.
        """
        threading.Thread(target=self._keep, daemon=True, name="dpbench-keeper").start()
        self._started.wait()
        if self._failure is not None:
            raise self._failure

    def wait(self, seconds: float) -> bool:
        """Wait until it has ended; return whether it has."""
        return self._ended.wait(seconds)

    def kill(self) -> None:
        """End it and all that it has started, and wait for that."""
        if self._process is None or self._ended.is_set():
            return
        with suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGUSR1)  # it takes its children along
        if not self._ended.wait(GRACE_SECONDS):
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._ended.wait(GRACE_SECONDS)

    def catch_up(self) -> None:
        """Wait until what was printed so far has been read, a second at most."""
        until = time.monotonic() + 1.0
        while self._is_behind() and time.monotonic() < until:
            time.sleep(0.002)

    def last_words(self) -> str:
        """Return the end of what it printed: printable, one line, bounded."""
        text = bytes(self._tail).decode(errors="replace")
        lines = [line for line in map(printable, text.splitlines()) if line]
        words = " | ".join(lines[-2:])
        return words if len(words) <= WORDS else "..." + words[3 - WORDS :]

    def how_it_ended(self) -> str:
        """Say how it ended."""
        if self.too_large is not None:
            return (
                f"was stopped: it held {self.too_large / 1e9:.2f} GB of memory, more "
                f"than the {self._limit / 1e9:.2f} GB that it may"
            )
        status = self.exit_status
        if status is None:
            return "closed its connection"
        number = -status if status < 0 else status - 128
        if number > 0:
            with suppress(ValueError):
                return f"died, killed by {signal.Signals(number).name}"
        return f"ended with exit status {status}"

    def _keep(self) -> None:
        try:
            process = subprocess.Popen(
                self._command,
                env=self._env,
                pass_fds=self._fds,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # no terminal, and Ctrl-C is for this process
            )
        except OSError as error:
            self._failure = error
            self._ended.set()
            self._started.set()
            return
        self._process = process
        self._started.set()
        with process:
            self._listen(process)
        self.exit_status = process.returncode
        self._ended.set()

    def _listen(self, process: subprocess.Popen[bytes]) -> None:
        """Read and watch until the process has ended."""
        if process.stdout is None:  # it is a pipe
            return
        fd = self._output = process.stdout.fileno()
        os.set_blocking(fd, False)
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        watch = _Watch(process.pid)
        is_open = True
        while process.poll() is None:
            if is_open and poll.poll(WATCH_SECONDS * 1000):
                is_open = self._read(fd)
            elif not is_open:  # it closed its output, and lives on
                with suppress(subprocess.TimeoutExpired):
                    process.wait(WATCH_SECONDS)
            used = watch.resident()
            self.peak = max(self.peak, used)
            if used > self._limit and self.too_large is None:
                self.too_large = used
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
        while is_open and self._read(fd):
            pass
        self._output = None
        if self._line:
            self._end_line()

    def _is_behind(self) -> bool:
        """Tell whether there is output that has not been taken in."""
        output, waiting = self._output, bytearray(4)
        if output is None:
            return False
        try:
            fcntl.ioctl(output, termios.FIONREAD, waiting)
        except OSError:  # it has just ended
            return False
        # In this order: what is no longer in the pipe has set the flag before.
        return any(waiting) or self._is_reading

    def _read(self, fd: int) -> bool:
        """Take what was printed; False at its end, or when there is nothing now."""
        self._is_reading = True
        try:
            data = os.read(fd, 65_536)
            self._take(data)
        except BlockingIOError:
            return False
        finally:
            self._is_reading = False
        return bool(data)

    def _take(self, data: bytes) -> None:
        self._tail += data
        del self._tail[:-TAIL]
        *whole, rest = data.replace(b"\r", b"\n").split(b"\n")
        for part in whole:
            self._line += part[:LINE]
            self._end_line()
        self._line += rest[: LINE - min(LINE, len(self._line))]

    def _end_line(self) -> None:
        text = printable(bytes(self._line[:LINE]).decode(errors="replace"))
        self._line.clear()
        if text:
            self.lines.append(text)


@final
class _Watch:
    """Memory of a process and of all that descends from it."""

    def __init__(self, process: int) -> None:
        self._root = process
        self._known = [process]
        self._began = self._searched = time.monotonic()
        self._looked = self._began - WATCH_SECONDS
        self._used = 0

    def resident(self) -> int:
        """Return bytes, a moment old at most; files that are mapped do not count."""
        now = time.monotonic()
        if now - self._looked < WATCH_SECONDS:
            return self._used
        self._looked = now
        # A young worker starts others; later they are few, and looking is dear.
        if now - self._searched > min(SEARCH_SECONDS, (now - self._began) / 4):
            self._searched = now
            self._known = descendants(self._root)
        self._used = sum(_resident(process) for process in self._known)
        return self._used


def descendants(process: int) -> list[int]:
    """Return a process and all its children's children, as far as they live."""
    found, todo = [], [process]
    while todo:
        one = todo.pop()
        found.append(one)
        try:
            threads = list(Path(f"/proc/{one}/task").iterdir())
        except OSError:
            continue
        for thread in threads:
            with suppress(OSError, ValueError):
                todo += map(int, (thread / "children").read_text().split())
    return found


def printable(text: str) -> str:
    """Replace what could steer a terminal, and runs of blanks."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def _resident(process: int) -> int:
    """Return anonymous and shared memory of one process, bytes; 0 if it has gone."""
    try:
        text = Path(f"/proc/{process}/status").read_text(encoding="ascii")
    except (OSError, ValueError):
        return 0
    total = 0
    for line in text.splitlines():
        if line.startswith(("RssAnon:", "RssShmem:")):
            total += int(line.split()[1]) * 1024
    return total
