"""What is measured on every frame, block by block."""

import hashlib
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from dpbench.frames import Frames
from dpbench.io.gate import volumes
from dpbench.io.quality.environments import describe
from dpbench.io.quality.fingerprint import Fingerprints, fingerprints_of
from dpbench.metrics.composition import count_elements
from dpbench.store.digests import structure_digests
from dpbench.units import GPA

MEASURES = {
    "min_distance": "Å, smallest distance of two atoms, images counted",
    "min_distance_ratio": "smallest distance in units of the covalent radii's sum",
    "net_force": "eV/Å, length of the sum of all forces",
    "force_max": "eV/Å, length of the largest force",
    "force_rms": "eV/Å, root mean square force component",
    "energy_per_atom": "eV/atom",
    "volume_per_atom": "Å^3, where all directions are periodic",
    "pressure": "GPa, trace(virial) / 3 V",
}
"""Name of each measured value, (frame) float64, and what it is; NaN = not there."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """What is measured on a block of frames."""

    values: dict[str, NDArray[np.float64]]
    """One (frame) array for each of ``MEASURES``."""
    fingerprints: Fingerprints
    """Invariant fingerprints."""
    digests: NDArray[np.uint8]
    """(frame, 32), digests without labels."""
    counts: NDArray[np.int64]
    """(frame, element), number of atoms of each element."""
    energy: NDArray[np.float64]
    """(frame), eV."""


def measure(frames: Frames, elements: tuple[str, ...]) -> Measured:
    """Measure frames.

    Args:
        frames: A block of frames.
        elements: Symbols, the order of ``counts``.
    """
    natoms = frames.natoms
    around = describe(frames)
    force = frames.force.astype(np.float64)
    square = (force**2).sum(axis=1)
    volume = np.full(frames.nframes, np.nan)
    whole = frames.pbc.all(axis=1)
    volume[whole] = volumes(frames.box[whole])
    trace = np.trace(frames.virial, axis1=1, axis2=2)
    values: tuple[NDArray[np.float64], ...] = (
        around.nearest,
        around.ratio,
        np.sqrt((_sums(force, frames) ** 2).sum(axis=1)),
        np.sqrt(_largest(square, frames)),
        np.sqrt(_sums(square, frames) / (3 * natoms)),
        frames.energy / natoms,
        volume / natoms,
        trace / (3 * volume) / GPA,
    )
    prints = fingerprints_of(frames, around.features)
    return Measured(
        values=dict(zip(MEASURES, values, strict=True)),
        fingerprints=replace(prints, keys=np.char.add(prints.keys, _marks(frames))),
        digests=_input_digests(frames),
        counts=count_elements(frames, elements),
        energy=frames.energy,
    )


def _marks(frames: Frames) -> NDArray[np.str_]:
    """Name the numbers of the atoms (aparam) of each frame, in no order of theirs."""
    marks = [""] * frames.nframes
    for index in np.flatnonzero(frames.numb_aparam).tolist():
        z = frames.z[frames.atoms_of(index)].astype(np.float64)
        rows = np.column_stack([z, np.asarray(frames.aparam_of(index))])
        ordered = np.ascontiguousarray(rows[np.lexsort(rows.T)])
        marks[index] = f" {hashlib.sha256(ordered.tobytes()).hexdigest()[:16]}"
    return np.array(marks, dtype=np.str_)


def _input_digests(frames: Frames) -> NDArray[np.uint8]:
    """Digest what a model takes: structures, and numbers of atoms where they are."""
    digests = structure_digests(frames)
    for index in np.flatnonzero(frames.numb_aparam).tolist():
        whole = hashlib.sha256(digests[index].tobytes())
        whole.update(np.ascontiguousarray(frames.aparam_of(index)).tobytes())
        digests[index] = np.frombuffer(whole.digest(), np.uint8)
    return digests


def _sums(values: NDArray[np.float64], frames: Frames) -> NDArray[np.float64]:
    """Sum over the atoms of each frame."""
    sums: NDArray[np.float64] = np.add.reduceat(values, frames.atom_offset[:-1], axis=0)
    return sums


def _largest(values: NDArray[np.float64], frames: Frames) -> NDArray[np.float64]:
    """Find the largest value among the atoms of each frame."""
    largest: NDArray[np.float64] = np.maximum.reduceat(values, frames.atom_offset[:-1])
    return largest
