"""Reading JSON that somebody else wrote: bounded, plain, and without surprises.

Nothing here is specific to records. What passes can be written again as canonical JSON,
shown on a terminal line by line, and walked without deep recursion.
"""

import json
import unicodedata
from collections.abc import Sequence
from typing import Any

from dpbench.errors import EvaluationError

MOST_BYTES = 32 << 20
"""Largest text that is looked at, bytes; records with long series have some hundred
kB."""

MOST_DEPTH = 24
"""Deepest nesting; a record of dpbench has ten levels."""

MOST_DIGITS = 17
"""Longest whole number, digits: below 2^63."""

LONGEST_KEY = 400
"""Characters of the longest key; sources are named by their paths."""

CONTROLS = ("Cc", "Cs", "Co", "Cn")
"""Unicode categories that no text of a record needs: control characters, halves of
characters, private and unassigned ones."""

BIDI = frozenset("\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Marks that turn the direction of what is shown."""


def strict_loads(data: bytes, *, where: str, may_be_nan: bool = False) -> Any:
    """Decode JSON, refusing what no program of good will writes.

    Args:
        data: UTF-8.
        where: File, the start of every message.
        may_be_nan: Let NaN and infinity through: facts beside arrays may hold them.

    Raises:
        EvaluationError: If it is too large or too deep, is no JSON, names a key twice,
            holds NaN, infinity or a number beyond 64 bits, or control characters.
    """
    if len(data) > MOST_BYTES:
        raise _refused(where, f"has {len(data)} bytes", f"at most {MOST_BYTES}")

    def pairs(items: Sequence[tuple[str, Any]]) -> dict[str, Any]:
        table = dict(items)
        if len(table) != len(items):
            names = [name for name, _ in items]
            twice = next(name for name in names if names.count(name) > 1)
            raise _refused(where, f"names the key {twice[:60]!r} twice", "each once")
        return table

    def whole(text: str) -> int:
        if len(text.lstrip("-")) > MOST_DIGITS:
            raise _refused(where, f"holds the number {text[:30]}...", "64 bits")
        return int(text)

    def real(text: str) -> float:
        value = float(text)
        if value in (float("inf"), float("-inf")):
            raise _refused(where, f"holds the number {text[:30]}", "a finite one")
        return value

    def constant(text: str) -> float:
        if may_be_nan:
            return float(text)
        raise _refused(where, f"holds {text}", "null where a number is missing")

    if not data.strip():
        raise _refused(where, "is empty", "a record or list")
    try:
        payload = json.loads(
            data.decode("utf-8"),
            object_pairs_hook=pairs,
            parse_int=whole,
            parse_float=real,
            parse_constant=constant,
        )
    except (ValueError, RecursionError) as error:
        found = " ".join(str(error).split())[:200]
        raise _refused(where, f"is no JSON ({found})", "a record or list") from error
    _check_values(payload, where)
    return payload


def _check_values(payload: Any, where: str) -> None:
    """Look at every string and at the depth, without recursion."""
    level = [payload]
    for _ in range(MOST_DEPTH):
        below: list[Any] = []
        for value in level:
            if isinstance(value, str):
                _check_text(value, where)
            elif isinstance(value, dict):
                for key in value:
                    _check_text(key, where)
                    if len(key) > LONGEST_KEY:
                        raise _refused(where, f"has a key of {len(key)} letters", "400")
                below += value.values()
            elif isinstance(value, list):
                below += value
        if not below:
            return
        level = below
    raise _refused(where, "is nested too deeply", f"at most {MOST_DEPTH} levels")


def _check_text(text: str, where: str) -> None:
    if text.isascii() and text.isprintable():
        return
    for letter in text:
        is_control = unicodedata.category(letter) in CONTROLS and letter not in "\n\t"
        if is_control or letter in BIDI:
            raise _refused(
                where,
                f"holds the character U+{ord(letter):04X} in {text[:40]!r}",
                "text that can be shown",
            )


def _refused(where: str, found: str, expected: str) -> EvaluationError:
    return EvaluationError(
        f"{where}: {found}; expected {expected}. It is not taken: ask whoever made it."
    )
