"""Statistics of the training frames, gathered by Dask over ranges of frames.

Each task returns partial sums only, and there are few tasks: small data are measured
in this process, which leaves their neighbour lists in the cache.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial, reduce
from pathlib import Path

import numpy as np
from dask.base import compute
from dask.delayed import delayed
from numpy.typing import NDArray

from dpbench.frames import Frames
from dpbench.models.atom_numbers import all_atom_numbers
from dpbench.models.config import ModelConfig
from dpbench.models.neighbour_counts import NeighbourCounts, neighbour_counts
from dpbench.models.sel import SelOverflow
from dpbench.models.statistics import (
    EnergyNormal,
    EnvironmentMoments,
    ModelStatistics,
    NumberMoments,
    descriptor_statistics,
    energy_normal,
    environment_moments,
    number_moments,
)
from dpbench.store.dataset import open_dataset
from dpbench.store.workspace import Workspace
from dpbench.train.config import ModelSettings
from dpbench.train.loader import FrameCache
from dpbench.train.ranks import Ranks
from dpbench.train.resident import BatchMaker, limited_neighbours

ATOMS_PER_TASK = 50_000
"""Atoms of one task: seconds of work, so that a task's overhead does not count."""

ATOMS_IN_PROCESS = 200_000
"""Up to this many atoms, starting processes costs more than it saves."""


Limit = tuple[ModelConfig, SelOverflow]
"""A model whose ``sel`` bounds the neighbours, and how they are dropped."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """Partial sums over training frames; mergeable."""

    neighbours: NeighbourCounts
    """Most neighbours per type, shortest distance."""
    moments: EnvironmentMoments
    """Sums over environment rows, counted as if every atom had one slot."""
    energies: EnergyNormal
    """Energies by composition."""
    labelled: NDArray[np.int64]
    """(3), frames with energy, force and virial."""
    atom_numbers: NumberMoments | None = None
    """Sums over the numbers of all atoms, where the model takes some."""

    def __add__(self, other: "Measured") -> "Measured":
        """Merge two ranges."""
        return Measured(
            neighbours=self.neighbours + other.neighbours,
            moments=self.moments + other.moments,
            energies=self.energies + other.energies,
            labelled=self.labelled + other.labelled,
            atom_numbers=None
            if self.atom_numbers is None or other.atom_numbers is None
            else self.atom_numbers + other.atom_numbers,
        )

    def finish(self, config: ModelConfig) -> ModelStatistics:
        """Return what the model keeps."""
        davg, dstd = descriptor_statistics(self.moments, config, counts_atoms=True)
        bias, _, _ = self.energies.solve(rcond=config.fitting.rcond)
        numbers = None if self.atom_numbers is None else self.atom_numbers.scale()
        return ModelStatistics(davg=davg, dstd=dstd, energy_bias=bias, aparam=numbers)


def measure(
    cache: FrameCache,
    settings: ModelSettings,
    type_map: tuple[str, ...],
    *,
    workspace: Workspace,
    label: str,
    indices: NDArray[np.int64],
    keep: BatchMaker | None = None,
    limit: Limit | None = None,
    ranks: Ranks | None = None,
) -> Measured:
    """Measure all training frames; every rank measures a share.

    Args:
        cache: The training frames.
        settings: The model.
        type_map: Its elements.
        workspace: Where the dataset is, for worker processes.
        label: The dataset's version, for worker processes.
        indices: (frame), the training frames in version order.
        keep: Takes in the frames that are measured in this process.
        limit: Drops neighbours first.
        ranks: Who trains together; None = this process alone.
    """
    ranks = ranks or Ranks()
    here = partial(measure_positions, cache, settings, type_map, limit=limit)
    if not ranks.is_alone:
        share = np.array_split(np.arange(len(cache)), ranks.size)[ranks.place.rank]
        own = _in_pieces(lambda part: here(part, keep=keep), share)
        return reduce(lambda a, b: a + b, ranks.gather(own))
    if int(cache.natoms.sum()) <= ATOMS_IN_PROCESS:
        tasks = [
            delayed(here, pure=False)(part, keep=keep) for part in _ranges(cache.natoms)
        ]
        scheduler = "synchronous"
    else:
        far = partial(
            _measure_in_worker, workspace.root, label, settings, type_map, limit=limit
        )
        tasks = [
            delayed(far, pure=False)(indices[part]) for part in _ranges(cache.natoms)
        ]
        scheduler = "processes"
    parts = compute(*tasks, scheduler=scheduler)  # type: ignore[no-untyped-call]
    total: Measured = reduce(lambda a, b: a + b, parts)
    return total


def measure_positions(
    cache: FrameCache,
    settings: ModelSettings,
    type_map: tuple[str, ...],
    positions: NDArray[np.int64],
    *,
    keep: BatchMaker | None = None,
    limit: Limit | None = None,
) -> Measured:
    """Measure some frames of a cache; see ``measure``."""
    frames, neighbours = cache.read(positions)
    if limit is not None:
        neighbours = limited_neighbours(frames, neighbours, *limit)
    if keep is not None:
        keep.keep(positions, frames, neighbours)
    # One slot an atom; the count is multiplied by the slots once they are known.
    config = settings.with_one_slot(type_map)
    flags = (frames.has_energy, frames.has_force, frames.has_virial)
    return Measured(
        neighbours=neighbour_counts(
            frames, neighbours, type_map, cutoffs=settings.descriptor.cutoffs
        ),
        moments=environment_moments(frames, neighbours, config),
        energies=energy_normal(frames, type_map),
        labelled=np.array([int(flag.sum()) for flag in flags], dtype=np.int64),
        atom_numbers=_atom_moments(
            cache, frames, positions, settings.fitting.numb_aparam
        ),
    )


def _atom_moments(
    cache: FrameCache, frames: Frames, positions: NDArray[np.int64], numb_aparam: int
) -> NumberMoments | None:
    """Sum up the numbers of the atoms of some frames; None if the model takes none."""
    if not numb_aparam:
        return None
    names = [cache.name_of(position) for position in positions.tolist()]
    return number_moments(all_atom_numbers(frames, numb_aparam, names=names))


def _measure_in_worker(
    root: Path,
    label: str,
    settings: ModelSettings,
    type_map: tuple[str, ...],
    indices: NDArray[np.int64],
    *,
    limit: Limit | None,
) -> Measured:
    version = open_dataset(Workspace.find(root), label)
    cache = FrameCache(
        version,
        indices,
        natoms=version.natoms[indices],
        rcut=settings.descriptor.rcut,
        memory_budget=0,
    )
    task = partial(measure_positions, cache, settings, type_map, limit=limit)
    return _in_pieces(task, np.arange(len(indices)))


def _in_pieces(
    task: Callable[[NDArray[np.int64]], Measured],
    positions: NDArray[np.int64],
    size: int = 256,
) -> Measured:
    """Keep the memory of a worker at one piece of its range."""
    starts = range(0, max(1, len(positions)), size)
    pieces = (task(positions[start : start + size]) for start in starts)
    return reduce(lambda a, b: a + b, pieces)


def _ranges(natoms: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Cut frames into contiguous ranges of about ``ATOMS_PER_TASK`` atoms."""
    count = max(1, min(len(natoms), round(int(natoms.sum()) / ATOMS_PER_TASK)))
    return list(np.array_split(np.arange(len(natoms)), count))
