"""Reference trajectories: the ab initio runs that frames of a version come from."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dpbench.eval.motion.starts import sources_in_turn
from dpbench.eval.parts import Part
from dpbench.md.state import masses_of
from dpbench.metrics.equipartition import equipartition_temperature
from dpbench.metrics.periodic import unwrapped
from dpbench.store.dataset import DatasetVersion
from dpbench.units import BOLTZMANN, GPA

Array = NDArray[np.float64]

FEWEST_FRAMES = 20
"""A shorter run is no reference."""

TRUSTED = (0.4, 2.0)
"""Equipartition temperature over the printed one: outside, the interval between the
frames is wrong; fast vibrations make it read low."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Reference:
    """One run, equilibrated, without gaps."""

    source: str
    """Path of the source; a hint."""
    formula: str
    z: NDArray[np.int64]
    """(atom)."""
    coord: Array
    """(frame, atom, 3), Å, without jumps at the faces of the cell."""
    box: Array | None
    """(frame, 3, 3), Å; None without a cell."""
    pressure: Array | None
    """(frame), GPa, of the virial alone; None where it is not labelled."""
    temperature: float
    """K, that the model's run is kept at."""
    told_temperature: float | None
    """K, mean of what the output prints; None = not told."""
    equipartition_temperature: float | None
    """K, by how far atoms move between frames; None without an interval."""
    interval: float | None
    """fs between two frames; None = unknown, or refuted."""
    remarks: tuple[str, ...]
    """What a user should know."""

    @property
    def nframes(self) -> int:
        """Frames that are compared with."""
        return len(self.coord)


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """Which references are wanted."""

    most: int
    """Trajectories at most; formulas take turns."""
    most_frames: int
    """Of each; the first are taken."""
    discard: float
    """Part dropped at the start of each, as not equilibrated."""
    interval: float | None
    """fs between two frames; None: the source's own."""
    temperature: float | None
    """K; None: the mean of what the source prints."""


def references_of(part: Part, choice: Choice) -> tuple[list[Reference], dict[str, str]]:
    """Find the trajectories that a part's frames come from.

    All frames of a source count, whatever part of a split they are in: the run as a
    whole is the reference.

    Args:
        part: Frames of the task.
        choice: How many, how long.

    Returns:
        The references, and why other sources are none.
    """
    found: list[Reference] = []
    refused: dict[str, str] = {}
    for source in sources_in_turn(part):
        if len(found) >= choice.most:
            break
        made = _reference(part.version, source, choice)
        if isinstance(made, str):
            refused[part.version.sources[source].path] = made
        else:
            found.append(made)
    return found, refused


def _reference(version: DatasetVersion, source: int, choice: Choice) -> Reference | str:
    """Make the reference of a source, or say why there is none."""
    rows = np.flatnonzero(version.source_of == source)
    rows = rows[np.argsort(version.step[rows], kind="stable")]
    run, stride = longest_run(version.step[rows])
    rows = rows[run]
    rows = rows[int(choice.discard * len(rows)) :][: choice.most_frames]
    if len(rows) < FEWEST_FRAMES:
        return (
            f"{len(rows)} frames follow each other after the start is dropped; "
            f"expected {FEWEST_FRAMES} or more"
        )
    frames = version.read(rows)
    natoms = int(frames.natoms[0])
    z = frames.z.reshape(len(rows), -1) if (frames.natoms == natoms).all() else None
    if z is None or (z != z[0]).any():
        return "its frames differ in their atoms"
    box = frames.box if frames.pbc.all() else None
    if box is not None and not np.allclose(box, box[0], atol=1e-6):
        return "its cell changes; expected constant volume"
    coord = frames.coord.reshape(len(rows), natoms, 3).astype(np.float64)
    record = version.sources[source]
    own = None if record.time_step is None else stride * record.time_step
    path = unwrapped(coord, box)
    printed = version.temperature[rows]
    told = float(np.nanmean(printed)) if np.isfinite(printed).any() else None
    interval, moving, remarks = _checked_interval(
        path, z[0], choice.interval or own, told or choice.temperature
    )
    temperature = choice.temperature or told or moving
    if temperature is None:
        return "neither its temperature nor the time between its frames is known"
    return Reference(
        source=record.path,
        formula=version.formulas[int(rows[0])],
        z=z[0].astype(np.int64),
        coord=path,
        box=box,
        pressure=_pressure(frames.virial, box),
        temperature=temperature,
        told_temperature=told,
        equipartition_temperature=moving,
        interval=interval,
        remarks=remarks,
    )


def longest_run(step: NDArray[np.integer]) -> tuple[slice, int]:
    """Find the longest run of frames that are equally far apart.

    Args:
        step: (frame), position in the source, ascending.

    Returns:
        Its place, and the distance between its frames.
    """
    gaps = np.diff(step)
    if not len(gaps):
        return slice(0, len(step)), 1
    values, counts = np.unique(gaps, return_counts=True)
    stride = int(values[counts.argmax()])
    best, start = slice(0, 1), 0
    for index in range(len(gaps) + 1):
        if index == len(gaps) or gaps[index] != stride:
            if index + 1 - start > best.stop - best.start:
                best = slice(start, index + 1)
            start = index + 1
    return best, stride


def _checked_interval(
    path: Array,
    z: NDArray[np.integer],
    interval: float | None,
    expected: float | None,
) -> tuple[float | None, float | None, tuple[str, ...]]:
    """Hold the interval between the frames against how far atoms move."""
    if interval is None:
        return None, None, ("the time between frames is unknown: no dynamics compared",)
    moving = equipartition_temperature(
        path, timestep=interval, mass=masses_of(z), kb=BOLTZMANN
    )
    if moving is None or expected is None:
        return interval, moving, ("the time between frames could not be checked",)
    low, high = (factor * expected for factor in TRUSTED)
    if low <= moving <= high:
        return interval, moving, ()
    return (
        None,
        moving,
        (
            f"atoms move as at {moving:.0f} K if frames are {interval:g} fs apart, but "
            f"{expected:.0f} K are told: the interval is wrong, no dynamics compared",
        ),
    )


def _pressure(virial: Array, box: Array | None) -> Array | None:
    if box is None or np.isnan(virial).any():
        return None
    volume = np.abs(np.linalg.det(box))
    pressure: Array = np.trace(virial, axis1=1, axis2=2) / (3 * volume * GPA)
    return pressure
