"""Reading and changing the configurations of foreign trainers.

Every change goes through ``Edited``, which keeps a line for each: nothing is set or
left out in silence.
"""

import copy
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, final

import yaml

from dpbench.errors import ConfigError

LARGEST = 4 << 20
"""Bytes of the largest configuration that is read."""

SHOWN = 60
"""Characters of a value in a line."""

MISSING = object()
"""Stands for a key that is not there."""


def read_mapping(path: Path, *, what: str) -> dict[str, Any]:
    """Read a JSON or YAML file that holds a mapping.

    Args:
        path: The file; ``.json`` is JSON, anything else YAML.
        what: What is expected, for messages: ``DeePMD-kit's input.json``.

    Raises:
        ConfigError: If it is missing, none, or too large.
    """
    try:
        if path.stat().st_size > LARGEST:
            raise ConfigError(
                f"{path}: is larger than {LARGEST} bytes; expected {what}."
            )
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".json":
            found = json.loads(text)
        else:
            found = yaml.safe_load(text)
            found = json.loads(json.dumps(found))  # dates and sets have no JSON
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}).") from error
    except (ValueError, TypeError, RecursionError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ConfigError(f"{path}: is not {what}: {reason}.") from error
    if not isinstance(found, dict):
        raise ConfigError(
            f"{path}: holds a {type(found).__name__}; expected {what}, a mapping."
        )
    return found


@final
class Edited:
    """A configuration that is being rewritten, and what was done to it."""

    def __init__(self, where: str, theirs: Mapping[str, Any]) -> None:
        """Copy the configuration; ``where`` starts every message."""
        self.where = where
        self.tree: dict[str, Any] = copy.deepcopy(dict(theirs))
        self.notes: list[str] = []

    def get(self, path: str, default: Any = None) -> Any:
        """Return the value at ``a.b.c``."""
        node: Any = self.tree
        for key in path.split("."):
            if not isinstance(node, dict) or key not in node:
                return default
            node = node[key]
        return node

    def set(self, path: str, value: Any, *, why: str, shown: str | None = None) -> None:
        """Set the value at ``a.b.c`` and say so, unless it is that already.

        Args:
            path: Keys, with dots between them.
            value: The new value.
            why: What for, in a few words.
            shown: How to write the value; None = as it is.

        Raises:
            ConfigError: If something on the way is no mapping.
        """
        *folders, last = path.split(".")
        node: Any = self.tree
        for key in folders:
            node = node.setdefault(key, {}) if isinstance(node, dict) else node
        if not isinstance(node, dict):
            raise ConfigError(
                f"{self.where}: {'.'.join(folders)} is no table; expected one to set "
                f"'{last}' in."
            )
        before = node.get(last, MISSING)
        if before == value:
            return
        node[last] = value
        was = "" if before is MISSING else f" instead of {brief(before)}"
        self.notes.append(f"{path} = {shown or brief(value)}{was} ({why})")

    def drop(self, path: str, *, why: str) -> None:
        """Leave out what is at ``a.b.c`` and say so; nothing if it is not there."""
        *folders, last = path.split(".")
        node = self.get(".".join(folders)) if folders else self.tree
        if isinstance(node, dict) and last in node:
            before = node.pop(last)
            self.notes.append(f"{path} = {brief(before)} left out ({why})")

    def refuse(self, path: str, *, why: str, unless: tuple[Any, ...] = ()) -> None:
        """Raise ConfigError if there is anything at ``a.b.c`` but what is harmless."""
        value = self.get(path, MISSING)
        if value is MISSING or value is None or value in unless:
            return
        raise ConfigError(f"{self.where}: {path} = {brief(value)}: {why}")

    def check_keys(self, path: str, known: tuple[str, ...]) -> None:
        """Raise ConfigError on a key of the table ``path`` that may name other data."""
        table = self.get(path)
        if table is None:
            return
        if not isinstance(table, dict):
            raise ConfigError(
                f"{self.where}: {path} = {brief(table)}; expected a table of "
                f"{', '.join(known)}."
            )
        for key in table:
            if key not in known:
                raise ConfigError(
                    f"{self.where}: {path}.{key}: is not known here, and may name "
                    f"other data; expected only {', '.join(known)}. Leave it out: the "
                    "data are those of --dataset."
                )


def brief(value: Any) -> str:
    """Write a value in at most a few words."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 4]} ..."
