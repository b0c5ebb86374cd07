"""Large DeePMD systems in parts: a million frames are never in memory at once.

A system is one source as long as it is small. A large one is several: neighbouring
``set.*`` folders, together up to a size, with the files that all sets share; or ranges
of frames of a set that is large itself. Where it is cut depends on sizes alone, so the
same system gives the same sources again, and a set that is added at the end changes
none but the last.
"""

import os
import warnings
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from tokenize import TokenError

import numpy as np

from dpbench.io.parsed import SourceFiles

WHOLE_BYTES = 64_000_000
"""Size up to which a system is one source, and a set is not cut."""

PART_BYTES = 32_000_000
"""Size up to which sets of a larger system go together, and of ranges of a set."""

SHARED = ("type.raw", "type_map.raw", "nopbc")
"""Files beside the sets that say what their numbers mean."""


def system_sources(
    folder: Path, sets: Sequence[str], format_name: str
) -> list[SourceFiles]:
    """Name the sources of a system.

    Args:
        folder: The system's folder.
        sets: Names of its sets, in natural order.
        format_name: ``deepmd/npy`` or ``deepmd/mixed``.
    """
    sizes = [_folder_bytes(folder / name) for name in sets]
    if sum(sizes) <= WHOLE_BYTES:
        return [SourceFiles(format=format_name, paths=(folder,))]
    shared = [folder / name for name in SHARED if (folder / name).exists()]
    parts: list[tuple[list[Path], str]] = []
    filled = PART_BYTES
    for name, size in zip(sets, sizes, strict=True):
        if size > WHOLE_BYTES:
            members = _ranges(folder / name, size)
            parts += [([folder / name], member) for member in members]
            filled = PART_BYTES
            continue
        if filled + size > PART_BYTES:
            parts.append(([], ""))
            filled = 0
        parts[-1][0].append(folder / name)
        filled += size
    return [
        SourceFiles(format=format_name, paths=(*part, *shared), member=member)
        for part, member in parts
    ]


def range_of(member: str) -> slice:
    """Read back which frames of a set a member names: ``5000:10000``."""
    start, _, stop = member.partition(":")
    return slice(int(start), int(stop))


def is_part(main: Path) -> bool:
    """Tell whether the main path of a source is a set, and the source a part."""
    return main.name.startswith("set.") and not (main / "type.raw").exists()


def _folder_bytes(folder: Path) -> int:
    return sum(entry.stat().st_size for entry in os.scandir(folder) if entry.is_file())


def _ranges(folder: Path, size: int) -> list[str]:
    """Cut a set into ranges of frames; one that cannot be measured stays whole."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # headers of Python 2
            path = folder / "coord.npy"
            count = len(np.load(path, mmap_mode="r", allow_pickle=False))
    except (OSError, ValueError, EOFError, OverflowError, TypeError, TokenError):
        return [""]  # the reader says what is wrong with it
    rows = max(1, count * PART_BYTES // size)
    edges = [*range(0, count, rows), count]
    return [f"{a}:{b}" for a, b in pairwise(edges)] or [""]
