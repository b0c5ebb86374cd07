"""Applies the tables of input.json's options, and gathers what had no effect."""

from collections.abc import Mapping
from typing import Any, final

from dpbench.config import unknown_key
from dpbench.errors import ConfigError
from dpbench.train.input_json_keys import Alias, NoEffect, Only, Rule, Section, Taken


@final
class Reader:
    """Applies the tables; ``notes`` are the options that change nothing."""

    def __init__(self, where: str) -> None:
        """Start the messages with ``where``, the name of the file."""
        self.where = where
        self.notes: list[str] = []

    def tables(
        self, data: Mapping[str, Any], rules: Mapping[str, Rule], section: str
    ) -> dict[str, Any]:
        """Return the options of ``data`` that are tables of their own."""
        self._check(data, rules, section)
        return {k: v for k, v in data.items() if isinstance(rules.get(k), Section)}

    def values(
        self, data: Mapping[str, Any], rules: Mapping[str, Rule], section: str
    ) -> dict[str, Any]:
        """Return fields and values of the options that are taken over."""
        options = self._check(data, rules, section)
        out = {}
        for name, rule in rules.items():
            value = options.get(name)
            if isinstance(rule, Taken):
                value = rule.default if value is None else value
                if value is not None:
                    out[rule.field] = value
            elif isinstance(rule, NoEffect) and name in options:
                self.notes.append(f"{section}.{name}: {rule.why}")
        return out

    def _check(
        self, data: Mapping[str, Any], rules: Mapping[str, Rule], section: str
    ) -> dict[str, Any]:
        """Resolve aliases; refuse what does not exist or is not supported."""
        where = f"{self.where}: {section}" if section else self.where
        if not isinstance(data, Mapping):
            raise ConfigError(f"{where}: expected a table of keys, found {data!r}.")
        options: dict[str, Any] = {}
        # The type comes first: other types have other options.
        for name, value in sorted(data.items(), key=lambda item: item[0] != "type"):
            if name.startswith("_"):  # DeePMD-kit's way of writing a comment
                continue
            if name not in rules:
                raise ConfigError(f"{where}: {unknown_key(name, rules)}")
            rule = rules[name]
            target = rule.of if isinstance(rule, Alias) else name
            if target in options:
                raise ConfigError(f"{where}: {target} is given twice ({name}).")
            options[target] = value
            rule = rules[target]
            if isinstance(rule, Only) and value not in rule.values:
                raise ConfigError(
                    f"{where}: {name} = {value!r} is an option of DeePMD-kit that "
                    f"dpbench does not support yet; supported: {_listed(rule.values)}."
                )
        return options


def _listed(values: tuple[Any, ...]) -> str:
    """Word the supported values."""
    if None in values and {} in values:
        return "leaving it out"
    return " or ".join(repr(value) for value in values)
