"""Pseudopotentials of pw.x: found in a folder, and named by their content."""

import hashlib
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from dpbench.errors import ConfigError

SYSTEM_FOLDERS = (
    "/usr/share/espresso/pseudo",
    "/usr/local/share/espresso/pseudo",
    "/opt/espresso/pseudo",
)
"""Where packages put UPF files; the first is Debian's."""

VARIABLE = "ESPRESSO_PSEUDO"
"""Environment variable that pw.x itself reads."""

_HEADER = 200_000
"""Bytes of a UPF file that its element is sought in."""

_ELEMENT = re.compile(r"element\s*=\s*\"\s*([A-Za-z]{1,2})\s*\"")
_OLD_ELEMENT = re.compile(r"^\s*([A-Z][a-z]?)\s+Element\s*$", re.MULTILINE)


def folders(given: Path | None, template: str | None, *, base: Path) -> list[Path]:
    """List the folders that UPF files are sought in.

    Args:
        given: That of the configuration; where there is one, no other is looked at.
        template: ``pseudo_dir`` of the template, as it stands there.
        base: Folder of the template, where a relative one begins.
    """
    if given is not None:
        return [given]
    named = [] if template is None else [base / template.strip("'\" ")]
    variable = os.environ.get(VARIABLE)
    named += [Path(variable)] if variable else []
    return [*named, *map(Path, SYSTEM_FOLDERS)]


def find_potentials(files: Mapping[str, str], places: Iterable[Path]) -> Path:
    """Return the first folder that holds all the files.

    Args:
        files: Element -> name of its UPF file.
        places: Folders, in order.

    Raises:
        ConfigError: If none does, naming what is missing.
    """
    places = list(places)
    for place in places:
        if all((place / name).is_file() for name in files.values()):
            return place
    missing = [
        f"{name} ({element})"
        for element, name in files.items()
        if not any((place / name).is_file() for place in places)
    ]
    what = ", ".join(missing) if missing else "all of them together"
    debian = Path(SYSTEM_FOLDERS[0])
    hint = " Debian's: apt-get install quantum-espresso-data."
    raise ConfigError(
        f"label.qe: pseudopotentials: no {what} in {', '.join(map(str, places))}; "
        "expected every UPF file in one folder. Copy them together and name the folder "
        "as label.qe.pseudo_dir."
        + (hint if debian in places and not debian.is_dir() else "")
    )


def digests(files: Mapping[str, str], folder: Path) -> dict[str, str]:
    """Return the MD5 of each element's file, as pw.x prints it: ``md5:...``.

    Raises:
        ConfigError: If a file says that it is of another element.
    """
    found = {}
    for element, name in sorted(files.items()):
        data = (folder / name).read_bytes()
        head = data[:_HEADER].decode(errors="replace")
        told = _ELEMENT.search(head) or _OLD_ELEMENT.search(head)
        if told is not None and told[1].capitalize() != element:
            raise ConfigError(
                f"{folder / name}: is a pseudopotential of {told[1]}, given for "
                f"{element}; expected one of {element}. Correct ATOMIC_SPECIES or "
                "label.qe.pseudopotentials."
            )
        digest = hashlib.md5(data, usedforsecurity=False)
        found[element] = f"md5:{digest.hexdigest()}"
    return found
