"""DeePMD-kit's input.json as a ``TrainConfig``, with DeePMD-kit's defaults.

No option is ignored in silence: it is taken over, listed as without effect, or refused
with its name.

Deviations, on purpose: statistics use every training frame rather than ten batches a
system; a batch is drawn from all training frames at random, each frame once an epoch,
and may mix systems; validation is pooled over the validation frames.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dpbench.config import from_mapping
from dpbench.errors import ConfigError
from dpbench.train import input_json_keys as keys
from dpbench.train.config import TrainConfig
from dpbench.train.input_json_model import read_model
from dpbench.train.input_json_reader import Reader


@dataclass(frozen=True, kw_only=True, slots=True)
class InputJson:
    """What an input.json says."""

    config: TrainConfig
    """Model, schedule, loss and run."""

    systems: tuple[str, ...]
    """``training_data.systems`` as written."""

    validation_systems: tuple[str, ...]
    """``validation_data.systems`` as written."""

    notes: tuple[str, ...]
    """Options that are accepted but change nothing here, with the reason."""


def read_input_json(path: Path) -> InputJson:
    """Read an input.json; ConfigError if it is no JSON or asks for what is not here."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}).") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: is not valid JSON: {error}.") from error
    return from_input_json(data, where=path.name)


def from_input_json(data: Mapping[str, Any], *, where: str) -> InputJson:
    """Translate a parsed input.json.

    Args:
        data: The whole file, as parsed.
        where: Its name, the start of every message.

    Returns:
        The configuration, the data it names, and what has no effect.

    Raises:
        ConfigError: On an option that does not exist, is not supported, has a value
            of the wrong type, or is missing.
    """
    reader = Reader(where)
    top = reader.tables(data, keys.TOP, "")
    for name in ("model", "learning_rate", "training"):
        if name not in top:
            raise ConfigError(f"{where}: missing section '{name}'. Add it.")
    model, precision = read_model(reader, top["model"])
    training = dict(reader.values(top["training"], keys.TRAINING, "training"))
    clipping = training.pop("gradient_max_norm", None)
    data_sections = reader.tables(top["training"], keys.TRAINING, "training")
    train_data = reader.values(
        data_sections.get("training_data", {}),
        keys.TRAINING_DATA,
        "training.training_data",
    )
    validation_data = reader.values(
        data_sections.get("validation_data") or {},
        keys.VALIDATION_DATA,
        "training.validation_data",
    )
    training["batch_size"] = _batch_size(train_data["batch_size"], where)
    if "steps" not in training and "epochs" not in training:
        raise ConfigError(f"{where}: training: missing key 'numb_steps'. Add it.")
    optimiser = reader.values(
        top.get("optimizer") or {}, keys.OPTIMISER, "optimizer"
    ) | ({} if clipping is None else {"gradient_max_norm": clipping})
    mapping = {
        "model": model,
        "learning_rate": _learning_rate(reader, top["learning_rate"]),
        "loss": reader.values(top.get("loss") or {}, keys.LOSS, "loss")
        | {"course": "rate"},
        "optimiser": optimiser | {"type": "adam"},
        "training": training | {"precision": precision},
    }
    return InputJson(
        config=from_mapping(TrainConfig, mapping, where=where),
        systems=_systems(train_data.get("systems"), where),
        validation_systems=_systems(validation_data.get("systems"), where),
        notes=tuple(reader.notes),
    )


def _learning_rate(reader: Reader, data: Mapping[str, Any]) -> dict[str, Any]:
    """Translate the learning rate, with DeePMD-kit's required keys required."""
    rate = reader.values(data, keys.LEARNING_RATE, "learning_rate")
    if rate["type"] not in ("exp", "cosine"):
        raise ConfigError(
            f"{reader.where}: learning_rate: type = {rate['type']!r} is an option of "
            "DeePMD-kit that dpbench does not support yet; supported: 'exp', 'cosine'."
        )
    if "start_lr" not in rate:
        raise ConfigError(f"{reader.where}: learning_rate: missing key 'start_lr'.")
    if "stop_lr" not in rate and "stop_lr_ratio" not in rate:
        raise ConfigError(
            f"{reader.where}: learning_rate: missing key 'stop_lr' (or stop_lr_ratio)."
        )
    return rate


def _batch_size(value: Any, where: str) -> Any:
    """One batch size for all systems; other kinds are named."""
    if isinstance(value, list) and value and all(v == value[0] for v in value):
        return value[0]
    if isinstance(value, list):
        raise ConfigError(
            f"{where}: training.training_data: batch_size = {value!r}: one size per "
            "system is not supported yet; supported: one number, 'auto', 'auto:N'."
        )
    if isinstance(value, str) and value.partition(":")[0] in (
        "max",
        "filter",
        "mixed",
        "mix",
    ):
        raise ConfigError(
            f"{where}: training.training_data: batch_size = {value!r} is an option of "
            "DeePMD-kit that dpbench does not support yet; supported: a number, "
            "'auto', 'auto:N'."
        )
    return value


def _systems(value: Any, where: str) -> tuple[str, ...]:
    """Paths of systems: one, a list, or none."""
    if value is None:
        return ()
    listed = [value] if isinstance(value, str) else value
    if not isinstance(listed, list) or not all(isinstance(v, str) for v in listed):
        raise ConfigError(f"{where}: systems = {value!r}; expected a list of paths.")
    return tuple(listed)
