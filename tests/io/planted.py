"""Versions with planted copies, twins and relatives, for the tests of leakage."""

from collections.abc import Sequence

import numpy as np

from dpbench.frames import Frames, uniform
from dpbench.store.dataset import open_dataset
from tests.store.synthetic import commit, segment_data, source_entry

LENGTH = 6.0
"""Å, edge of the cell."""


def walk(seed: int, nframes: int, *, natoms: int = 6, z: Sequence[int] = ()) -> Frames:
    """A made-up trajectory: atoms that move a little from frame to frame."""
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*[np.arange(2)] * 3), axis=-1).reshape(-1, 3)[:natoms]
    start = grid * LENGTH / 2 + rng.normal(scale=0.4, size=(natoms, 3))
    moves = rng.normal(scale=0.05, size=(nframes, natoms, 3))
    return uniform(
        z=list(z) or [14] * (natoms - 2) + [8, 1],
        coord=start + np.cumsum(moves, axis=0),
        box=np.tile(LENGTH * np.eye(3), (nframes, 1, 1)),
        energy=rng.normal(size=nframes),
        force=rng.normal(size=(nframes, natoms, 3)),
    )


def turned(frames: Frames, seed: int = 0) -> Frames:
    """The same structures turned, mirrored, shifted, their atoms in another order."""
    rng = np.random.default_rng(seed)
    matrix = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    order = np.concatenate(
        [
            frames.atom_offset[i] + rng.permutation(int(frames.natoms[i]))
            for i in range(frames.nframes)
        ]
    )
    coord = (frames.coord + rng.normal(size=3)) @ matrix
    return Frames(
        atom_offset=frames.atom_offset,
        z=frames.z[order],
        coord=coord[order],
        force=(frames.force @ matrix)[order],
        box=frames.box @ matrix,
        pbc=frames.pbc,
        energy=frames.energy,
        virial=frames.virial,
    )


def relabelled(frames: Frames) -> Frames:
    """The same structures with other energies."""
    return Frames(
        atom_offset=frames.atom_offset,
        z=frames.z,
        coord=frames.coord,
        force=frames.force,
        box=frames.box,
        pbc=frames.pbc,
        energy=frames.energy + 1.0,
        virial=frames.virial,
    )


def plant(workspace, name, runs):
    """Commit a version of runs: {source: frames} or {source: (frames, entry)}."""
    segments = []
    for source, content in runs.items():
        frames, values = content if isinstance(content, tuple) else (content, {})
        entry = source_entry(source, n_read=frames.nframes, **values)
        segments.append(segment_data(frames, [entry]))
    commit(workspace, name, *segments)
    return open_dataset(workspace, name)
