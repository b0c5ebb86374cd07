"""``[start]`` and ``[train]`` from what DP-GEN calls init data and training.

Source: DP-GEN documentation, "param.json": data and training.
"""

import copy
import json
import os
import re
from pathlib import Path
from typing import Any

from dpbench.errors import ConfigError
from dpbench.explore.dpgen.params import Params
from dpbench.explore.dpgen.theory import FILE as THEORY_FILE
from dpbench.train.input_json import from_input_json

TRAIN_FILE = "train.json"
"""Name of the file that holds ``default_training_param``."""

START_COUNT = 20
"""Frames that are labelled first where a run has no init data."""

OLD_STOP_LR = 1e-8
"""Last learning rate of DeePMD-kit 2 where an input did not say."""

_UNKNOWN = re.compile(rf"{re.escape(TRAIN_FILE)}: (?:([\w.]+): )?unknown key '([^']+)'")
_STEPS = ("numb_steps", "stop_batch")
"""Names of the number of steps in inputs of DeePMD-kit, newest first."""


def start_section(params: Params, *, out: Path, first: list[str]) -> dict[str, Any]:
    """Say where the first frames with labels are from.

    Args:
        params: The input.
        out: Folder of the configuration.
        first: Names of the structures of the first stage.
    """
    prefix = params.text("init_data_prefix", "start.files")
    entries = params.texts("init_data_sys", "start.files")
    if not entries:
        params.remark(
            "changed",
            "init_data_sys",
            f"is empty: {START_COUNT} frames of the structures of the first stage are "
            "labelled first. Set start.count.",
        )
        return {"structures": first, "count": START_COUNT}
    paths = [params.base / prefix / entry for entry in entries]
    for path in paths:
        if not Path(str(path).partition("#")[0]).exists():
            params.remark(
                "missing",
                "init_data_sys",
                f"{path} does not exist here. Correct start.files.",
            )
    files = [relative(path, out) for path in paths]
    return {"files": files, "format": "deepmd", "theory": THEORY_FILE}


def train_section(params: Params) -> tuple[dict[str, Any], dict[str, str]]:
    """Say how the ensemble is trained.

    Returns:
        The section, and the content of files beside the configuration.
    """
    section: dict[str, Any] = {"models": params.whole("numb_models", "train.models", 4)}
    files: dict[str, str] = {}
    given = params.table("default_training_param", f"train.config ({TRAIN_FILE})")
    if given:
        section |= training_of(params, given, params.data.get("type_map"), files)
    section |= _reuse(params)
    return section, files


def training_of(
    params: Params, given: dict[str, Any], elements: Any, files: dict[str, str]
) -> dict[str, Any]:
    """Take over an input of DeePMD-kit's training: its length, and itself as a file.

    Args:
        params: The input that holds or names it, for remarks.
        given: Its content.
        elements: For ``type_map`` where it has none.
        files: Content of files beside the configuration; it is added.
    """
    steps = _steps(given)
    section: dict[str, Any] = {} if steps is None else {"steps": steps}
    return section | _config(params, given, elements, files)


def relative(path: Path, out: Path) -> str:
    """Word a path as seen from the folder of the configuration.

    Paths that have nothing in common but the root stay absolute.
    """
    plain, here = Path(os.path.normpath(path)), out.resolve()
    if os.path.commonpath([plain, here]) == here.anchor:
        return plain.as_posix()
    return Path(os.path.relpath(plain, here)).as_posix()


def _steps(given: dict[str, Any]) -> int | None:
    training = given.get("training")
    for name in _STEPS:
        value = training.get(name) if isinstance(training, dict) else None
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            return value
    return None


def _config(
    params: Params, given: dict[str, Any], elements: Any, files: dict[str, str]
) -> dict[str, Any]:
    """Write the input of the training; name it if dpbench can train by it."""
    content = _without_data(given, elements)
    _add_stop_lr(params, content)
    try:
        notes = _notes_on(params, content)
    except ConfigError as error:
        files[TRAIN_FILE] = json.dumps(content, indent=2) + "\n"
        params.remark(
            "changed",
            "default_training_param",
            f"dpbench cannot train by it ({error}): its own model and schedule are "
            f'taken. Mend {TRAIN_FILE} and add config = "{TRAIN_FILE}" to [train].',
        )
        return {}
    files[TRAIN_FILE] = json.dumps(content, indent=2) + "\n"
    for note in notes:
        params.remark("left out", f"default_training_param.{note.split(':')[0]}", note)
    return {"config": TRAIN_FILE}


def _add_stop_lr(params: Params, content: dict[str, Any]) -> None:
    """State the last learning rate where an older DeePMD-kit had a default."""
    rate = content.get("learning_rate")
    if isinstance(rate, dict) and not {"stop_lr", "stop_lr_ratio"} & rate.keys():
        rate["stop_lr"] = OLD_STOP_LR
        params.remark(
            "changed",
            "default_training_param.learning_rate",
            f"stop_lr = {OLD_STOP_LR:g} is written out: it was DeePMD-kit 2's default.",
        )


def _notes_on(params: Params, content: dict[str, Any]) -> tuple[str, ...]:
    """Return what has no effect, with keys that DeePMD-kit does not know taken out.

    Raises:
        ConfigError: If dpbench cannot train by what is left.
    """
    while True:
        try:
            return from_input_json(content, where=TRAIN_FILE).notes
        except ConfigError as error:
            found = _UNKNOWN.match(str(error))
            table: Any = content
            for name in found[1].split(".") if found is not None and found[1] else ():
                table = table.get(name) if isinstance(table, dict) else None
            if found is None or not isinstance(table, dict) or found[2] not in table:
                raise
            del table[found[2]]
            section = f"{found[1]}." if found[1] else ""
            params.remark(
                "left out",
                f"default_training_param.{section}{found[2]}",
                "is no option of DeePMD-kit 3.",
            )


def _without_data(given: dict[str, Any], type_map: Any) -> dict[str, Any]:
    """Take out the data, which the exploration names, and fill in the elements."""
    content = copy.deepcopy(given)
    training = content.get("training")
    if isinstance(training, dict):
        for key in ("systems", "set_prefix", "auto_prob_style", "auto_prob"):
            training.pop(key, None)
        data = training.get("training_data")
        if isinstance(data, dict):
            data.pop("systems", None)
        training.pop("validation_data", None)
    model = content.get("model")
    if isinstance(model, dict) and isinstance(type_map, list):
        model.setdefault("type_map", type_map)
    return content


def _reuse(params: Params) -> dict[str, Any]:
    """Say whether models start from those before."""
    from_iteration = params.whole("training_reuse_iter", "train.reuse")
    starts_from_old = bool(params.value("training_init_model", "train.reuse", False))
    section: dict[str, Any] = {"reuse": starts_from_old or from_iteration is not None}
    if not section["reuse"]:
        return section
    if from_iteration is not None and from_iteration > 1:
        params.remark(
            "changed",
            "training_reuse_iter",
            f"models start from those before from iteration 1 on, not {from_iteration}."
            " Set train.reuse = false to train anew each time.",
        )
    for key in ("training_reuse_stop_batch", "training_reuse_numb_steps"):
        steps = params.whole(key, "train.reuse_steps")
        if steps is not None:
            section["reuse_steps"] = steps
    rate = params.number("training_reuse_start_lr", "train.reuse_start_lr")
    if rate is not None:
        section["reuse_start_lr"] = float(rate)
    return section
