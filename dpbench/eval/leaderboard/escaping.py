"""Texts of records in formats that would read more into them than text."""

import re
from typing import Any

_SIGNS = re.compile(r"([\\`*_{}\[\]|~$#!])")
_TURNING = re.compile("[\u200e\u200f\u202a-\u202e\u2066-\u2069]")
"""Signs that turn the direction of the text behind them."""

_FORMULA = "=+-@\t\r\n\uff1d\uff0b\uff0d\uff20"


def shortened(text: str, length: int) -> str:
    """Cut a text to ``length`` characters, with an ellipsis if it was longer."""
    return text if len(text) <= length else text[: length - 1] + "…"


def markdown_text(text: str, length: int | None = None) -> str:
    """Keep a text from being markup: pipes, tags, emphasis, links, line breaks.

    Addresses are kept from becoming links, too: a reader of the table sees what a
    record says, and is not led anywhere by it.

    Args:
        text: What is to be shown.
        length: Cut it to so many characters.
    """
    text = " ".join(_TURNING.sub("", text).split())
    if length is not None:
        text = shortened(text, length)
    text = _SIGNS.sub(r"\\\1", text.replace("&", "&amp;"))
    text = text.replace("<", "&lt;").replace(">", "&gt;")
    text = text.replace("://", "\\://").replace("@", "\\@")
    return re.sub(r"(?i)\b(www)\.", r"\1\\.", text)


def csv_text(cell: Any) -> Any:
    """Keep a spreadsheet from reading a text as a formula; numbers stay numbers."""
    if isinstance(cell, str) and cell.lstrip(" \ufeff")[:1] in (*_FORMULA,):
        return "'" + cell
    return cell


def yaml_text(text: str) -> str:
    """Write a text as a double-quoted YAML scalar on one line."""
    return '"' + "".join(map(_yaml_sign, text)) + '"'


def _yaml_sign(sign: str) -> str:
    if sign in '"\\':
        return "\\" + sign
    code = ord(sign)
    if 0x20 <= code < 0x7F or (sign.isprintable() and code < 0xD800):
        return sign
    if 0xD800 <= code < 0xE000:
        return "\\ufffd"  # half of a pair is no character
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
