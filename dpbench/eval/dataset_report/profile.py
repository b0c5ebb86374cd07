"""What a dataset looks like: distributions, counted block by block."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpbench.elements import SYMBOLS
from dpbench.frames import Frames
from dpbench.io.quality.flags import Quality
from dpbench.kernels.neighbours import find_neighbours
from dpbench.store.dataset import DatasetVersion
from dpbench.units import GPA

BLOCK_FRAMES = 512
"""Frames in memory at a time."""

DISTANCE_FRAMES = 400
"""Frames whose pair distances are counted, evenly spread; all, if there are fewer."""

DISTANCE_EDGES = np.linspace(0.0, 6.0, 241)
"""Å, edges of the bins of pair distances."""

FORCE_EDGES = np.geomspace(1e-6, 1e5, 441)
"""eV/Å, edges of the bins of force norms; what lies beyond is counted by itself."""

Values = NDArray[np.float64]
Counts = NDArray[np.int64]
Pair = tuple[str, str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Profile:
    """Distributions of a version; NaN where a frame lacks the quantity."""

    energy_per_atom: Values
    """(frame), eV/atom."""
    energy_residual: Values
    """(frame), eV/atom beyond its fit."""
    fits: tuple[Mapping[str, Any], ...]
    """One energy an element, fitted to the frames of each level of theory: as
    ``io.quality`` has it, and judges by."""
    force_counts: Counts
    """(bin), atoms by the norm of their force, edges ``FORCE_EDGES``."""
    force_beyond: tuple[int, int]
    """Atoms whose force is below the first edge, and above the last."""
    volume_per_atom: Values
    """(frame), Å3/atom."""
    pressure: Values
    """(frame), GPa, without the kinetic part."""
    temperature: Values
    """(frame), K, as the sources print it."""
    distances: Mapping[Pair, Counts]
    """(bin) of each pair of elements: pairs of atoms, edges ``DISTANCE_EDGES``; an atom
    and its own images are no pair."""
    n_distance_frames: int
    """Frames of which pair distances were counted."""


def profile(version: DatasetVersion, quality: Quality) -> Profile:
    """Measure a version, block by block.

    Args:
        version: The version.
        quality: Its judgement, which the energies beyond the compositions are of.

    Raises:
        DatasetError: If a file is missing or damaged.
    """
    columns: dict[str, list[Values]] = {}
    forces = np.zeros(len(FORCE_EDGES) + 1, dtype=np.int64)
    for _, frames in version.blocks(BLOCK_FRAMES):
        for name, values in _per_frame(frames).items():
            columns.setdefault(name, []).append(values)
        forces += _force_histogram(frames)
    joined = {name: np.concatenate(parts) for name, parts in columns.items()}
    natoms = version.natoms
    distances, n_distance_frames = pair_distances(version)
    return Profile(
        energy_per_atom=joined["energy"] / natoms,
        energy_residual=quality.values["energy_residual"],
        fits=tuple(quality.checks["energy"]),
        force_counts=forces[1:-1],
        force_beyond=(int(forces[0]), int(forces[-1])),
        volume_per_atom=joined["volume"] / natoms,
        pressure=joined["pressure"],
        temperature=version.temperature,
        distances=distances,
        n_distance_frames=n_distance_frames,
    )


def pair_distances(version: DatasetVersion) -> tuple[dict[Pair, Counts], int]:
    """Count the distances between atoms by pair of elements.

    Returns:
        (bin) counts of every pair that occurs, and the number of frames looked at.
    """
    number = min(version.nframes, DISTANCE_FRAMES)
    chosen = np.unique(np.linspace(0, version.nframes - 1, number).astype(np.int64))
    found: dict[Pair, Counts] = {}
    for start in range(0, len(chosen), BLOCK_FRAMES):
        frames = version.read(chosen[start : start + BLOCK_FRAMES])
        for frame_idx in range(frames.nframes):
            for pair, counted in _frame_distances(frames, frame_idx).items():
                found[pair] = found.get(pair, 0) + counted
    return dict(sorted(found.items())), len(chosen)


def _per_frame(frames: Frames) -> dict[str, Values]:
    volume = np.full(frames.nframes, np.nan)
    has_cell = ~np.isnan(frames.box).any(axis=(1, 2))
    volume[has_cell] = np.abs(np.linalg.det(frames.box[has_cell]))
    trace = np.trace(frames.virial, axis1=1, axis2=2)
    return {
        "energy": frames.energy.astype(np.float64),
        "volume": volume,
        "pressure": trace / (3 * volume) / GPA,
    }


def _force_histogram(frames: Frames) -> Counts:
    """Count atoms by the norm of their force: below the edges, (bin), above them."""
    norm = np.sqrt((frames.force.astype(np.float64) ** 2).sum(axis=1))
    edges = np.concatenate([[-np.inf], FORCE_EDGES, [np.inf]])
    return np.histogram(norm[~np.isnan(norm)], edges)[0]


def _frame_distances(frames: Frames, frame_idx: int) -> dict[Pair, Counts]:
    rows = frames.atoms_of(frame_idx)
    coord = frames.coord[rows].astype(np.float64)
    z = frames.z[rows].astype(np.int64)
    box, pbc = frames.box[frame_idx], frames.pbc[frame_idx]
    edges = find_neighbours(coord, box, pbc, float(DISTANCE_EDGES[-1]))
    shift = np.where(pbc, edges.shift, 0) @ np.nan_to_num(box)
    # Each pair once; an atom's own images tell of the cell, not of the structure.
    once = edges.edge_i < edges.edge_j
    i, j = edges.edge_i[once], edges.edge_j[once]
    vector = coord[j] + shift[once] - coord[i]
    distance = np.sqrt((vector**2).sum(axis=1))
    key = 1000 * np.minimum(z[i], z[j]) + np.maximum(z[i], z[j])
    found = {}
    for code in np.unique(key).tolist():
        counted = np.histogram(distance[key == code], DISTANCE_EDGES)[0]
        found[SYMBOLS[code // 1000], SYMBOLS[code % 1000]] = counted
    return found
