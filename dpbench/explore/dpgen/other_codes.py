"""``[label]`` of CP2K, of a command of the user, and of codes without a driver.

Source: DP-GEN documentation, "param.json": labelling; inputs that DP-GEN 0.13 writes.
"""

from pathlib import Path
from typing import Any

from dpbench.explore.dpgen.cp2k_template import cp2k_template
from dpbench.explore.dpgen.label_parts import (
    Label,
    Translator,
    path_of,
    tell_missing,
    with_command,
)
from dpbench.explore.dpgen.machine import Machine
from dpbench.explore.dpgen.params import Params

SCRIPT = "label.sh"
"""Script that the user writes for a program that dpbench has no driver for."""

TEMPLATE = "cp2k.inp"

_WRITTEN = {"vasp/poscar": "poscar", "poscar": "poscar", "extxyz": "extxyz"}
"""What the driver ``command`` writes, by dpdata's name of the format."""


def cp2k(params: Params, machine: Machine, out: Path) -> Label:
    """Translate ``cp2k``: a template of the user, or one made from the tables."""
    files: dict[str, str] = {}
    target = f"label.cp2k.template ({TEMPLATE})"
    given = params.table("user_fp_params", target) or params.table("fp_params", target)
    external = params.text("external_input_path", "label.cp2k.template")
    if external and not given:
        options = {"template": path_of(params, Path(external), out)}
        tell_missing(params, "external_input_path", [params.base / external])
    else:
        files[TEMPLATE] = cp2k_template(given)
        options = {"template": TEMPLATE}
        params.remark(
            "changed",
            "user_fp_params",
            "MULTIPLICITY is what the template says, for every frame; DP-GEN takes 1 "
            "or 2 by the number of electrons where it is not given.",
        )
    folder = params.text("fp_pp_path", "label.cp2k.files")
    names = params.texts("fp_pp_files", "label.cp2k.files")
    beside = [Path(folder) / name for name in names]
    more: dict[str, Any] = dict(options)
    if beside:
        more["files"] = [path_of(params, path, out) for path in beside]
        tell_missing(params, "fp_pp_files", [params.base / path for path in beside])
    return Label(driver="cp2k", options=with_command(more, machine), files=files)


def custom(params: Params, machine: Machine, out: Path) -> Label:
    """Translate ``custom``: one file is written, another is read by dpdata."""
    given = params.table("fp_params", "label.command")
    form = str(given.get("input_fmt", ""))
    if form not in _WRITTEN:
        params.remark(
            "missing",
            "fp_params.input_fmt",
            f"'{form}': dpbench writes poscar or extxyz. Let your command read "
            "extxyz, or convert it there.",
        )
    code = str(given.get("output_fmt", ""))
    options: dict[str, Any] = {
        "command": machine.command or f"sh {SCRIPT}",
        "code": "deepmd" if code.startswith("deepmd/") else f"dpdata:{code}",
        "outputs": [str(given.get("output_fn", "output"))],
        "structure": str(given.get("input_fn", "structure.extxyz")),
        "format": _WRITTEN.get(form, "extxyz"),
    }
    if not machine.command:
        _ask_for_script(params, "custom", options)
    return Label(driver="command", options=options)


def by_script(style: str, *, code: str, output: str) -> Translator:
    """Translate a style that dpbench has no driver for: a script of the user labels.

    Args:
        style: DP-GEN's name.
        code: What ``dpbench ingest`` reads the output by.
        output: File that the program leaves.
    """

    def translate(params: Params, machine: Machine, out: Path) -> Label:
        for key in ("fp_params", "user_fp_params", "fp_pp_path", "fp_pp_files"):
            params.value(key, SCRIPT)
        options: dict[str, Any] = {
            "command": f"sh {SCRIPT}",
            "code": code,
            "outputs": [output],
            "structure": "POSCAR",
            "format": "poscar",
        }
        _ask_for_script(params, style, options, machine.command)
        return Label(driver="command", options=options)

    return translate


def _ask_for_script(
    params: Params, style: str, options: dict[str, Any], command: str = ""
) -> None:
    options["files"] = [SCRIPT]
    runs = f"runs '{command}'" if command else "runs your program"
    params.remark(
        "missing",
        "fp_style",
        f"{style}: dpbench writes no input of it. Write {SCRIPT} beside the "
        f"configuration: it makes the input from {options['structure']} and your "
        f"fp_params, {runs} and leaves {options['outputs'][0]}.",
    )
