"""One run of a labelling program: started in its folder, timed, stopped, accounted for.

How it ended is kept in ``run.json`` beside its output, so that a run that was paid for
is judged and not repeated when whoever watched it was killed.
"""

import json
import os
import re
import select
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from dpbench.backends.sandbox import unconfined
from dpbench.config import canonical_json
from dpbench.cores import THREAD_VARIABLES
from dpbench.errors import ConfigError
from dpbench.explore.labels.driver import JobResources, Trouble
from dpbench.store.files import write_atomically

RUN_FILE = "run.json"
"""Beside the output: how the run ended."""

POLL = 0.005
"""Seconds between two looks at a job that is being ended."""

LONGEST = 600.0
"""Seconds after which a look is had even if nothing happened."""

GRACE = 5.0
"""Seconds that a job has to be gone after it was killed."""

BY_SIGNAL = 128
"""Exit statuses above are that plus the number of a signal, as in a shell."""

TAIL = 8192
"""Bytes at the end of an output that last words are sought in."""

MPI_ABORT = "MPI_ABORT was invoked"
"""Begins what Open MPI prints of a program that gave up, whatever the reason."""

LAUNCHERS = frozenset(
    {"mpirun", "mpiexec", "orterun", "prterun", "env", "nice", "taskset", "numactl"}
)
"""Programs that start another one of this machine, named among their arguments."""

VERSION_SECONDS = 60.0
"""How long a program may take to say its version."""

WORDS = 200
"""Most characters of last words."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """How a run ended."""

    status: int
    """Exit status; 128 + the number of the signal that ended it."""
    timed_out: bool
    """Whether it was stopped because it took too long."""
    cpu_seconds: float
    """Of it and all that it started."""
    wall_seconds: float
    """From start to end."""
    allowed_seconds: float
    """Wall time that it was given."""

    def in_words(self) -> str:
        """Say how it ended."""
        if self.timed_out:
            return f"was stopped after {self.allowed_seconds:g} s"
        number = self.status - BY_SIGNAL
        if number > 0:
            with suppress(ValueError):
                return f"was killed by {signal.Signals(number).name}"
        return f"ended with exit status {self.status}"


def program_of(command: str, *, where: str, install: str = "") -> list[str]:
    """Split a command line and find its program.

    Args:
        command: As in a shell, without redirections, e.g. ``mpirun -np 4 pw.x``.
        where: Key of the configuration, for the message.
        install: How the program is installed, for the message.

    Returns:
        The words, the program as an absolute path.

    Raises:
        ConfigError: If there is no such program.
    """
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise ConfigError(f"{where} = {command!r}: {error}. Close the quote.") from None
    found = shutil.which(words[0]) if words else None
    if found is None:
        raise ConfigError(
            f"{where} = {command!r}: there is no program "
            f"'{words[0] if words else ''}' here; expected one on PATH, or its path. "
            f"Install it{f' ({install})' if install else ''}, or name it."
        )
    return [str(Path(found).absolute()), *words[1:]]


def check_program(command: str, *, where: str) -> None:
    """Check that a program is there, also one that a launcher starts.

    Args:
        command: As ``program_of`` takes it.
        where: Key of the configuration, for the message.

    Raises:
        ConfigError: If there is no such program, or a launcher is to start none.
    """
    words = program_of(command, where=where)
    launcher = Path(words[0]).name.partition(".")[0]
    if launcher not in LAUNCHERS or any(shutil.which(word) for word in words[1:]):
        return
    # Which word is the program depends on the options of each launcher.
    names = [w for w in words[1:] if not w.startswith("-") and not w.isdecimal()]
    told = " or ".join(f"'{name}'" for name in names) or "named"
    raise ConfigError(
        f"{where} = {command!r}: there is no program {told} here, for {launcher} to "
        "start; expected one on PATH, or its path. Install it, or name it."
    )


def said_version(
    command: Sequence[str], pattern: re.Pattern[str], *, folder: Path | None = None
) -> tuple[str | None, str]:
    """Ask a program for its version.

    Args:
        command: The program and the arguments that make it say its version.
        pattern: Its first group is the version.
        folder: Where it runs.

    Returns:
        The version, None if it says none, or not in time; and what it said: its first
        and last line, for a message.
    """
    try:
        found = subprocess.run(
            command,
            cwd=folder,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=VERSION_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return None, f"nothing in {VERSION_SECONDS:g} s"
    match = pattern.search(found.stdout)
    lines = _lines_with_words(f"{found.stdout}\n{found.stderr}".partition(MPI_ABORT)[0])
    # What mpirun complains of stands first; what it advises, or pw.x says, last.
    ends = list(dict.fromkeys(_bounded(line) for line in (*lines[:1], *lines[-1:])))
    said = f"'{' ... '.join(ends)}'" if ends else "nothing"
    return None if match is None else match[1], said


def run_job(
    command: Sequence[str],
    folder: Path,
    *,
    output: str,
    resources: JobResources,
    environment: Mapping[str, str] | None = None,
) -> Run:
    """Run a program in ``folder`` until it ends or its time is over.

    Args:
        command: The program, as ``program_of`` returns it, and its arguments.
        folder: Where it runs.
        output: File in it that takes what the program prints, errors too.
        resources: Threads and time.
        environment: Variables besides those of this process.

    Returns:
        How it ended, kept in ``RUN_FILE`` too.

    Raises:
        ConfigError: If the program cannot be started.
    """
    threads = dict.fromkeys(THREAD_VARIABLES, str(resources.threads))
    began = time.monotonic()
    with (folder / output).open("wb") as sink:
        # What it starts ends with it, and with this process: nothing of a killed
        # loop writes into the folders of the next one.
        child = subprocess.Popen(
            unconfined(command, scratch=folder.absolute()),
            cwd=folder,
            env={**os.environ, **threads, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
        )
    timed_out = True
    try:
        timed_out = _is_late(child, began + resources.seconds)
    finally:
        status, cpu_seconds = _end(child)
    run = Run(
        status=status,
        timed_out=timed_out,
        cpu_seconds=round(cpu_seconds, 3),
        wall_seconds=round(time.monotonic() - began, 3),
        allowed_seconds=resources.seconds,
    )
    keep_run(folder, run)
    return run


def keep_run(folder: Path, run: Run) -> None:
    """Keep how a run ended."""
    write_atomically(folder / RUN_FILE, canonical_json(asdict(run)))


def read_run(folder: Path) -> Run | None:
    """Return how the run in ``folder`` ended; None if it did not."""
    try:
        return Run(**json.loads((folder / RUN_FILE).read_bytes()))
    except (OSError, ValueError, TypeError):
        return None


def last_words(path: Path) -> str:
    """Return the last line that a program printed: printable, bounded."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL))
            text = file.read().decode(errors="replace")
    except OSError:
        return "nothing"
    text = text.partition(MPI_ABORT)[0]  # what follows says nothing
    lines = _lines_with_words(text)
    return _bounded(lines[-1]) if lines else "nothing"


def _lines_with_words(text: str) -> list[str]:
    """Return the lines that hold letters or digits: printable, single spaces."""
    printable = (
        "".join(c if c.isprintable() else " " for c in line)
        for line in text.splitlines()
    )
    lines = [" ".join(line.split()) for line in printable]
    return [line for line in lines if any(c.isalnum() for c in line)]


def _bounded(words: str) -> str:
    return words if len(words) <= WORDS else "..." + words[3 - WORDS :]


def died(code: str, run: Run, output: Path) -> tuple[Trouble, str]:
    """Return the verdict on a run that ended without saying why.

    Args:
        code: Name of the program, for people.
        run: How it ended.
        output: What it printed.
    """
    words = f"{run.in_words()}; its last words: {last_words(output)}"
    return Trouble.DIED, f"{code}: {words}"


def _is_late(child: "subprocess.Popen[bytes]", deadline: float) -> bool:
    """Wait for the end of a job; return whether its time was over before."""
    # A descriptor wakes at once; looking now and then costs a tenth of a small job.
    descriptor = os.pidfd_open(child.pid)
    poll = select.poll()  # which takes descriptors above 1023
    poll.register(descriptor, select.POLLIN)
    try:
        while not _has_ended(child):
            left = deadline - time.monotonic()
            if left <= 0:
                return True
            poll.poll(1000 * min(left, LONGEST))
    finally:
        os.close(descriptor)
    return False


def _has_ended(child: "subprocess.Popen[bytes]") -> bool:
    """Look without reaping, so that its cost can be asked for afterwards."""
    found = os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    return found is not None


def _end(child: "subprocess.Popen[bytes]") -> tuple[int, float]:
    """End a job that still runs, with all that it started; return status and CPU."""
    for number in (signal.SIGUSR1, signal.SIGKILL):
        deadline = time.monotonic() + GRACE
        if _has_ended(child):
            break
        child.send_signal(number)
        while not _has_ended(child) and time.monotonic() < deadline:
            time.sleep(POLL)
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    code = child.returncode
    return (
        code if code >= 0 else BY_SIGNAL - code,
        usage.ru_utime + usage.ru_stime,
    )
