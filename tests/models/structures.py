"""Structures and small models that the tests of models, engine and md share."""

from dataclasses import replace

import numpy as np
import torch

from dpbench.frames import Frames, concatenate, uniform
from dpbench.kernels.neighbours import find_neighbours
from dpbench.models.batching import make_batch
from dpbench.models.config import EnergyFittingConfig, ModelConfig, SeE2AConfig
from dpbench.models.potential import DeepPotential
from dpbench.models.statistics import ModelStatistics

BOX = np.array([[6.1, 0.0, 0.0], [0.9, 5.7, 0.0], [-0.4, 0.7, 6.5]])


def config(**options) -> ModelConfig:
    """A small model of O and H that keeps every part of the big one."""
    precision = options.pop("precision", "float64")
    fitting = options.pop("fitting", {})
    descriptor = {
        "rcut": 4.0,
        "rcut_smth": 1.0,
        "sel": (12, 20),
        "neuron": (4, 8, 16),
        "axis_neuron": 3,
    }
    return ModelConfig(
        type_map=("O", "H"),
        descriptor=SeE2AConfig(**(descriptor | options)),
        fitting=EnergyFittingConfig(neuron=(10, 10, 20), **fitting),
        precision=precision,
    )


def statistics() -> ModelStatistics:
    """Statistics that are neither zero nor equal between types."""
    davg = np.zeros((2, 4))
    davg[:, 0] = [0.11, 0.07]
    dstd = np.array([[0.14, 0.09, 0.09, 0.09], [0.12, 0.08, 0.08, 0.08]])
    return ModelStatistics(davg=davg, dstd=dstd, energy_bias=np.array([-3.0, -1.0]))


def model(seed: int = 5, **options) -> DeepPotential:
    return DeepPotential.initialise(config(**options), statistics(), seed)


def water(seed: int = 0, *, natoms: int = 9, box: np.ndarray | None = BOX) -> Frames:
    """One labelled frame of O and H at random places, at least 0.9 Å apart."""
    rng = np.random.default_rng(seed)
    cell = BOX if box is None else box
    coord: list[np.ndarray] = []
    while len(coord) < natoms:
        trial = rng.random(3) @ cell
        if all(np.linalg.norm(trial - other) > 0.9 for other in coord):
            coord.append(trial)
    return uniform(
        z=np.where(np.arange(natoms) % 3 == 0, 8, 1),
        coord=np.array(coord)[None],
        box=None if box is None else box[None],
        energy=rng.normal(-20, 1, 1),
        force=rng.normal(0, 1, (1, natoms, 3)),
        virial=rng.normal(0, 1, (1, 3, 3)),
    )


def neighbours_of(frames: Frames, rcut: float) -> list:
    return [
        find_neighbours(
            frames.coord[frames.atoms_of(i)], frames.box[i], frames.pbc[i], rcut
        )
        for i in range(frames.nframes)
    ]


def batch_of(frames: Frames, potential: DeepPotential):
    found = neighbours_of(frames, potential.rcut)
    batch = make_batch(frames, found, potential.type_map, dtype=potential.dtype)
    if potential.config.fitting.numb_aparam:
        # A number that goes where its atom goes.
        aparam = torch.from_numpy(np.sqrt(frames.z.astype(np.float64)) / 5)
        batch = replace(batch, aparam=aparam.unsqueeze(1))
    return batch


def predict(frames: Frames, potential: DeepPotential):
    return potential.energy_and_forces(batch_of(frames, potential))


def moved(frames: Frames, *, coord=None, box=None, z=None) -> Frames:
    """The frames with other coordinates, cells or elements."""
    return Frames(
        atom_offset=frames.atom_offset,
        z=frames.z if z is None else z,
        coord=frames.coord if coord is None else coord,
        force=frames.force,
        box=frames.box if box is None else box,
        pbc=frames.pbc,
        energy=frames.energy,
        virial=frames.virial,
    )


def mixed() -> Frames:
    """Frames of different size, periodicity and composition."""
    lone = water(4, natoms=1, box=None)
    return concatenate(
        [water(1), water(2, natoms=5, box=None), lone, water(3, natoms=6)]
    )


def close(a, b, *, tol: float = 1e-11) -> None:
    torch.testing.assert_close(a, b, rtol=tol, atol=tol)
