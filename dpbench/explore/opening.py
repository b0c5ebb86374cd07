"""From what a user typed to a configuration: a file, or one that ships by name."""

from difflib import get_close_matches
from pathlib import Path
from typing import Final

from dpbench.errors import ConfigError
from dpbench.explore.config import ExploreConfig, read_config
from dpbench.registry_files import registry_folder

SHIPPED: Final = "explorations"
"""Folder of configurations in the registry."""


def open_config(text: str) -> tuple[ExploreConfig, Path]:
    """Open ``explore.toml``, or ``almg-lda`` of the registry.

    Args:
        text: A file, or the name of a configuration that ships with dpbench.

    Returns:
        The configuration, and the folder that its file names are relative to.

    Raises:
        ConfigError: If there is no such file or name, or it cannot be used.
    """
    path = Path(text)
    if not path.is_file():
        path = _shipped(text)
    return read_config(path), path.absolute().parent


def shipped_configs() -> dict[str, Path]:
    """Return the configurations that ship with dpbench, by name."""
    folder = registry_folder() / SHIPPED
    return {
        path.stem: path
        for path in sorted(folder.glob("*.toml"))
        if "." not in path.stem  # NAME.train.toml and the like go with NAME.toml
    }


def _shipped(text: str) -> Path:
    known = shipped_configs()
    if text in known:
        return known[text]
    near = get_close_matches(text, known, n=1)
    hint = f" -- did you mean '{near[0]}'?" if near else ""
    names = ", ".join(known) or "none"
    raise ConfigError(
        f"{text}: there is no such file, nor such a configuration that ships with "
        f"dpbench ({names}); expected one of them{hint}."
    )
