"""Whether labels that DP-GEN collected are among those read from the outputs.

DP-GEN's copies have another order of atoms, turned cells and, as numpy files, mostly
single precision. What survives that is compared: the elements and the lengths of the
forces, and the energy where there are no forces to speak of.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dpbench.frames import Frames
from dpbench.io.parsed import SourceFiles
from dpbench.io.readers import reader_of

FORCE_TOLERANCE = 1e-3
"""eV/Å, for the root of the sum of squared forces, and the largest of them."""
NO_FORCE = 0.05
"""eV/Å: below it forces tell no frame from another, and energies are compared."""
ENERGY_TOLERANCE = 1e-4
"""eV; single precision adds 2e-7 of the energy."""


def count_frames(folder: Path) -> int:
    """Count the frames of deepmd systems below a folder; unreadable ones count 0."""
    total = 0
    for path in folder.rglob("set.*/coord.npy"):
        try:
            total += len(np.load(path, mmap_mode="r", allow_pickle=False))
        except (OSError, ValueError, EOFError, TypeError):
            continue
    return total


def read_frames(source: SourceFiles) -> Frames:
    """Read the frames of one source in this process.

    Raises:
        SourceError: If nothing can be read.
    """
    return reader_of(source.format).read(source).frames


def n_missing(collected: Sequence[Frames], known: Sequence[Frames]) -> int:
    """Count the frames of ``collected`` that are none of ``known``, by their labels."""
    rows: dict[bytes, list[tuple[float, float, float]]] = {}
    for frames in known:
        for elements, row in _labels(frames):
            rows.setdefault(elements, []).append(row)
    tables = {key: np.array(sorted(found)) for key, found in rows.items()}
    return sum(
        not _is_in(tables.get(elements), row)
        for frames in collected
        for elements, row in _labels(frames)
    )


def _labels(frames: Frames) -> Iterator[tuple[bytes, tuple[float, float, float]]]:
    """Yield (elements, (norm of all forces, largest force, energy)) of every frame."""
    lengths = np.linalg.norm(frames.force, axis=1)
    for i in range(frames.nframes):
        rows = slice(int(frames.atom_offset[i]), int(frames.atom_offset[i + 1]))
        own = lengths[rows]
        elements = np.sort(frames.z[rows]).tobytes()
        norm = float(np.linalg.norm(own))
        yield elements, (norm, float(own.max(initial=0)), float(frames.energy[i]))


def _is_in(table: NDArray[np.float64] | None, row: tuple[float, float, float]) -> bool:
    """Look for a frame's labels among those of its elements, sorted by norm."""
    if table is None or not np.isfinite(row).all():
        return False
    norm, largest, energy = row
    first, last = np.searchsorted(
        table[:, 0], [norm - FORCE_TOLERANCE, norm + FORCE_TOLERANCE]
    )
    near = table[first:last]
    near = near[np.abs(near[:, 1] - largest) <= FORCE_TOLERANCE]
    if largest < NO_FORCE:
        allowed = ENERGY_TOLERANCE + 2e-7 * abs(energy)
        near = near[np.abs(near[:, 2] - energy) <= allowed]
    return len(near) > 0
