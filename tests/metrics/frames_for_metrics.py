"""Small random frames and predictions for the metric tests."""

import numpy as np

from dpbench.frames import Frames, offsets
from dpbench.metrics.frame_errors import Predictions


def random_frames(*, nframes: int, seed: int = 0, spread: float = 1.0) -> Frames:
    """Frames of H and O with 2 to 6 atoms, all labelled, in cubic cells."""
    rng = np.random.default_rng(seed)
    offset = offsets(rng.integers(2, 7, nframes))
    natoms = int(offset[-1])
    return Frames(
        atom_offset=offset,
        z=rng.choice(np.array([1, 8], np.uint8), natoms),
        coord=rng.normal(size=(natoms, 3)),
        force=rng.normal(size=(natoms, 3)) * spread,
        box=np.tile(np.eye(3) * 5.0, (nframes, 1, 1)),
        pbc=np.ones((nframes, 3), np.bool_),
        energy=rng.normal(size=nframes) * 10,
        virial=rng.normal(size=(nframes, 3, 3)),
    )


def random_predictions(frames: Frames, *, seed: int = 1) -> Predictions:
    """The labels of ``frames`` (zero where missing) plus noise."""
    rng = np.random.default_rng(seed)
    return Predictions(
        energy=np.nan_to_num(frames.energy) + rng.normal(size=frames.nframes),
        force=np.nan_to_num(frames.force) + rng.normal(size=frames.force.shape),
        virial=np.nan_to_num(frames.virial) + rng.normal(size=(frames.nframes, 3, 3)),
    )
