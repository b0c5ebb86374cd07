"""The keys of an input of DP-GEN, and the books on what became of each."""

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, final

from dpbench.errors import ConfigError

Kind = Literal["changed", "left out", "missing"]
"""``changed`` = it is there with another meaning; ``left out`` = it is not; ``missing``
= the exploration does not run before you have done something."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Remark:
    """What did not go over as it was."""

    kind: Kind
    """How it fares."""
    key: str
    """Key of the input of DP-GEN."""
    reason: str
    """Why, and what to do."""


@final
@dataclass(kw_only=True, slots=True)
class Params:
    """One input file; grows its books while it is translated."""

    data: Mapping[str, Any]
    """Its keys."""
    where: str
    """Its name, the start of every message."""
    base: Path
    """Folder that its paths are relative to."""
    taken: dict[str, str] = field(default_factory=dict)
    """Key -> key of the configuration that it became."""
    remarks: list[Remark] = field(default_factory=list)
    """What did not go over as it was."""

    def has(self, key: str) -> bool:
        """Tell whether a key is given with a value."""
        return self.data.get(key) is not None

    def value(self, key: str, target: str, default: Any = None) -> Any:
        """Return the value of a key, and enter what it becomes."""
        if not self.has(key):
            return default
        if target:
            self.taken[key] = target
        return self.data[key]

    def number(self, key: str, target: str, default: Any = None) -> Any:
        """Return a number.

        Raises:
            ConfigError: If it is something else.
        """
        value = self.value(key, target, default)
        if value is not default and (
            isinstance(value, bool) or not isinstance(value, int | float)
        ):
            raise self.wrong(key, "a number")
        return value

    def whole(self, key: str, target: str, default: Any = None) -> Any:
        """Return a whole number; 1.0 counts as one.

        Raises:
            ConfigError: If it is something else.
        """
        value = self.number(key, target, default)
        if isinstance(value, float) and value.is_integer():
            return int(value)
        if value is not default and not isinstance(value, int):
            raise self.wrong(key, "a whole number")
        return value

    def text(self, key: str, target: str, default: str = "") -> str:
        """Return a text.

        Raises:
            ConfigError: If it is something else.
        """
        value = self.value(key, target, default)
        if not isinstance(value, str):
            raise self.wrong(key, "text")
        return value

    def texts(self, key: str, target: str) -> list[str]:
        """Return a list of texts; empty if it is not given.

        Raises:
            ConfigError: If it is something else.
        """
        value = self.value(key, target, [])
        if not isinstance(value, list) or not all(isinstance(v, str) for v in value):
            raise self.wrong(key, "a list of texts")
        return value

    def table(self, key: str, target: str) -> dict[str, Any]:
        """Return a table; empty if it is not given.

        Raises:
            ConfigError: If it is something else.
        """
        value = self.value(key, target, {})
        if not isinstance(value, dict):
            raise self.wrong(key, "a table of keys")
        return value

    def wrong(self, key: str, expected: str) -> ConfigError:
        """Return the error of a value that cannot be used."""
        shown = repr(self.data.get(key))
        return ConfigError(
            f"{self.where}: {key} = {shown[:80]}; expected {expected}. Correct it."
        )

    def remark(self, kind: Kind, key: str, reason: str) -> None:
        """Enter what does not go over as it is."""
        self.remarks.append(Remark(kind=kind, key=key, reason=reason))

    def left_over(self) -> list[str]:
        """Return the keys that nothing was said about; comments left out."""
        said = {re.split(r"[.\[]", remark.key)[0] for remark in self.remarks}
        return [
            key
            for key in self.data
            if key not in self.taken and key not in said and not key.startswith("_")
        ]


@contextmanager
def refusing(path: Path) -> Iterator[None]:
    """Word what a value of a wrong kind, deep within an input, makes fail.

    Inputs of DP-GEN are nested freely, and have no schema here: what is not looked at
    by itself fails where it is used.
    """
    try:
        yield
    except (TypeError, ValueError, AttributeError, LookupError, OverflowError) as error:
        told = " ".join(str(error).split())
        raise ConfigError(
            f"{path}: holds a value of a kind that is not expected there "
            f"({type(error).__name__}: {told}). Compare it with DP-GEN's documentation."
        ) from error


def read_params(path: Path) -> Params:
    """Read a JSON file of DP-GEN.

    Raises:
        ConfigError: If it is missing, or no JSON object.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}).") from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: is not valid JSON: {error}.") from error
    if not isinstance(data, dict):
        raise ConfigError(
            f"{path}: holds no JSON object; expected an input of DP-GEN. Name that."
        )
    return Params(data=data, where=path.name, base=path.resolve().parent)
