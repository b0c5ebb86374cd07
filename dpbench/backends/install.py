"""Making the environment of a backend from its card, whole or not at all."""

import time
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from dpbench.backends.cards import Card, load_card
from dpbench.backends.environments import (
    MANIFEST,
    Environment,
    Say,
    backends_folder,
    how_to_get,
    locked,
    read_environment,
    variables_of,
    write_environment,
)
from dpbench.backends.fingerprint import Fingerprint, describe, locate
from dpbench.backends.installers import (
    Installer,
    Kind,
    find_installer,
    find_python,
    install_packages,
    make_environment,
)
from dpbench.backends.process_environment import for_isolated_python
from dpbench.errors import BackendError
from dpbench.store.files import remove_tree


@dataclass(frozen=True, kw_only=True, slots=True)
class Wishes:
    """How an environment is to be made."""

    wheelhouse: Path | None = None
    """Folder of wheels: nothing comes from anywhere else."""
    python: Path | None = None
    """Interpreter to make it with; None: one that fits the card's bound."""
    installer: Kind | None = None
    """None: uv where it is present."""
    is_anew: bool = False
    """Make it again although it is there."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Installed:
    """What an install has done."""

    environment: Environment
    """What is there now."""
    is_new: bool
    """False if it was there already, from the same card."""
    seconds: float = field(default=0.0)
    """What making it took."""


def install(
    name: str,
    wishes: Wishes | None = None,
    *,
    own_cards: Path | None = None,
    folder: Path | None = None,
    say: Say = lambda _: None,
) -> Installed:
    """Make the environment of a backend, unless it is there from the same card.

    What an install that was killed has left is removed first. The former environment
    serves until the new one is whole.

    Args:
        name: Of the backend.
        wishes: How.
        own_cards: Folder with cards of the user's own.
        folder: Folder of all environments.
        say: Is told each line of progress.

    Raises:
        BackendError: If no Python fits, or something does not install or import.
    """
    wishes = Wishes() if wishes is None else wishes
    folder = backends_folder() if folder is None else folder
    asked = load_card(name, own_cards=own_cards)
    card = load_card(asked.environment, own_cards=own_cards)
    if not card.requirements:
        raise BackendError(f"{name}: cannot be installed. {how_to_get(asked)}")
    if wishes.wheelhouse is not None and not wishes.wheelhouse.is_dir():
        raise BackendError(
            f"{wishes.wheelhouse}: is no folder; expected one that holds wheels. Fill "
            "it with 'pip download' where there is a network."
        )
    python = find_python(card.python, name=name, wish=wishes.python)
    began = time.monotonic()
    with locked(card.name, folder, say=say) as lock:
        before = _before(card, folder)
        if before is not None and before.card == card.digest and not wishes.is_anew:
            return Installed(environment=before, is_new=False)
        _clear(folder / card.name, keep=before)
        made = _make(card, wishes, folder, python=python, lock=lock, say=say)
        _clear(folder / card.name, keep=made)
    return Installed(environment=made, is_new=True, seconds=time.monotonic() - began)


def fingerprint_with(
    card: Card, python: Path, *, variables: dict[str, str]
) -> Fingerprint:
    """Describe an environment under the variables that its worker will have.

    The card's variables need the folder of packages, which is asked for first.
    """
    plain = for_isolated_python(variables)
    site, prefix = locate(python, name=card.name, env=plain)
    env = variables_of(card, variables, site=site, prefix=prefix)
    return describe(
        python, name=card.name, env=env, module=card.imports, facts=card.facts
    )


def now() -> str:
    """Return this moment, UTC, as manifests say it."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _before(card: Card, folder: Path) -> Environment | None:
    """Return what is there; a damaged one counts as nothing."""
    try:
        found = read_environment(card.name, folder)
    except BackendError:
        return None
    if found is not None and found.is_adopted:
        raise BackendError(
            f"{card.name}: an installation of yours was adopted "
            f"({found.python}). Run 'dpbench backends remove {card.name}' first; it "
            "leaves that installation alone."
        )
    return found


def _make(
    card: Card,
    wishes: Wishes,
    folder: Path,
    *,
    python: Path,
    lock: int,
    say: Say,
) -> Environment:
    """Make a new environment beside the former and let it count at the end."""
    installer = find_installer(wishes.installer, python=python)
    inner = f"{card.digest[:12]}-{uuid.uuid4().hex[:6]}"
    target = folder / card.name / inner
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        say(f"{card.name}: a virtual environment of {python}, with {installer.version}")
        own = make_environment(target, installer, python=python)
        _fill(card, wishes, installer, own=own, lock=lock, say=say)
        say(f"{card.name}: looking whether '{card.imports}' imports")
        made = Environment(
            name=card.name,
            python=str(Path(inner, "bin", "python")),
            card=card.digest,
            is_adopted=False,
            made=now(),
            by=installer.version,
            licence=card.licence,
            fingerprint=fingerprint_with(card, own, variables={}),
        )
        write_environment(made, folder)
    except OSError as error:
        remove_tree(target)
        raise BackendError(
            f"{error.filename or target}: {error.strerror or error}. Free the disk, or "
            "name another folder in DPBENCH_BACKENDS."
        ) from error
    except BackendError as error:
        remove_tree(target)
        words = str(error).removeprefix(f"{card.name}: ")
        raise BackendError(
            f"{card.name}: {words} Nothing of this attempt is left."
        ) from error
    except BaseException:
        remove_tree(target)
        raise
    return made


def _fill(
    card: Card,
    wishes: Wishes,
    installer: Installer,
    *,
    own: Path,
    lock: int,
    say: Say,
) -> None:
    """Install what the card names."""
    steps = ((card.requirements, True), (card.without_dependencies, False))
    for requirements, has_dependencies in steps:
        if requirements:
            install_packages(
                requirements,
                installer,
                python=own,
                wheelhouse=wishes.wheelhouse,
                has_dependencies=has_dependencies,
                say=say,
                lock=lock,
            )


def _clear(own: Path, *, keep: Environment | None) -> None:
    """Remove all but one environment and its manifest."""
    kept = {MANIFEST, Path(keep.python).parts[0]} if keep is not None else set()
    for path in own.iterdir() if own.is_dir() else ():
        if path.name in kept:
            continue
        if path.is_dir() and not path.is_symlink():
            remove_tree(path)
        else:
            path.unlink(missing_ok=True)
