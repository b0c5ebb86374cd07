"""What a run says before its first step."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from dpbench.io.leakage.words import parts_line
from dpbench.models.config import ModelConfig, descriptor_words
from dpbench.models.potential import DeepPotential
from dpbench.train.budget import Length
from dpbench.train.engine import Engine
from dpbench.train.init_model import Given
from dpbench.train.loop import Plan
from dpbench.train.new_model import sel_words
from dpbench.train.pipeline import Data
from dpbench.train.ranks import Ranks


def first_notes(
    data: Data,
    model: DeepPotential,
    told: Mapping[str, Any],
    remarks: Sequence[str],
    *,
    given: Given | None,
) -> list[str]:
    """Word what a new run trains, on what, and from what."""
    return [
        *_describe_data(data, told["leakage"]),
        describe_model(model),
        *remarks,
        *_start_words(given, told),
    ]


def describe_model(model: DeepPotential) -> str:
    """Word a model in one line."""
    config: ModelConfig = model.config
    return (
        f"model: {' '.join(config.type_map)}, {descriptor_words(config.descriptor)}, "
        f"rcut {model.rcut:g} Å, sel {sel_words(config)}, "
        f"fitting {list(config.fitting.neuron)}; "
        f"{model.parameters.flat.numel()} parameters, {config.precision}, "
        f"{model.device}, {torch.get_num_threads()} threads"
    )


def _describe_data(data: Data, leakage: Mapping[str, Any]) -> list[str]:
    """Word what the run trains on, and what its parts have in common."""
    lines = [
        f"data: {data.version.label}, {len(data.train)} training and "
        f"{len(data.validation)} validation frames; split {data.split.label}"
    ]
    if "asked" in data.split.parameters:
        lines.append(f"split: asked for {data.split.parameters['asked']}")
    if leakage:
        lines.append(f"shared with train: {parts_line(leakage)}")
    return lines


def _start_words(given: Given | None, told: Mapping[str, Any]) -> list[str]:
    """Word where the model is from, if it is not new."""
    if given is None:
        return []
    shift = told["init"]["bias_shift"]
    words = ", ".join(f"{symbol} {value:+.6g} eV" for symbol, value in shift.items())
    return [
        f"starts from {told['init']['file']}; energy bias refitted: {words}",
        "its learning rate is a tenth of a new model's unless start_lr is stated",
        *given.notes,
    ]


def describe_plan(plan: Plan, length: Length) -> str:
    """Word how long a run will be."""
    return (
        f"{plan.steps} steps ({length.reason}); a point of the learning curve every "
        f"{plan.validation_every}"
    )


def describe_engine(engine: Engine, ranks: Ranks) -> list[str]:
    """Word what computes the gradient where that is worth a line."""
    lines = []
    if engine.reason is not None:
        lines.append(f"engine {engine.name}: {engine.reason}")
    if not ranks.is_alone:
        lines.append(f"{ranks.size} processes share each batch")
    return lines
