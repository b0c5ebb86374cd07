"""The problem that kernels are timed on: a box of water, made on the spot."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from dpbench.frames import Frames, uniform
from dpbench.kernels.batch import Batch
from dpbench.kernels.neighbours import find_neighbours
from dpbench.kernels.roofline import StepShape
from dpbench.models.batching import make_batch
from dpbench.models.config import EnergyFittingConfig, ModelConfig, SeE2AConfig
from dpbench.models.edge_features import INTERVALS
from dpbench.models.potential import DeepPotential
from dpbench.models.statistics import ModelStatistics, environment_moments
from dpbench.train.roofline import step_shape

SPACING = 3.106
"""Å between molecules: water at 1 g/cm^3."""

BOND = 0.97
"""Å, oxygen to hydrogen."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Water:
    """A model of DeePMD-kit's water example with random weights, and a box of water."""

    frames: Frames
    """One frame."""
    batch: Batch
    """The same, with its edges, in the model's precision."""
    model: DeepPotential
    """The model."""

    @property
    def natoms(self) -> int:
        """Number of atoms."""
        return len(self.frames.z)

    def shape(self, *, with_knots: bool = True) -> StepShape:
        """Return the sizes of a step of this problem."""
        shape = step_shape(
            self.model.config,
            atoms=self.natoms,
            edges=len(self.batch.edge_i),
            parameters=self.model.parameters.flat.numel(),
            knots_per_net=INTERVALS + 1 if with_knots else 0,
        )
        if shape is None:
            raise RuntimeError("the water model is counted")
        return shape


def make_water(dtype: torch.dtype, *, molecules_per_side: int = 4) -> Water:
    """Put molecules on a jittered lattice, and draw a model for them.

    Args:
        dtype: Precision of the model.
        molecules_per_side: 4 gives 192 atoms, 8 gives 1536.
    """
    config = ModelConfig(
        type_map=("O", "H"),
        descriptor=SeE2AConfig(
            rcut=6.0,
            rcut_smth=0.5,
            # A random box crowds more atoms together here and there than water does.
            sel=(64, 128),
            neuron=(25, 50, 100),
            axis_neuron=16,
        ),
        fitting=EnergyFittingConfig(neuron=(240, 240, 240)),
        precision=str(dtype).removeprefix("torch."),  # type: ignore[arg-type]
    )
    z, coord = _molecules(molecules_per_side)
    box = np.eye(3) * SPACING * molecules_per_side
    generator = np.random.default_rng(2)
    frames = uniform(
        z=z,
        coord=coord[np.newaxis],
        box=box[np.newaxis],
        energy=np.array([-10.0 * len(z)]),
        force=generator.normal(0, 1, (1, len(z), 3)),
    )
    found = [find_neighbours(frames.coord, frames.box[0], frames.pbc[0], 6.0)]
    davg, dstd = environment_moments(frames, found, config).finish()
    statistics = ModelStatistics(davg=davg, dstd=dstd, energy_bias=np.full(2, -10.0))
    model = DeepPotential.initialise(config, statistics, 1)
    batch = make_batch(frames, found, config.type_map, dtype=dtype)
    return Water(frames=frames, batch=batch, model=model)


def _molecules(side: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return atomic numbers (atom) and positions (atom, 3), Å."""
    generator = np.random.default_rng(1)
    sites = np.indices((side,) * 3).reshape(3, -1).T * SPACING
    oxygen = sites + generator.uniform(-0.25, 0.25, sites.shape)
    arms = generator.normal(size=(len(sites), 2, 3))
    arms *= BOND / np.linalg.norm(arms, axis=2, keepdims=True)
    # Both arms of a random molecule may point one way; turned apart they never do.
    arms[:, 1] -= 1.5 * arms[:, 0]
    arms[:, 1] *= BOND / np.linalg.norm(arms[:, 1], axis=1, keepdims=True)
    atoms = np.concatenate(
        [oxygen[:, np.newaxis], oxygen[:, np.newaxis] + arms], axis=1
    )
    return np.tile([8, 1, 1], len(sites)), atoms.reshape(-1, 3)
