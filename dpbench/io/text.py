"""Opening the text files of DFT codes, plain or compressed.

A compressed file may unpack to far more than any output would: reading stops there.
"""

import bz2
import gzip
import io
import lzma
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast, final

from dpbench.errors import SourceError
from dpbench.io.limits import active_limits

_OPENERS: dict[str, Callable[..., Any]] = {
    ".gz": gzip.open,
    ".bz2": bz2.open,
    ".xz": lzma.open,
}

COMPRESSED_SUFFIXES = tuple(_OPENERS)
"""Endings of files that are unpacked while they are read."""

DAMAGE = (OSError, EOFError, lzma.LZMAError, zlib.error)
"""What reading a damaged file raises."""


@final
class _Bounded(io.RawIOBase):
    """An unpacked stream that ends in an error where it grows beyond its limit."""

    def __init__(self, stream: IO[bytes], path: Path) -> None:
        self._stream = stream
        self._path = path
        size = path.stat().st_size
        self._size = size
        self._most = active_limits().unpacked_for(size)
        self._n_read = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        chunk = self._stream.read(len(buffer))
        buffer[: len(chunk)] = chunk
        self._n_read += len(chunk)
        if self._n_read > self._most:
            raise SourceError(
                f"{self._path}: unpacks to more than {self._most / 1e6:.0f} MB from "
                f"{self._size / 1e6:.3g} MB; expected a compressed output, not a bomb. "
                "If it is sound, allow more: --limit ratio=2000."
            )
        return len(chunk)

    def close(self) -> None:
        self._stream.close()
        super().close()


def open_binary(path: Path) -> IO[bytes]:
    """Open a file for bytes, unpacking .gz, .bz2 and .xz.

    Reading raises SourceError where it unpacks to more than ``--limit ratio`` allows.

    Raises:
        SourceError: If the file cannot be opened.
    """
    opener = _OPENERS.get(path.suffix)
    try:
        if opener is None:
            return path.open("rb")
        bounded = _Bounded(opener(path, "rb"), path)
        return cast(IO[bytes], io.BufferedReader(bounded, 1 << 18))
    except OSError as error:
        raise SourceError(f"{path}: cannot be read ({error.strerror}).") from error


def open_text(path: Path) -> IO[str]:
    """Open a text file, unpacking .gz, .bz2 and .xz; odd bytes become U+FFFD.

    Raises:
        SourceError: If the file cannot be opened.
    """
    return io.TextIOWrapper(open_binary(path), encoding="utf-8", errors="replace")


@contextmanager
def read_errors(path: Path) -> Iterator[None]:
    """Turn what reading a damaged file raises into one line.

    Raises:
        SourceError: If the file cannot be read, or not unpacked to its end.
    """
    try:
        yield
    except DAMAGE as error:
        what = "read"
        if path.suffix in _OPENERS and not isinstance(error, FileNotFoundError):
            what = "unpacked"
        raise SourceError(
            f"{path}: cannot be {what} ({error}); expected a whole file. Copy it again."
        ) from error


def read_text(path: Path) -> str:
    """Read a whole text file, unpacking .gz, .bz2 and .xz.

    Raises:
        SourceError: If the file cannot be read, is damaged, or is no text.
    """
    with read_errors(path), open_text(path) as file:
        text = file.read()
    if "\0" in text:
        raise SourceError(
            f"{path}: holds NUL bytes; expected text. Give the text output of the code."
        )
    return text


def read_bytes(path: Path) -> bytes:
    """Read a whole file as bytes, unpacking .gz, .bz2 and .xz.

    Raises:
        SourceError: If the file cannot be read or is damaged.
    """
    with read_errors(path), open_binary(path) as file:
        return file.read()


def without_compression(path: Path) -> Path:
    """Return the path less its compression suffix: ``a.out.gz`` -> ``a.out``."""
    return path.with_suffix("") if path.suffix in _OPENERS else path
