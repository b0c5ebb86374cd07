"""The environments of backends on this machine: where they are, and what they hold.

Below ``$DPBENCH_BACKENDS`` (else ``$XDG_DATA_HOME/dpbench/backends``, else
``~/.local/share/dpbench/backends``) each has a folder NAME with

- ``dpbench-backend.json``, written last and at once: without it there is nothing;
- a virtual environment in a folder of its own, named after the card's digest, or
  none, where an installation of the user's was adopted.

So whatever an install that was killed has left is never taken for an environment.
"""

import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from dpbench.backends.cards import DEEPMD_ADAPTER, Card, load_card
from dpbench.backends.fingerprint import Fingerprint
from dpbench.backends.launch import Launch
from dpbench.backends.process_environment import for_isolated_python
from dpbench.config import canonical_json, from_mapping, to_mapping
from dpbench.errors import BackendError, ConfigError
from dpbench.store.files import remove_tree, write_atomically

VARIABLE = "DPBENCH_BACKENDS"
"""Environment variable that names the folder of all environments."""

MANIFEST = "dpbench-backend.json"
"""What makes a folder an environment."""

FORMAT = 1
"""Of the manifest."""

LONGEST_WAIT = 7200.0
"""Seconds that an install waits for another one of the same environment."""

LOOK = 0.2
"""Seconds between two looks at a lock that is held."""

Say = Callable[[str], None]
"""Takes one line of progress."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Environment:
    """One environment that is whole."""

    format: int = FORMAT
    """Of this manifest."""
    name: str
    """Of the environment."""
    python: str
    """Its interpreter: relative to the environment's folder, or absolute where it was
    adopted."""
    card: str
    """Digest of the card that it was made from."""
    is_adopted: bool
    """Whether the installation is the user's own."""
    made: str
    """When, UTC, ISO 8601."""
    by: str
    """What installed it, e.g. ``uv 0.9``; ``adopted``."""
    licence: str
    """Of the program, as its card says."""
    fingerprint: Fingerprint
    """What it held when it was made."""
    variables: dict[str, str] = field(default_factory=dict)
    """Environment variables of ``--env FILE``."""

    def interpreter(self, folder: Path) -> Path:
        """Return the path of its interpreter; ``folder`` holds all environments."""
        return folder / self.name / self.python  # an absolute one stands alone


def backends_folder(environ: Mapping[str, str] | None = None) -> Path:
    """Return the folder of all environments; it need not exist."""
    environ = os.environ if environ is None else environ
    if environ.get(VARIABLE):
        return Path(environ[VARIABLE]).expanduser().absolute()
    data = environ.get("XDG_DATA_HOME") or "~/.local/share"
    return Path(data).expanduser().absolute() / "dpbench" / "backends"


def read_environment(name: str, folder: Path | None = None) -> Environment | None:
    """Read what is known of an environment; None if there is none.

    Args:
        name: Of the environment.
        folder: Folder of all environments.

    Raises:
        BackendError: If its manifest is damaged, or its interpreter is gone.
    """
    folder = backends_folder() if folder is None else folder
    path = folder / name / MANIFEST
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        found = from_mapping(Environment, data, where=str(path))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, ConfigError) as error:
        raise BackendError(
            f"{path}: cannot be read ({' '.join(str(error).split())}); expected what "
            f"an install writes. Run 'dpbench backends remove {name}', then install."
        ) from error
    if found.format != FORMAT:
        raise BackendError(
            f"{path}: has format {found.format}; expected {FORMAT}. Run "
            f"'dpbench backends remove {name}', then install."
        )
    interpreter = found.interpreter(folder)
    if not interpreter.is_file():
        raise BackendError(
            f"{name}: its interpreter {interpreter} is gone. Run 'dpbench backends "
            f"remove {name}', then install or add it again."
        )
    return found


def launch_of(
    name: str, *, own_cards: Path | None = None, folder: Path | None = None
) -> Launch:
    """Say how the worker of a backend is started.

    Args:
        name: Of the backend.
        own_cards: Folder with cards of the user's own (``backends`` of a workspace).
        folder: Folder of all environments.

    Raises:
        BackendError: If it is not installed, or was made from an older card.
        ConfigError: If its card is not as it should be.
    """
    folder = backends_folder() if folder is None else folder
    card = load_card(name, own_cards=own_cards)
    found = read_environment(card.environment, folder)
    if found is None:
        raise BackendError(f"{name}: is not installed in {folder}. {how_to_get(card)}")
    if is_outdated(found, card):
        raise BackendError(
            f"{name}: was made from an older card. Run 'dpbench backends install "
            f"{name}' again."
        )
    return Launch(
        name=name,
        python=found.interpreter(folder),
        adapter=card.adapter_path,
        env=variables_of(
            card,
            found.variables,
            site=found.fingerprint.site,
            prefix=found.fingerprint.prefix,
        ),
        options=card.options,
        reads_text=card.reads_text,
        takes_suffix=card.adapter_path == DEEPMD_ADAPTER,
    )


def is_outdated(environment: Environment, card: Card) -> bool:
    """Tell whether the card has changed since; an adopted one owes the card nothing."""
    return not environment.is_adopted and environment.card != card.digest


def how_to_get(card: Card) -> str:
    """Name the command that brings a backend here."""
    if card.requirements:
        return f"Run 'dpbench backends install {card.name}'."
    return (
        "No package index has it: build it, then run 'dpbench backends add "
        f"{card.name} --python PATH'."
    )


def variables_of(
    card: Card, variables: Mapping[str, str], *, site: str, prefix: str
) -> dict[str, str]:
    """Fill in the variables of a worker: those of ``--env FILE``, and the card's.

    Where both name one, the file's stands, unless the card's value takes it up as
    ``{old}``.

    Args:
        card: Of the backend.
        variables: Of the file.
        site: Folder of the environment's packages.
        prefix: The environment's folder.
    """
    values = for_isolated_python(variables)
    for name, value in card.env.items():
        if name in values and "{old}" not in value:
            continue
        old = values.get(name, os.environ.get(name, ""))
        filled = value.replace("{site}", site).replace("{prefix}", prefix)
        values[name] = filled.replace("{old}", old).strip(":")
    return values


def write_environment(environment: Environment, folder: Path) -> None:
    """Make the environment count: nothing before this does."""
    data = canonical_json(to_mapping(environment))
    write_atomically(folder / environment.name / MANIFEST, data)


def remove_environment(
    name: str, folder: Path | None = None, *, say: Say = lambda _: None
) -> bool:
    """Remove an environment, whole or half-made; an adopted installation stays.

    Returns:
        Whether there was anything.
    """
    folder = backends_folder() if folder is None else folder
    own = folder / name
    if not own.is_dir():
        return False
    with locked(name, folder, say=say):
        (own / MANIFEST).unlink(missing_ok=True)  # first: from now on there is none
        remove_tree(own)
    if own.exists():
        raise BackendError(
            f"{own}: cannot be removed whole. Look at its rights, then remove it."
        )
    return True


@contextmanager
def locked(name: str, folder: Path, *, say: Say = lambda _: None) -> Iterator[int]:
    """Hold the lock of one environment, as long as this or a child process lives.

    Yields:
        The descriptor to hand to children: what they write after this process was
        killed, the next holder waits for.

    Raises:
        BackendError: If the folder cannot be written, or the wait is too long.
    """
    path = folder / f".{name}.lock"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise BackendError(
            f"{folder}: cannot be written ({error.strerror}). Name another folder in "
            f"{VARIABLE}."
        ) from error
    try:
        _wait_for(descriptor, path, name=name, say=say)
        yield descriptor
    finally:
        os.close(descriptor)


def _wait_for(descriptor: int, path: Path, *, name: str, say: Say) -> None:
    began, has_said = time.monotonic(), False
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pass
        except OSError as error:
            raise BackendError(
                f"{path}: cannot be locked ({error.strerror}). Name a folder on "
                "another disk in DPBENCH_BACKENDS."
            ) from error
        else:
            return
        if not has_said:
            say(f"{name}: another install of it is under way; waiting for it")
            has_said = True
        if time.monotonic() - began > LONGEST_WAIT:
            raise BackendError(
                f"{path}: has been held for {LONGEST_WAIT:g} s by another install. "
                "Look for it and end it."
            )
        time.sleep(LOOK)
