"""Configuration of a training run: one set of dataclasses for TOML and input.json.

The defaults here are dpbench's own; those of DeePMD-kit are filled in by
``dpbench.train.input_json`` when a file of that kind is read.
"""

import re
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

from dpbench.errors import ConfigError
from dpbench.train.descriptor_settings import (
    DescriptorSettings,
    HybridSettings,
    SeAttenSettings,
    SeE2RSettings,
)
from dpbench.train.engine import EngineName
from dpbench.train.model_settings import (
    FittingSettings,
    ModelSettings,
    PairTableSettings,
)
from dpbench.train.optimisers.config import OptimiserConfig, OptimiserName
from dpbench.train.schedule import LearningRateConfig, LossConfig

__all__ = [
    "DEFAULT_TIME_BUDGET",
    "DescriptorSettings",
    "FittingSettings",
    "HybridSettings",
    "LearningRateConfig",
    "LossConfig",
    "ModelSettings",
    "OptimiserConfig",
    "PairTableSettings",
    "RunSettings",
    "SeAttenSettings",
    "SeE2RSettings",
    "TrainConfig",
    "parse_batch_size",
    "parse_budget",
    "parse_duration",
    "resolved",
]

DEFAULT_TIME_BUDGET = "10m"
"""Training time that is aimed at when neither steps nor a budget is stated."""

_SECONDS = {"": 1.0, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}


@dataclass(frozen=True, kw_only=True, slots=True)
class RunSettings:
    """Length, batches, and what is written when."""

    steps: int | None = None
    """Optimiser steps; this, ``epochs`` or ``time_budget``."""

    epochs: float | None = None
    """Passes over the training frames."""

    time_budget: str | None = None
    """Time to train for, e.g. ``90s``, ``5m``, ``2h``: turned into steps once, after
    a few timed steps, and recorded. ``10m`` when nothing is stated."""

    batch_size: int | str = "auto:32"
    """Frames of a batch, or ``auto:N``: frames enough to hold at least N atoms."""

    seed: int = 1
    """Seed of the start weights and of the order of frames."""

    precision: Literal["float32", "float64"] = "float64"
    """Floating type of parameters and arithmetic."""

    validation_every: int | None = None
    """Steps between two validations; by default a fiftieth of the run."""

    validation_frames: int = 256
    """Most validation frames that are scored each time, evenly taken."""

    checkpoint_every: int | None = None
    """Steps between two checkpoints; by default a tenth of the run."""

    keep_checkpoints: int = 3
    """Newest checkpoints that stay on disk."""

    refit_bias: bool = True
    """After the last step, fit the energy bias once more to what the model leaves of
    the training energies. Forces and virials do not change."""

    shuffle: Literal["auto", "global", "block"] = "auto"
    """Order of frames in an epoch. ``global``: any order. ``block``: blocks of 256
    neighbouring frames, 16 at a time, each read once. ``auto`` takes blocks where the
    frames are not kept and their files are remote, compressed or larger than memory."""

    split: str | None = None
    """Digest, or the start of one, of the split; by default the dataset's own."""

    engine: EngineName = "auto"
    """What computes gradients. ``table``: analytic passes, embedding nets tabulated
    anew each step. ``exact``: the same with exact embedding. ``autograd``: the
    reference. ``autograd-table``: autograd through tabulated nets. ``auto`` takes the
    fastest that serves the model."""

    table_intervals: int = 128
    """Pieces of each table of an embedding net. Ten times in a run the forces of a
    batch are compared with those of the exact net; the pieces are doubled when any is
    off by more than 1e-6 eV/Å."""

    sel_overflow: Literal["error", "deepmd", "deepmd-tf"] = "error"
    """What to do with an atom that has more neighbours than a stated ``sel``: stop
    (``error``), or drop the farthest as DeePMD-kit does (``deepmd``), or as its
    TensorFlow backend does (``deepmd-tf``)."""

    memory_budget: str = "auto"
    """Memory for frames that stay ready for the model, e.g. ``4GB``, of each process;
    frames beyond it are made ready again whenever they come. ``auto``: half of what is
    free, on CUDA of the device."""

    def __post_init__(self) -> None:
        """Check that the length is stated once, and every count is positive."""
        stated = [
            name
            for name in ("steps", "epochs", "time_budget")
            if getattr(self, name) is not None
        ]
        if len(stated) > 1:
            raise ConfigError(f"give one of {' and '.join(stated)}, not both.")
        for name in (
            "steps",
            "epochs",
            "validation_every",
            "validation_frames",
            "checkpoint_every",
            "keep_checkpoints",
        ):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ConfigError(f"{name} = {value} must be positive.")
        if self.time_budget is not None:
            parse_duration(self.time_budget)
        if self.seed < 0:
            raise ConfigError(f"seed = {self.seed} is negative.")
        parse_batch_size(self.batch_size)
        parse_budget(self.memory_budget)
        if self.table_intervals < 2:
            raise ConfigError(
                f"table_intervals = {self.table_intervals}; expected at least 2."
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainConfig:
    """Everything that decides a training run, apart from the data."""

    model: ModelSettings = field(default_factory=ModelSettings)
    """Descriptor and fitting net."""

    learning_rate: LearningRateConfig = field(default_factory=LearningRateConfig)
    """Decay of the learning rate."""

    loss: LossConfig = field(default_factory=LossConfig)
    """Prefactors of the loss."""

    optimiser: OptimiserConfig = field(default_factory=OptimiserConfig)
    """How gradients become steps."""

    training: RunSettings = field(default_factory=RunSettings)
    """Length, batches, and what is written when."""


def resolved(config: TrainConfig, **changes: Any) -> TrainConfig:
    """Return ``config`` with some run settings changed; None changes nothing.

    ``optimizer`` names the optimiser; its other settings stay.

    A length among the changes takes the place of whatever length ``config`` states.

    Raises:
        ConfigError: If two lengths are given, or a value does not fit.
    """
    given = {name: value for name, value in changes.items() if value is not None}
    lengths = ("steps", "epochs", "time_budget")
    if any(name in given for name in lengths):
        given = dict.fromkeys(lengths) | given
    name = given.pop("optimizer", None)
    if name is not None:
        if name not in get_args(OptimiserName):
            raise ConfigError(
                f"optimizer {name!r}; expected one of "
                f"{', '.join(get_args(OptimiserName))}."
            )
        optimiser = replace(config.optimiser, type=name)
        config = replace(config, optimiser=optimiser)
    batch_size = given.get("batch_size")
    if isinstance(batch_size, str) and batch_size.isdigit():
        given["batch_size"] = int(batch_size)
    return replace(config, training=replace(config.training, **given))


def settled(
    config: TrainConfig, *, is_fine_tuning: bool = False, steps: int | None = None
) -> TrainConfig:
    """Return ``config`` with what suits its optimiser, all explicit.

    Args:
        config: The configuration.
        is_fine_tuning: Whether the run starts from a model that is trained already.
        steps: Length of the run, where it is known already.

    Raises:
        ConfigError: If the prefactors cannot take the course that suits it.
    """
    rate = config.learning_rate.suited(
        config.optimiser.type, is_fine_tuning=is_fine_tuning, steps=steps
    )
    return replace(config, learning_rate=rate, loss=config.loss.suited(rate))


def parse_duration(text: str) -> float:
    """Read ``90``, ``90s``, ``5m``, ``1.5h`` or ``1d`` as seconds."""
    match = re.fullmatch(r"([0-9]*\.?[0-9]+)\s*(|s|m|min|h|d)", text.strip())
    seconds = float(match[1]) * _SECONDS[match[2]] if match else 0.0
    if not seconds > 0:
        raise ConfigError(
            f"time_budget = {text!r}; expected a positive time such as 90s, 5m or 2h."
        )
    return seconds


def parse_batch_size(value: int | str) -> tuple[Literal["frames", "atoms"], int]:
    """Read a batch size: what is counted, and how many of it fill a batch.

    Raises:
        ConfigError: If it is neither a positive integer, ``auto`` nor ``auto:N``.
    """
    if isinstance(value, int):
        if value > 0:
            return "frames", value
    else:
        name, _, number = value.partition(":")
        if name == "auto" and (number or "32").isdigit() and int(number or "32") > 0:
            return "atoms", int(number or "32")
    raise ConfigError(
        f"batch_size = {value!r}; expected a positive number of frames, 'auto' "
        "or 'auto:N' with N atoms."
    )


def parse_budget(text: str) -> int | None:
    """Read ``auto`` as None, and ``0``, ``800MB``, ``4GB`` or ``1.5TB`` as bytes.

    Raises:
        ConfigError: If it is none of these.
    """
    word = text.strip().lower()
    if word == "auto":
        return None
    match = re.fullmatch(r"([0-9]*\.?[0-9]+)\s*([kmgt]?)(b|ib)?", word)
    if match is None:
        raise ConfigError(
            f"memory_budget = {text!r}; expected 'auto' or a size such as 800MB or 4GB."
        )
    base = 1024 if match[3] == "ib" else 1000
    power = " kmgt".index(match[2] or " ")
    return int(float(match[1]) * base**power)
