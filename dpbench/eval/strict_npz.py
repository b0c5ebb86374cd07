"""Looking into an ``.npz`` that somebody else made, before numpy opens it.

``numpy.load`` trusts the header of an array: a few bytes can ask for terabytes. Here
each header must say exactly the bytes that follow it, and numbers alone are taken.
"""

import re
import struct
from collections.abc import Mapping
from io import BytesIO
from math import prod
from tokenize import TokenError
from typing import IO, Any
from zipfile import ZIP_DEFLATED, ZIP_STORED, BadZipFile, ZipFile, ZipInfo
from zlib import error as ZlibError  # noqa: N812 -- it is an exception

import numpy as np

from dpbench.errors import EvaluationError

MOST_BYTES = 1 << 30
"""Most bytes of all arrays together."""

MOST_ARRAYS = 4000
"""Most arrays; runs of dynamics keep several each."""

KINDS = "biuf"
"""Kinds of numbers: truth, whole, unsigned, real. No objects, so no pickles."""

MOST_DIMENSIONS = 6
"""Of an array."""

ARRAY = re.compile(r"[A-Za-z0-9_. (),+=:-]+(/[A-Za-z0-9_. (),+=:-]+)*\.npy")
"""Names of arrays: keys in memory that are never unpacked to files."""

HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}
"""Versions of the format that hold numbers."""

Shapes = dict[str, tuple[tuple[int, ...], "np.dtype[Any]"]]
"""Array -> (shape, type)."""


def check_npz(data: bytes, *, where: str) -> Shapes:
    """Check that an ``.npz`` holds numbers of the sizes that it says.

    Args:
        data: The file.
        where: Its name, the start of every message.

    Returns:
        Shape and type of each array.

    Raises:
        EvaluationError: If it is anything else.
    """
    try:
        with ZipFile(BytesIO(data)) as archive:
            members = check_members(
                archive, where=where, most=MOST_ARRAYS, most_bytes=MOST_BYTES
            )
            return {
                name.removesuffix(".npy"): _header(archive, info, where)
                for name, info in members.items()
            }
    except DAMAGE as error:
        raise _refused(where, f"cannot be read ({error})") from error


def check_members(
    archive: ZipFile, *, where: str, most: int, most_bytes: int
) -> Mapping[str, ZipInfo]:
    """Check names, sizes and kinds of an archive's members, none of them unpacked.

    Raises:
        EvaluationError: If there are too many or too large ones, a name twice, a link,
            a folder, something encrypted, or a method other than stored and deflated.
    """
    infos = archive.infolist()
    total = sum(info.file_size for info in infos)
    if len(infos) > most or total > most_bytes:
        raise _refused(
            where,
            f"holds {len(infos)} files of {total} bytes together",
            f"at most {most} of {most_bytes}",
        )
    found: dict[str, ZipInfo] = {}
    for info in infos:
        name = info.filename[:80]
        mode = info.external_attr >> 16
        is_plain_file = mode & 0o170000 in (0, 0o100000) and not info.is_dir()
        if info.filename in found:
            raise _refused(where, f"holds {name!r} twice", "each once")
        if not is_plain_file or info.flag_bits & 1:
            raise _refused(where, f"holds {name!r}, a link, folder or secret")
        if info.compress_type not in (ZIP_STORED, ZIP_DEFLATED):
            raise _refused(where, f"packs {name!r} by method {info.compress_type}")
        found[info.filename] = info
    return found


DAMAGE = (
    BadZipFile,
    OSError,
    EOFError,
    ValueError,
    SyntaxError,
    TypeError,
    RecursionError,
    MemoryError,
    NotImplementedError,
    RuntimeError,
    struct.error,
    TokenError,
    ZlibError,
)
"""What zipfile and numpy raise on damaged or hostile bytes."""


def _header(
    archive: ZipFile, info: ZipInfo, where: str
) -> tuple[tuple[int, ...], "np.dtype[Any]"]:
    """Read the header of one array and hold it against the bytes that follow."""
    name = info.filename
    if ARRAY.fullmatch(name) is None or len(name) > 200 or ".." in name:
        raise _refused(where, f"holds {name[:80]!r}", "arrays alone")
    with archive.open(info) as file:
        shape, kind, start = _read_header(file, where, name)
    size = prod(shape) * kind.itemsize
    if start + size != info.file_size:
        raise _refused(
            where,
            f"{name} says {size} bytes of numbers and has {info.file_size - start}",
        )
    return shape, kind


def _read_header(
    file: IO[bytes], where: str, name: str
) -> tuple[tuple[int, ...], "np.dtype[Any]", int]:
    version = np.lib.format.read_magic(file)
    if version not in HEADERS:
        raise _refused(where, f"{name} has format {version}", "1.0 or 2.0")
    shape, _, kind = HEADERS[version](file)
    is_sound = (
        kind.kind in KINDS
        and kind.subdtype is None
        and len(shape) <= MOST_DIMENSIONS
        and all(isinstance(n, int) and 0 <= n < 2**40 for n in shape)
    )
    if not is_sound:
        raise _refused(where, f"{name} has type {str(kind)[:40]}, shape {shape}"[:300])
    return shape, kind, file.tell()


def _refused(where: str, found: str, expected: str = "arrays of numbers") -> Exception:
    return EvaluationError(
        f"{where}: {found}; expected {expected}. It is not taken: ask whoever made it."
    )
