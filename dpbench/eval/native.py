"""dpbench's own backend: a Deep Potential in this process."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from dpbench.eval.evaluator import AbstractEvaluator
from dpbench.frames import Frames
from dpbench.kernels.neighbours import find_neighbours
from dpbench.md.ase_calculator import DPCalculator
from dpbench.metrics.frame_errors import Predictions
from dpbench.models.batching import make_batch
from dpbench.models.potential import DeepPotential

ATOMS_PER_BATCH = 512
"""Atoms of one forward pass over a dataset: about half a gigabyte at 100 neighbours."""


class NativeEvaluator(AbstractEvaluator):
    """A ``DeepPotential`` on one device."""

    backend = "dpbench"

    def __init__(self, model: DeepPotential, *, device: str = "cpu") -> None:
        """Take a model that lies on ``device`` already."""
        self.model = model
        self.device = device
        self.precision = model.config.precision
        self.type_map = tuple(model.type_map)
        self.rcut = float(model.rcut)

    def predict(self, frames: Frames) -> Predictions:
        """Energy, force and virial of some frames, in batches of bounded size."""
        parts = [self._predict(frames.select(rows)) for rows in _batches(frames)]
        return Predictions(
            energy=np.concatenate([part.energy for part in parts]),
            force=np.concatenate([part.force for part in parts]),
            virial=np.concatenate([part.virial for part in parts]),
        )

    def prepare(self, frame: Frames) -> Callable[[], object]:
        """Build the batch of one frame; return the forward pass on it."""
        batch = self._batch(frame)
        return lambda: self.model.energy_and_forces(batch)

    def forward(self, frame: Frames) -> object:
        """Search neighbours, build the batch, run the forward pass."""
        return self.model.energy_and_forces(self._batch(frame))

    def calculator(self) -> Any:
        """Make a new ASE calculator."""
        return DPCalculator(self.model)

    def list_builds(self, calculator: Any) -> int | None:
        """Neighbour lists that a calculator has built."""
        count: int = calculator.neighbours.searches
        return count

    def synchronise(self) -> None:
        """Wait for the GPU, where there is one."""
        if self.device.startswith("cuda"):
            torch.cuda.synchronize(self.device)

    def _batch(self, frames: Frames) -> Any:
        neighbours = [
            find_neighbours(
                frames.coord[frames.atoms_of(i)],
                frames.box[i],
                frames.pbc[i],
                self.rcut,
            )
            for i in range(frames.nframes)
        ]
        return make_batch(
            frames,
            neighbours,
            self.type_map,
            device=self.device,
            dtype=self.model.dtype,
        )

    def _predict(self, frames: Frames) -> Predictions:
        answer = self.model.energy_and_forces(self._batch(frames))

        def as_numpy(tensor: torch.Tensor) -> Any:
            return tensor.detach().to("cpu", torch.float64).numpy()

        return Predictions(
            energy=as_numpy(answer.energy),
            force=as_numpy(answer.force),
            virial=as_numpy(answer.virial),
        )


def _batches(frames: Frames) -> list[range]:
    """Cut frames into runs of at most ``ATOMS_PER_BATCH`` atoms, one frame at least."""
    runs, first, atoms = [], 0, 0
    for index, natoms in enumerate(frames.natoms.tolist()):
        if index > first and atoms + natoms > ATOMS_PER_BATCH:
            runs.append(range(first, index))
            first, atoms = index, 0
        atoms += natoms
    if first < frames.nframes:
        runs.append(range(first, frames.nframes))
    return runs
