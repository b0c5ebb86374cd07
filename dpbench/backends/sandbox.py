"""A sandbox for foreign programs: no network, nothing to write but a scratch folder.

Bubblewrap makes it where it is installed, else Linux's namespaces do, through
``sandbox_child.py``. Either also ends everything that a worker has started as soon as
the worker ends, or dpbench does.
"""

import functools
import json
import logging
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from glob import escape
from pathlib import Path

from dpbench.errors import BackendError

CHILD = Path(__file__).resolve().parent / "sandbox_child.py"
"""Script that a command is started through."""

SECRETS = (
    ".ssh",
    ".gnupg",
    ".aws",
    ".azure",
    ".config/gcloud",
    ".config/gh",
    ".docker",
    ".git-credentials",
    ".kube",
    ".local/share/dpbench/trust.key",
    ".netrc",
    ".pgpass",
    ".pypirc",
)
"""Files and folders of a home folder that no model needs; a sandbox shows none."""

COVERED = ("/tmp", "/var/tmp", "/run")
"""Folders with sockets and files of other programs: empty but for what is named."""

TEMPORARY = "/tmp"
"""Of these, the one that may be written: libraries have it built in (torch unpacks a
.pt2 there, whatever TMPDIR says). It is memory, and goes with the sandbox."""

logger = logging.getLogger(__name__)

PROBE_SECONDS = 20.0
"""How long a sandbox around ``true`` may take."""


def sandboxed(
    command: Sequence[str], *, readable: Iterable[Path], scratch: Path
) -> list[str]:
    """Return a command that runs ``command`` in the sandbox of this machine.

    Args:
        command: Program, by its absolute path, and arguments.
        readable: Files and folders that it needs, absolute and without links. Only
            those below /tmp, /var/tmp and /run need a word; the rest of the file
            system can be read anyway.
        scratch: Folder that it may write, absolute; it is where it starts.

    Raises:
        BackendError: If this machine has no sandbox.
    """
    kind = sandbox_kind()
    shown = [str(path) for path in readable]
    if kind == "bubblewrap":
        return [*_bubblewrap(shown, str(scratch)), *command]
    if kind == "namespaces":
        return _through_child("namespaces", command, readable=shown, scratch=scratch)
    raise BackendError(
        f"sandbox: there is {kind}; expected bubblewrap or user namespaces. Install "
        "bubblewrap, or have an administrator allow user namespaces."
    )


def unconfined(command: Sequence[str], *, scratch: Path) -> list[str]:
    """Return a command that runs ``command`` as it is, where there is no sandbox.

    What it starts still ends with it, and with this process.
    """
    return _through_child("none", command, readable=[], scratch=scratch)


@functools.cache
def sandbox_kind() -> str:
    """Return ``bubblewrap``, ``namespaces``, or ``none: REASON``; tried once."""
    reason = "no bubblewrap"
    with tempfile.TemporaryDirectory(prefix="dpbench-sandbox-") as folder:
        scratch = Path(folder).resolve()
        true = os.path.realpath(shutil.which("true") or "/bin/true")
        if shutil.which("bwrap"):
            failure = _tried([*_bubblewrap([], str(scratch)), true])
            if failure is None:
                return "bubblewrap"
            reason = f"bubblewrap fails ({failure})"
        failure = _tried(
            _through_child("namespaces", [true], readable=[], scratch=scratch)
        )
    return "namespaces" if failure is None else f"none: {reason}; {failure}"


def companions(model: Path) -> list[Path]:
    """Return a model and what may belong to it: its folder, where that is its own.

    A sandbox hides /tmp and /run, not folders in them that are named. Of a model that
    lies right there, files that begin like it are shown.
    """
    model = model.resolve()
    if str(model.parent) not in (*COVERED, "/"):
        return [model.parent]
    stem = model.name.partition(".")[0]
    return [path for path in model.parent.glob(f"{escape(stem)}.*") if path.is_file()]


def is_confined() -> bool:
    """Tell whether there is a sandbox; warn where there is none."""
    kind = sandbox_kind()
    if kind.startswith("none"):
        logger.warning(
            "foreign backends run without a sandbox here (%s); they can write and "
            "reach the network",
            kind,
        )
        return False
    return True


def _tried(command: Sequence[str]) -> str | None:
    """Run a command; return why it failed, or None."""
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=PROBE_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    if done.returncode == 0:
        return None
    lines = done.stderr.decode(errors="replace").strip().splitlines()
    return lines[-1][:200] if lines else f"exit status {done.returncode}"


def _through_child(
    kind: str, command: Sequence[str], *, readable: Sequence[str], scratch: Path
) -> list[str]:
    spec = {
        "kind": kind,
        "readable": list(readable),
        "hidden": _secrets(),
        "scratch": str(scratch),
    }
    start = [sys.executable, "-I", "-S", str(CHILD), json.dumps(spec)]
    return [*start, *command]


def _bubblewrap(readable: Sequence[str], scratch: str) -> list[str]:
    words = [shutil.which("bwrap") or "bwrap", "--unshare-all", "--die-with-parent"]
    words += ["--new-session", "--cap-drop", "ALL"]
    words += ["--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc"]
    for path in sorted(Path("/dev").iterdir()):
        if path.name.startswith(("nvidia", "dri", "kfd")):  # graphics cards
            words += ["--dev-bind-try", str(path), str(path)]
    for folder in COVERED:
        if Path(folder).is_dir() and not Path(folder).is_symlink():
            words += ["--tmpfs", folder]
    for shown in sorted(readable, key=len):  # a folder before what lies in it
        if shown.startswith(tuple(f"{folder}/" for folder in COVERED)):
            words += ["--ro-bind", shown, shown]
    for secret in _secrets():
        empty = ["--tmpfs"] if Path(secret).is_dir() else ["--ro-bind", "/dev/null"]
        words += [*empty, secret]
    words += ["--bind", scratch, scratch]
    for folder in (*COVERED, "/proc"):
        if folder in words and folder != TEMPORARY:
            words += ["--remount-ro", folder]
    return [*words, "--chdir", scratch, "--"]


def _secrets() -> list[str]:
    """Return what of the user's home is covered, without links."""
    try:
        home = Path.home().resolve()
    except RuntimeError:  # a user without a home
        return []
    paths = [home / name for name in SECRETS]
    if os.environ.get("XDG_DATA_HOME"):
        paths.append(Path(os.environ["XDG_DATA_HOME"]) / "dpbench" / "trust.key")
    return [str(path.resolve()) for path in paths if path.exists()]
