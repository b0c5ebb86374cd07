"""``[label]`` from DP-GEN's ``fp_style``: which driver, and what of each."""

from pathlib import Path
from typing import Any

from dpbench.errors import ConfigError
from dpbench.explore.dpgen.label_parts import Translator
from dpbench.explore.dpgen.machine import Machine
from dpbench.explore.dpgen.other_codes import by_script, cp2k, custom
from dpbench.explore.dpgen.params import Params
from dpbench.explore.dpgen.periodic_codes import abacus, pwscf, vasp

RATIO_FAILED = {"cp2k": 0.10}
"""DP-GEN's share of failed labels at which it stops, where it is not 0.05."""

STYLES: dict[str, Translator] = {
    "vasp": vasp,
    "pwscf": pwscf,
    "abacus": abacus,
    "cp2k": cp2k,
    "custom": custom,
    "gaussian": by_script("gaussian", code="dpdata:gaussian/log", output="output"),
    "siesta": by_script("siesta", code="dpdata:siesta/output", output="output"),
    "pwmat": by_script("pwmat", code="dpdata:pwmat/mlmd", output="OUT.MLMD"),
    "cpx": by_script("cpx", code="dpdata:qe/cp/traj", output="output"),
    "amber/diff": by_script("amber/diff", code="deepmd", output="dataset"),
}
"""How each ``fp_style`` is translated."""


def label_section(
    params: Params, machine: Machine, *, out: Path
) -> tuple[dict[str, Any], dict[str, str]]:
    """Say who labels.

    Args:
        params: The input.
        machine: Names the command.
        out: Folder of the configuration.

    Returns:
        The section, and the content of files beside the configuration.

    Raises:
        ConfigError: If ``fp_style`` is missing or unknown.
    """
    style = params.text("fp_style", "label.driver")
    if style not in STYLES:
        raise ConfigError(
            f"{params.where}: fp_style = '{style}'; expected one of "
            f"{', '.join(STYLES)}. Correct it."
        )
    label = STYLES[style](params, machine, out)
    ratio = params.number("ratio_failed", "label.ratio_failed")
    section: dict[str, Any] = {
        "driver": label.driver,
        "ratio_failed": RATIO_FAILED.get(style, 0.05) if ratio is None else ratio,
    }
    if machine.processes > 1:
        section["processes"] = machine.processes
    return section | {label.driver: label.options}, label.files
