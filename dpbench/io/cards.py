"""Dataset cards: title, licence and citation of data, in one TOML file."""

import re
from dataclasses import dataclass
from pathlib import Path

from dpbench.config import from_mapping, read_toml
from dpbench.errors import ConfigError
from dpbench.registry_files import registry_folder

_LICENCE = re.compile(r"[A-Za-z0-9.+-]+( (OR|AND|WITH) [A-Za-z0-9.+-]+)*")
"""An SPDX expression without brackets, e.g. ``CC-BY-4.0`` or ``MIT OR Apache-2.0``."""

_DIGEST = re.compile(r"dpb[0-9]+:[0-9a-f]{64}")


@dataclass(frozen=True, kw_only=True, slots=True)
class CardSource:
    """One file that the data of a card was read from."""

    name: str
    """File name."""
    sha256: str
    """Its content, unpacked or not as it is named."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Card:
    """What people must know of a dataset before they use it."""

    title: str
    """One line."""
    licence: str
    """SPDX expression, e.g. ``CC-BY-4.0``; ``LicenseRef-...`` for any other."""
    citation: str
    """How to cite it: a reference, a DOI, or how it was made."""
    description: str = ""
    """A few sentences, Markdown."""
    authors: tuple[str, ...] = ()
    """Who made it."""
    url: str | None = None
    """Where it is published."""
    doi: str | None = None
    """Its DOI, without https://doi.org/."""
    name: str | None = None
    """Name of the dataset; the file's name, for cards in the registry."""
    digest: str | None = None
    """Digest of the dataset's content, if the card is for one content alone."""
    n_frames: int | None = None
    """Frames of that content."""
    code: str | None = None
    """CODE that ``dpbench ingest`` reads it with."""
    theory: str | None = None
    """Level of theory in a line; the settings are read from the files themselves."""
    sources: tuple[CardSource, ...] = ()
    """The files it is read from."""

    def __post_init__(self) -> None:
        """Check what must have a form."""
        for key in ("title", "licence", "citation"):
            if not getattr(self, key).strip():
                raise ConfigError(f"{key} is empty; expected some text.")
        if not _LICENCE.fullmatch(self.licence):
            raise ConfigError(
                f"licence = {self.licence!r}; expected an SPDX identifier such as "
                "CC-BY-4.0, see https://spdx.org/licenses, or LicenseRef-NAME."
            )
        if self.digest is not None and not _DIGEST.fullmatch(self.digest):
            raise ConfigError(
                f"digest = {self.digest!r}; expected dpb1: and 64 hex digits, as "
                "'dpbench dataset show' prints them."
            )


def read_card(path: Path) -> Card:
    """Read a card.

    Raises:
        ConfigError: If it is missing, no TOML, or has a key that no card has.
    """
    return from_mapping(Card, read_toml(path), where=str(path))


def shipped_cards() -> dict[str, Card]:
    """Read the cards of the registry: {name: card}.

    Raises:
        ConfigError: If one is damaged.
    """
    files = sorted((registry_folder() / "datasets").glob("*.toml"))
    return {path.stem: read_card(path) for path in files}
