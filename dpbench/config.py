"""The one strict way from a mapping (TOML, JSON, a card) to a dataclass.

An unknown key is an error that names the nearest known one; a value of the wrong type
is an error that shows both. Each dataclass lives beside the thing it configures.
"""

import json
import math
import os
import tomllib
import types
from collections.abc import Mapping
from dataclasses import MISSING, Field, asdict, fields, is_dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from dpbench.errors import ConfigError

Config = TypeVar("Config")


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file; ConfigError if it is missing or not TOML."""
    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}).") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: is not valid TOML: {error}.") from error


def from_mapping(cls: type[Config], data: Mapping[str, Any], *, where: str) -> Config:
    """Build dataclass ``cls`` from ``data``; nothing is ignored, nothing guessed.

    Args:
        cls: A dataclass; nested dataclasses, tuples, Literals and unions are built.
        data: Keys as the file has them.
        where: File and section, the start of every message, e.g. ``train.toml: model``.

    Returns:
        The dataclass, checked by its own ``__post_init__``.

    Raises:
        ConfigError: On an unknown or missing key, or a value of the wrong type.
    """
    if not isinstance(data, Mapping):
        raise ConfigError(f"{where}: expected a table of keys, found {data!r}.")
    known = {field.name: field for field in fields(cls)}  # type: ignore[arg-type]
    for key in data:
        if key not in known:
            raise ConfigError(f"{where}: {unknown_key(key, known)}")
    hints = get_type_hints(cls)
    values = {
        key: _convert(hints[key], value, f"{where}.{key}")
        for key, value in data.items()
    }
    missing = [n for n, f in known.items() if n not in values and _is_required(f)]
    if missing:
        raise ConfigError(f"{where}: missing key '{missing[0]}'. Add it.")
    try:
        return cls(**values)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from error


def unknown_key(key: str, known: Mapping[str, Any]) -> str:
    """Word the message for a key that does not exist."""
    near = get_close_matches(key, known, n=1)
    hint = f"did you mean '{near[0]}'?" if near else f"known: {', '.join(known)}."
    return f"unknown key '{key}' -- {hint}"


def to_mapping(config: Any) -> dict[str, Any]:
    """Turn a dataclass into plain dicts, lists and scalars, ready for JSON."""
    if not is_dataclass(config) or isinstance(config, type):
        raise TypeError(f"expected a dataclass instance, got {config!r}")
    plain: dict[str, Any] = json.loads(json.dumps(asdict(config), default=os.fspath))
    return plain


def finite(plain: Any) -> Any:
    """Return plain values with None for every number that is not finite."""
    if isinstance(plain, dict):
        return {key: finite(item) for key, item in plain.items()}
    if isinstance(plain, list):
        return [finite(item) for item in plain]
    if isinstance(plain, float) and not math.isfinite(plain):
        return None
    return plain


def canonical_json(payload: Any) -> bytes:
    """Encode ``payload`` so that equal content gives equal bytes.

    Keys are sorted, there is no white space, NaN is refused: absent values are null.
    """
    text = json.dumps(
        payload,
        sort_keys=True,
        separators=(",", ":"),
        ensure_ascii=False,
        allow_nan=False,
    )
    return text.encode()


def _is_required(field: "Field[Any]") -> bool:
    return field.default is MISSING and field.default_factory is MISSING


def _convert(hint: Any, value: Any, where: str) -> Any:
    """Check ``value`` against a type hint, building nested dataclasses."""
    origin, args = get_origin(hint), get_args(hint)
    if hint is Any:
        return value
    if origin in (Union, types.UnionType):
        return _convert_union(args, value, where)
    if origin is Literal:
        if value not in args:
            raise ConfigError(f"{where} = {value!r}; expected one of {list(args)}.")
        return value
    if is_dataclass(hint):
        return from_mapping(hint, value, where=where)  # type: ignore[arg-type]
    if origin is tuple:
        return _convert_tuple(args, value, where)
    if origin is dict:
        if not isinstance(value, Mapping):
            raise ConfigError(f"{where} = {value!r}; expected a table.")
        return {k: _convert(args[1], v, f"{where}.{k}") for k, v in value.items()}
    return _convert_scalar(hint, value, where)


def _convert_union(args: tuple[Any, ...], value: Any, where: str) -> Any:
    if value is None and type(None) in args:
        return None
    kinds = [arg for arg in args if _types_of(arg)]
    if len(kinds) > 1 and isinstance(value, Mapping):
        return _convert_kind(kinds, value, where)
    errors = []
    for arg in args:
        if arg is type(None):
            continue
        try:
            return _convert(arg, value, where)
        except ConfigError as error:
            errors.append(error)
    raise errors[0]


def _types_of(cls: Any) -> tuple[Any, ...]:
    """Return the values of ``type`` that tell a dataclass of a union apart."""
    if not is_dataclass(cls):
        return ()
    hint = get_type_hints(cls).get("type")
    return get_args(hint) if get_origin(hint) is Literal else ()


def _convert_kind(kinds: list[Any], value: Mapping[str, Any], where: str) -> Any:
    """Build the dataclass that ``type`` names; the first one where it is left out."""
    known = {name: kind for kind in kinds for name in _types_of(kind)}
    name = value.get("type", next(iter(known)))
    if name not in known:
        raise ConfigError(f"{where}.type = {name!r}; expected one of {list(known)}.")
    return from_mapping(known[name], value, where=where)


def _convert_tuple(args: tuple[Any, ...], value: Any, where: str) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise ConfigError(f"{where} = {value!r}; expected a list.")
    if len(args) == 2 and args[1] is Ellipsis:
        return tuple(_convert(args[0], v, f"{where}[{i}]") for i, v in enumerate(value))
    if len(value) != len(args):
        raise ConfigError(f"{where} = {value!r}; expected {len(args)} values.")
    pairs = zip(args, value, strict=True)
    return tuple(_convert(a, v, f"{where}[{i}]") for i, (a, v) in enumerate(pairs))


def _convert_scalar(hint: Any, value: Any, where: str) -> Any:
    is_bool = isinstance(value, bool)
    if hint is float and isinstance(value, int | float) and not is_bool:
        return float(value)
    if hint is bool and is_bool:
        return value
    if hint in (int, str) and isinstance(value, hint) and not is_bool:
        return value
    if hint is Path and isinstance(value, str):
        return Path(value)
    name = getattr(hint, "__name__", str(hint))
    raise ConfigError(f"{where} = {value!r}; expected {name}.")
