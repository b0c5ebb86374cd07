"""Large DeePMD systems in parts: a million frames are never in memory at once.

A system is one source as long as it is small. A large one is several: neighbouring
``set.*`` folders, together up to a size, with the files that all sets share. Which sets
go together depends on sizes alone, so the same system gives the same sources again, and
a set that is added at the end changes none but the last.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from dpbench.io.parsed import SourceFiles

WHOLE_BYTES = 64_000_000
"""Size up to which a system is one source."""

PART_BYTES = 32_000_000
"""Size up to which sets of a larger one go together; a larger set is alone."""

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
    if len(sets) == 1 or sum(sizes) <= WHOLE_BYTES:
        return [SourceFiles(format=format_name, paths=(folder,))]
    shared = [folder / name for name in SHARED if (folder / name).exists()]
    parts: list[list[Path]] = []
    filled = PART_BYTES
    for name, size in zip(sets, sizes, strict=True):
        if filled + size > PART_BYTES:
            parts.append([])
            filled = 0
        parts[-1].append(folder / name)
        filled += size
    return [SourceFiles(format=format_name, paths=(*part, *shared)) for part in parts]


def is_part(main: Path) -> bool:
    """Tell whether the main path of a source is a set, and the source a part."""
    return main.name.startswith("set.") and not (main / "type.raw").exists()


def _folder_bytes(folder: Path) -> int:
    return sum(entry.stat().st_size for entry in os.scandir(folder) if entry.is_file())
