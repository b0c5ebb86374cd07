"""Blocks of atoms through the compiled kernels: forward, fitting nets, back."""

import itertools
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, final

import numpy as np
import torch
from numpy.typing import NDArray

from dpbench.kernels.choice import choose
from dpbench.kernels.inference.packed import PackedModel

ATOMS_PER_BLOCK = 256
"""Atoms of one block: enough rows for the matrix products, little enough to stay in a
core's caches."""


class Block(NamedTuple):
    """Slots of one centre type that are worked on together."""

    low: int
    high: int
    centre: int


class Listed(NamedTuple):
    """The argument ``view`` of ``cpu.forward_listed``."""

    place: NDArray[np.float64]
    start: NDArray[np.int64]
    neighbour: NDArray[np.int32]
    image: NDArray[Any]
    shift: NDArray[np.float64]
    stops: NDArray[np.int64]
    frame: NDArray[np.int32]
    rcut2: float


class Given(NamedTuple):
    """The argument ``view`` of ``cpu.forward_given``."""

    edge_vec: NDArray[Any]
    neighbour: NDArray[np.int32]
    row_offset: NDArray[np.int64]


class Outcome(NamedTuple):
    """What a run over all blocks found, by slot."""

    atom_energy: NDArray[np.float64]
    """(slot), eV, with the bias."""
    force: NDArray[np.float64]
    """(worker, slot, 3), eV/Å, to be summed over workers."""
    virial: NDArray[np.float64]
    """(frame, 3, 3), eV."""
    extended: int
    crowded: int


def blocks_of(type_offset: Sequence[int]) -> Iterator[Block]:
    """Cut the slots into blocks of one centre type each, of about equal size."""
    for centre, (first, end) in enumerate(itertools.pairwise(type_offset)):
        count = -(-(end - first) // ATOMS_PER_BLOCK)
        for n in range(count):
            low = first + (end - first) * n // count
            high = first + (end - first) * (n + 1) // count
            yield Block(low, high, centre)


@final
class BlockRunner:
    """Buffers of one block, used again and again, and the way through the kernels."""

    def __init__(self, model: PackedModel, *, nworkers: int = 1) -> None:
        """Make buffers; those of the edges grow when they must.

        Args:
            model: The model.
            nworkers: Threads that share a block; the main thread alone may use more
                than one.
        """
        self.model = model
        self.nworkers = nworkers
        dtype = np.dtype(str(model.dtype).removeprefix("torch."))
        ntypes = len(model.centres)
        n = ATOMS_PER_BLOCK
        self._dtype = dtype
        self._first = np.zeros((n, ntypes + 1), dtype=np.int64)
        self._moment = np.zeros((n, 4, model.width), dtype=dtype)
        self._adjoint = np.zeros((nworkers, 4, model.width), dtype=dtype)
        self._descriptor = torch.zeros(n, model.components, dtype=model.dtype)
        self._edges = self._room(0)
        self._fitting = choose("fitting", "cpu", model.dtype)
        self._nets = [self._fitting.pack(layers) for layers in model.fitting]

    def listed(self, view: Listed, type_offset: Sequence[int], nframes: int) -> Outcome:
        """Work through all atoms of a neighbour list."""
        blocks = list(blocks_of(type_offset))
        room = max(
            (int(view.start[b.high] - view.start[b.low]) for b in blocks), default=0
        )
        return self._run(view, blocks, room, (view.frame, nframes))

    def given(
        self,
        view: Given,
        type_offset: Sequence[int],
        frame: NDArray[np.int32],
        nframes: int,
    ) -> Outcome:
        """Work through all atoms of a batch whose edge vectors are known."""
        blocks = list(blocks_of(type_offset))
        offset = view.row_offset
        room = max(
            (int((offset[:, b.high] - offset[:, b.low]).sum()) for b in blocks),
            default=0,
        )
        return self._run(view, blocks, room, (frame, nframes))

    def _run(
        self,
        view: Listed | Given,
        blocks: Sequence[Block],
        room: int,
        frames: tuple[NDArray[np.int32], int],
    ) -> Outcome:
        # numba takes half a second to import: pay only where it works.
        from dpbench.kernels.inference import cpu

        frame, nframes = frames
        if room > self._edges[0].shape[1]:
            self._edges = self._room(room)
        model, nslots, nworkers = self.model, len(frame), self.nworkers
        energy = np.zeros(nslots)
        force = np.zeros((nworkers, nslots, 3))
        virial = np.zeros((nworkers, nframes, 3, 3))
        counters = np.zeros((nworkers, 2), dtype=np.int64)
        descriptor = self._descriptor.numpy()
        for block in blocks:
            slots = (block.low, block.low, block.high, block.centre)
            centre = model.centres[block.centre]
            rows = block.high - block.low
            state = (self._first, self._moment, descriptor, counters, model.channels)
            if nworkers > 1:
                cpu.forward_parallel(view, slots, centre, self._edges, state)
            else:
                alone = (*state[:3], counters[0], model.channels)
                forward = cpu.forward_listed
                if isinstance(view, Given):
                    forward = cpu.forward_given
                forward(view, slots, centre, self._edges, alone)
            share, grad = self._fitting.infer(
                self._descriptor[:rows],
                self._nets[block.centre],
                model.activation,
            )
            bias = model.energy_bias[block.centre]
            energy[block.low : block.high] = share.double().numpy() + bias
            known = (self._first, self._moment, grad.numpy(), model.channels)
            if nworkers > 1:
                cpu.backward_parallel(
                    *(slots, centre, self._edges, (*known, self._adjoint)),
                    (force, virial, frame),
                )
            else:
                cpu.backward(
                    *(slots, centre, self._edges, (*known, self._adjoint[0])),
                    (force[0], virial[0], frame),
                )
        extended, crowded = counters.sum(axis=0).tolist()
        return Outcome(energy, force, virial.sum(axis=0), extended, crowded)

    def _room(self, nedges: int) -> tuple[NDArray[Any], ...]:
        """Return buffers for the edges of a block."""
        return (
            np.empty((6, nedges)),
            np.empty((5, nedges), dtype=self._dtype),
            np.empty(nedges, dtype=np.int32),
            np.empty(nedges, dtype=np.int32),
        )
