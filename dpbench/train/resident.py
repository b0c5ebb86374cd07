"""Batches of frames that stay in memory, ready for the kernels.

A frame's batch is made once: neighbours found, edges sorted, vectors in the model's
precision, on the model's device. It stays as far as the budget goes; frames beyond it
are made again each time. A batch of one resident frame is the very same object each
time; a batch of many is merged from them without sorting.
"""

from dataclasses import fields, replace
from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray

from dpbench.errors import TrainingError
from dpbench.frames import Frames
from dpbench.kernels.assembly import merge
from dpbench.kernels.batch import Batch
from dpbench.kernels.neighbours import Neighbours
from dpbench.models.atom_numbers import atom_numbers
from dpbench.models.batching import make_frame
from dpbench.models.config import ModelConfig
from dpbench.models.geometry import atom_types, edge_vectors
from dpbench.models.sel import SelOverflow, nearest_neighbours, within_sel
from dpbench.store.gather.buffer import FrameBuffer
from dpbench.train.loader import FrameCache
from dpbench.train.memory import MemoryBudget

_OBJECT_BYTES = 6_000
"""What the tensors of a batch take beside their numbers; measured."""


@final
class BatchMaker:
    """Turns positions of a cache into batches for one model."""

    def __init__(
        self,
        cache: FrameCache,
        type_map: tuple[str, ...],
        *,
        device: torch.device,
        dtype: torch.dtype,
        budget: MemoryBudget | None = None,
        fparam: NDArray[np.float64] | None = None,
        numb_aparam: int = 0,
    ) -> None:
        """Make batches of ``cache`` on ``device``, edges in ``dtype``.

        Args:
            cache: The frames.
            type_map: The model's elements.
            device: Where the batches shall lie.
            dtype: Precision of the model.
            budget: Bytes on the device for frames that stay; None keeps none.
            fparam: (frame, number), what the model takes beside each frame.
            numb_aparam: Numbers of each atom that the model takes.
        """
        self._numb_aparam = numb_aparam
        self.fparam = fparam
        self._cache, self._type_map = cache, type_map
        self._device, self._dtype = device, dtype
        self._budget = budget or MemoryBudget(0)
        self._buffer = FrameBuffer()
        self._kept: dict[int, Batch] = {}
        self._config: ModelConfig | None = None
        self._overflow: SelOverflow = "error"

    def limit(self, config: ModelConfig, overflow: SelOverflow) -> None:
        """Hold frames to the ``sel`` of a model, those that are kept, too.

        Raises:
            ModelError: If one of them has an atom with more neighbours and
                ``overflow`` is ``error``.
        """
        self._config, self._overflow = config, overflow
        self._kept = {p: self._limited(p, batch) for p, batch in self._kept.items()}

    @property
    def resident_share(self) -> float:
        """Share of the frames that stay in memory so far."""
        return len(self._kept) / max(1, len(self._cache))

    @property
    def is_resident(self) -> bool:
        """Whether every frame stays in memory already."""
        return len(self._kept) == len(self._cache)

    def __call__(self, positions: NDArray[np.int64]) -> Batch:
        """Return the batch of the frames at ``positions``.

        Raises:
            TrainingError: If there is no position.
            ModelError: If an atom has more neighbours than the model's ``sel``.
        """
        wanted = positions.tolist()
        if not wanted:
            raise TrainingError(
                "a batch without frames was asked for; expected at least one frame."
            )
        missing = [p for p in dict.fromkeys(wanted) if p not in self._kept]
        if not missing:
            return merge([self._kept[p] for p in wanted])
        made = self._make(np.array(missing, dtype=np.int64))
        if len(made) == len(set(wanted)) and self._device.type != "cpu":
            # All are on the host: one copy of the whole is cheaper than many.
            return self._moved(merge([made[p] for p in wanted]))
        parts = [self._kept.get(p) or self._moved(made[p]) for p in wanted]
        return merge(parts)

    def keep(
        self,
        positions: NDArray[np.int64],
        frames: Frames,
        neighbours: tuple[Neighbours, ...],
    ) -> None:
        """Take in frames whose neighbours somebody has found already.

        Args:
            positions: Which frames.
            frames: The frames, in that order.
            neighbours: Theirs.
        """
        for row, position in enumerate(positions.tolist()):
            if position not in self._kept:
                self._finish(position, frames, row, neighbours[row])

    def _make(self, positions: NDArray[np.int64]) -> dict[int, Batch]:
        """Make batches of single frames on the host; keep what the budget allows."""
        frames, neighbours = self._cache.read(positions, self._buffer)
        return {
            position: self._finish(position, frames, row, neighbours[row])
            for row, position in enumerate(positions.tolist())
        }

    def _finish(
        self, position: int, frames: Frames, row: int, found: Neighbours
    ) -> Batch:
        batch = make_frame(frames, row, found, self._type_map, dtype=self._dtype)
        if self.fparam is not None:
            numbers = torch.from_numpy(self.fparam[position : position + 1])
            batch = replace(batch, fparam=numbers)
        if self._numb_aparam:
            name = self._cache.name_of(position)
            found_numbers = atom_numbers(frames, row, self._numb_aparam, name=name)
            batch = replace(batch, aparam=torch.from_numpy(found_numbers))
        batch = self._limited(position, batch)
        if self._budget.take(_size_of(batch)):
            self._kept[position] = self._moved(batch)
        return batch

    def _limited(self, position: int, batch: Batch) -> Batch:
        if self._config is None:
            return batch
        return within_sel(
            batch,
            self._config,
            overflow=self._overflow,
            names=[self._cache.name_of(position)],
        )

    def _moved(self, batch: Batch) -> Batch:
        """Return a batch on the device."""
        if self._device.type == "cpu":
            return batch
        if self._device.type == "cuda":
            # Only from pinned memory is a copy to the device no wait for this thread.
            batch = pinned(batch)
        return batch.to(self._device, self._dtype)


def limited_neighbours(
    frames: Frames,
    neighbours: tuple[Neighbours, ...],
    config: ModelConfig,
    overflow: SelOverflow,
) -> tuple[Neighbours, ...]:
    """Return the neighbours that the model will see, for its statistics.

    Args:
        frames: The frames.
        neighbours: Theirs, all within the cutoff.
        config: The model.
        overflow: ``error`` leaves them as they are.
    """
    if overflow == "error" or len(config.descriptor.parts) > 1:
        return neighbours
    kept = []
    for index, found in enumerate(neighbours):
        rows = frames.atoms_of(index)
        kept.append(
            nearest_neighbours(
                found,
                edge_vectors(frames.coord[rows], frames.box[index], found),
                atom_types(frames.z[rows], config.type_map),
                config.descriptor.parts[0],
                overflow=overflow,
            )
        )
    return tuple(kept)


def pinned(batch: Batch) -> Batch:
    """Copy a batch to pinned memory of the host, which torch keeps and gives again."""
    tensors: dict[str, Any] = {
        field.name: value.pin_memory()
        for field in fields(batch)
        if isinstance(value := getattr(batch, field.name), torch.Tensor)
    }
    return replace(batch, **tensors)


def _size_of(batch: Batch) -> int:
    """Bytes that a batch of one frame takes in memory."""
    values = (getattr(batch, field.name) for field in fields(batch))
    tensors = [value for value in values if isinstance(value, torch.Tensor)]
    numbers = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
    pairs = 40 * len(batch.pair_offset) * (len(batch.pair_offset) + 1)
    return numbers + pairs + _OBJECT_BYTES
