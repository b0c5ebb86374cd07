"""The YAML flavour of DeePMD-kit's portable dict: no more of YAML than it needs.

Tags, deep nesting and recursion are refused, so that a file can neither name a program
nor exhaust the reader; aliases, which DeePMD-kit writes for lists that occur twice, are
followed.
"""

import json
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import yaml

DEEPEST = 64
"""Most levels of nesting; a hybrid of DPA-1 has about fifteen."""

MOST_NODES = 200_000_000
"""Most values, each alias counted with all that it stands for."""

_DTYPES = frozenset(
    {"float64", "float32", "float16", "int64", "int32", "int16", "int8", "bool"}
    | {"uint64", "uint32", "uint16", "uint8"}
)
_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_WORDS = {
    word: value
    for value, plain in ((True, ("true", "yes", "on")), (False, ("false", "no", "off")))
    for name in plain
    for word in (name, name.capitalize(), name.upper())
}
_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_FLOAT = re.compile(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?")
_SPECIAL = re.compile(r"([-+]?)\.(inf|nan)", re.IGNORECASE)
_PAIR = re.compile(r"\\u[dD][89abAB]..\\u[dD][c-fC-F]..")
_PLAIN_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

_Events = Iterator[yaml.Event]


def write_yaml(data: Mapping[str, Any]) -> str:
    """Return a nested dict with arrays as text that any reader of YAML 1.1 takes."""
    lines: list[str] = []
    _write_mapping(data, "", lines)
    return "\n".join(lines) + "\n"


def read_yaml(content: bytes) -> dict[str, Any]:
    """Return the nested dict of a text, its arrays as arrays.

    Raises:
        ValueError: If it is no such dict, in one line.
    """
    try:
        # Events come one by one, so a bomb is seen before it goes off.
        found = _Builder().document(yaml.parse(content, Loader=_LOADER))
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from error
    if not isinstance(found, dict):
        raise ValueError("holds no mapping")
    return found


_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""libyaml where PyYAML has it; both only split the text here."""


class _Builder:
    """Puts the values of one document together."""

    def __init__(self) -> None:
        self._anchors: dict[str, tuple[Any, int]] = {}
        self._nodes = 0

    def document(self, events: _Events) -> Any:
        """Build the first document; there must be no second."""
        found, count = None, 0
        for event in events:
            if isinstance(event, yaml.DocumentStartEvent):
                count += 1
                found = self._value(next(events), events, 0)
        if count != 1:
            raise ValueError(f"holds {count} documents; expected one")
        return found

    def _value(self, event: yaml.Event, events: _Events, depth: int) -> Any:
        before = self._nodes
        self._nodes += 1
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event.anchor)
        if not isinstance(event, yaml.NodeEvent):
            raise ValueError("ends amidst a value")
        tag = getattr(event, "tag", None)
        if tag is not None:
            raise ValueError(f"has the tag {tag}; expected none")
        if depth > DEEPEST:
            raise ValueError(f"is nested deeper than {DEEPEST} levels")
        value: Any
        if isinstance(event, yaml.ScalarEvent):
            value = event.value if event.style else _scalar(event.value)
        elif isinstance(event, yaml.SequenceStartEvent):
            value = list(self._items(events, depth))
        else:
            value = _as_array(self._mapping(events, depth))
        if event.anchor is not None:
            self._anchors[event.anchor] = value, self._nodes - before
        return value

    def _alias(self, name: str) -> Any:
        if name not in self._anchors:
            raise ValueError(f"refers to *{name} inside itself, or to nothing")
        value, nodes = self._anchors[name]
        self._nodes += nodes
        if self._nodes > MOST_NODES:
            raise ValueError(f"stands for more than {MOST_NODES} values")
        return value

    def _items(self, events: _Events, depth: int) -> Iterator[Any]:
        for event in events:
            if isinstance(event, yaml.SequenceEndEvent):
                return
            yield self._value(event, events, depth + 1)

    def _mapping(self, events: _Events, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for event in events:
            if isinstance(event, yaml.MappingEndEvent):
                break
            key = self._value(event, events, depth + 1)
            if not isinstance(key, str) or key in found:
                raise ValueError(f"has the key {key!r} twice, or it is no text")
            found[key] = self._value(next(events), events, depth + 1)
        return found


def _scalar(text: str) -> Any:
    """Return the value of a word without quotes."""
    if _INTEGER.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    if text in _NULLS:
        return None
    special = _SPECIAL.fullmatch(text)
    if special:
        return float(special[1] + special[2])
    return _WORDS.get(text, text)


def _as_array(plain: dict[str, Any]) -> Any:
    """Return the array that a dict stands for, or the dict."""
    if plain.get("@class") != "np.ndarray":
        return plain
    dtype, version = plain.get("dtype"), plain.get("@version", 1)
    if dtype not in _DTYPES or version != 1:
        raise ValueError(f"has an array of {dtype}, version {version}")
    return np.asarray(plain["value"], dtype=np.dtype(dtype))


def _write_mapping(data: Mapping[str, Any], indent: str, lines: list[str]) -> None:
    for key, value in data.items():
        is_plain = _PLAIN_KEY.fullmatch(key) and _scalar(key) == key
        name = key if is_plain else _words(key)
        if isinstance(value, np.ndarray):
            value = {
                "@class": "np.ndarray",
                "@is_variable": True,
                "@version": 1,
                "dtype": value.dtype.name,
                "value": value.tolist(),
            }
        if isinstance(value, Mapping) and value:
            lines.append(f"{indent}{name}:")
            _write_mapping(value, indent + "  ", lines)
        elif isinstance(value, list) and any(isinstance(v, Mapping) for v in value):
            lines.append(f"{indent}{name}:")
            for item in value:
                _write_item(item, indent, lines)
        else:
            lines.append(f"{indent}{name}: {_flow(value)}")


def _write_item(item: Mapping[str, Any], indent: str, lines: list[str]) -> None:
    """Write a mapping as an item of a list."""
    inner: list[str] = []
    _write_mapping(item, indent + "  ", inner)
    inner[0] = f"{indent}- {inner[0][len(indent) + 2 :]}"
    lines.extend(inner)


def _flow(value: Any) -> str:
    """Word a value without mappings in it."""
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_flow, value))}]"
    if isinstance(value, Mapping):
        return "{}"
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, int | np.integer):
        return str(int(value))
    if isinstance(value, float | np.floating):
        return _number(float(value))
    return _words(str(value))


def _number(value: float) -> str:
    """Word a float as YAML 1.1 knows it again, which wants a point."""
    if math.isnan(value):
        return ".nan"
    if math.isinf(value):
        return ".inf" if value > 0 else "-.inf"
    text = repr(value)
    return text if "." in text else text.replace("e", ".0e", 1)


def _words(text: str) -> str:
    """Word a text; JSON's way for what lies beyond 16 bits is not YAML's."""
    return _PAIR.sub(
        lambda pair: f"\\U{ord(json.loads(chr(34) + pair[0] + chr(34))):08x}",
        json.dumps(text),
    )
