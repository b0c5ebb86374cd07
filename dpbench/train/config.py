"""Configuration of a training run: one set of dataclasses for TOML and input.json.

The defaults here are dpbench's own; those of DeePMD-kit are filled in by
``dpbench.train.input_json`` when a file of that kind is read.
"""

import re
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from dpbench.errors import ConfigError
from dpbench.models.config import (
    Activation,
    EnergyFittingConfig,
    ModelConfig,
    SeE2AConfig,
)
from dpbench.train.optimisers.config import OptimiserConfig
from dpbench.train.schedule import LearningRateConfig, LossConfig

DEFAULT_TIME_BUDGET = "10m"
"""Training time that is aimed at when neither steps nor a budget is stated."""

_SECONDS = {"": 1.0, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}


@dataclass(frozen=True, kw_only=True, slots=True)
class DescriptorSettings:
    """Descriptor ``se_e2_a``; field names follow DeePMD-kit's input.json."""

    type: Literal["se_e2_a"] = "se_e2_a"
    """The only descriptor so far."""

    rcut: float = 6.0
    """Cutoff radius, Å."""

    rcut_smth: float = 0.5
    """Where the switching function starts, Å."""

    sel: tuple[int, ...] | str = "auto"
    """Most neighbours per type in ``type_map`` order, or ``auto:FACTOR``: the most
    that occur in the data, times FACTOR, rounded up to a multiple of 4."""

    neuron: tuple[int, ...] = (16, 32, 64)
    """Widths of the embedding net."""

    axis_neuron: int = 8
    """Columns of the embedding that form the second factor of the descriptor."""

    type_one_side: bool = True
    """One embedding net per neighbour type instead of per pair of types."""

    activation_function: Activation = "tanh"
    """Activation of the embedding net."""

    resnet_dt: bool = False
    """Whether skip connections carry a trained time step."""

    set_davg_zero: bool = False
    """Whether the environment matrix is scaled but not centred."""

    exclude_types: tuple[tuple[int, int], ...] = ()
    """Pairs of type indices that do not see each other."""

    env_protection: float = 0.0
    """Added to distances in denominators, Å."""

    seed: int | None = None
    """Seed of the embedding net's start values; None takes the run's seed."""

    def __post_init__(self) -> None:
        """Check all that can be checked without the data."""
        if isinstance(self.sel, str) and self.sel_factor < 1:
            raise ConfigError(f"sel = {self.sel!r}: the factor must be at least 1.")
        ntypes = 1 + max((t for pair in self.exclude_types for t in pair), default=0)
        self.resolve((1,) * ntypes if isinstance(self.sel, str) else self.sel)

    def resolve(self, sel: tuple[int, ...]) -> SeE2AConfig:
        """Return the descriptor's configuration with ``sel`` neighbour slots."""
        return SeE2AConfig(
            rcut=self.rcut,
            rcut_smth=self.rcut_smth,
            sel=sel,
            neuron=self.neuron,
            axis_neuron=self.axis_neuron,
            resnet_dt=self.resnet_dt,
            type_one_side=self.type_one_side,
            activation_function=self.activation_function,
            exclude_types=self.exclude_types,
            env_protection=self.env_protection,
            set_davg_zero=self.set_davg_zero,
            seed=self.seed,
        )

    @property
    def sel_factor(self) -> float:
        """FACTOR of ``auto:FACTOR``; 1.1 where none is stated."""
        name, _, factor = str(self.sel).partition(":")
        try:
            if name == "auto":
                return float(factor or 1.1)
        except ValueError:
            pass
        raise ConfigError(
            f"sel = {self.sel!r}; expected a list of integers, 'auto' or 'auto:1.2'."
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class FittingSettings:
    """Energy fitting net; field names follow DeePMD-kit's input.json."""

    type: Literal["ener"] = "ener"
    """The only fitting so far."""

    neuron: tuple[int, ...] = (64, 64, 64)
    """Widths of the hidden layers."""

    activation_function: Activation = "tanh"
    """Activation of the hidden layers."""

    resnet_dt: bool = True
    """Whether skip connections carry a trained time step."""

    rcond: float | None = None
    """Cut-off of small singular values in the least squares of the energy bias."""

    seed: int | None = None
    """Seed of the fitting net's start values; None takes the run's seed."""

    def __post_init__(self) -> None:
        """Check the widths."""
        self.resolve()

    def resolve(self) -> EnergyFittingConfig:
        """Return the fitting net's configuration."""
        return EnergyFittingConfig(
            neuron=self.neuron,
            resnet_dt=self.resnet_dt,
            activation_function=self.activation_function,
            rcond=self.rcond,
            seed=self.seed,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelSettings:
    """The model, with everything that the data can decide left open."""

    type_map: tuple[str, ...] | None = None
    """Elements in the order of their types; by default those of the data, by Z."""

    descriptor: DescriptorSettings = field(default_factory=DescriptorSettings)
    """Local environment to features."""

    fitting: FittingSettings = field(default_factory=FittingSettings)
    """Features to atomic energy."""

    def resolve(
        self,
        *,
        type_map: tuple[str, ...],
        sel: tuple[int, ...],
        precision: Literal["float32", "float64"],
    ) -> ModelConfig:
        """Return the configuration of a model for known data."""
        return ModelConfig(
            type_map=type_map,
            descriptor=self.descriptor.resolve(sel),
            fitting=self.fitting.resolve(),
            precision=precision,
        )


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

    A length among the changes takes the place of whatever length ``config`` states.

    Raises:
        ConfigError: If two lengths are given, or a value does not fit.
    """
    given = {name: value for name, value in changes.items() if value is not None}
    lengths = ("steps", "epochs", "time_budget")
    if any(name in given for name in lengths):
        given = dict.fromkeys(lengths) | given
    batch_size = given.get("batch_size")
    if isinstance(batch_size, str) and batch_size.isdigit():
        given["batch_size"] = int(batch_size)
    return replace(config, training=replace(config.training, **given))


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
