"""One pass over the frames of a version: all that the rules need, in bounded memory."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dpbench.io.quality.fingerprint import Fingerprints, join
from dpbench.io.quality.measures import MEASURES, Measured, measure
from dpbench.io.quality.steps import SHIFTS, Steps, measure_steps
from dpbench.store.dataset import DatasetVersion

Progress = Callable[[int], None]

BLOCK_FRAMES = 512
"""Frames in memory at a time, at most."""

BLOCK_ATOMS = 200_000
"""Atoms in memory at a time, where frames are smaller than that."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Gathered:
    """About 700 bytes for each frame of a version."""

    values: dict[str, NDArray[np.float64]]
    """One (frame) array for each of ``MEASURES``."""
    fingerprints: Fingerprints
    """Invariant fingerprints of all frames."""
    digests: NDArray[np.uint8]
    """(frame, 32), digests without labels."""
    counts: NDArray[np.int64]
    """(frame, element), number of atoms of each element."""
    energy: NDArray[np.float64]
    """(frame), eV."""
    steps: Steps
    """Steps that start at each frame."""


def gather(version: DatasetVersion, *, progress: Progress | None = None) -> Gathered:
    """Measure every frame of a version, block by block.

    Args:
        version: The version.
        progress: Is told the number of frames after each block.

    Raises:
        DatasetError: If a file is missing or damaged.
    """
    blocks: list[Measured] = []
    steps: list[Steps] = []
    largest = int(version.natoms.max(initial=1))
    size = max(1, min(BLOCK_FRAMES, BLOCK_ATOMS // largest))
    for indices, frames in version.blocks(size):
        blocks.append(measure(frames, version.symbols))
        steps.append(measure_steps(version, indices))
        if progress is not None:
            progress(len(indices))
    nothing = np.zeros(0)
    return Gathered(
        values={
            name: np.concatenate([nothing, *(b.values[name] for b in blocks)])
            for name in MEASURES
        },
        fingerprints=join([block.fingerprints for block in blocks]),
        digests=np.concatenate(
            [np.zeros((0, 32), dtype=np.uint8), *(b.digests for b in blocks)]
        ),
        counts=np.concatenate(
            [
                np.zeros((0, len(version.symbols)), dtype=np.int64),
                *(block.counts for block in blocks),
            ]
        ),
        energy=np.concatenate([nothing, *(block.energy for block in blocks)]),
        steps=_joined(steps),
    )


def _joined(steps: list[Steps]) -> Steps:
    none = np.zeros((0, len(SHIFTS)))
    return Steps(
        work=np.concatenate([none, *(part.work for part in steps)]),
        moved=np.concatenate([np.zeros(0), *(part.moved for part in steps)]),
        strained=np.concatenate(
            [np.zeros(0, dtype=np.bool_), *(part.strained for part in steps)]
        ),
    )
