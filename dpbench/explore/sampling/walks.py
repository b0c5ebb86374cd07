"""Walks: what one trajectory gave, and the files that keep it."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from dpbench.errors import SimulationError
from dpbench.explore.frame_files import load_frames, save_frames
from dpbench.explore.sampling.filters import Sieve
from dpbench.explore.sampling.settings import FilterSettings
from dpbench.frames import Frames, uniform
from dpbench.store.files import write_atomically

Outcome = Literal["done", "exploded", "failed"]

RECORD, FRAMES = "walk.json", "frames.npz"
"""Files of a walk; the record is written last, so that its presence means done."""

FORMAT = 1
"""Of both."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Dropped:
    """A frame that is left out."""

    step: int
    why: str
    """Name of the filter."""
    detail: str = ""
    """What was found."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Walk:
    """One trajectory: its frames without labels, and how it went."""

    name: str
    """Its own, also of its folder."""
    structure: str
    """Name in the configuration."""
    temperature: float
    """K."""
    pressure: float | None
    """GPa; None = fixed cell."""
    replica: int
    """Among the walks from one start structure."""
    origin: str = ""
    """How the start structure was made."""
    frames: Frames
    """In the order of steps; those that were dropped are not there."""
    step: NDArray[np.int64]
    """(frame), step of each."""
    outcome: Outcome
    """``exploded``: it lost its physics; ``failed``: model or engine refused."""
    reason: str = ""
    """Why it exploded or failed."""
    steps: int
    """Steps that were made."""
    dropped: tuple[Dropped, ...] = ()
    """Frames that did not pass the filters."""
    cpu_seconds: float
    """Of its share of the task."""
    engine: str
    """What moved the atoms."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Trail:
    """What an engine gives of one replica, before the filters."""

    coord: NDArray[np.float64]
    """(frame, atom, 3), Å."""
    box: NDArray[np.float64]
    """(frame, 3, 3), Å."""
    step: NDArray[np.int64]
    """(frame)."""
    outcome: Outcome
    reason: str = ""
    steps: int
    """Steps that were made."""
    cpu_seconds: float


def sifted(
    trail: Trail,
    *,
    z: NDArray[np.integer],
    pbc: NDArray[np.bool_],
    volume: float | None,
    filters: FilterSettings,
) -> tuple[Frames, NDArray[np.int64], tuple[Dropped, ...]]:
    """Pass the frames of a trail through the filters.

    Args:
        trail: Of one replica.
        z: (atom), atomic numbers.
        pbc: (3).
        volume: Of the cell at the start, Å^3; None = open.
        filters: What they have to pass.

    Returns:
        Frames that passed, their steps, and the others with the reason.
    """
    sieve = Sieve(filters, z=z, pbc=pbc)
    kept, dropped = [], []
    for row, step in enumerate(trail.step.tolist()):
        fault = sieve.fault(trail.coord[row], trail.box[row], volume=volume)
        if fault is None:
            kept.append(row)
        else:
            dropped.append(Dropped(step=step, why=fault.why, detail=fault.detail))
    frames = uniform(
        z=z, coord=trail.coord[kept], box=trail.box[kept] if pbc.all() else None
    )
    return frames, trail.step[kept], tuple(dropped)


def write_walk(walk: Walk, folder: Path, *, digest: str) -> None:
    """Keep a walk in a folder of its own.

    Args:
        walk: Finished.
        folder: Made if it is not there.
        digest: Of the task that it belongs to.
    """
    frames = walk.frames
    record = {
        "format": FORMAT,
        "task": digest,
        "name": walk.name,
        "structure": walk.structure,
        "origin": walk.origin,
        "temperature": walk.temperature,
        "pressure": walk.pressure,
        "replica": walk.replica,
        "outcome": walk.outcome,
        "reason": walk.reason,
        "steps": walk.steps,
        "nframes": frames.nframes,
        "dropped": [[one.step, one.why, one.detail] for one in walk.dropped],
        "cpu_seconds": walk.cpu_seconds,
        "engine": walk.engine,
    }
    save_frames(folder / FRAMES, frames, step=walk.step)
    text = json.dumps(record, indent=1, ensure_ascii=False)
    write_atomically(folder / RECORD, text.encode())


def read_walk(folder: Path, *, digest: str | None = None) -> Walk | None:
    """Read a walk that is kept.

    Args:
        folder: Of the walk.
        digest: Of the task that it must belong to; None = any.

    Returns:
        The walk; None if there is none, or it belongs to another task.

    Raises:
        DpbenchError: If its files are damaged.
    """
    path = folder / RECORD
    try:
        record: dict[str, Any] = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise _damaged(path, error) from error
    if record.get("format") != FORMAT:
        raise SimulationError(
            f"{path}: has format {record.get('format')!r}; expected {FORMAT}. Remove "
            f"{folder}, so that the walk is made again."
        )
    if digest is not None and record["task"] != digest:
        return None
    frames, more = load_frames(folder / FRAMES)
    try:
        return _walk_of(record, frames, more["step"])
    except (ValueError, KeyError, TypeError) as error:
        raise _damaged(path, error) from error


def read_walks(folder: Path) -> tuple[Walk, ...]:
    """Read all finished walks of a stage, in the order of their names.

    Raises:
        DpbenchError: If files of one are damaged.
    """
    found = (read_walk(path.parent) for path in sorted(folder.glob(f"*/{RECORD}")))
    return tuple(walk for walk in found if walk is not None)


def _damaged(path: Path, error: Exception) -> SimulationError:
    return SimulationError(
        f"{path}: is no record of a walk ({error}). Remove {path.parent}, so that the "
        "walk is made again."
    )


def _walk_of(record: dict[str, Any], frames: Frames, step: NDArray[np.int64]) -> Walk:
    dropped = tuple(
        Dropped(step=int(at), why=why, detail=detail)
        for at, why, detail in record["dropped"]
    )
    named = (
        "name",
        "structure",
        "origin",
        "temperature",
        "pressure",
        "replica",
        "outcome",
        "reason",
        "steps",
        "cpu_seconds",
        "engine",
    )
    values = {name: record[name] for name in named}
    return Walk(frames=frames, step=step, dropped=dropped, **values)
