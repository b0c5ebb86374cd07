"""Section ``[train]`` of an exploration, and the configuration its members share."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from dpbench.config import from_mapping, read_toml
from dpbench.errors import ConfigError
from dpbench.train.config import HybridSettings, ModelSettings, TrainConfig, resolved
from dpbench.train.descriptor_settings import PlainSettings
from dpbench.train.input_json import read_input_json

ROOM_FOR_NEIGHBOURS: Final = "auto:2"
"""``sel`` where none is stated: exploring meets denser frames than the first ones, and
a model that is reused keeps its slots."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EnsembleSettings:
    """Section ``[train]``: the models of every iteration."""

    models: int = 4
    """Members. Their spread is the deviation that selects frames; 1 gives none."""

    steps: int = 2000
    """Optimiser steps of a member that starts anew. Never a time: the same
    configuration must give the same models."""

    reuse_steps: int | None = None
    """Steps of a member that starts from the one before; None takes ``steps``."""

    config: str | None = None
    """A dpbench ``train.toml`` or DeePMD-kit ``input.json`` beside the configuration;
    None takes dpbench's defaults. Length, seeds and split in it do not count."""

    reuse: bool = True
    """Whether later iterations start from the models of the one before."""

    reuse_start_lr: float | None = None
    """First learning rate of a member that starts from another; None takes the
    configuration's, or a tenth of what suits the optimiser where it names none."""

    validation: float = 0.1
    """Share of the frames that are never trained on, by which the error is watched; 0
    trains on all. A frame stays on its side in every later version."""

    def __post_init__(self) -> None:
        """Check the numbers."""
        for name in ("models", "steps", "reuse_steps", "reuse_start_lr"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ConfigError(f"{name} = {value} must be positive.")
        if not 0 <= self.validation < 1:
            raise ConfigError(
                f"validation = {self.validation}; expected a share from 0 to below 1."
            )


def member_seed(seed: int, *, iteration: int, member: int) -> int:
    """Derive the seed of a member from that of the exploration."""
    sequence = np.random.SeedSequence([seed, iteration, member])
    return int(sequence.generate_state(1)[0])


def ensemble_config(
    settings: EnsembleSettings, *, base: Path, elements: Sequence[str] = ()
) -> TrainConfig:
    """Read the configuration that all members share.

    Seeds that it states for single nets are taken out: with them all members would
    start as one, and would not disagree.

    Args:
        settings: Names the file.
        base: Folder that the name is relative to.
        elements: For ``model.type_map`` where the file has none.

    Raises:
        ConfigError: If the file is missing or cannot be used.
    """
    config = TrainConfig()
    if settings.config is not None:
        path = base / settings.config
        if path.suffix == ".json":
            config = read_input_json(path).config
        else:
            config = from_mapping(TrainConfig, read_toml(path), where=str(path))
    model = config.model
    type_map = model.type_map or (tuple(elements) or None)
    return replace(config, model=replace(_unseeded(model), type_map=type_map))


def member_config(
    settings: EnsembleSettings, config: TrainConfig, *, seed: int, is_reusing: bool
) -> TrainConfig:
    """Give a member its seed and length, and its rate where it starts from another.

    Args:
        settings: Say how long, and the rate.
        config: What all members share.
        seed: Of this one.
        is_reusing: Whether it starts from a model.
    """
    steps = settings.steps
    if is_reusing:
        steps = settings.reuse_steps or settings.steps
        if settings.reuse_start_lr is not None:
            rate = replace(config.learning_rate, start_lr=settings.reuse_start_lr)
            config = replace(config, learning_rate=rate)
    return resolved(config, steps=steps, seed=seed)


def _unseeded(model: ModelSettings) -> ModelSettings:
    """Take the seeds of single nets away, and leave room for more neighbours."""
    descriptor = model.descriptor
    if isinstance(descriptor, HybridSettings):
        parts = tuple(_part(part) for part in descriptor.list)
        descriptor = replace(descriptor, list=parts)
    else:
        descriptor = _part(descriptor)
    fitting = replace(model.fitting, seed=None)
    return replace(model, descriptor=descriptor, fitting=fitting)


def _part(part: PlainSettings) -> PlainSettings:
    sel: Any = ROOM_FOR_NEIGHBOURS if part.sel == "auto" else part.sel
    return replace(part, seed=None, sel=sel)
