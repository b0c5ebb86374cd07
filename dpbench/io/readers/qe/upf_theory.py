"""UPF files that lie beside a pw.x output, where that prints no check sum."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

FOLDERS = ("", "pseudo")
"""Where a UPF file is looked for, below the folder of the output. Others, such as the
``pseudo_dir`` of the input, are those of another machine or hold what came later."""


def hashes_beside(output: Path, theory: Mapping[str, Any]) -> dict[str, str]:
    """Return the hashes of UPF files beside an output, by species.

    MD5, because that is what pw.x prints: the two can be compared.

    Args:
        output: The text output.
        theory: Its level of theory, which names the files.
    """
    found = {}
    for species, potential in (theory.get("pseudopotentials") or {}).items():
        if potential["hash"] or not potential["title"]:
            continue
        for folder in FOLDERS:
            path = output.parent / folder / potential["title"]
            if path.is_file():
                digest = hashlib.md5(path.read_bytes(), usedforsecurity=False)
                found[species] = f"md5:{digest.hexdigest()}"
                break
    return found
