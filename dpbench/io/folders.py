"""Folders: walked, listed once, and the sources that are a folder themselves."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

from dpbench.io.grouping import Folder, natural_key
from dpbench.io.parsed import SourceFiles
from dpbench.io.readers.deepmd.parts import system_sources
from dpbench.io.sniff import sniff


def walk(root: Path, skipped: dict[Path, str]) -> Iterator[Path]:
    """Yield a folder and all below it; hidden ones left out, link loops cut.

    A folder that cannot be listed is entered into ``skipped``.
    """
    seen: set[tuple[int, int]] = set()
    stack = [root]
    while stack:
        path = stack.pop()
        try:
            facts = path.stat()
            entries = list(os.scandir(path))
        except OSError as error:
            skipped[path] = f"cannot be listed ({error.strerror})."
            continue
        if (facts.st_dev, facts.st_ino) in seen:
            continue
        seen.add((facts.st_dev, facts.st_ino))
        yield path
        below = [
            path / entry.name
            for entry in entries
            if entry.is_dir() and not entry.name.startswith(".")
        ]
        stack += sorted(below, key=natural_key, reverse=True)


def list_folder(path: Path) -> Folder:
    """List a folder and sniff each of its files; hidden ones are left out."""
    files, folders = [], []
    for entry in os.scandir(path):
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            folders.append(Path(entry.name))
        elif entry.is_file():
            files.append(Path(entry.name))
    return Folder(
        path=path,
        kinds={
            file.name: sniff(path / file) for file in sorted(files, key=natural_key)
        },
        subfolders=tuple(f.name for f in sorted(folders, key=natural_key)),
    )


def folder_sources(folder: Folder) -> list[SourceFiles]:
    """Sources that are a folder: a deepmd system, an LMDB, an ABACUS task."""
    sets = [n for n in folder.subfolders if n.startswith("set.")]
    sets = [n for n in sets if (folder.path / n / "coord.npy").is_file()]
    if sets:
        mixed = (folder.path / sets[0] / "real_atom_types.npy").is_file()
        name = "deepmd/mixed" if mixed else "deepmd/npy"
        return system_sources(folder.path, sets, name)
    if {"type.raw", "coord.raw"} <= folder.kinds.keys():
        name = "deepmd/raw"
    elif "data.mdb" in folder.kinds:
        # the file alone: a lock file beside it changes with every reader
        path = folder.path / "data.mdb"
        return [SourceFiles(format="deepmd/lmdb", paths=(path,))]
    elif abacus_calculation(folder) is not None:
        name = f"dpdata:abacus/{abacus_calculation(folder)}"
    else:
        return []
    return [SourceFiles(format=name, paths=(folder.path,))]


def abacus_calculation(folder: Folder) -> str | None:
    """Return scf, relax or md if the folder is an ABACUS task, else None."""
    if "INPUT" not in folder.kinds or not any(
        name.startswith("OUT.") for name in folder.subfolders
    ):
        return None
    try:
        text = (folder.path / "INPUT").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    if "INPUT_PARAMETERS" not in text:
        return None
    found = re.search(r"(?m)^\s*calculation\s+(\S+)", text)
    word = found[1] if found else "scf"
    return {"md": "md", "relax": "relax", "cell-relax": "relax"}.get(word, "scf")
