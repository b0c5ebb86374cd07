"""What is known of backends, for people and for machines."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from dpbench.backends.cards import NAME, Card, card_files, load_card
from dpbench.backends.check import version_of
from dpbench.backends.environments import (
    MANIFEST,
    Environment,
    backends_folder,
    is_outdated,
    read_environment,
)
from dpbench.config import to_mapping
from dpbench.errors import BackendError, DpbenchError


def overview(
    own_cards: Path | None = None, folder: Path | None = None
) -> list[dict[str, str]]:
    """Return one row a backend; a card that cannot be read is said in its row."""
    folder = backends_folder() if folder is None else folder
    rows = []
    for name in sorted(card_files(own_cards)):
        try:
            card = load_card(name, own_cards=own_cards)
        except DpbenchError as error:
            row = {"title": "", "licence": "", "environment": "", "state": str(error)}
        else:
            row = {
                "title": card.title,
                "licence": card.licence,
                "environment": card.environment,
                "state": state_of(card, folder),
            }
        rows.append({"backend": name, **row})
    return rows


def installed(own_cards: Path | None = None, folder: Path | None = None) -> list[str]:
    """Name each environment that is here, with its version, and what is wrong."""
    folder = backends_folder() if folder is None else folder
    here = (
        sorted(p.name for p in folder.iterdir() if p.is_dir())
        if folder.is_dir()
        else []
    )
    known = card_files(own_cards)
    found = []
    for name in here:
        if name not in known:
            found.append(f"{name} (no card has that name)")
            continue
        try:
            state = state_of(load_card(name, own_cards=own_cards), folder)
        except DpbenchError as error:
            state = str(error)
        found.append(f"{name} ({state})")
    return found


def state_of(card: Card, folder: Path) -> str:
    """Say in a few words whether a backend is here; nothing is run."""
    try:
        found = read_environment(card.environment, folder)
    except BackendError as error:
        return str(error)
    if found is None:
        return "not installed" if card.requirements else "not installed (own build)"
    how = "adopted" if found.is_adopted else "installed"
    version = version_of(card, found.fingerprint)
    words = f"{how}, {version}" if version else how
    return words + (", from an older card" if is_outdated(found, card) else "")


def environment_of(name: str, own_cards: Path | None = None) -> str:
    """Return the name of a backend's environment, also where no card has it any more.

    Raises:
        BackendError: If there is neither a card nor an environment of that name.
    """
    may_be_left = name not in card_files(own_cards) and NAME.fullmatch(name)
    if may_be_left and (backends_folder() / name / MANIFEST).is_file():
        return name
    return load_card(name, own_cards=own_cards).environment


def details(
    name: str, own_cards: Path | None = None, folder: Path | None = None
) -> dict[str, Any]:
    """Return the card of a backend, and its environment (None if it is not here)."""
    folder = backends_folder() if folder is None else folder
    card = load_card(name, own_cards=own_cards)
    found = read_environment(card.environment, folder)
    content = {k: v for k, v in asdict(card).items() if k != "folder"}
    return {
        "card": content,
        "digest": card.digest,
        "environment": None if found is None else _shown(found, folder),
    }


def details_text(found: dict[str, Any]) -> str:
    """Word the details for people."""
    card, environment = found["card"], found["environment"]
    lines = [f"{key:<13} {_words(value)}" for key, value in card.items() if value]
    if environment is None:
        return "\n".join([*lines, "installed     no"])
    fingerprint = environment["fingerprint"]
    how = "adopted" if environment["is_adopted"] else f"by {environment['by']}"
    lines += [
        f"installed     {environment['made']} {how}",
        f"interpreter   {environment['python']} (Python {fingerprint['python']})",
        f"variables     {', '.join(environment['variables']) or 'none'}",
        f"fingerprint   {environment['digest']}",
    ]
    lines += [f"  {name} = {_words(v)}" for name, v in fingerprint["facts"].items()]
    lines += [f"  {name} {v}" for name, v in fingerprint["packages"].items()]
    return "\n".join(lines)


def _shown(found: Environment, folder: Path) -> dict[str, Any]:
    """Return what is known of an environment; values of ``--env FILE`` stay here."""
    return {
        **to_mapping(found),
        "variables": sorted(found.variables),
        "python": str(found.interpreter(folder)),
        "digest": found.fingerprint.digest,
    }


def _words(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} = {item}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return " ".join(str(value).split())
