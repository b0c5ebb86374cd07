"""Several processes that train one model together: what they say to each other.

``torchrun`` or ``srun`` starts them. Each batch is cut into one part for each rank; the
gradients of the parts are added up, so that all ranks take the same step. Rank 0 alone
writes files.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor

from dpbench.errors import DpbenchError, TrainingError

SETUP_TIMEOUT = timedelta(hours=2)
"""Longest wait of a rank for another before the first step: one may ingest data."""

STEP_TIMEOUT = timedelta(minutes=5)
"""Longest wait of a rank for another while training, checkpoints included."""

Item = TypeVar("Item")


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Where a process stands among all that were started together."""

    rank: int
    """Its number."""
    size: int
    """How many there are."""
    local_rank: int
    """Its number on its machine: its CUDA device."""
    local_size: int
    """How many are on its machine."""


class Ranks:
    """All processes of a run; one alone unless it was told of others."""

    def __init__(self, place: Place | None = None, group: Any = None) -> None:
        """Know one's place; ``group`` is torch's, for what happens in every step."""
        self.place = place or Place(rank=0, size=1, local_rank=0, local_size=1)
        self._group = group

    @property
    def size(self) -> int:
        """Number of processes."""
        return self.place.size

    @property
    def is_first(self) -> bool:
        """Whether this process writes files and talks to the user."""
        return self.place.rank == 0

    @property
    def is_alone(self) -> bool:
        """Whether there is no other process."""
        return self.place.size == 1

    def from_first(self, task: Callable[[], Item]) -> Item:
        """Let rank 0 do something; all get what it returns, or its error.

        Raises:
            DpbenchError: What ``task`` raised, on every rank.
        """
        if self.is_alone:
            return task()
        told: list[Any] = [None, None]
        if self.is_first:
            try:
                told[0] = task()
            except DpbenchError as error:
                told[1] = error
        with naming_lost_ranks(self.place):
            dist.broadcast_object_list(told, src=0)
        if told[1] is not None:
            raise told[1]
        found: Item = told[0]
        return found

    def gather(self, item: Item) -> list[Item]:
        """Return everyone's ``item``, in the order of ranks."""
        if self.is_alone:
            return [item]
        found: list[Any] = [None] * self.size
        with naming_lost_ranks(self.place):
            dist.all_gather_object(found, item)
        return found

    def add_up(self, tensor: Tensor) -> Tensor:
        """Return the sum of everyone's tensor, the same bits on every rank."""
        if self.is_alone:
            return tensor
        total = tensor.clone()
        with naming_lost_ranks(self.place):
            dist.all_reduce(total, group=self._group)
        return total

    def take_first(self, tensor: Tensor) -> None:
        """Write the first rank's numbers into everyone's ``tensor``."""
        if self.is_alone:
            return
        with naming_lost_ranks(self.place):
            dist.broadcast(tensor.detach(), src=0, group=self._group)

    def own_part(
        self, positions: NDArray[np.int64], natoms: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """Return this rank's share of a batch: neighbouring frames, atoms balanced.

        Args:
            positions: Frames of the whole batch.
            natoms: Atoms of each of them.

        Returns:
            Frames of this rank; none where there are fewer frames than ranks.
        """
        if self.is_alone:
            return positions
        return positions[slice(*_cuts(natoms, self.size)[self.place.rank :][:2])]


def place_of(environment: Mapping[str, str]) -> Place | None:
    """Read from the environment how a process was started; None if it is alone.

    Args:
        environment: ``os.environ``, with the variables of torchrun or of srun.

    Raises:
        TrainingError: If the variables do not fit together.
    """
    if "WORLD_SIZE" in environment:
        names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
    elif "SLURM_STEP_NUM_TASKS" in environment and "SLURM_PROCID" in environment:
        # SLURM_NTASKS is also set in a batch script, where there is one process.
        names = (
            "SLURM_PROCID",
            "SLURM_STEP_NUM_TASKS",
            "SLURM_LOCALID",
            "SLURM_STEP_TASKS_PER_NODE",
        )
    else:
        return None
    try:
        rank, size, local = (int(environment[name]) for name in names[:3])
        # srun tells 4(x2),3: the first number is near enough to share memory.
        local_size = int(re.split(r"[(,]", environment.get(names[3], "1"))[0])
    except (KeyError, ValueError) as error:
        raise TrainingError(
            f"environment: {error}; expected the numbers {', '.join(names[:3])}. Start "
            "with torchrun or srun, or unset them."
        ) from error
    if not 0 <= rank < size:
        raise TrainingError(
            f"environment: rank {rank} of {size}; expected one below the other."
        )
    if size == 1:
        return None
    for name in ("MASTER_ADDR", "MASTER_PORT"):
        if name not in environment:
            raise TrainingError(
                f"environment: {size} processes were started, but {name} is not set; "
                "expected the address of the first node and a free port. torchrun "
                "sets them; with srun export them, see docs/clusters.md."
            )
    return Place(rank=rank, size=size, local_rank=local, local_size=local_size)


@contextmanager
def joined(environment: Mapping[str, str], *, on_cuda: bool) -> Iterator[Ranks]:
    """Join the other processes while the block runs.

    Args:
        environment: ``os.environ``.
        on_cuda: Whether every rank trains on a CUDA device of its own.

    Yields:
        The ranks; one alone where nobody else was started.

    Raises:
        TrainingError: If the others cannot be reached.
    """
    place = place_of(environment)
    if place is None:
        yield Ranks()
        return
    if on_cuda:
        torch.cuda.set_device(place.local_rank)
    # Objects are handed around on the host, gradients where they are.
    backend = "cpu:gloo,cuda:nccl" if on_cuda else "gloo"
    with naming_lost_ranks(place):
        dist.init_process_group(
            backend, rank=place.rank, world_size=place.size, timeout=SETUP_TIMEOUT
        )
        group = dist.new_group(timeout=STEP_TIMEOUT)
    try:
        yield Ranks(place, group)
    finally:
        dist.destroy_process_group()


@contextmanager
def naming_lost_ranks(place: Place) -> Iterator[None]:
    """Turn what torch raises when another rank is gone into one plain line."""
    try:
        yield
    except DpbenchError:
        raise
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[0][:200] if str(error) else "no reason"
        raise TrainingError(
            f"rank {place.rank} of {place.size}: another rank has ended or does not "
            f"answer ({reason}); expected all of them until the end. Look at the first "
            "error of the other ranks; then go on with --resume."
        ) from error


def _cuts(natoms: NDArray[np.int64], size: int) -> list[int]:
    """Cut frames into ``size`` runs of about as many atoms; (size + 1) edges.

    Where there are enough frames every run has one at least.
    """
    count = len(natoms)
    filled = np.concatenate([[0], np.cumsum(natoms)])
    edges = [0]
    for rank in range(1, size):
        wanted = filled[-1] * rank / size
        edge = int(np.abs(filled - wanted).argmin())
        least = min(edges[-1] + 1, count)
        edges.append(max(least, min(edge, count - (size - rank))))
    return [*edges, count]
