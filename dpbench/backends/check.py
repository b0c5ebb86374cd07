"""Whether a backend works on this machine, found out by having it calculate."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from dpbench.backends.cards import Card, Check, load_card
from dpbench.backends.environments import (
    Environment,
    backends_folder,
    how_to_get,
    is_outdated,
    launch_of,
    read_environment,
)
from dpbench.backends.fingerprint import Fingerprint, describe, differences
from dpbench.elements import atomic_numbers
from dpbench.errors import BackendError, DpbenchError
from dpbench.frames import Frames

CHECK_FOLDER = "check"
"""Folder beside the cards that holds the small models."""

TIMEOUT = 900.0
"""Seconds for opening the model, and again for the calculation: some backends compile
it first, and a busy machine takes minutes for that."""

TOLERANCE = 1e-6
"""eV, between the energy that a card names and the one that came."""

State = Literal["works", "imports", "absent", "older card", "broken"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """What was found of one backend."""

    name: str
    """Of the backend."""
    state: State
    """``works``: it calculated; ``imports``: its card has no calculation."""
    version: str | None
    """Of the backend itself, where it is installed."""
    words: str
    """What it did, or exactly what is missing and the command that mends it."""
    seconds: float = 0.0
    """What the check took."""

    @property
    def is_installed(self) -> bool:
        """Whether there is anything to mend: what is absent may be meant so."""
        return self.state != "absent"

    @property
    def is_well(self) -> bool:
        """Whether it can be used."""
        return self.state in ("works", "imports")


def check_backend(
    name: str, *, own_cards: Path | None = None, folder: Path | None = None
) -> Finding:
    """Look at one backend; whatever is wrong with it becomes words, not an error.

    Args:
        name: Of the backend.
        own_cards: Folder with cards of the user's own.
        folder: Folder of all environments.
    """
    folder = backends_folder() if folder is None else folder
    began = time.monotonic()
    version, found = None, None
    try:
        card = load_card(name, own_cards=own_cards)
        found = read_environment(card.environment, folder)
        if found is None:
            words = f"not installed. {how_to_get(card)}"
            return Finding(name=name, state="absent", version=None, words=words)
        version = version_of(card, found.fingerprint)
        if is_outdated(found, card):
            words = f"made from an older card. Run 'dpbench backends install {name}'."
            return Finding(name=name, state="older card", version=version, words=words)
        state, words, version = _try(card, found, own_cards=own_cards, folder=folder)
    except DpbenchError as error:
        state, words = "broken", " ".join(str(error).split())
    seconds = time.monotonic() - began
    return Finding(
        name=name, state=state, version=version, words=words, seconds=seconds
    )


def version_of(card: Card, fingerprint: Fingerprint) -> str | None:
    """Return the version of the backend's own package; None if it is no package."""
    names = [card.distribution, card.name, card.imports.split(".")[0]]
    for name in names:
        version = fingerprint.packages.get((name or "").lower().replace("_", "-"))
        if version is not None:
            return version
    return None


def _try(
    card: Card, found: Environment, *, own_cards: Path | None, folder: Path
) -> tuple[State, str, str | None]:
    """Import or calculate; return the state, what to say, and the version now."""
    launch = launch_of(card.name, own_cards=own_cards, folder=folder)
    module = card.imports if card.check is None else ""
    current = describe(launch.python, name=card.name, env=launch.env, module=module)
    changes = differences(found.fingerprint, current)
    version = version_of(card, current)
    if card.check is None:
        state: State = "imports"
        words = f"'{card.imports}' imports"
    else:
        state, words = (
            "works",
            _calculate(card, card.check, folder=folder, own=own_cards),
        )
    if changes:
        shown = ", ".join(changes[:3]) + (", ..." if len(changes) > 3 else "")
        words += f"; changed since it was {_verb(found)}: {shown}"
    return state, words, version


def _verb(found: Environment) -> str:
    return "adopted" if found.is_adopted else "installed"


def _calculate(card: Card, check: Check, *, folder: Path, own: Path | None) -> str:
    """Have the worker evaluate a few atoms; return what came."""
    from dpbench.backends.client import open_backend  # it needs the sandbox and more
    from dpbench.backends.trust import Trust, digest_of

    launch = launch_of(card.name, own_cards=own, folder=folder)
    model, trust = None, Trust()
    if check.model:
        model = card.folder / CHECK_FOLDER / check.model
        if not model.exists():
            raise BackendError(f"{model}: is missing; the card's check needs it.")
        # Whoever trusts a card's adapter, which runs, trusts the model beside it.
        trust = Trust(named=frozenset({digest_of(model)}))
    with open_backend(
        launch,
        model,
        trust=trust,
        options=check.options,
        timeout_s=TIMEOUT,
        start_timeout_s=TIMEOUT,
    ) as opened:
        answer = opened.evaluate(line_of_atoms(check))
    energy = float(answer.predictions.energy[0])
    force = float(np.abs(answer.predictions.force).max())
    if check.energy is not None and abs(energy - check.energy) > TOLERANCE:
        raise BackendError(
            f"{card.name}: gives {energy:.8f} eV for the atoms of its card; expected "
            f"{check.energy:.8f} eV. Do not use it; install it anew."
        )
    return (
        f"{len(check.elements)} atoms: energy {energy:.6f} eV, largest force "
        f"{force:.6f} eV/Å, {answer.worker_s:.2g} s"
    )


def line_of_atoms(check: Check) -> Frames:
    """Put the atoms of a check on a line in a periodic cube, as one frame."""
    natoms = len(check.elements)
    coord = np.zeros((natoms, 3))
    coord[:, 0] = check.spacing * np.arange(natoms)
    return Frames(
        atom_offset=np.array([0, natoms]),
        z=np.array(atomic_numbers(check.elements, where="check"), dtype=np.uint8),
        coord=coord,
        force=np.full((natoms, 3), np.nan),
        box=np.eye(3)[None] * check.edge,
        pbc=np.ones((1, 3), dtype=bool),
        energy=np.full(1, np.nan),
        virial=np.full((1, 3, 3), np.nan),
    )
