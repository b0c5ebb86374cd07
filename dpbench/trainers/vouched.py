"""What a configuration of a foreign trainer may not open: programs of others.

A model that a trainer makes is noted as made here, so that opening it needs no
``--trust``. That holds only where nothing else that is a program went into it: a
pickle, a TorchScript archive, a function that the configuration names.
"""

import hashlib
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from dpbench.backends.sandbox import sandbox_kind
from dpbench.backends.trust import trust_of
from dpbench.errors import ConfigError
from dpbench.trainers.foreign import AbstractTrainer
from dpbench.trainers.mace_options import OPTIONS
from dpbench.trainers.theirs import Edited, brief

MODEL_SUFFIXES = (
    ".pb", ".pth", ".pt", ".pt2", ".pte", ".dp", ".hlo", ".jax", ".savedmodel",
    ".savedmodeltf", ".ckpt", ".json.gz", ".pkl", ".npy", ".npz",
)  # fmt: skip
"""Ends of the names of models and arrays that DeePMD-kit can start from."""

MODEL_KEYS = ("model_file", "model_name", "weight_file", "map_file", "config_file")
"""Keys of DeePMD-kit's frozen models, data modifiers and quantised models."""

TARGETS = (
    "nequip.", "allegro.", "torch.optim.", "torch.nn.", "torch.utils.data.",
    "lightning.", "e3nn.",
)  # fmt: skip
"""What ``_target_`` may begin with."""

LOADERS = re.compile(r"ModelFrom\w*|PackageImporter|load\w*|hub|jit|package")
"""Parts of a ``_target_`` that read a program."""

CLASS = re.compile(r"[a-z]\w*(\.[a-z_]\w*)+\.[A-Z]\w*")
"""A class by its full name."""

FUNCTIONS = ("nequip.model.modify",)
"""Functions that NequIP's configurations name; any other ``_target_`` is a class."""

RESOLVERS = (
    "int_div", "int_mul", "concat_lists", "list_to_identity_dict",
    "training_data_stats",
)  # fmt: skip
"""What ``${NAME:...}`` may compute; others make tables of text, or open packages."""

LOADED_PATHS = ("ckpt_path", "checkpoint_path", "package_path")
"""Keys of NequIP that name a file to unpickle."""

MADE_ELSEWHERE = "starts from a model that was not made here. Leave it out."


def entries(node: Any, path: str = "") -> Iterator[tuple[str, str, Any]]:
    """Walk a configuration; yield path, key and value of everything in it.

    Elements of a list have the key of the list.
    """
    key = path.rpartition(".")[2].partition("[")[0]
    if path:
        yield path, key, node
    if isinstance(node, dict):
        for name, value in node.items():
            yield from entries(value, f"{path}.{name}" if path else str(name))
    elif isinstance(node, list):
        for i, value in enumerate(node):
            yield from entries(value, f"{path}[{i}]")


def check_deepmd(edited: Edited) -> None:
    """Refuse whatever starts from a model: frozen ones, wherever they are nested.

    Raises:
        ConfigError: Naming the entry.
    """
    for path, key, value in entries(edited.tree):
        if key.startswith("_"):  # a comment, which DeePMD-kit drops
            continue
        is_model = (
            key in MODEL_KEYS
            or "pretrain" in key
            or "finetune" in key
            or (key == "type" and str(value).lower() == "frozen")
            or (isinstance(value, str) and value.lower().endswith(MODEL_SUFFIXES))
        )
        if is_model and value not in (None, "", False):
            _refuse(edited, path, value, MADE_ELSEWHERE)


def check_mace(edited: Edited) -> None:
    """Refuse keys and values that would become other options of ``mace_run_train``.

    Its parser makes an option of every key: ``--x`` as well as ``x``, and every
    beginning of a name that is the only one.

    Raises:
        ConfigError: Naming the entry.
    """
    for key in edited.tree:
        if key not in OPTIONS:
            raise ConfigError(
                f"{edited.where}: {key}: is no option of mace_run_train; expected its "
                "full name without dashes."
            )
    for path, _, value in entries(edited.tree):
        if isinstance(value, str) and re.match(r"\s*-+[^\W\d]|\s*--", value):
            why = "would be taken for an option; expected no dash at its start."
            _refuse(edited, path, value, why)


def check_nequip(edited: Edited) -> None:
    """Refuse a ``_target_`` that is no class of NequIP's world, or reads a program.

    Raises:
        ConfigError: Naming the entry.
    """
    for path, key, value in entries(edited.tree):
        if key in LOADED_PATHS and value is not None:
            _refuse(edited, path, value, MADE_ELSEWHERE)
        if isinstance(value, str):
            for name in re.findall(r"\$\{\s*([^:{}]*?)\s*[:{]", value):
                if name not in RESOLVERS:
                    why = f"computes by '{name}'; expected {', '.join(RESOLVERS)}."
                    _refuse(edited, path, value, why)
        if key == "_target_":
            _check_target(edited, path, value)


def check_confined(
    trainer: AbstractTrainer, config: Path, named: Iterable[str]
) -> None:
    """Refuse a configuration that is a program, where no sandbox confines it.

    Args:
        trainer: Who will read it.
        config: The file.
        named: sha256 that the user named.

    Raises:
        ConfigError: If it is not among those.
    """
    trusted = trust_of(None, named).named
    if not trainer.runs_configuration or not sandbox_kind().startswith("none"):
        return
    digest = hashlib.sha256(config.read_bytes()).hexdigest()
    if digest not in trusted:
        raise ConfigError(
            f"{config}: names classes that {trainer.title} runs, and this machine has "
            "no sandbox. If you trust where it comes from: "
            f"--trust {digest}, or install bubblewrap."
        )


def _check_target(edited: Edited, path: str, value: Any) -> None:
    parts = str(value).split(".")
    if any(LOADERS.fullmatch(part) for part in parts):
        _refuse(edited, path, value, MADE_ELSEWHERE)
    # A module may lead to another that it imports: nequip.train.os.
    leads_out = any(
        part in sys.stdlib_module_names or f"{part}." in TARGETS or part == "torch"
        for part in parts[1:]
    )
    is_known = (
        isinstance(value, str)
        and value.startswith(TARGETS)
        and (CLASS.fullmatch(value) is not None or value == "lightning.Trainer")
        and not leads_out
    )
    if not is_known and value not in FUNCTIONS:
        why = f"is run as it stands; expected a class below {', '.join(TARGETS)}"
        _refuse(edited, path, value, f"{why}.")


def _refuse(edited: Edited, path: str, value: Any, why: str) -> None:
    raise ConfigError(f"{edited.where}: {path} = {brief(value)}: {why}")
