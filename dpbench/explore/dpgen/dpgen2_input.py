"""An input of ``dpgen2 submit`` as a configuration of an exploration.

Source: dpgen2 documentation, "Arguments of the submit script".
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from dpbench.errors import ConfigError
from dpbench.explore.dpgen import dpgen2, training
from dpbench.explore.dpgen.label_parts import Label, path_of, tell_missing, with_command
from dpbench.explore.dpgen.machine import Machine, command_of
from dpbench.explore.dpgen.other_codes import by_script
from dpbench.explore.dpgen.params import Params, Remark, read_params, refusing
from dpbench.explore.dpgen.structures import StructureFiles
from dpbench.explore.dpgen.translate import Translation, closed

SECTIONS = ("inputs", "train", "explore", "fp")

_OF_THE_WORKFLOW = (
    "the workflow server, containers and queues: dpbench runs on this machine, or on "
    "Dask workers (resources.scheduler, docs/explore-cluster.md)."
)
_LEFT_OUT = {
    "fatal_at_max": "the end by the number of iterations is no error here.",
    "output_nopbc": "a structure is periodic if its file says so.",
    "mass_map": "walks take the masses of the elements.",
    "mixed_type": "told by the files themselves.",
    "do_finetune": "the first models start anew.",
    "init_models_paths": "the first models start anew.",
    "type": "told apart above.",
    "valid_data_sys": "frames are held out of the data (train.validation).",
    "valid_data_prefix": "frames are held out of the data (train.validation).",
}


def is_dpgen2(params: Params) -> bool:
    """Tell whether a file is an input of dpgen2."""
    return all(isinstance(params.data.get(name), dict) for name in SECTIONS)


def translate_dpgen2(path: Path, *, out: Path) -> Translation:
    """Translate an input of ``dpgen2 submit``; nothing is written.

    Raises:
        ConfigError: If the file is no input of dpgen2, or leaves nothing to explore.
    """
    whole = read_params(path)
    if not is_dpgen2(whole):
        raise ConfigError(
            f"{path}: has not the sections {', '.join(SECTIONS)}; expected an input of "
            "dpgen2. Inputs of DP-GEN are translated by --from-dpgen."
        )
    with refusing(path):
        return _translated(whole, out)


def _translated(whole: Params, out: Path) -> Translation:
    parts = {
        name: Params(
            data=whole.data[name], where=f"{whole.where}: {name}", base=whole.base
        )
        for name in SECTIONS
    }
    elements = parts["inputs"].texts("type_map", "train.json")
    files = StructureFiles(out=out, format="", type_map=elements)
    explore = dpgen2.explore_section(parts["explore"], files)
    label, label_files = _label(parts["fp"], elements, out)
    train, train_files = _train(parts["train"], elements)
    start = training.start_section(
        _with_list(parts["inputs"]), out=out, first=explore["stages"][0]["structures"]
    )
    most = parts["fp"].whole("task_max", "select.most")
    config = {
        "start": start,
        "train": train,
        "explore": explore,
        "select": dpgen2.select_section(parts["explore"], most),
        "stop": dpgen2.stop_section(parts["explore"]),
        "label": label,
    }
    for name, part in parts.items():
        for key in part.left_over():
            part.remark("left out", key, _LEFT_OUT.get(key, "is not translated."))
        whole.taken |= {f"{name}.{key}": target for key, target in part.taken.items()}
        whole.remarks += [replace(r, key=f"{name}.{r.key}") for r in part.remarks]
    rest = [k for k in whole.data if k not in SECTIONS and not k.startswith("_")]
    whole.remarks += [
        Remark(kind="left out", key=key, reason=_OF_THE_WORKFLOW) for key in rest
    ]
    return closed(whole, config, files.made | train_files | label_files, out=out)


def _with_list(params: Params) -> Params:
    """Return the inputs with ``init_data_sys`` as a list, and the same books."""
    given = params.data.get("init_data_sys")
    if not isinstance(given, str):
        return params
    return replace(params, data={**params.data, "init_data_sys": [given]})


def _train(
    params: Params, elements: list[str]
) -> tuple[dict[str, Any], dict[str, str]]:
    """Translate ``train``: the input of the training lies in a file of its own."""
    kind = params.text("type", "train", "dp")
    if kind != "dp":
        params.remark("changed", "type", f"{kind}: models are trained on all labels.")
    given = params.table("config", "train.reuse")
    section: dict[str, Any] = {"models": params.whole("numb_models", "train.models", 4)}
    script = params.value("template_script", "train.config")
    script = script[0] if isinstance(script, list) and script else script
    files: dict[str, str] = {}
    if isinstance(script, str):
        try:
            content = json.loads((params.base / script).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            content = {}
            params.remark(
                "missing",
                "template_script",
                f"{script}: cannot be read ({type(error).__name__}). Write a "
                f'{training.TRAIN_FILE} and add config = "{training.TRAIN_FILE}" to '
                "[train].",
            )
        if isinstance(content, dict) and content:
            section |= training.training_of(params, content, elements, files)
    section["reuse"] = given.get("init_model_policy", "no") != "no"
    if section["reuse"]:
        for key, name in (
            ("init_model_numb_steps", "reuse_steps"),
            ("init_model_start_lr", "reuse_start_lr"),
        ):
            if given.get(key) is not None:
                section[name] = given[key]
    return section, files


def _label(
    params: Params, elements: list[str], out: Path
) -> tuple[dict[str, Any], dict[str, str]]:
    """Translate ``fp``."""
    kind = params.text("type", "label.driver")
    if kind not in _KINDS:
        raise ConfigError(
            f"{params.where}: type = '{kind}'; expected one of {', '.join(_KINDS)}."
        )
    run = params.table("run_config", "label")
    machine = command_of(params, run.get("command"), "run_config.command")
    label = _KINDS[kind](params, machine, out)
    section: dict[str, Any] = {"driver": label.driver}
    if machine.processes > 1:
        section["processes"] = machine.processes
    return section | {label.driver: label.options}, dict(label.files)


def _placed(
    params: Params, given: Mapping[str, Any], key: str, out: Path
) -> dict[str, str]:
    """Name the files of a table of them, as seen from the configuration."""
    table = given.get(key)
    found = {k: str(v) for k, v in table.items()} if isinstance(table, dict) else {}
    tell_missing(
        params, f"inputs_config.{key}", [params.base / v for v in found.values()]
    )
    return {k: path_of(params, Path(v), out) for k, v in found.items()}


def _one(
    params: Params, given: Mapping[str, Any], key: str, out: Path, default: str
) -> str:
    name = str(given.get(key) or default)
    tell_missing(params, f"inputs_config.{key}", [params.base / name])
    return path_of(params, Path(name), out)


def _vasp(params: Params, machine: Machine, out: Path) -> Label:
    given = params.table("inputs_config", "label.vasp")
    options: dict[str, Any] = {
        "incar": _one(params, given, "incar", out, "INCAR"),
        "potcar": _placed(params, given, "pp_files", out),
    }
    if isinstance(given.get("kspacing"), int | float):
        options["kspacing"] = float(given["kspacing"])
    return Label(driver="vasp", options=with_command(options, machine))


def _abacus(params: Params, machine: Machine, out: Path) -> Label:
    given = params.table("inputs_config", "label.abacus")
    options: dict[str, Any] = {
        "input": _one(params, given, "input_file", out, "INPUT"),
        "pseudopotentials": _placed(params, given, "pp_files", out),
    }
    if given.get("orb_files"):
        options["orbitals"] = _placed(params, given, "orb_files", out)
    if given.get("kpt_file"):
        options["kpt"] = _one(params, given, "kpt_file", out, "KPT")
    return Label(driver="abacus", options=with_command(options, machine))


def _cp2k(params: Params, machine: Machine, out: Path) -> Label:
    given = params.table("inputs_config", "label.cp2k")
    options: dict[str, Any] = {
        "template": _one(params, given, "inp_file", out, "input.inp")
    }
    return Label(driver="cp2k", options=with_command(options, machine))


_KINDS: dict[str, Callable[[Params, Machine, Path], Label]] = {
    "vasp": _vasp,
    "fpop_abacus": _abacus,
    "fpop_cp2k": _cp2k,
    "gaussian": by_script("gaussian", code="dpdata:gaussian/log", output="output"),
    "deepmd": by_script("deepmd", code="deepmd", output="data"),
}
"""How each type of ``fp`` is translated."""
