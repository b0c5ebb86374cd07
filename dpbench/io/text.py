"""Opening the text files of DFT codes, plain or compressed."""

import bz2
import gzip
import lzma
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, cast

from dpbench.errors import SourceError

_OPENERS: dict[str, Callable[..., Any]] = {
    ".gz": gzip.open,
    ".bz2": bz2.open,
    ".xz": lzma.open,
}

COMPRESSED_SUFFIXES = tuple(_OPENERS)
"""Endings of files that are unpacked while they are read."""


def open_text(path: Path) -> IO[str]:
    """Open a text file, unpacking .gz, .bz2 and .xz; odd bytes become U+FFFD.

    Raises:
        SourceError: If the file cannot be opened.
    """
    opener = _OPENERS.get(path.suffix, open)
    try:
        return cast(IO[str], opener(path, "rt", encoding="utf-8", errors="replace"))
    except OSError as error:
        raise SourceError(f"{path}: cannot be read ({error.strerror}).") from error


def read_text(path: Path) -> str:
    """Read a whole text file, unpacking .gz, .bz2 and .xz.

    Raises:
        SourceError: If the file cannot be read, is damaged, or is no text.
    """
    try:
        with open_text(path) as file:
            text = file.read()
    except (OSError, EOFError, lzma.LZMAError) as error:
        raise SourceError(
            f"{path}: cannot be unpacked ({error}); expected a whole "
            f"{path.suffix} file. Compress it again."
        ) from error
    if "\0" in text:
        raise SourceError(
            f"{path}: holds NUL bytes; expected text. Give the text output of the code."
        )
    return text


def open_binary(path: Path) -> IO[bytes]:
    """Open a file for bytes, unpacking .gz, .bz2 and .xz.

    Raises:
        SourceError: If the file cannot be opened.
    """
    opener = _OPENERS.get(path.suffix, open)
    try:
        return cast(IO[bytes], opener(path, "rb"))
    except OSError as error:
        raise SourceError(f"{path}: cannot be read ({error.strerror}).") from error


def read_bytes(path: Path) -> bytes:
    """Read a whole file as bytes, unpacking .gz, .bz2 and .xz.

    Bytes are searched and sliced several times faster than decoded text.

    Raises:
        SourceError: If the file cannot be read or is damaged.
    """
    try:
        with open_binary(path) as file:
            return file.read()
    except (OSError, EOFError, lzma.LZMAError) as error:
        raise SourceError(
            f"{path}: cannot be read ({error}); expected a whole file. Copy it again."
        ) from error


def without_compression(path: Path) -> Path:
    """Return the path less its compression suffix: ``a.out.gz`` -> ``a.out``."""
    return path.with_suffix("") if path.suffix in _OPENERS else path
