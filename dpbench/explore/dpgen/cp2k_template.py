"""A template of CP2K from the tables in which DP-GEN takes it.

DP-GEN lays the user's keys over its own defaults; ``_`` is the parameter of a section,
and lists of one length stand for a section that is repeated.
"""

import copy
from collections.abc import Mapping
from typing import Any

DEFAULTS: dict[str, Any] = {
    "GLOBAL": {"PROJECT": "DPGEN"},
    "FORCE_EVAL": {
        "METHOD": "QS",
        "STRESS_TENSOR": "ANALYTICAL",
        "DFT": {
            "BASIS_SET_FILE_NAME": "BASIS_MOLOPT",
            "POTENTIAL_FILE_NAME": "GTH_POTENTIALS",
            "CHARGE": 0,
            "UKS": "F",
            "MULTIPLICITY": 1,
            "MGRID": {"CUTOFF": 400, "REL_CUTOFF": 50, "NGRIDS": 4},
            "QS": {"EPS_DEFAULT": "1.0E-12"},
            "SCF": {"SCF_GUESS": "ATOMIC", "EPS_SCF": "1.0E-6", "MAX_SCF": 50},
            "XC": {"XC_FUNCTIONAL": {"_": "PBE"}},
        },
        "SUBSYS": {
            "KIND": {
                "_": ["H", "C", "N"],
                "POTENTIAL": ["GTH-PBE-q1", "GTH-PBE-q4", "GTH-PBE-q5"],
                "BASIS_SET": ["DZVP-MOLOPT-GTH"] * 3,
            },
        },
        "PRINT": {"FORCES": {"_": "ON"}, "STRESS_TENSOR": {"_": "ON"}},
    },
}
"""Settings that DP-GEN 0.13 starts from; its files of basis sets and potentials are
those of CP2K's data folder here."""

_OF_THE_FRAME = ("CELL", "COORD")
"""Sections of SUBSYS that each frame brings itself."""


def cp2k_template(given: Mapping[str, Any]) -> str:
    """Write the input that DP-GEN writes, without cell and coordinates."""
    tree = copy.deepcopy(DEFAULTS)
    _lay_over(tree, given)
    for section in _OF_THE_FRAME:
        tree["FORCE_EVAL"]["SUBSYS"].pop(section, None)
    return "\n".join(_lines(tree, 0)) + "\n"


def _lay_over(tree: dict[str, Any], given: Mapping[str, Any]) -> None:
    for key, value in given.items():
        if isinstance(value, Mapping) and isinstance(tree.get(key), dict):
            _lay_over(tree[key], value)
        else:
            tree[key] = copy.deepcopy(value)


def _lines(tree: Mapping[str, Any], depth: int) -> list[str]:
    """Write keywords, then sections."""
    indent = "  " * depth
    lines = [
        f"{indent}{key} {value}"
        for key, value in tree.items()
        if key != "_" and not isinstance(value, Mapping | list)
    ]
    for key, value in tree.items():
        if isinstance(value, list):
            lines += [f"{indent}{key} {item}" for item in value]
        elif isinstance(value, Mapping):
            for one in _repeats(value):
                parameter = f" {one['_']}" if "_" in one else ""
                lines += [f"{indent}&{key}{parameter}", *_lines(one, depth + 1)]
                lines.append(f"{indent}&END {key}")
    return lines


def _repeats(section: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the sections that lists of one length stand for."""
    lists = {key: value for key, value in section.items() if isinstance(value, list)}
    if "_" not in lists:
        return [section]
    count = min(len(value) for value in lists.values())
    return [
        {key: value[i] if key in lists else value for key, value in section.items()}
        for i in range(count)
    ]
