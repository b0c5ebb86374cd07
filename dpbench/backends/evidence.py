"""What a record of an evaluation says of the backend that gave its numbers."""

from pathlib import Path
from typing import Any

from dpbench.backends.cards import load_card
from dpbench.backends.check import version_of
from dpbench.backends.environments import (
    backends_folder,
    launch_of,
    read_environment,
)
from dpbench.backends.fingerprint import describe, differences
from dpbench.errors import BackendError


def evidence_of(
    name: str, *, own_cards: Path | None = None, folder: Path | None = None
) -> dict[str, Any]:
    """Describe the environment of a backend as it is now, ready for JSON.

    Packages are asked for anew: an adopted installation changes without our knowledge.
    Folders of this machine and values of ``--env FILE`` are left out.

    Args:
        name: Of the backend.
        own_cards: Folder with cards of the user's own.
        folder: Folder of all environments.

    Returns:
        ``backend``, ``version``, ``licence``, ``python``, ``implementation``,
        ``machine``, ``packages`` (name -> version), ``facts`` of the build, ``digest``
        over these, ``card`` (digest), ``is_adopted``, ``made``, ``by``, ``variables``
        (names), ``changes`` since it was made.

    Raises:
        BackendError: If it is not installed, or does not answer.
    """
    folder = backends_folder() if folder is None else folder
    launch = launch_of(name, own_cards=own_cards, folder=folder)
    card = load_card(name, own_cards=own_cards)
    found = read_environment(card.environment, folder)
    if found is None:  # removed between the two lines above
        raise BackendError(f"{name}: is not installed in {folder} any more.")
    current = describe(launch.python, name=name, env=launch.env)
    changes = differences(found.fingerprint, current)
    if changes:  # the build may be another one too
        current = describe(
            launch.python, name=name, env=launch.env, facts=owner_facts(name, own_cards)
        )
    else:
        current = found.fingerprint
    return {
        "backend": name,
        "version": version_of(card, current),
        "licence": card.licence,
        "python": current.python,
        "implementation": current.implementation,
        "machine": current.machine,
        "packages": current.packages,
        "facts": current.facts,
        "digest": current.digest,
        "card": found.card,
        "is_adopted": found.is_adopted,
        "made": found.made,
        "by": found.by,
        "variables": sorted(found.variables),
        "changes": changes,
    }


def owner_facts(name: str, own_cards: Path | None = None) -> tuple[str, ...]:
    """Return the facts that the card of a backend's environment asks for."""
    environment = load_card(name, own_cards=own_cards).environment
    return load_card(environment, own_cards=own_cards).facts
