"""A foreign program in its environment: run, watched, stopped, and what it cost.

It runs in the sandbox of this machine where there is one: without a network, and with
nothing to write but the run's folder. Its output goes to the run's log; nothing of it
is read but the last lines, when it fails.
"""

import contextlib
import os
import re
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from resource import struct_rusage

from dpbench.backends.devices import visible_devices
from dpbench.backends.launch import Launch
from dpbench.backends.process_environment import OWN_PATHS
from dpbench.backends.sandbox import sandbox_kind, sandboxed, unconfined
from dpbench.backends.tasks import sweep
from dpbench.backends.worker_process import worker_variables
from dpbench.errors import TrainingError
from dpbench.store.files import remove_tree
from dpbench.train.runs import LOG_FILE
from dpbench.trainers.foreign import Stage
from dpbench.trainers.meter import Meter

POLL = 0.2
"""Seconds between two looks at a program."""

FIRST_POLL = 0.005
"""Seconds to the second look: a short program is seen too."""

GRACE = 5.0
"""Seconds that a program has to end by itself when it is asked to."""

TAIL = 32_768
"""Bytes of the log that last words are sought in."""

WORDS = 300
"""Most characters of last words."""

ERROR = re.compile(r"[A-Za-z_][\w.]*(Error|Exception|Exit|Interrupt)(:|$)")
"""Last line of a traceback."""

FOLDER = "{folder}"
"""Stands for the run's folder in the arguments of a stage."""

HOME = ".home"
"""Folder in the run's for caches, removed when a program ends."""

QUIET = 600.0
"""Seconds without a word after which that is said."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Cost:
    """What a program took, with all that it started."""

    wall_s: float
    """Seconds of the clock."""
    cpu_s: float
    """Seconds of processors, user and system, to a fifth of a second."""
    peak_bytes: int
    """Largest memory of one of its processes that was seen."""

    def __add__(self, other: "Cost") -> "Cost":
        """Return the cost of one after the other."""
        return Cost(
            wall_s=self.wall_s + other.wall_s,
            cpu_s=self.cpu_s + other.cpu_s,
            peak_bytes=max(self.peak_bytes, other.peak_bytes),
        )


NOTHING = Cost(wall_s=0.0, cpu_s=0.0, peak_bytes=0)
"""The cost of what was not run."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Ended:
    """How a program ended."""

    status: int
    """Exit status; negative: the signal that ended it."""
    was_stopped: bool
    """Whether it was asked to stop before its end."""
    cost: Cost
    """What it took."""
    last_words: str
    """End of its output: one line, bounded."""


def run_stage(
    launch: Launch,
    stage: Stage,
    folder: Path,
    *,
    watch: Callable[[], bool],
    say: Callable[[str], None],
) -> Ended:
    """Run a program in the run's folder until it ends, or ``watch`` says stop.

    Args:
        launch: The environment.
        stage: What to run.
        folder: The run's folder, which it may write; its output is added to the log.
        watch: Called at least five times a second; returns whether to stop.
        say: Told when nothing has happened for long.

    Raises:
        TrainingError: If there is no such program.
    """
    log = folder / LOG_FILE
    home = folder.resolve() / HOME
    home.mkdir(exist_ok=True)
    began = time.monotonic()
    with log.open("ab") as output:
        start = log.stat().st_size
        output.write(f"--- {stage.name} ---\n".encode())
        output.flush()
        try:
            child = subprocess.Popen(
                command_of(launch, stage, folder.resolve()),
                cwd=folder,
                env=variables_of(launch, stage, home),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                process_group=0,  # Ctrl-C is for this process, which ends that one
            )
        except OSError as error:
            raise TrainingError(
                f"{launch.name}: {error.filename or launch.python}: {error.strerror}; "
                f"expected to start '{stage.name}'."
            ) from error
        meter = Meter(child.pid)
        try:
            was_stopped = _wait(child, log, watch, say, meter=meter)
        finally:
            status, usage = _end(child)
            _tidy(folder, home)
    return Ended(
        status=status,
        was_stopped=was_stopped,
        cost=_cost(time.monotonic() - began, usage, meter),
        last_words=last_words(log, start),
    )


def _cost(wall_s: float, usage: struct_rusage, meter: Meter) -> Cost:
    return Cost(
        wall_s=round(wall_s, 3),
        cpu_s=round(max(usage.ru_utime + usage.ru_stime, meter.cpu_s), 3),
        # The kernel's own figure begins with the memory of this process.
        peak_bytes=meter.peak_bytes or int(usage.ru_maxrss) * 1024,
    )


def seeing(launch: Launch, device: str) -> Launch:
    """Return what launches programs that see this device alone.

    Raises:
        ConfigError: If the device is not to be had.
    """
    visible = visible_devices(device, {**os.environ, **launch.env})
    return replace(launch, env={**launch.env, **visible})


def _tidy(folder: Path, home: Path) -> None:
    """Remove caches, and links by which a program could lead this one elsewhere."""
    remove_tree(home)
    sweep(folder)


def command_of(launch: Launch, stage: Stage, folder: Path) -> list[str]:
    """Return the command line of a stage, in the sandbox where there is one."""
    python = launch.python.parent.resolve() / launch.python.name
    module = ["-m", stage.module] if stage.module else []
    words = [word.replace(FOLDER, str(folder)) for word in stage.arguments]
    command = [str(python), "-u", *module, *words]
    if sandbox_kind().startswith("none"):
        return unconfined(command, scratch=folder)
    named = (word for value in launch.env.values() for word in value.split(os.pathsep))
    readable = [
        python.parent.parent,
        launch.python.resolve().parent.parent,
        *(Path(word).resolve() for word in named if word.startswith("/")),
    ]
    seen = [path for path in readable if path.exists()]
    return sandboxed(command, readable=seen, scratch=folder)


def variables_of(launch: Launch, stage: Stage, home: Path) -> dict[str, str]:
    """Return the environment variables of a stage; none of ours leads it astray.

    Args:
        launch: The environment.
        stage: What runs.
        home: Where its caches go. Not its temporary files: the paths of sockets among
            them must be short.
    """
    is_confined = not sandbox_kind().startswith("none")
    own: Mapping[str, str] = {
        "PYTHONNOUSERSITE": "1",
        "PYTHONSAFEPATH": "1",
        "TMPDIR": "/tmp" if is_confined else tempfile.gettempdir(),
    }
    found = worker_variables({**own, **launch.env, **stage.env}, home=home)
    if OWN_PATHS in found:
        found["PYTHONPATH"] = found[OWN_PATHS]
    return found


def last_words(log: Path, start: int = 0) -> str:
    """Return the end of a log in one line: the last error that Python names, if any.

    What comes behind that is noise of threads and libraries that come down.
    """
    with log.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(start, size - TAIL))
        text = file.read().decode(errors="replace")
    printable = (
        "".join(c if c.isprintable() else " " for c in line)
        for line in text.splitlines()
    )
    lines = [" ".join(line.split()) for line in printable if line.strip()]
    lines = [line for line in lines if not line.startswith("--- ")]
    named = [i for i, line in enumerate(lines) if ERROR.match(line)]
    words = lines[-1] if lines else "nothing"
    if named:
        words = lines[named[-1]]
        if words.endswith(":") and named[-1] + 1 < len(lines):
            words = f"{words} {lines[named[-1] + 1]}"  # which has a line of its own
    return words if len(words) <= WORDS else "..." + words[3 - WORDS :]


def _wait(
    child: "subprocess.Popen[bytes]",
    log: Path,
    watch: Callable[[], bool],
    say: Callable[[str], None],
    *,
    meter: Meter,
) -> bool:
    """Wait for the end of a program, or until it is to stop; return whether it was."""
    heard, size, pause = time.monotonic(), -1, FIRST_POLL
    while not _has_ended(child):
        meter.look()
        if watch():
            return True
        now = log.stat().st_size
        if now != size:
            heard, size = time.monotonic(), now
        elif time.monotonic() - heard > QUIET:
            say(f"no word from it for {QUIET / 60:.0f} minutes; Ctrl-C stops it")
            heard = time.monotonic()
        time.sleep(pause)
        pause = min(1.5 * pause, POLL)
    watch()
    return False


def _has_ended(child: "subprocess.Popen[bytes]") -> bool:
    """Look without reaping, so that its cost can be asked for afterwards."""
    found = os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    return found is not None


def _end(child: "subprocess.Popen[bytes]") -> tuple[int, struct_rusage]:
    """End a program that still runs, and reap it."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        deadline = time.monotonic() + GRACE
        if _has_ended(child):
            break
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, number)
        while not _has_ended(child) and time.monotonic() < deadline:
            time.sleep(POLL / 4)
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    return child.returncode, usage
