"""Reference values of crystals: what the training set's own theory says of them.

A file ``TASK.json`` holds the structures of a task and their labels, case by case; the
properties are computed from them by the code that computes the model's.
"""

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from dpbench.config import from_mapping
from dpbench.elements import atomic_numbers, symbols_of
from dpbench.errors import ConfigError, DpbenchError, EvaluationError
from dpbench.frames import Frames, concatenate, uniform

FORMAT = "dpbench-crystal-references-1"
"""Name of the form of these files."""

Vector = tuple[float, float, float]


@dataclass(frozen=True, kw_only=True, slots=True)
class Structure:
    """One structure and its labels, as the file holds them."""

    symbols: tuple[str, ...]
    """Element of each atom."""
    box: tuple[Vector, Vector, Vector]
    """Å, rows are cell vectors."""
    coord: tuple[Vector, ...]
    """Å."""
    energy: float | None = None
    """eV."""
    force: tuple[Vector, ...] | None = None
    """eV/Å."""
    virial: tuple[Vector, Vector, Vector] | None = None
    """eV, -dE/dstrain."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """One crystal, supercell or group of frames."""

    name: str
    """E.g. ``Si-diamond``."""
    facts: dict[str, Any] = field(default_factory=dict)
    """What the task must know beside the structures."""
    structures: tuple[Structure, ...] = ()
    """In the order that the task's module tells."""
    output: str | None = None
    """File beside this one that holds the code's own output."""

    def frames(self) -> Frames:
        """Return the structures with their labels."""
        return concatenate([_frame(one, self.name) for one in self.structures])


@dataclass(frozen=True, kw_only=True, slots=True)
class References:
    """Everything a task is compared with."""

    format: str
    """``FORMAT``."""
    task: str
    """Name of the task."""
    theory: str
    """Level of theory in words."""
    made_by: str
    """Command that made the file."""
    cases: tuple[Case, ...]
    """Never empty."""
    digest: str = ""
    """sha256 of the file; filled on reading."""

    def __post_init__(self) -> None:
        """Check form and names."""
        if self.format != FORMAT:
            raise ConfigError(f"format is '{self.format}'; expected '{FORMAT}'.")
        names = [case.name for case in self.cases]
        if not names or len(set(names)) != len(names):
            raise ConfigError("cases: expected one or more, no name twice.")


def load_references(folder: Path | None, task: str) -> References | None:
    """Read the references of a task.

    Returns:
        None where there is no folder, or no file of the task in it.

    Raises:
        EvaluationError: If the file is damaged.
    """
    if folder is None or not (folder / f"{task}.json").exists():
        return None
    path = folder / f"{task}.json"
    data = path.read_bytes()
    try:
        plain = json.loads(data)
        if not isinstance(plain, dict):
            raise ConfigError("expected a table of keys.")
        plain["digest"] = f"sha256:{hashlib.sha256(data).hexdigest()}"
        found = from_mapping(References, plain, where=str(path))
        for case in found.cases:
            case.frames()
    except (ValueError, DpbenchError) as error:
        raise EvaluationError(
            f"{path}: {error} Make it again with tools/make_crystal_references.py."
        ) from error
    if found.task != task:
        raise EvaluationError(
            f"{path}: is of the task '{found.task}'; expected '{task}'. Mend its name."
        )
    return found


def structure_of(frames: Frames, index: int = 0) -> Structure:
    """Turn one frame into its form in the file, rounded to what the codes print."""
    frame = frames.select([index])
    rows = [tuple(map(float, row)) for row in np.round(frame.coord, 8)]
    force = virial = energy = None
    if frame.has_force[0]:
        force = tuple(tuple(map(float, row)) for row in np.round(frame.force, 8))
    if frame.has_virial[0]:
        virial = tuple(tuple(map(float, row)) for row in np.round(frame.virial[0], 8))
    if frame.has_energy[0]:
        energy = round(float(frame.energy[0]), 8)
    plain = {
        "symbols": list(symbols_of(frame.z.tolist())),
        "box": [list(map(float, row)) for row in np.round(frame.box[0], 8)],
        "coord": rows,
        "energy": energy,
        "force": force,
        "virial": virial,
    }
    return from_mapping(Structure, plain, where="structure")


def _frame(structure: Structure, name: str) -> Frames:
    z = atomic_numbers(structure.symbols, where=name)
    return uniform(
        z=z,
        coord=np.array(structure.coord, np.float64)[None],
        box=np.array(structure.box, np.float64)[None],
        energy=None if structure.energy is None else np.array([structure.energy]),
        force=None if structure.force is None else np.array(structure.force)[None],
        virial=None if structure.virial is None else np.array(structure.virial)[None],
    )
