"""The level of theory of the init data, which are numpy files and tell none.

DP-GEN takes it for granted that they are of the level of the labels to come. Here it
is declared, in a file that can be read and corrected.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dpbench.config import from_mapping
from dpbench.errors import DpbenchError
from dpbench.explore.dpgen.params import Params
from dpbench.explore.dpgen.toml_text import toml_text
from dpbench.explore.labels.settings import LabelSettings
from dpbench.explore.labels.table import driver_of
from dpbench.io.readers.cp2k.input import theory_of_input

FILE = "theory.toml"
"""Name of the file, beside the configuration."""

KEYS = ("code", "functional", "dispersion")
"""What is declared: what two data sets of one level always share."""

CODES = {"gaussian": "gaussian", "siesta": "siesta", "pwmat": "pwmat", "cpx": "qe"}
"""Code by ``fp_style``, of those without a driver."""

_OTHER_FUNCTIONAL = re.compile(r"(?im)^\s*(?:GGA|METAGGA|LHFCALC|LUSE_VDW)\s*=")
"""Tags of an INCAR by which the functional is not that of the POTCARs."""


def declare(
    params: Params, label: Mapping[str, Any], files: Mapping[str, str], *, out: Path
) -> str:
    """Write the theory file, as far as the inputs of the labels tell.

    Args:
        params: The input, for remarks.
        label: Section ``[label]``.
        files: Content of files beside the configuration.
        out: Folder of the configuration.
    """
    told = _told(label, files, out)
    code = told.get("code") or CODES.get(str(params.data.get("fp_style")))
    found = {"code": code} | {k: told[k] for k in KEYS if told.get(k)}
    lines = "What the files of [start] were computed with."
    if found.get("code") and found.get("functional"):
        params.remark(
            "changed",
            "init_data_sys",
            f"numpy files tell no level of theory: {FILE} declares that of your labels "
            "for them, as DP-GEN takes for granted. Correct it if they are of another.",
        )
        return toml_text(found, comments={"": lines})
    absent = [key for key in KEYS[:2] if not found.get(key)]
    lines += "\nAdd: " + ", ".join(f'{key} = "..."' for key in absent)
    params.remark(
        "missing",
        "init_data_sys",
        f"numpy files tell no level of theory: add {' and '.join(absent)} to {FILE} "
        "(docs/theory.md).",
    )
    return toml_text(found, comments={"": lines})


def _told(
    label: Mapping[str, Any], files: Mapping[str, str], out: Path
) -> dict[str, Any]:
    """Ask the driver, or the input that is still to be written."""
    driver = str(label["driver"])
    options = label[driver]
    if driver == "cp2k" and options["template"] in files:
        return {"code": driver} | theory_of_input(files[options["template"]])
    settings = from_mapping(LabelSettings, label, where="label")
    try:
        told = driver_of(settings.resolved(out)).foretold()
    # Files that are missing are told of elsewhere.
    except (DpbenchError, OSError):
        told = {}
    if driver != "command":
        told = {"code": driver} | told
    if driver == "vasp" and not told.get("functional"):
        return told | _of_potcars(told, _text(options["incar"], files, out))
    return told


def _of_potcars(told: Mapping[str, Any], incar: str | None) -> dict[str, Any]:
    """Take the functional that all POTCARs name, unless the INCAR sets another."""
    titles = [p.get("title") or "" for p in told.get("pseudopotentials", {}).values()]
    if incar is None or _OTHER_FUNCTIONAL.search(incar) or not titles:
        return {}
    is_pbe = all(title.startswith("PAW_PBE") for title in titles)
    return {"functional": "PBE"} if is_pbe else {}


def _text(name: str, files: Mapping[str, str], out: Path) -> str | None:
    if name in files:
        return files[name]
    try:
        # The folder may not be there yet, and no ".." leads out of it then.
        path = (out / name).resolve()
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
