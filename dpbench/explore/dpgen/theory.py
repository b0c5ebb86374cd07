"""The level of theory of the init data, which are numpy files and tell none.

DP-GEN takes it for granted that they are of the level of the labels to come. Here it
is declared, in a file that can be read and corrected.
"""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dpbench.config import from_mapping
from dpbench.errors import DpbenchError
from dpbench.explore.dpgen.params import Params
from dpbench.explore.dpgen.toml_text import toml_text
from dpbench.explore.labels.settings import LabelSettings
from dpbench.explore.labels.table import driver_of

FILE = "theory.toml"
"""Name of the file, beside the configuration."""

KEYS = ("code", "functional", "dispersion")
"""What is declared: what two data sets of one level always share."""

CODES = {"gaussian": "gaussian", "siesta": "siesta", "pwmat": "pwmat", "cpx": "qe"}
"""Code by ``fp_style``, of those without a driver."""


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
    """Ask the driver what its inputs tell, those that are still to be written too."""
    driver = str(label["driver"])
    with tempfile.TemporaryDirectory() as folder:
        for name, content in files.items():
            path = Path(folder, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content, encoding="utf-8")
        options = {
            key: str(Path(folder, value))
            if isinstance(value, str) and value in files
            else value
            for key, value in label[driver].items()
        }
        section = {**label, driver: options}
        settings = from_mapping(LabelSettings, section, where="label")
        try:
            told = driver_of(settings.resolved(out)).foretold()
        # Files that are missing are told of elsewhere.
        except (DpbenchError, OSError):
            told = {}
    return told if driver == "command" else {"code": driver} | told
