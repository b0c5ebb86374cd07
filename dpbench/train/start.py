"""What a run starts from: a new model, or a given one."""

from math import isfinite
from typing import Any

import torch

from dpbench.models.potential import DeepPotential
from dpbench.store.workspace import Workspace
from dpbench.train.config import TrainConfig
from dpbench.train.init_model import Given
from dpbench.train.new_model import FirstModel, given_model, new_model
from dpbench.train.pipeline import Data


def first_model(
    workspace: Workspace,
    config: TrainConfig,
    data: Data,
    device: torch.device,
    *,
    given: Given | None,
) -> FirstModel:
    """Draw a new model, or take the given one; see ``new_model``."""
    if given is None:
        return new_model(workspace, config, data, device)
    return given_model(workspace, config, data, device, model=given.model)


def told_of_start(
    first: FirstModel, model: DeepPotential, given: Given | None
) -> dict[str, Any]:
    """Say what a run starts with, for the record."""
    told: dict[str, Any] = {}
    if isfinite(first.min_distance):
        told["min_nbor_dist"] = first.min_distance  # `dp compress` asks for it
    if given is not None:
        before = first.model.statistics.energy_bias
        shift = (model.statistics.energy_bias - before).tolist()
        told["init"] = given.told | {
            "bias_shift": dict(zip(model.type_map, shift, strict=True))
        }
    return told
