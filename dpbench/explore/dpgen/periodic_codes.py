"""``[label]`` of VASP, Quantum ESPRESSO and ABACUS.

Source: DP-GEN documentation, "param.json": labelling; inputs that DP-GEN 0.13 writes.
"""

from pathlib import Path
from typing import Any

from dpbench.explore.dpgen.label_parts import (
    Label,
    by_element,
    path_of,
    tell_missing,
    with_command,
    without_comments,
)
from dpbench.explore.dpgen.machine import Machine
from dpbench.explore.dpgen.params import Params

OF_THE_RUN = (
    *("calculation", "restart_mode", "outdir", "wfcdir", "prefix", "pseudo_dir"),
    *("tprnfor", "tstress", "disk_io", "nstep"),
)
"""Keys of pw.x's &control that dpbench's driver sets itself."""

GAMMA_ALONE = 10.0
"""1/Å; such a spacing gives one point for any cell, and is often given for that."""

INCAR = "INCAR"
INPUT = "INPUT"
KPT = "KPT"
_SMEARING = {"mp": 1, "gauss": 0, "fd": -1}
"""ISMEAR by DP-GEN's word."""


def pwscf(params: Params, machine: Machine, out: Path) -> Label:
    """Translate ``pwscf``: the namelists are kept, the frame brings the rest."""
    given = params.table("user_fp_params", "label.qe") or _old_pwscf(params)
    tables = {
        name: {
            key: value
            for key, value in without_comments(given.get(name)).items()
            if not (name == "control" and key.lower() in OF_THE_RUN)
        }
        for name in ("control", "system", "electrons")
    }
    options: dict[str, Any] = {name: table for name, table in tables.items() if table}
    spacing = given.get("kspacing")
    if isinstance(spacing, int | float) and spacing >= GAMMA_ALONE:
        options["kmesh"] = [1, 1, 1]
    elif isinstance(spacing, int | float):
        options["kspacing"] = float(spacing)
        # As DP-GEN does: half a step along vectors with an even number of points.
        options["kshift"] = "monkhorst-pack"
    else:
        options["kmesh"] = [1, 1, 1]
        params.remark(
            "missing",
            "user_fp_params.kspacing",
            "is not given: Gamma alone is taken. Set label.qe.kspacing.",
        )
    names = by_element(params, "fp_pp_files", "label.qe.pseudopotentials")
    folder = params.text("fp_pp_path", "label.qe.pseudo_dir")
    if names:
        options["pseudopotentials"] = names
    if folder:
        options["pseudo_dir"] = path_of(params, Path(folder), out)
        paths = [params.base / folder / name for name in names.values()]
        tell_missing(params, "fp_pp_path", paths)
    return Label(driver="qe", options=with_command(options, machine))


def _old_pwscf(params: Params) -> dict[str, Any]:
    """Return the namelists that DP-GEN writes for ``fp_params``."""
    given = params.table("fp_params", "label.qe")
    system: dict[str, Any] = {"vdw_corr": "TS", "nosym": True}
    electrons: dict[str, Any] = {}
    if "ecut" in given:
        system["ecutwfc"] = given["ecut"]
    if "ediff" in given:
        system["ts_vdw_econv_thr"] = given["ediff"]
        electrons["conv_thr"] = given["ediff"]
    if "smearing" in given:
        system["smearing"] = str(given["smearing"]).lower().partition(":")[0]
    if "sigma" in given:
        system["degauss"] = given["sigma"]
    params.remark(
        "changed",
        "fp_params",
        "DP-GEN adds vdw_corr = 'TS' and nosym = .true.; they are kept in "
        "label.qe.system. Take out what you do not mean.",
    )
    found: dict[str, Any] = {"system": system, "electrons": electrons}
    return found | ({"kspacing": given["kspacing"]} if "kspacing" in given else {})


def vasp(params: Params, machine: Machine, out: Path) -> Label:
    """Translate ``vasp``: the INCAR is kept; KPOINTS are made for each frame."""
    options: dict[str, Any] = {}
    files: dict[str, str] = {}
    incar = params.text("fp_incar", "label.vasp.incar")
    if incar:
        options["incar"] = path_of(params, Path(incar), out)
        tell_missing(params, "fp_incar", [params.base / incar])
    else:
        files[INCAR] = _incar(params)
        options["incar"] = INCAR
    folder = Path(params.text("fp_pp_path", "label.vasp.potcar"))
    names = by_element(params, "fp_pp_files", "label.vasp.potcar")
    elements = params.texts("type_map", "train.json")
    options["potcar"] = {
        element: path_of(params, folder / names.get(element, f"POTCAR.{element}"), out)
        for element in elements
    }
    if names:
        paths = [params.base / folder / name for name in names.values()]
        tell_missing(params, "fp_pp_files", paths)
    params.remark(
        "changed",
        "fp_incar",
        "k-points: meshes about Gamma by KSPACING of the INCAR; DP-GEN makes "
        "Monkhorst-Pack meshes where KGAMMA is false.",
    )
    if params.has("fp_aniso_kspacing"):
        params.remark(
            "left out",
            "fp_aniso_kspacing",
            "one spacing serves all vectors: set label.vasp.kspacing, or give KPOINTS.",
        )
    return Label(driver="vasp", options=with_command(options, machine), files=files)


def _incar(params: Params) -> str:
    """Write an INCAR from the tags, or from DP-GEN's older words for them."""
    tags = params.table("user_fp_params", f"label.vasp.incar ({INCAR})")
    if not tags:
        tags = _old_tags(params.table("fp_params", f"label.vasp.incar ({INCAR})"))
    words = {True: "T", False: "F"}
    return "".join(
        f"{key} = {words[value] if isinstance(value, bool) else value}\n"
        for key, value in without_comments(tags).items()
    )


def _old_tags(given: dict[str, Any]) -> dict[str, Any]:
    tags: dict[str, Any] = {"PREC": "Accurate", "LREAL": "Auto", "NSW": 0}
    for key, tag in (
        ("ecut", "ENCUT"),
        ("ediff", "EDIFF"),
        ("npar", "NPAR"),
        ("kpar", "KPAR"),
        ("kspacing", "KSPACING"),
        ("sigma", "SIGMA"),
        ("metagga", "METAGGA"),
    ):
        if given.get(key) not in (None, "NONE"):
            tags[tag] = given[key]
    word, _, order = str(given.get("smearing", "")).lower().partition(":")
    if word in _SMEARING:
        tags["ISMEAR"] = int(order) if word == "mp" and order else _SMEARING[word]
    own = given.get("user_vasp_params")
    return tags | (own if isinstance(own, dict) else {})


def abacus(params: Params, machine: Machine, out: Path) -> Label:
    """Translate ``abacus``: INPUT is kept; KPT and STRU are made for each frame."""
    options: dict[str, Any] = {}
    files: dict[str, str] = {}
    given = without_comments(params.table("user_fp_params", f"label.abacus ({INPUT})"))
    incar = params.text("fp_incar", "label.abacus.input")
    if given:
        lines = [f"{key} {value}" for key, value in given.items()]
        files[INPUT] = "\n".join(["INPUT_PARAMETERS", *lines, ""])
        options["input"] = INPUT
    else:
        options["input"] = path_of(params, Path(incar or INPUT), out)
        tell_missing(params, "fp_incar", [params.base / (incar or INPUT)])
    folder = Path(params.text("fp_pp_path", "label.abacus"))
    options["pseudopotentials"] = _placed(params, "fp_pp_files", folder, out, ".upf")
    if params.has("fp_orb_files"):
        options["orbitals"] = _placed(params, "fp_orb_files", folder, out, ".orb")
    mesh = params.value("k_points", f"label.abacus.kpt ({KPT})")
    if isinstance(mesh, list) and "kspacing" not in given:
        numbers = " ".join(map(str, mesh))
        files[KPT] = f"K_POINTS\n0\nGamma\n{numbers}\n"
        options["kpt"] = KPT
    elif params.has("fp_kpt_file") and "kspacing" not in given:
        name = params.text("fp_kpt_file", "label.abacus.kpt")
        options["kpt"] = path_of(params, Path(name), out)
        tell_missing(params, "fp_kpt_file", [params.base / name])
    return Label(driver="abacus", options=with_command(options, machine), files=files)


def _placed(
    params: Params, key: str, folder: Path, out: Path, ending: str
) -> dict[str, str]:
    """Name the file of each element; where it is not told, one to be put there."""
    names = by_element(params, key, "label.abacus")
    paths = [params.base / folder / name for name in names.values()]
    tell_missing(params, key, paths)
    return {
        element: path_of(params, folder / names.get(element, element + ending), out)
        for element in params.texts("type_map", "train.json")
    }
