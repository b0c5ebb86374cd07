"""Adopting an installation of the user's: a module, conda, a build of one's own."""

import re
from pathlib import Path

from dpbench.backends.cards import load_card
from dpbench.backends.environments import (
    Environment,
    backends_folder,
    locked,
    read_environment,
    write_environment,
)
from dpbench.backends.install import fingerprint_with, now
from dpbench.backends.installers import python_version
from dpbench.errors import BackendError, ConfigError

VARIABLE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

CREDENTIAL = re.compile(r"secret|token|passw|credential|(access|api|private)_?key")
"""In a name, in lower case: no worker needs one, and the values are kept in a file."""


def adopt(
    name: str,
    python: Path,
    *,
    env_file: Path | None = None,
    own_cards: Path | None = None,
    folder: Path | None = None,
) -> Environment:
    """Take an installation as the environment of a backend; nothing in it changes.

    Args:
        name: Of the backend; the others of its environment follow.
        python: The installation's interpreter.
        env_file: Lines NAME=VALUE that its worker needs.
        own_cards: Folder with cards of the user's own.
        folder: Folder of all environments.

    Raises:
        BackendError: If it does not run or does not import the backend, or the
            environment was made by an install.
        ConfigError: If the file has other lines.
    """
    folder = backends_folder() if folder is None else folder
    asked = load_card(name, own_cards=own_cards)
    card = load_card(asked.environment, own_cards=own_cards)
    # Not resolved: an environment's python is a link, and the link is what makes it.
    path = python.expanduser().absolute()
    if not path.is_file() or python_version(path) is None:
        raise BackendError(
            f"{name}: {path} is no interpreter of Python that runs. Name one with "
            "--python, e.g. /opt/deepmd/bin/python."
        )
    variables = {} if env_file is None else read_env_file(env_file)
    with locked(card.name, folder):
        if _is_installed(card.name, folder):
            raise BackendError(
                f"{card.name}: was installed by dpbench already. Run 'dpbench backends "
                f"remove {card.name}' first."
            )
        found = Environment(
            name=card.name,
            python=str(path),
            card=card.digest,
            is_adopted=True,
            made=now(),
            by="adopted",
            licence=card.licence,
            fingerprint=fingerprint_with(card, path, variables=variables),
            variables=variables,
        )
        write_environment(found, folder)
    return found


def read_env_file(path: Path) -> dict[str, str]:
    """Read lines NAME=VALUE; empty lines and those that start with # are left out.

    Values stand as they are: nothing is expanded.

    Raises:
        ConfigError: On any other line, a value in quotes, or a name given twice.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise ConfigError(f"{path}: cannot be read ({reason}).") from error
    found: dict[str, str] = {}
    for number, line in enumerate(lines, start=1):
        where = f"{path}:{number}"
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        name, sign, value = line.partition("=")
        name = name.strip().removeprefix("export ").strip()
        if not sign or not VARIABLE_NAME.fullmatch(name):
            raise ConfigError(
                f"{where}: {line.strip()[:60]!r} is not NAME=VALUE. Take out what a "
                "shell alone understands, e.g. functions."
            )
        if CREDENTIAL.search(name.lower()):
            raise ConfigError(
                f"{where}: {name} sounds like a credential, and no worker needs one. "
                "Take it out."
            )
        _check_value(value, where=f"{where}: {name}")
        if name in found:
            raise ConfigError(f"{where}: {name} is given twice. Keep one of them.")
        found[name] = value.strip()
    return found


def _check_value(value: str, *, where: str) -> None:
    bare = value.strip()
    if len(bare) > 1 and bare[0] == bare[-1] and bare[0] in "'\"":
        raise ConfigError(f"{where}: its value stands in quotes. Write it bare.")
    if "$(" in bare or re.search(r"\$\{?[A-Za-z_]", bare):
        raise ConfigError(
            f"{where}: {bare[:60]!r} holds a variable, and nothing is expanded. Write "
            "the value out, e.g. as 'env' prints it."
        )


def _is_installed(name: str, folder: Path) -> bool:
    try:
        found = read_environment(name, folder)
    except BackendError:  # an adopted one that is damaged or gone: this mends it
        return False
    return found is not None and not found.is_adopted
