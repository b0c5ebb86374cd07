"""Cards in force: which licence, citation and title a dataset of a workspace has.

A card is given by an immutable event that names the dataset; all its versions have it.
A later card replaces those before, unless it is added: data of two origins keep the
licences of both.
"""

from datetime import UTC, datetime
from typing import Any

from dpbench.config import from_mapping, to_mapping
from dpbench.io.cards import Card, shipped_cards
from dpbench.store import objects
from dpbench.store.dataset import DatasetVersion
from dpbench.store.workspace import Workspace

EVENT = "card"
"""Value of ``event`` in the objects that give a card."""

FORMAT = 1
"""Version of such an object."""


def give_card(
    workspace: Workspace, name: str, card: Card, *, added: bool = False
) -> str:
    """Give a dataset a card.

    Args:
        workspace: Where the dataset is.
        name: Its name.
        card: The card.
        added: Keep the cards that it has: data of another origin came in.

    Returns:
        The digest of the event.

    Raises:
        WorkspaceError: If it cannot be written.
    """
    payload = {
        "format": FORMAT,
        "event": EVENT,
        "dataset": name,
        "added": added,
        "card": to_mapping(card),
        "at": datetime.now(UTC).isoformat(),
    }
    return objects.put(workspace, "event", payload)


def given_cards(workspace: Workspace, name: str) -> tuple[Card, ...]:
    """Return the cards that users and imports gave a dataset, in order.

    Raises:
        DatasetError: If an event is damaged.
        ConfigError: If a newer dpbench wrote a card with keys unknown here.
    """
    events = [
        payload
        for payload in objects.all_of(workspace, "event").values()
        if payload.get("event") == EVENT and payload.get("dataset") == name
    ]
    cards: list[Card] = []
    for payload in sorted(events, key=_when):
        card = from_mapping(Card, payload["card"], where=f"card of {name}")
        kept = cards if payload["added"] else []
        cards = [*(other for other in kept if other != card), card]
    return tuple(cards)


def cards_of(version: DatasetVersion) -> tuple[Card, ...]:
    """Return the cards of a version: those given, else that of the registry.

    A card of the registry holds for the content that it names by its digest.
    """
    given = given_cards(version.workspace, version.name)
    if given:
        return given
    shipped = shipped_cards().values()
    return tuple(card for card in shipped if card.digest == version.digest)


def _when(payload: dict[str, Any]) -> str:
    return str(payload["at"])
