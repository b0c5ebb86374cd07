"""One geometry with its labels, as the native readers collect them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from dpbench.errors import SourceError
from dpbench.frames import Frames, uniform
from dpbench.io.gate import LARGEST
from dpbench.io.parsed import Quarantine


@dataclass(frozen=True, kw_only=True, slots=True)
class Snapshot:
    """A frame while it is read: a label that the file lacks is None."""

    coord: NDArray[np.float64]
    """(atom, 3), Å."""
    box: NDArray[np.float64] | None
    """(3, 3), Å, rows are cell vectors; None for no cell."""
    energy: float | None = None
    """eV; NaN where the file prints stars."""
    force: NDArray[np.float64] | None = None
    """(atom, 3), eV/Å."""
    virial: NDArray[np.float64] | None = None
    """(3, 3), eV."""
    n_scf: int = -1
    """Electronic iterations; -1 if not told."""
    step: int = 0
    """MD or ionic step."""
    temperature: float = np.nan
    """Kinetic temperature, K; NaN if not told."""
    quarantine: Quarantine = Quarantine.NONE
    """Reason that the code's own gate found; NONE if it found none."""


def judged(snapshot: Snapshot) -> Snapshot:
    """Add the reasons that every code shares: missing labels, NaN, wrong shapes."""
    if snapshot.quarantine is not Quarantine.NONE:
        return snapshot
    return replace(snapshot, quarantine=_judge(snapshot))


def _judge(snapshot: Snapshot) -> Quarantine:
    if snapshot.energy is None:
        return Quarantine.NO_ENERGY
    if snapshot.force is None:
        return Quarantine.NO_FORCE
    if snapshot.force.shape != snapshot.coord.shape:
        return Quarantine.BAD_SHAPE
    for name, largest in LARGEST.items():
        value = getattr(snapshot, name)
        # written so that NaN fails too
        if value is not None and not bool((np.abs(value) <= largest).all()):
            return Quarantine.NOT_A_NUMBER
    return Quarantine.NONE


def frames_of(
    z: Sequence[int], snapshots: Sequence[Snapshot], *, where: str
) -> tuple[Frames, tuple[Quarantine, ...]]:
    """Stack snapshots of one composition into frames.

    Args:
        z: Atomic numbers, (atom).
        snapshots: In file order; all with or all without a cell.
        where: The file, for the error.

    Returns:
        The frames, and each one's quarantine reason.

    Raises:
        SourceError: If there is no snapshot.
    """
    if not snapshots:
        raise SourceError(
            f"{where}: holds no calculation with coordinates; expected at least one "
            "started SCF. Give the whole output of the run."
        )
    checked = [judged(snapshot) for snapshot in snapshots]
    no_force = np.full((len(z), 3), np.nan)
    no_matrix = np.full((3, 3), np.nan)
    force = [
        s.force if s.force is not None and len(s.force) == len(z) else no_force
        for s in checked
    ]
    virial = [no_matrix if s.virial is None else s.virial for s in checked]
    boxes = [s.box for s in checked if s.box is not None]
    frames = uniform(
        z=list(z),
        coord=np.stack([s.coord for s in checked]),
        box=np.stack(boxes) if len(boxes) == len(checked) else None,
        energy=np.array([np.nan if s.energy is None else s.energy for s in checked]),
        force=np.stack(force),
        virial=np.stack(virial),
    )
    return frames, tuple(s.quarantine for s in checked)


def steps_of(snapshots: Sequence[Snapshot]) -> NDArray[np.int32]:
    """(frame), MD or ionic step."""
    return np.array([s.step for s in snapshots], dtype=np.int32)


def n_scf_of(snapshots: Sequence[Snapshot]) -> NDArray[np.int16]:
    """(frame), electronic iterations; -1 where not told, at most 32767."""
    limit = np.iinfo(np.int16).max
    return np.array([min(s.n_scf, limit) for s in snapshots], dtype=np.int16)
