"""A small dataset that is made on the spot, and a model that trains in seconds."""

from pathlib import Path

import numpy as np

from dpbench.kernels.neighbours import find_neighbours
from dpbench.train.config import (
    DescriptorSettings,
    FittingSettings,
    ModelSettings,
    RunSettings,
    TrainConfig,
)

CELL = 4.5
"""Å."""


def pair_labels(coord: np.ndarray, box: np.ndarray) -> tuple[float, ...]:
    """Energy, force and virial of the pair potential 2 exp(-(r / 2)^2)."""
    found = find_neighbours(coord, box, np.ones(3, dtype=bool), 6.0)
    d = coord[found.edge_j] + found.shift @ box - coord[found.edge_i]
    pair = 2 * np.exp(-((d**2).sum(axis=1)) / 4)
    gradient = (-pair / 2)[:, np.newaxis] * d  # dE/dd of a pair, counted twice below
    force = np.zeros_like(coord)
    np.add.at(force, found.edge_i, gradient)
    return pair.sum() / 2, force, -0.5 * d.T @ gradient


def write_system(folder: Path, *, seed: int, nframes: int = 12, **leave_out: bool):
    """Write a deepmd/npy system of four atoms, two elements."""
    generator = np.random.default_rng(seed)
    sites = CELL / 2 * np.array([[0, 0, 0], [1, 1, 0], [1, 0, 1], [0, 1, 1.0]])
    box = np.eye(3) * CELL
    frames = sites + generator.normal(0, 0.25, (nframes, 4, 3))
    energy, force, virial = zip(
        *(pair_labels(frame, box) for frame in frames), strict=True
    )
    (folder / "set.000").mkdir(parents=True)
    (folder / "type.raw").write_text("0\n0\n1\n1\n")
    (folder / "type_map.raw").write_text("Si\nC\n")
    arrays = {
        "coord": frames,
        "box": np.tile(box, (nframes, 1, 1)),
        "energy": np.array(energy),
        "force": np.array(force),
        "virial": np.array(virial),
    }
    for name, array in arrays.items():
        if not leave_out.get(name):
            np.save(folder / "set.000" / f"{name}.npy", array.reshape(nframes, -1))


def small_config(**training: object) -> TrainConfig:
    """A model that takes a millisecond a step."""
    settings = {"steps": 20, "batch_size": 4, "validation_every": 5} | training
    return TrainConfig(
        model=ModelSettings(
            descriptor=DescriptorSettings(rcut=4.0, neuron=(4, 8), axis_neuron=2),
            fitting=FittingSettings(neuron=(8, 8)),
        ),
        training=RunSettings(**settings),
    )
