"""A model sized by its training data with the start values of a run, or a given one."""

from dataclasses import dataclass

import numpy as np
import torch

from dpbench.errors import TrainingError
from dpbench.models.config import ModelConfig
from dpbench.models.neighbour_counts import NeighbourCounts, neighbour_counts
from dpbench.models.potential import DeepPotential
from dpbench.store.workspace import Workspace
from dpbench.train.config import TrainConfig
from dpbench.train.measure import Measured, measure
from dpbench.train.model_inputs import with_inputs
from dpbench.train.pipeline import Data, scored_frames


@dataclass(frozen=True, kw_only=True, slots=True)
class FirstModel:
    """A model before the first step."""

    model: DeepPotential
    """The model."""
    remarks: tuple[str, ...]
    """What the user should know."""
    min_distance: float
    """Å, shortest distance in the training frames; infinite where there is none."""


def new_model(
    workspace: Workspace, config: TrainConfig, data: Data, device: torch.device
) -> FirstModel:
    """Size a model by the training frames and draw its start values.

    Raises:
        TrainingError: If no training frame is labelled.
        ModelError: If a stated ``sel`` is smaller than what the frames need.
    """
    settings = config.model
    measured, remarks = _first_look(workspace, config, data)
    sized = settings.resolve(
        type_map=data.type_map,
        sel=settings.choose_sel(measured.neighbours),
        precision=config.training.precision,
    )
    scored = _scored(config, data)
    both = measured.neighbours + scored
    if overflows(both, sized):
        # What is sized by the data must hold the validation frames as well.
        sel = settings.choose_sel(both)
        sized = settings.resolve(
            type_map=data.type_map, sel=sel, precision=config.training.precision
        )
    if overflows(both, sized):
        remarks.append(_dropping(config, data, sized, both))
        measured = _measured(workspace, config, data, sized)
    statistics = with_inputs(
        measured.finish(sized), sized, settings, numbers=data.train_maker.fparam
    )
    model = DeepPotential.initialise(sized, statistics, config.training.seed, device)
    return FirstModel(
        model=model,
        remarks=tuple(remarks),
        min_distance=measured.neighbours.min_distance,
    )


def given_model(
    workspace: Workspace,
    config: TrainConfig,
    data: Data,
    device: torch.device,
    *,
    model: DeepPotential,
) -> FirstModel:
    """Take a model as it is, if the frames fit into its neighbour slots.

    Raises:
        TrainingError: If no training frame is labelled.
        ModelError: If an atom has more neighbours than the model's ``sel``.
    """
    measured, remarks = _first_look(workspace, config, data)
    both = measured.neighbours + _scored(config, data)
    if overflows(both, model.config):
        remarks.append(_dropping(config, data, model.config, both))
    return FirstModel(
        model=model if device.type == "cpu" else model.to(device),
        remarks=tuple(remarks),
        min_distance=measured.neighbours.min_distance,
    )


def _first_look(
    workspace: Workspace, config: TrainConfig, data: Data
) -> tuple[Measured, list[str]]:
    """Measure the training frames; say what is odd about them."""
    measured = _measured(workspace, config, data, None)
    if not measured.labelled.any():
        raise TrainingError(
            f"{data.version.label}: no training frame has a label; expected energies "
            "or forces. See 'dpbench dataset stats'."
        )
    if measured.neighbours.most.any():
        return measured, []
    cutoff = config.model.descriptor.rcut
    return measured, [f"warning: no training atom has a neighbour within {cutoff} Å"]


def _dropping(
    config: TrainConfig, data: Data, model: ModelConfig, both: NeighbourCounts
) -> str:
    """Say that neighbours are dropped; raise where they must not be."""
    overflow = config.training.sel_overflow
    if overflow == "error":
        _name_the_atom(config, data, model)
    return (
        f"sel {sel_words(model)} is below the {both.most.tolist()} neighbours that "
        f"occur: the farthest are dropped, as DeePMD-kit does ({overflow})"
    )


def sel_words(config: ModelConfig) -> str:
    """Word the neighbour slots of a model: a list for each part of its descriptor."""
    return " + ".join(str(list(part.sel)) for part in config.descriptor.parts)


def overflows(counts: NeighbourCounts, config: ModelConfig) -> bool:
    """Say whether any atom has more neighbours than the model has slots.

    Args:
        counts: Of the frames, within the cutoffs of the model's parts.
        config: The model.
    """
    for part, most in zip(config.descriptor.parts, counts.within, strict=True):
        if part.mixed_types:
            if most[-1] > sum(part.sel):
                return True
        elif any(np.greater(most[:-1], part.sel)):
            return True
    return False


def _measured(
    workspace: Workspace, config: TrainConfig, data: Data, limit: ModelConfig | None
) -> Measured:
    """Measure the training frames; keep their neighbours where there is room."""
    return measure(
        data.train,
        config.model,
        data.type_map,
        workspace=workspace,
        label=data.version.label,
        indices=data.split.part("train"),
        keep=data.train_maker,
        limit=None if limit is None else (limit, config.training.sel_overflow),
        ranks=data.ranks,
    )


def _scored(config: TrainConfig, data: Data) -> NeighbourCounts:
    """Count the neighbours in the validation frames that are scored."""
    chosen = scored_frames(config, data)
    frames, neighbours = data.validation.read(chosen)
    data.validation_maker.keep(chosen, frames, neighbours)
    cutoffs = config.model.descriptor.cutoffs
    return neighbour_counts(frames, neighbours, data.type_map, cutoffs=cutoffs)


def _name_the_atom(config: TrainConfig, data: Data, model: ModelConfig) -> None:
    """Raise the error that names an atom with more neighbours than slots."""
    parts = (
        (data.train_maker, np.arange(len(data.train))),
        (data.validation_maker, scored_frames(config, data)),
    )
    for maker, positions in parts:
        maker.limit(model, "error")
        for position in positions:
            maker(np.array([position]))
