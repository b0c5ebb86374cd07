"""What an environment holds, as records of evaluations carry it.

Modules and variables that a card names run in it, so it is asked in the sandbox.
"""

import hashlib
import json
import os
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dpbench.backends.cards import WORKERS
from dpbench.backends.sandbox import sandbox_kind, sandboxed, unconfined
from dpbench.backends.worker_process import folders_in, without_links, worker_variables
from dpbench.config import canonical_json, from_mapping
from dpbench.errors import BackendError, ConfigError

SCRIPT = WORKERS / "describe.py"
"""Runs in the environment that it describes."""

WHERE = (
    "import json, sys, sysconfig; "
    "print(json.dumps([sysconfig.get_path('purelib'), sys.prefix]))"
)
"""Asks an interpreter where its packages are."""

IMPORT_ADVICE = (
    "Mend that environment, or name another: 'dpbench backends add', or 'install'."
)
"""What to do about a module that does not import."""

TIMEOUT = 300.0
"""Seconds for one description; the first import of TensorFlow takes a while."""

LARGEST_REPORT = 16 * 1024**2
"""Bytes of a description that are read."""

LAST_WORDS = 2000
"""Characters kept of what a failed description printed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Fingerprint:
    """One environment at one moment."""

    python: str
    """Version of its interpreter."""
    implementation: str
    """Of Python, e.g. ``CPython``."""
    machine: str
    """Architecture, e.g. ``x86_64``."""
    prefix: str
    """Its folder."""
    site: str
    """Folder of its packages."""
    packages: dict[str, str]
    """Name -> version of all of them."""
    facts: dict[str, Any] = field(default_factory=dict)
    """Facts of the build that the card asks for, by ``module:attribute``."""

    @property
    def digest(self) -> str:
        """sha256 of all but the folders: equal on two machines that hold the same."""
        content = {
            name: getattr(self, name)
            for name in ("python", "implementation", "machine", "packages", "facts")
        }
        return hashlib.sha256(canonical_json(content)).hexdigest()


def describe(
    python: Path,
    *,
    name: str,
    env: Mapping[str, str],
    module: str = "",
    facts: tuple[str, ...] = (),
) -> Fingerprint:
    """Ask an environment what it holds.

    Args:
        python: Its interpreter.
        name: Of the backend, for messages.
        env: Environment variables that its worker needs.
        module: What must import; empty: nothing.
        facts: Facts of the build, as ``module:attribute``.

    Raises:
        BackendError: If the interpreter does not run, or the module does not import.
    """
    with tempfile.TemporaryDirectory(prefix="dpbench-describe-") as folder:
        scratch = Path(folder).resolve()
        report = scratch / "report.json"
        arguments = ["-I", str(SCRIPT), str(report), module, *facts]
        words = _run(python, arguments, name=name, env=env, scratch=scratch)
        try:
            if report.is_symlink() or report.stat().st_size > LARGEST_REPORT:
                raise ValueError("no report")
            found = json.loads(report.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise BackendError(
                f"{name}: {python} could not be asked what it holds; it said: "
                f"{' '.join(words.split()) or 'nothing'}. Name one that runs."
            ) from error
    if not isinstance(found, dict):
        raise BackendError(f"{name}: {python} described itself by no table.")
    problem = found.pop("import_error", None)
    if problem is not None:
        raise BackendError(
            f"{name}: {python} does not import '{module}': {problem}. {IMPORT_ADVICE}"
        )
    try:
        return from_mapping(Fingerprint, found, where=f"{name}: its environment")
    except ConfigError as error:
        raise BackendError(str(error)) from error


def locate(python: Path, *, name: str, env: Mapping[str, str]) -> tuple[str, str]:
    """Return the folder of an environment's packages, and its own.

    Raises:
        BackendError: If the interpreter does not run.
    """
    with tempfile.TemporaryDirectory(prefix="dpbench-describe-") as folder:
        scratch = Path(folder).resolve()
        words = _run(python, ["-I", "-c", WHERE], name=name, env=env, scratch=scratch)
    answers = [line for line in words.splitlines() if line.startswith("[")]
    try:
        site, prefix = json.loads(answers[-1])
    except (IndexError, ValueError) as error:
        raise BackendError(
            f"{name}: {python} could not be asked where its packages are; it said: "
            f"{' '.join(words.split()) or 'nothing'}. Name an interpreter that runs."
        ) from error
    return site, prefix


def differences(old: Fingerprint, new: Fingerprint) -> list[str]:
    """Word what has changed between two moments of one environment."""
    rows = []
    if old.python != new.python:
        rows.append(f"Python {old.python} -> {new.python}")
    for name in sorted(old.packages.keys() | new.packages.keys()):
        before, after = old.packages.get(name), new.packages.get(name)
        if before != after:
            rows.append(f"{name} {before or 'absent'} -> {after or 'absent'}")
    return rows


def _run(
    python: Path,
    arguments: list[str],
    *,
    name: str,
    env: Mapping[str, str],
    scratch: Path,
) -> str:
    """Run an interpreter as a worker would; return the end of what was printed."""
    if not (python.is_file() and os.access(python, os.X_OK)):
        raise BackendError(
            f"{name}: {python} cannot be run (no program of that name). Name an "
            "interpreter of Python."
        )
    plain = without_links(python)
    readable = [
        plain.parent.parent,
        python.resolve().parent.parent,
        SCRIPT,
        *folders_in(env),
    ]
    command = [str(plain), *arguments]
    if sandbox_kind().startswith("none"):
        command = unconfined(command, scratch=scratch)
    else:
        command = sandboxed(command, readable=readable, scratch=scratch)
    try:
        done = subprocess.run(
            command,
            env=worker_variables(env, home=scratch),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise BackendError(
            f"{name}: {python} did not say within {TIMEOUT:g} s what it holds. "
            "Try again when the machine is less busy."
        ) from error
    except OSError as error:
        raise BackendError(
            f"{name}: {python} cannot be run ({error.strerror}). Name an "
            "interpreter of Python."
        ) from error
    return done.stdout.decode(errors="replace")[-LAST_WORDS:]
