"""Plain values as TOML: what ``tomllib`` reads back is what was written."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

WIDTH = 88
_BARE = re.compile(r"[A-Za-z0-9_-]+")


def toml_text(data: Mapping[str, Any], *, comments: Mapping[str, str]) -> str:
    """Write a mapping.

    Args:
        data: Texts, numbers, truth values, lists and tables; None is left out.
        comments: Comment by dotted name of a table, ``""`` for the start.
    """
    lines = [f"# {line}" for line in comments.get("", "").splitlines()]
    lines += [""] if lines else []
    lines += _table(data, (), comments)
    return "\n".join(lines).strip() + "\n"


def _table(
    data: Mapping[str, Any], path: tuple[str, ...], comments: Mapping[str, str]
) -> list[str]:
    """Write the plain keys of a table, then its tables."""
    plain, tables, lists = [], [], []
    for key, value in data.items():
        if isinstance(value, Mapping):
            tables.append((key, value))
        elif _is_nested(value):
            lists.append((key, value))
        elif value is not None:
            plain += _line(key, value)
    lines = plain
    for key, value in tables:
        # A table that holds nothing but tables needs no line of its own.
        has_own = not value or any(not _is_nested(v) for v in value.values())
        head = [f"[{'.'.join(map(_key, (*path, key)))}]"] if has_own else []
        lines += ["", *_comment(path, key, comments), *head]
        lines += _table(value, (*path, key), comments)
    for key, rows in lists:
        for number, row in enumerate(rows):
            name = ".".join(map(_key, (*path, key)))
            comment = _comment(path, key, comments) if number == 0 else []
            lines += ["", *comment, f"[[{name}]]"]
            lines += _table(row, (*path, key), {})
    return lines


def _line(key: str, value: Any) -> list[str]:
    """Write one key; a long list has a line for each of its values."""
    line = f"{_key(key)} = {_value(value)}"
    if len(line) <= WIDTH or not isinstance(value, list):
        return [line]
    return [f"{_key(key)} = [", *(f"    {_value(item)}," for item in value), "]"]


def _is_nested(value: Any) -> bool:
    if isinstance(value, Mapping):
        return True
    return isinstance(value, list) and bool(value) and isinstance(value[0], Mapping)


def _comment(path: tuple[str, ...], key: str, comments: Mapping[str, str]) -> list[str]:
    return [
        f"# {line}" for line in comments.get(".".join((*path, key)), "").splitlines()
    ]


def _key(key: str) -> str:
    return key if _BARE.fullmatch(key) else _quoted(key)


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, Sequence) and not isinstance(value, str):
        return f"[{', '.join(map(_value, value))}]"
    return _quoted(str(value))


def _quoted(text: str) -> str:
    # JSON's escapes of a text are TOML's, but for the one character DEL.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007F")
