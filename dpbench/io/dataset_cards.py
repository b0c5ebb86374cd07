"""Cards in force: which licence, citation and title a dataset of a workspace has.

A card is given by an immutable event that names the dataset; all its versions have it.
A later card replaces those before, unless it is added: data of two origins keep the
licences of both.
"""

from dpbench.config import from_mapping, to_mapping
from dpbench.io.cards import Card, shipped_cards
from dpbench.store import catalog
from dpbench.store.dataset import DatasetVersion
from dpbench.store.events import events_of, key_of, new_event
from dpbench.store.workspace import Workspace

EVENT = "card"
"""What such an event is called."""


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
    key = key_of(workspace, name)
    event = new_event(EVENT, key, card=to_mapping(card), added=added)
    return catalog.register_event(workspace, event)


def given_cards(workspace: Workspace, name: str) -> tuple[Card, ...]:
    """Return the cards that users and imports gave a dataset, in order.

    Raises:
        DatasetError: If an event is damaged.
        ConfigError: If a newer dpbench wrote a card with keys unknown here.
    """
    key = key_of(workspace, name)
    cards: list[Card] = []
    for event in events_of(workspace, EVENT):
        if event["dataset"] == key:
            card = from_mapping(Card, event["card"], where=f"card of {name}")
            kept = cards if event["added"] else []
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
