"""Cards of backends: what a foreign program needs, and which worker speaks for it.

A card is ``registry/backends/NAME.toml``; a workspace may add its own in
``backends/NAME.toml``. Cards of one ``environment`` share one virtual environment: the
card of that name says what is installed there, and the others take that from it.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from dpbench.backends.python_bound import check_bound
from dpbench.config import canonical_json, from_mapping, read_toml
from dpbench.errors import BackendError, ConfigError
from dpbench.registry_files import registry_folder

FOLDER = "backends"
"""Folder of cards in the registry, and of a workspace's own."""

WORKERS = Path(__file__).resolve().parent / "workers"
"""Folder of the adapters that ship with dpbench."""

DEEPMD_ADAPTER = WORKERS / "deepmd_kit.py"
"""The adapter that opens a file under the suffix that it is told."""

NATIVE = "dpbench"
"""The name of dpbench's own kernels, which no card may take."""

INSTALLED = ("python", "requirements", "without_dependencies")
"""Keys that say what is installed; the digest is over them."""

OWNERS_ALONE = (*INSTALLED, "facts")
"""Keys that only the card that an environment is named after may have."""

TAKEN_OVER = ("licence", "homepage")
"""Keys that a card takes from the environment's where it says nothing itself."""

NAME = re.compile(r"[a-z0-9][a-z0-9-]*")

LOADING = re.compile(
    r"LD_.*|DYLD_.*|PYTHON.*|DPBENCH_.*|GCONV_PATH|GLIBC_TUNABLES|LOCPATH|BASH_ENV"
)
"""Variables that have every program load code, the sandbox's own too."""

LIBRARIES = "LD_LIBRARY_PATH"
"""Of these, the one that an own card may set, to folders of its environment."""

INSIDE = re.compile(r"\{old\}|\{(site|prefix)\}(/[^{}]*)?")
"""What it may be set to there."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """A tiny calculation that ``dpbench backends check`` has the backend do.

    Its atoms stand on a line along x in a periodic cube.
    """

    model: str = ""
    """A small model in the folder ``check`` beside the card; empty where the backend
    needs no file."""
    options: dict[str, Any] = field(default_factory=dict)
    """Options besides those of the card."""
    elements: tuple[str, ...] = ("Si", "Si")
    """The atoms."""
    spacing: float = 2.3
    """Between neighbours on the line, Å."""
    edge: float = 12.0
    """Of the cube, Å."""
    energy: float | None = None
    """What must come, eV; None: any number will do."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Card:
    """One backend."""

    name: str
    """As ``--backend`` takes it; the file's stem."""
    title: str
    """The name that people know."""
    licence: str
    """SPDX identifier of the program's licence."""
    homepage: str
    """Where its documentation is."""
    environment: str
    """Name of its virtual environment [default: the card's own]."""
    python: str = ">=3.9"
    """Versions of Python that it runs on, e.g. ``>=3.10,<3.14``."""
    requirements: tuple[str, ...] = ()
    """What pip installs, the backend itself first, with versions. Empty where no
    package index has it: then ``dpbench backends add`` alone brings it. No indices:
    those of the user's configuration serve."""
    without_dependencies: tuple[str, ...] = ()
    """Installed after the others and without what they ask for: packages whose pins
    are tighter than their needs, the backend itself first. Say why in ``notes``."""
    adapter: str
    """The worker's script: a file beside the card, else one of backends/workers."""
    options: dict[str, Any] = field(default_factory=dict)
    """Options that the adapter is given unless the caller names others."""
    suffixes: tuple[str, ...] = ()
    """Suffixes of its model files, with the dot."""
    reads_text: bool = False
    """Whether its adapter takes tables of coefficients and descriptions for text: they
    need no trust then. One that may unpickle a file does not."""
    imports: str
    """Module whose import proves that it is installed."""
    env: dict[str, str] = field(default_factory=dict)
    """Environment variables of its worker. ``{site}`` is the folder of the
    environment's packages, ``{prefix}`` the environment, ``{old}`` what the variable
    held before."""
    facts: tuple[str, ...] = ()
    """What the fingerprint notes of the build, as ``module:attribute``; a function is
    called without arguments."""
    check: Check | None = None
    """What ``dpbench backends check`` calculates; without it, it imports alone."""
    notes: str = ""
    """What does not install or work, in which version, with the message."""
    folder: Path = Path()
    """Where the card lies; set by the loader."""

    def __post_init__(self) -> None:
        """Refuse names and bounds that nothing could use."""
        if not NAME.fullmatch(self.name) or self.name == NATIVE:
            raise ConfigError(
                f"name = {self.name!r}; expected lower-case letters, digits and '-', "
                f"and not '{NATIVE}', which means its own kernels."
            )
        if not NAME.fullmatch(self.environment):
            raise ConfigError(f"environment = {self.environment!r}; is no such name.")
        check_bound(self.python, where="python")
        for suffix in self.suffixes:
            if not suffix.startswith("."):
                raise ConfigError(f"suffixes: {suffix!r} must start with a dot.")
        for fact in self.facts:
            if fact.count(":") != 1:
                raise ConfigError(f"facts: {fact!r} is not 'module:attribute'.")

    @property
    def adapter_path(self) -> Path:
        """The adapter's file: beside the card, else one that ships with dpbench.

        Raises:
            ConfigError: If there is neither.
        """
        for path in (self.folder / self.adapter, WORKERS / self.adapter):
            if path.is_file():
                return path.resolve()
        raise ConfigError(
            f"{self.folder / self.name}.toml: adapter = {self.adapter!r}; there is no "
            f"such file beside the card or in {WORKERS}."
        )

    @property
    def distribution(self) -> str | None:
        """The package whose version is the backend's, if an index has it."""
        installed = self.without_dependencies or self.requirements
        if not installed:
            return None
        match = re.match(r"[A-Za-z0-9][A-Za-z0-9._-]*", installed[0])
        return match.group() if match else None

    @property
    def digest(self) -> str:
        """sha256 of what is installed: a new one means install again."""
        installed = {key: getattr(self, key) for key in INSTALLED}
        return hashlib.sha256(canonical_json(installed)).hexdigest()


def card_files(own_cards: Path | None = None) -> dict[str, Path]:
    """Find all cards: name -> file.

    Args:
        own_cards: Folder with cards of the user's own, e.g. ``backends`` of a
            workspace; it need not exist.

    Raises:
        ConfigError: If an own card has the name of one that ships with dpbench.
    """
    shipped = _cards_in(registry_folder() / FOLDER)
    own = _cards_in(own_cards) if own_cards is not None else {}
    for name in sorted(shipped.keys() & own.keys()):
        raise ConfigError(
            f"{own[name]}: takes the name of a card that ships with dpbench; expected "
            f"a name of its own. Rename it, e.g. to {name}-mine.toml."
        )
    return shipped | own


def load_card(name: str, *, own_cards: Path | None = None) -> Card:
    """Load one card, with what it shares of its environment's.

    Args:
        name: Of the backend.
        own_cards: Folder with cards of the user's own.

    Raises:
        BackendError: If there is no such card.
        ConfigError: If the card is not as it should be.
    """
    files = card_files(own_cards)
    if name not in files:
        near = get_close_matches(name, files, n=1)
        meant = f" Is {near[0]} meant?" if near else ""
        raise BackendError(
            f"{name}: is no backend.{meant} Known: {', '.join(sorted(files))}. "
            f"Name one of them, or write a card {name}.toml into the folder "
            f"'{FOLDER}' of the workspace."
        )
    path = files[name]
    data = read_toml(path)
    owner = data.get("environment", name)
    if owner != name:
        data = _with_owner(data, path, files.get(owner))
    for source in {path, files.get(owner, path)}:
        if own_cards is not None and source.parent == own_cards:
            _check_variables(source)
    if data.get("name") != name:
        raise ConfigError(
            f"{path}: name = {data.get('name')!r}; expected {name!r}, the file's own."
        )
    if "folder" in data:
        raise ConfigError(f"{path}: unknown key 'folder'. Take it out.")
    values = {**data, "environment": owner, "folder": str(path.parent)}
    return from_mapping(Card, values, where=str(path))


def all_cards(own_cards: Path | None = None) -> dict[str, Card]:
    """Load every card, by name; ConfigError at the first that is not as it should."""
    names = sorted(card_files(own_cards))
    return {name: load_card(name, own_cards=own_cards) for name in names}


def environment_names(own_cards: Path | None = None) -> tuple[str, ...]:
    """Return the names of all environments, in order."""
    cards = all_cards(own_cards).values()
    return tuple(sorted({card.environment for card in cards}))


def _cards_in(folder: Path) -> dict[str, Path]:
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}


def _with_owner(
    data: Mapping[str, Any], path: Path, owner: Path | None
) -> dict[str, Any]:
    """Fill in what the card of the environment says."""
    name = data["environment"]
    if owner is None:
        raise ConfigError(
            f"{path}: environment = {name!r}, and there is no card of that name. "
            f"Add {name}.toml."
        )
    taken = read_toml(owner)
    if taken.get("environment", name) != name:
        raise ConfigError(
            f"{path}: environment = {name!r}, whose card names another environment; "
            "expected the card that says what is installed. Name that one."
        )
    for key in _wrong_keys(data):
        raise ConfigError(
            f"{path}: has '{key}', which {owner.name} says for all cards of the "
            f"environment. Take it out, or take out 'environment'."
        )
    merged = {key: taken[key] for key in OWNERS_ALONE + TAKEN_OVER if key in taken}
    env = {**taken.get("env", {}), **data.get("env", {})}
    return {**merged, **data, "env": env}


def _check_variables(path: Path) -> None:
    """Refuse variables by which a workspace of somebody else would run its code."""
    env = read_toml(path).get("env", {})
    for name, value in env.items() if isinstance(env, dict) else ():
        is_inside = all(
            INSIDE.fullmatch(word) and ".." not in word
            for word in str(value).split(":")
        )
        if LOADING.fullmatch(name) and not (name == LIBRARIES and is_inside):
            raise ConfigError(
                f"{path}: env: {name} has any program load code; expected no such "
                f"variable in a card of a workspace, {LIBRARIES} only with folders "
                "below {site} or {prefix}. Use 'dpbench backends add --env FILE'."
            )


def _wrong_keys(data: Mapping[str, Any]) -> Iterator[str]:
    return (key for key in OWNERS_ALONE if key in data)
