"""Datasets with a fault planted, and a potential that knows no fault."""

from dataclasses import replace

import numpy as np

from dpbench.frames import Frames, concatenate, uniform
from dpbench.io.quality.judge import judge
from dpbench.kernels.neighbours import find_neighbours
from dpbench.store.dataset import open_dataset
from dpbench.units import GPA
from tests.store.synthetic import commit, new_workspace, segment_data, source_entry

COPPER = 29


def pair_potential(coord, box, pbc=(True, True, True)):
    """Energy, force and virial of atoms of a Morse potential, smoothly cut at 5 Å.

    Args:
        coord: Å, (atom, 3).
        box: Å, (3, 3).
        pbc: Periodic along each cell vector.
    """
    depth, width, best, rcut = 0.3, 1.4, 2.6, 5.0
    found = find_neighbours(coord, box, np.array(pbc), rcut)
    vector = coord[found.edge_j] + found.shift @ box - coord[found.edge_i]
    r = np.sqrt((vector**2).sum(axis=1))
    decay = np.exp(-width * (r - best))
    morse, slope = (
        depth * (decay**2 - 2 * decay),
        -2 * depth * width * (decay**2 - decay),
    )
    switch, switch_slope = (
        (1 - (r / rcut) ** 2) ** 3,
        -6 * r / rcut**2 * (1 - (r / rcut) ** 2) ** 2,
    )
    pull = (slope * switch + morse * switch_slope)[:, None] * vector / r[:, None]
    force = np.zeros_like(coord)
    np.add.at(force, found.edge_i, pull)
    virial = -0.5 * np.einsum("ei,ej->ij", pull, vector)
    return 0.5 * float((morse * switch).sum()), force, virial


def labelled(coords, boxes):
    """Label structures by the pair potential."""
    labels = [pair_potential(c, b) for c, b in zip(coords, boxes, strict=True)]
    return uniform(
        z=[COPPER] * coords.shape[1],
        coord=coords,
        box=np.stack(boxes),
        energy=np.array([label[0] for label in labels]),
        force=np.stack([label[1] for label in labels]),
        virial=np.stack([label[2] for label in labels]),
    )


FCC = np.array([[0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]])


def breathing_run(nframes=40, *, seed=0):
    """A path on which the cell is strained and the atoms move, step by small step."""
    rng = np.random.default_rng(seed)
    wander = rng.normal(size=(2, 4, 3)) * 0.02
    strain = rng.normal(size=(2, 3, 3)) * 0.01
    coords, boxes = [], []
    for time in 0.25 * np.arange(nframes):
        bend = strain[0] * np.sin(time) + strain[1] * np.cos(0.7 * time)
        box = 3.7 * (np.eye(3) + bend + bend.T)
        where = FCC + wander[0] * np.sin(1.3 * time) + wander[1] * np.cos(time)
        coords.append(where @ box)
        boxes.append(box)
    return labelled(np.stack(coords), boxes)


def open_run(pbc, nframes=30, *, growth=0.0):
    """A path of five atoms that are open along some directions, wrapped at random."""
    rng = np.random.default_rng(3)
    box = np.array([[5.2, 0.4, 0], [0, 5.6, 0.3], [0.2, 0, 30.0]])
    start = np.array(
        [[0, 0, 3], [2.6, 0, 3], [0, 2.8, 3], [2.6, 2.8, 3], [1.3, 1.4, 5]]
    )
    swing = rng.normal(size=(2, 5, 3)) * 0.08
    parts = []
    for time in 0.2 * np.arange(nframes):
        coord = start + swing[0] * np.sin(time) + swing[1] * np.cos(1.3 * time)
        cell = box * (1 + growth * time)
        energy, force, virial = pair_potential(coord, cell, pbc)
        whole = rng.integers(-2, 3, (5, 3)) * np.array(pbc)
        frame = uniform(
            z=[COPPER] * 5,
            coord=(coord + whole @ cell)[None],
            box=cell[None],
            energy=np.array([energy]),
            force=force[None],
            virial=virial[None],
        )
        frame.pbc[:] = pbc
        parts.append(frame)
    return concatenate(parts)


def energy_volume_curve(nframes=9):
    """A perfect crystal at several volumes."""
    sizes = np.linspace(3.55, 3.85, nframes)
    boxes = [size * np.eye(3) for size in sizes]
    return labelled(np.stack([FCC @ box for box in boxes]), boxes)


def with_pressure(frames, gigapascal):
    """Add a pressure to the virial that the energies know nothing of."""
    volume = np.abs(np.linalg.det(frames.box))
    extra = gigapascal * GPA * volume[:, None, None] * np.eye(3)
    return replace(frames, virial=frames.virial + extra)


def changed(frames, index, **values):
    """Change one frame: coord, force (atom, 3), energy or virial are given anew."""
    fields = {name: getattr(frames, name).copy() for name in values}
    for name, value in values.items():
        is_of_atoms = name in ("coord", "force")
        fields[name][frames.atoms_of(index) if is_of_atoms else index] = value
    return replace(frames, **fields)


def moved_labels(frames, by, *names):
    """Give every frame the labels of the frame ``by`` places before it."""
    order = np.roll(np.arange(frames.nframes), by)
    other = frames.select(order)
    return replace(frames, **{name: getattr(other, name) for name in names})


def judged(folder, runs, *, thresholds=None, name="set", time_step=None, **options):
    """Commit runs as one version, one source each, and judge it."""
    told = {"time_step": time_step}
    segments = [
        segment_data(frames, [source_entry(run, n_read=frames.nframes, **told)])
        for run, frames in runs.items()
    ]
    workspace = new_workspace(folder)
    commit(workspace, name, *segments, **options)
    version = open_dataset(workspace, name)
    return version, judge(version, thresholds)


def raised(quality):
    """Flags that are raised, and by how many frames."""
    return {name: count for name, count in quality.counts.items() if count}


def appended(frames: Frames, *others: Frames) -> Frames:
    """Put frames behind a run."""
    return concatenate([frames, *others])
