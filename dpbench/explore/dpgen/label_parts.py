"""Parts that several translations of ``fp_style`` share."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dpbench.explore.dpgen.machine import Machine
from dpbench.explore.dpgen.params import Params
from dpbench.explore.dpgen.training import relative


@dataclass(frozen=True, kw_only=True, slots=True)
class Label:
    """A driver, its options, and files beside the configuration."""

    driver: str
    """Name of the driver."""
    options: dict[str, Any]
    """Its table."""
    files: dict[str, str] = field(default_factory=dict)
    """Content by name."""


Translator = Callable[[Params, Machine, Path], Label]
"""(input, machine, folder of the configuration) -> who labels."""


def with_command(options: dict[str, Any], machine: Machine) -> dict[str, Any]:
    """Add the command, where the machine file names one."""
    return options | ({"command": machine.command} if machine.command else {})


def without_comments(table: Any) -> dict[str, Any]:
    """Leave out what DP-GEN's examples write as comments."""
    if not isinstance(table, dict):
        return {}
    return {key: value for key, value in table.items() if not key.startswith("_")}


def by_element(params: Params, key: str, target: str) -> dict[str, str]:
    """Give each element of ``type_map`` its file; empty if the counts do not fit."""
    names = params.texts(key, target)
    elements = params.texts("type_map", "train.json")
    if names and len(names) == len(elements):
        return dict(zip(elements, names, strict=True))
    params.remark(
        "missing",
        key,
        f"{len(names)} files for {len(elements)} elements of type_map: name the file "
        f"of each element in [{target}].",
    )
    return {}


def tell_missing(params: Params, key: str, paths: Sequence[Path]) -> None:
    """Enter which files are not there."""
    gone = [str(path) for path in paths if not path.is_file()]
    if gone:
        params.remark(
            "missing",
            key,
            f"{', '.join(gone)}: not there. Correct the paths in [label].",
        )


def path_of(params: Params, path: Path, out: Path) -> str:
    """Word a path of the input as seen from the folder of the configuration."""
    return relative(params.base / path, out)
