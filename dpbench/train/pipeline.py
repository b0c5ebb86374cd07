"""What turns the frames of a split into batches, and a model into scores."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from dpbench.errors import TrainingError
from dpbench.kernels.batch import Batch
from dpbench.models.config import ModelConfig
from dpbench.models.parameters import DTYPES
from dpbench.models.potential import DeepPotential
from dpbench.store.dataset import DatasetVersion
from dpbench.store.splits.making import Split
from dpbench.store.theory.mixture import mixture_words
from dpbench.train.bias import refit_energy_bias
from dpbench.train.config import TrainConfig, parse_batch_size
from dpbench.train.history import Errors
from dpbench.train.loader import FrameCache, prefetch, stays_cached
from dpbench.train.memory import MemoryBudget, make_budget
from dpbench.train.model_inputs import check_atom_numbers, frame_numbers
from dpbench.train.order import BatchOrder, Shuffle
from dpbench.train.ranks import Ranks
from dpbench.train.resident import BatchMaker
from dpbench.train.shared_engine import without_labels
from dpbench.train.validation import validate

VALIDATION_ATOMS = 2048
"""Atoms of one validation batch."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Data:
    """The two parts of a split that training may read."""

    version: DatasetVersion
    """The dataset."""
    split: Split
    """The split."""
    train: FrameCache
    """Training frames."""
    validation: FrameCache
    """Validation frames."""
    train_maker: BatchMaker
    """Batches of training frames."""
    validation_maker: BatchMaker
    """Batches of validation frames."""
    type_map: tuple[str, ...]
    """The model's elements."""
    budget: MemoryBudget
    """For frames that stay ready for the model."""
    ranks: Ranks
    """Who trains together."""

    @property
    def is_near(self) -> bool:
        """Whether any frame is read as fast as the next."""
        size = sum(segment.manifest["bytes"] for segment in self.version.segments)
        is_mapped = self.version.is_mapped and stays_cached(size)
        return self.train.keeps_frames or is_mapped


@dataclass(frozen=True, kw_only=True, slots=True)
class Pipeline:
    """Batches, scores and the last fit, of this rank."""

    data: Data
    """Where they come from."""
    order: BatchOrder
    """Which frames each step sees."""
    groups: tuple[NDArray[np.int64], ...]
    """Validation frames of each batch of this rank."""

    def make_batch(self, step: int) -> Batch:
        """Return this rank's part of the batch of a step."""
        data, ranks = self.data, self.data.ranks
        if not data.train_maker.is_resident:
            data.train.hold(self.order.blocks_of(step))
        positions = self.order.frames_of(step)
        own = ranks.own_part(positions, data.train.natoms[positions])
        if len(own):
            return data.train_maker(own)
        return without_labels(data.train_maker(positions[:1]))

    def stream(self, first: int, stop: int) -> Iterator[Batch]:
        """Yield the batches of some steps, made ahead in a thread where that helps."""
        maker = self.data.train_maker
        if maker.is_resident and (torch.get_num_threads() == 1 or self.order.is_single):
            return (self.make_batch(step) for step in range(first, stop))
        return prefetch(self.make_batch, first, stop)

    def score(self, model: DeepPotential) -> Errors:
        """Compare a model with the validation frames; every rank does its share."""
        batches = map(self.data.validation_maker, self.groups)
        return validate(model, batches, share=self.data.ranks.add_up)

    def refit_bias(self, model: DeepPotential) -> DeepPotential:
        """Fit the energy bias once more to the training energies."""
        return refit_energy_bias(model, self.data.train, self.data.train_maker)

    def shared_refit(self, model: DeepPotential) -> DeepPotential:
        """Fit the energy bias once more; all ranks take what rank 0 finds."""
        ranks = self.data.ranks
        bias = ranks.from_first(lambda: self.refit_bias(model).statistics.energy_bias)
        statistics = replace(model.statistics, energy_bias=bias)
        return DeepPotential(model.config, model.parameters, statistics)


def open_data(
    version: DatasetVersion,
    split: Split,
    config: TrainConfig,
    *,
    device: torch.device,
    ranks: Ranks,
) -> Data:
    """Set up what reads the frames; nothing is read yet.

    Raises:
        TrainingError: If there is no training frame.
        ModelError: If frames lack numbers that the model takes.
    """
    for line in mixture_words(version.mixed_theory):
        logger.warning("%s: %s", version.label, line)
    if not len(split.parts.get("train", ())):
        raise TrainingError(
            f"{version.label}: the split has no training frame; expected some in its "
            "part 'train'. Make another with 'dpbench dataset split'."
        )
    settings, natoms = config.training, version.natoms
    budget, on_host = _budgets(config, device, ranks)
    type_map = config.model.type_map or version.symbols
    caches, makers = {}, {}
    for name in ("train", "validation"):
        index = split.parts.get(name, np.zeros(0, dtype=np.int64))
        check_atom_numbers(version, index, config.model.fitting.numb_aparam)
        cache = FrameCache(
            version,
            index,
            natoms=natoms[index],
            rcut=config.model.descriptor.rcut,
            numb_aparam=max((s.numb_aparam for s in version.segments), default=0),
            memory_budget=on_host.total - on_host.taken,
        )
        if cache.keeps_frames:
            on_host.take(cache.frame_bytes)
        caches[name] = cache
        makers[name] = BatchMaker(
            cache,
            type_map,
            device=device,
            dtype=DTYPES[settings.precision],
            budget=budget,
            fparam=frame_numbers(version, index, config.model.fitting),
            numb_aparam=config.model.fitting.numb_aparam,
        )
    return Data(
        version=version,
        split=split,
        train=caches["train"],
        validation=caches["validation"],
        train_maker=makers["train"],
        validation_maker=makers["validation"],
        type_map=type_map,
        budget=budget,
        ranks=ranks,
    )


def _budgets(
    config: TrainConfig, device: torch.device, ranks: Ranks
) -> tuple[MemoryBudget, MemoryBudget]:
    """Return the budgets of ready frames, and of frames as they were read.

    On a GPU the latter stay on the host; else both are one.
    """
    text, sharers = config.training.memory_budget, ranks.place.local_size
    budget = make_budget(text, device, sharers=sharers)
    if device.type == "cpu":
        return budget, budget
    return budget, make_budget(text, torch.device("cpu"), sharers=sharers)


def make_pipeline(
    config: TrainConfig, data: Data, model: ModelConfig, shuffle: Shuffle
) -> Pipeline:
    """Set up the batch of a step, and the score on validation frames.

    Raises:
        TrainingError: If a batch cannot have a frame for each rank.
    """
    counted, size = parse_batch_size(config.training.batch_size)
    ranks = data.ranks
    if counted == "frames" and size < ranks.size:
        raise TrainingError(
            f"batch_size = {size} for {ranks.size} ranks; expected at least one frame "
            "for each. Raise it, or start fewer processes."
        )
    order = BatchOrder(
        data.train.natoms,
        counted=counted,
        # So many atoms for each rank: more ranks make larger batches.
        size=size * ranks.size if counted == "atoms" else size,
        seed=config.training.seed,
        shuffle=shuffle,
        least_frames=ranks.size,
    )
    overflow = config.training.sel_overflow
    for maker in (data.train_maker, data.validation_maker):
        maker.limit(model, overflow)
    return Pipeline(data=data, order=order, groups=_groups(config, data))


def scored_frames(config: TrainConfig, data: Data) -> NDArray[np.int64]:
    """Return the validation frames that are scored, evenly taken from all."""
    total = len(data.validation)
    count = min(total, config.training.validation_frames)
    found: NDArray[np.int64] = np.unique(
        np.linspace(0, total - 1, count).round().astype(np.int64)
    )
    return found


def _groups(config: TrainConfig, data: Data) -> tuple[NDArray[np.int64], ...]:
    """Cut the scored frames into batches, and take those of this rank."""
    chosen, ranks = scored_frames(config, data), data.ranks
    if not len(chosen):
        return ()
    filled = np.cumsum(data.validation.natoms[chosen]) // VALIDATION_ATOMS
    groups = np.split(chosen, np.flatnonzero(np.diff(filled)) + 1)
    return tuple(groups[ranks.place.rank :: ranks.size])
