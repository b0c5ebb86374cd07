"""Everything that a run needs before its first step, new or gone on with."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dpbench.config import from_mapping, to_mapping
from dpbench.errors import TrainingError
from dpbench.io.leakage.split import between_parts, checked_default_split
from dpbench.io.leakage.words import parts_line
from dpbench.kernels.batch import Batch
from dpbench.models.config import ModelConfig, descriptor_words
from dpbench.models.parameters import DTYPES
from dpbench.models.potential import DeepPotential
from dpbench.store.dataset import DatasetVersion, open_dataset
from dpbench.store.splits.making import Split, find_split, named_split
from dpbench.store.theory.mixture import mixture_words
from dpbench.store.workspace import Workspace
from dpbench.train.bias import refit_energy_bias
from dpbench.train.budget import Length, choose_length, make_plan, measure_costs
from dpbench.train.config import TrainConfig, parse_batch_size
from dpbench.train.history import Errors
from dpbench.train.loader import BatchMaker, FrameCache, stays_cached
from dpbench.train.loop import LoopState, Plan
from dpbench.train.measure import measure
from dpbench.train.optimisers import Optimiser, make_optimiser
from dpbench.train.order import BatchOrder, Shuffle, choose_shuffle
from dpbench.train.provenance import plan_provenance, start_provenance
from dpbench.train.runs import find_checkpoint, new_run
from dpbench.train.schedule import Schedule
from dpbench.train.validation import validate

VALIDATION_ATOMS = 2048
"""Atoms of one validation batch."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Session:
    """A run, ready for the loop."""

    run_id: str
    """Name of the run."""
    folder: Path
    """Its folder."""
    config: TrainConfig
    """Its configuration."""
    version: DatasetVersion
    """The dataset."""
    model: DeepPotential
    """The model at ``state.step``."""
    optimiser: Optimiser
    """Over the model's parameters."""
    schedule: Schedule
    """Learning rate and prefactors."""
    state: LoopState
    """Where the run is."""
    plan: Plan
    """How long it is."""
    make_batch: Callable[[int], Batch]
    """Batch of a step."""
    validate: Callable[[DeepPotential], Errors]
    """Score on the validation frames."""
    refit_bias: Callable[[DeepPotential], DeepPotential]
    """Fit the energy bias once more to the training energies."""
    provenance: dict[str, Any]
    """What the model file will say."""
    notes: tuple[str, ...]
    """Facts to show the user before the first step."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Data:
    """The two parts of a split that training may read."""

    version: DatasetVersion
    split: Split
    train: FrameCache
    validation: FrameCache


@dataclass(frozen=True, kw_only=True, slots=True)
class _Pipeline:
    """What turns data into batches and scores."""

    make_batch: Callable[[int], Batch]
    score: Callable[[DeepPotential], Errors]
    refit_bias: Callable[[DeepPotential], DeepPotential]
    order: BatchOrder


def begin(
    workspace: Workspace,
    config: TrainConfig,
    *,
    dataset: str,
    device: torch.device,
    command: Sequence[str],
) -> Session:
    """Set up a new run.

    Args:
        workspace: Where the dataset is and the run's folder will be.
        config: The configuration.
        dataset: ``NAME`` or ``NAME-vN``.
        device: Where to train.
        command: The command line, for the record.

    Raises:
        DatasetError: If there is no such dataset or split.
        ConfigError: If the configuration does not fit the data.
        TrainingError: If there is nothing to train on.
    """
    version = open_dataset(workspace, dataset)
    split = choose_split(version, config.training.split)
    data = _open_data(version, split, rcut=config.model.descriptor.rcut)
    model, remarks = _new_model(workspace, config, data, device)
    size = sum(segment.manifest["bytes"] for segment in version.segments)
    is_near = data.train.keeps_frames or (version.is_mapped and stays_cached(size))
    shuffle = choose_shuffle(config.training.shuffle, is_near=is_near)
    pipeline = _pipeline(config, data, model, shuffle)
    length = _choose_length(config, model, pipeline)
    plan = make_plan(config.training, length)
    schedule = Schedule(config.learning_rate, config.loss, steps=plan.steps)
    run_id, folder = new_run(workspace, version.label)
    provenance = start_provenance(
        config, version, split, run_id=run_id, device=device, command=command
    )
    found = split.leakage or between_parts(version, split)  # reads no test frame
    provenance |= {"leakage": found, "shuffle": to_mapping(shuffle)}
    return Session(
        run_id=run_id,
        folder=folder,
        config=config,
        version=version,
        model=model,
        optimiser=make_optimiser(model.parameters, config.optimiser),
        schedule=schedule,
        state=LoopState(),
        plan=plan,
        make_batch=pipeline.make_batch,
        validate=pipeline.score,
        refit_bias=pipeline.refit_bias,
        provenance=provenance | plan_provenance(plan, length),
        notes=(
            *_describe_data(data, found),
            *(describe_model(model), *remarks),
            f"{plan.steps} steps ({length.reason}); a point of the learning curve "
            f"every {plan.validation_every}",
        ),
    )


def go_on(workspace: Workspace, name: str | Path, *, device: torch.device) -> Session:
    """Set up the rest of a run from its newest, or a named, checkpoint.

    Raises:
        TrainingError: If there is no such run, or its data changed.
        ModelError: If the checkpoint is damaged.
        DatasetError: If the workspace lacks the dataset or split.
    """
    found = find_checkpoint(workspace, name)
    told = found.provenance
    config = from_mapping(TrainConfig, told["config"], where=str(found.path))
    label = f"{told['dataset']['name']}-v{told['dataset']['number']}"
    version = open_dataset(workspace, label)
    split = find_split(version, told["split"]["digest"])
    if version.digest != told["dataset"]["digest"] or split is None:
        raise TrainingError(
            f"{found.path}: was trained on {label} with digest "
            f"{told['dataset']['digest']} and split {told['split']['digest']}; this "
            "workspace has others. Go on in the workspace where the run began."
        )
    data = _open_data(version, split, rcut=config.model.descriptor.rcut)
    model = found.model if device.type == "cpu" else found.model.to(device)
    optimiser = make_optimiser(model.parameters, config.optimiser)
    optimiser.restore(found.optimiser)
    # As recorded: the data may have come nearer since, and the order must not change.
    shuffle = Shuffle(**told.get("shuffle", {}))
    pipeline = _pipeline(config, data, model, shuffle)
    plan = {k: v for k, v in told["plan"].items() if k != "reason"}
    notes = [
        f"resumed: run {told['run_id']} at step {found.state.step} of "
        f"{plan['steps']}, on {label}",
        describe_model(model),
    ]
    if (told["threads"], told["device"]) != (torch.get_num_threads(), device.type):
        notes.append(
            f"note: the run began on {told['device']} with {told['threads']} threads; "
            "here it goes on, but not bit for bit"
        )
    return Session(
        run_id=told["run_id"],
        folder=found.path.absolute().parent,
        config=config,
        version=version,
        model=model,
        optimiser=optimiser,
        schedule=Schedule(config.learning_rate, config.loss, steps=plan["steps"]),
        state=found.state,
        plan=Plan(**plan),
        make_batch=pipeline.make_batch,
        validate=pipeline.score,
        refit_bias=pipeline.refit_bias,
        provenance=told,
        notes=tuple(notes),
    )


def choose_split(version: DatasetVersion, digest: str | None) -> Split:
    """Find the split to train with; make and file the default one if there is none.

    Args:
        version: The dataset.
        digest: A split's name or the start of its digest; None takes the only one
            there is.

    Raises:
        DatasetError: If there is no such split, or several to choose from.
    """
    if digest is None:
        return find_split(version) or checked_default_split(version)
    return named_split(version, digest)


def describe_model(model: DeepPotential) -> str:
    """Word a model in one line."""
    config: ModelConfig = model.config
    sel = [list(part.sel) for part in config.descriptor.parts]
    return (
        f"model: {' '.join(config.type_map)}, {descriptor_words(config.descriptor)}, "
        f"rcut {model.rcut:g} Å, sel {' + '.join(map(str, sel))}, "
        f"fitting {list(config.fitting.neuron)}; "
        f"{model.parameters.flat.numel()} parameters, {config.precision}, "
        f"{model.device}, {torch.get_num_threads()} threads"
    )


def _describe_data(data: _Data, leakage: Mapping[str, Any]) -> list[str]:
    """Word what the run trains on, and what its parts have in common."""
    lines = [
        f"data: {data.version.label}, {len(data.train)} training and "
        f"{len(data.validation)} validation frames; split {data.split.label}"
    ]
    if leakage:
        lines.append(f"shared with train: {parts_line(leakage)}")
    return lines


def _new_model(
    workspace: Workspace, config: TrainConfig, data: _Data, device: torch.device
) -> tuple[DeepPotential, list[str]]:
    """Size a model by the training frames and draw its start values."""
    version, settings = data.version, config.model
    if len(data.train) == 0:
        raise TrainingError(f"{version.label}: the split has no training frame.")
    type_map = settings.type_map or version.symbols
    measured = measure(
        data.train,
        settings,
        type_map,
        workspace=workspace,
        label=version.label,
        indices=data.split.part("train"),
    )
    if not measured.labelled.any():
        raise TrainingError(
            f"{version.label}: no training frame has a label; expected energies or "
            "forces. See 'dpbench dataset stats'."
        )
    remarks = []
    if not measured.neighbours.most.any():
        remarks.append(
            "warning: no training atom has a neighbour within "
            f"{settings.descriptor.rcut} Å"
        )
    chosen = settings.descriptor.sel
    if isinstance(chosen, str):
        sel = measured.choose_sel(settings.descriptor.sel_factor)
    else:
        sel = chosen
        if any(np.greater(measured.neighbours.most, sel[: len(type_map)])):
            most = measured.neighbours.most.tolist()
            remarks.append(
                f"warning: sel {list(sel)} is below the {most} neighbours in the data; "
                "all are used, but DeePMD-kit would drop the farthest"
            )
    precision = config.training.precision
    model_config = settings.resolve(type_map=type_map, sel=sel, precision=precision)
    statistics = measured.finish(model_config)
    seed = config.training.seed
    return DeepPotential.initialise(model_config, statistics, seed, device), remarks


def _open_data(version: DatasetVersion, split: Split, *, rcut: float) -> _Data:
    for line in mixture_words(version.mixed_theory):
        logger.warning("%s: %s", version.label, line)
    parts = {
        name: split.parts.get(name, np.zeros(0, dtype=np.int64))
        for name in ("train", "validation")
    }
    natoms = version.natoms
    caches = {
        name: FrameCache(version, index, natoms=natoms[index], rcut=rcut)
        for name, index in parts.items()
    }
    return _Data(version=version, split=split, **caches)


def _choose_length(
    config: TrainConfig, model: DeepPotential, pipeline: _Pipeline
) -> Length:
    """Decide the number of steps, timing a few where time decides."""
    # Of unknown length, so that its prefactors are those of the start.
    schedule = Schedule(config.learning_rate, config.loss, steps=10**9)
    return choose_length(
        config.training,
        steps_per_epoch=pipeline.order.steps_per_epoch(),
        costs=lambda: measure_costs(
            model,
            pipeline.make_batch,
            pipeline.score,
            schedule,
            optimiser=config.optimiser,
        ),
    )


def _pipeline(
    config: TrainConfig, data: _Data, model: DeepPotential, shuffle: Shuffle
) -> _Pipeline:
    """Set up the batch of a step, and the score on validation frames."""
    counted, size = parse_batch_size(config.training.batch_size)
    order = BatchOrder(
        data.train.natoms,
        counted=counted,
        size=size,
        seed=config.training.seed,
        shuffle=shuffle,
    )
    make = partial(
        BatchMaker,
        type_map=model.type_map,
        device=model.device,
        dtype=DTYPES[config.training.precision],
    )
    train_maker, validation_maker = make(data.train), make(data.validation)
    total = len(data.validation)
    count = min(total, config.training.validation_frames)
    chosen = np.unique(np.linspace(0, total - 1, count).round().astype(np.int64))
    filled = np.cumsum(data.validation.natoms[chosen]) // VALIDATION_ATOMS
    groups = np.split(chosen, np.flatnonzero(np.diff(filled)) + 1) if count else []

    def make_batch(step: int) -> Batch:
        data.train.hold(order.blocks_of(step))
        return train_maker(order.frames_of(step))

    def score(model: DeepPotential) -> Errors:
        return validate(model, map(validation_maker, groups))

    return _Pipeline(
        make_batch=make_batch,
        score=score,
        refit_bias=partial(refit_energy_bias, cache=data.train, make_batch=train_maker),
        order=order,
    )
