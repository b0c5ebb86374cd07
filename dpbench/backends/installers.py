"""Making virtual environments: uv where it is present, else venv and pip."""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dpbench.backends.process_environment import worker_environment
from dpbench.backends.python_bound import satisfies
from dpbench.errors import BackendError

Kind = Literal["uv", "pip"]
"""What installs packages."""

KINDS: tuple[Kind, ...] = ("uv", "pip")
"""In the order in which they are taken."""

NEWEST, OLDEST = 20, 9
"""Minor versions of Python 3 that are looked for by name."""

LAST_LINES = 12
"""Of an installer that fails, in the message."""

VERSION_OF = "import sys; print('%d.%d' % sys.version_info[:2])"
"""Asks an interpreter for its version."""

PATIENCE = 30.0
"""Seconds for a question that is answered at once."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Installer:
    """What installs packages here."""

    kind: Kind
    """Which of them."""
    version: str
    """As it says itself, e.g. ``uv 0.9.1``."""
    program: Path
    """uv, or an interpreter that has venv."""


def find_installer(kind: Kind | None = None, *, python: Path) -> Installer:
    """Find what installs packages.

    Args:
        kind: Which one; None: uv where it is present.
        python: The interpreter that an environment is to have.

    Raises:
        BackendError: If uv was asked for and is not there.
    """
    uv = shutil.which("uv")
    said = None if uv is None or kind == "pip" else _answer([uv, "--version"])
    if uv is not None and said is not None:
        version = " ".join(said.split()[:2])
        return Installer(kind="uv", version=version, program=Path(uv))
    if kind == "uv":
        raise BackendError(
            "uv: is not on PATH, or does not run. Leave out --installer."
        )
    return Installer(kind="pip", version="pip", program=python)


def find_python(bound: str, *, name: str, wish: Path | None = None) -> Path:
    """Find an interpreter within a bound: the one wished for, ours, or one on PATH.

    Args:
        bound: E.g. ``>=3.10,<3.14``.
        name: Of the backend, for the message.
        wish: An interpreter that the user names.

    Raises:
        BackendError: If none is within it; the message says which were found.
    """
    found = {}
    for path in [wish] if wish is not None else _candidates(bound):
        version = python_version(path)
        if version is None:
            continue
        if satisfies(version, bound):
            return path.absolute()
        found["{}.{}".format(*version)] = str(path)
    seen = ", ".join(f"{version} ({path})" for version, path in found.items())
    raise BackendError(
        f"{name}: needs Python {bound}; found {seen or 'none that runs'}. Install "
        "such a Python, or name one with --python."
    )


def python_version(path: Path) -> tuple[int, int] | None:
    """Return the version of an interpreter; None if it is none that runs."""
    said = _answer([str(path), "-I", "-c", VERSION_OF])
    match = re.fullmatch(r"(\d+)\.(\d+)", said.strip()) if said is not None else None
    return (int(match[1]), int(match[2])) if match else None


def make_environment(target: Path, installer: Installer, *, python: Path) -> Path:
    """Make an empty virtual environment; return its interpreter.

    Raises:
        BackendError: If it cannot be made, with the end of what was said.
    """
    if installer.kind == "uv":
        command = [str(installer.program), "venv", "--quiet", "--no-project"]
        command += ["--python", str(python), str(target)]
    else:
        command = [str(python), "-m", "venv", str(target)]
    run_installer(command, what=f"making {target}")
    return target / "bin" / "python"


def install_packages(
    requirements: tuple[str, ...],
    installer: Installer,
    *,
    python: Path,
    wheelhouse: Path | None = None,
    has_dependencies: bool = True,
    say: Callable[[str], None] = lambda _: None,
    lock: int | None = None,
) -> None:
    """Install packages into an environment.

    Args:
        requirements: As pip takes them.
        installer: What installs them.
        python: The environment's interpreter.
        wheelhouse: Folder of wheels: nothing comes from anywhere else.
        has_dependencies: Whether what they ask for comes too.
        say: Is told each line of progress.
        lock: Descriptor that the child process holds too.

    Raises:
        BackendError: If it fails, with the end of what was said.
    """
    if installer.kind == "uv":
        command = [str(installer.program), "pip", "install", "--python", str(python)]
        # As pip does: a worker's file system is read-only, so that each start would
        # compile all it imports (9 s for TensorFlow and DeePMD-kit).
        command += ["--compile-bytecode"]
    else:
        command = [str(python), "-m", "pip", "--disable-pip-version-check", "install"]
        command += ["--no-input", "--progress-bar", "off"]
    if wheelhouse is not None:
        command += ["--no-index", "--find-links", str(wheelhouse)]
        command += ["--offline"] if installer.kind == "uv" else []
    command += [] if has_dependencies else ["--no-deps"]
    what = f"installing {', '.join(requirements)}"
    run_installer([*command, *requirements], what=what, say=say, lock=lock)


def run_installer(
    command: list[str],
    *,
    what: str,
    say: Callable[[str], None] = lambda _: None,
    lock: int | None = None,
) -> None:
    """Run an installer; its child holds the lock too, so that it is waited for.

    Raises:
        BackendError: If it fails or cannot be run.
    """
    last: deque[str] = deque(maxlen=LAST_LINES)
    try:
        process = subprocess.Popen(
            command,
            env=worker_environment({}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            pass_fds=() if lock is None else (lock,),
            start_new_session=True,  # what it starts ends with it
        )
    except OSError as error:
        raise BackendError(
            f"{command[0]}: cannot be run ({error.strerror}); it was {what}."
        ) from error
    with process:
        try:
            for line in process.stdout or ():
                if line.strip():
                    last.append(line.strip())
                    say(line.rstrip())
        except BaseException:  # Ctrl-C: no installer goes on behind our back
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            raise
    if process.returncode != 0:
        raise BackendError(
            f"{what}: failed with exit code {process.returncode}; it said: "
            f"{' | '.join(last) or 'nothing'}."
        )


def _candidates(bound: str) -> list[Path]:
    """Return interpreters to ask: our own, then those on PATH, then those of uv."""
    names = ["python3", *(f"python3.{n}" for n in range(NEWEST, OLDEST - 1, -1))]
    found = [sys.executable, *(shutil.which(name) for name in names)]
    uv = shutil.which("uv")
    if uv is not None:
        command = [uv, "python", "find", "--no-python-downloads", "--no-project"]
        found.append(_answer([*command, "--system", bound]))
    paths = [Path(path.strip()) for path in found if path]
    return list(dict.fromkeys(paths))


def _answer(command: list[str]) -> str | None:
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
