"""Structures to start from: files that ASE reads, and frames of datasets."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from dpbench.errors import SimulationError
from dpbench.kernels.neighbours.cell import CellError, complete_box
from dpbench.md.state import Structure
from dpbench.store.dataset import open_dataset
from dpbench.store.workspace import Workspace
from dpbench.units import AMU


def read_structure(
    name: str, *, workspace: Callable[[], Workspace] | None = None
) -> Structure:
    """Read a structure.

    Args:
        name: A file, with ``@INDEX`` for one of its frames (default: the last), or a
            dataset, with ``:INDEX`` for one of its frames (default: the first).
        workspace: Opens the workspace that holds the datasets.

    Raises:
        SimulationError: If it is neither, or cannot be read.
    """
    path, _, index = name.partition("@")
    if Path(path).is_file():
        return _of_file(name, Path(path), index or "-1")
    if workspace is None or "/" in name or Path(path).suffix:
        raise SimulationError(
            f"{path}: is no file. Give a structure file that ASE reads, or a frame of "
            "a dataset such as water-v2:17."
        )
    dataset, _, frame = name.partition(":")
    return _of_dataset(workspace(), dataset, _integer(frame or "0", name))


def repeated(structure: Structure, repeat: tuple[int, int, int]) -> Structure:
    """Repeat a structure along its cell vectors, copy behind copy.

    Raises:
        SimulationError: If it has no cell vector along one of them.
    """
    if repeat == (1, 1, 1):
        return structure
    for axis, copies in enumerate(repeat):
        if copies > 1 and not structure.box[axis].any():
            raise SimulationError(
                f"{structure.where}: has no cell vector {'abc'[axis]}, but is to be "
                f"repeated {copies} times along it. Use --repeat with 1 there."
            )
    shifts = np.array(list(np.ndindex(*repeat)), np.float64) @ structure.box
    velocity = structure.velocity
    return Structure(
        where=structure.where,
        z=np.tile(structure.z, len(shifts)),
        coord=(shifts[:, None, :] + structure.coord[None]).reshape(-1, 3),
        box=structure.box * np.array(repeat)[:, None],
        pbc=structure.pbc,
        velocity=None if velocity is None else np.tile(velocity, (len(shifts), 1)),
    )


def _of_file(name: str, path: Path, index: str) -> Structure:
    from ase.io import read

    try:
        atoms: Any = read(path, index=_integer(index, name))
    except SimulationError:
        raise
    except Exception as error:  # readers of ASE raise whatever they please
        reason = " ".join(str(error).split()) or type(error).__name__
        raise SimulationError(
            f"{name}: cannot be read by ASE ({reason}). Convert it, for example to "
            "extxyz."
        ) from error
    velocity = None
    if atoms.has("momenta"):
        # ASE's time is Å sqrt(amu/eV), which is sqrt(AMU) ps.
        velocity = atoms.get_velocities() / AMU**0.5
    return _checked(
        Structure(
            where=name,
            z=np.asarray(atoms.numbers, dtype=np.int64),
            coord=np.asarray(atoms.positions, dtype=np.float64),
            box=np.asarray(atoms.cell.array, dtype=np.float64),
            pbc=np.asarray(atoms.pbc, dtype=np.bool_),
            velocity=velocity,
        )
    )


def _of_dataset(workspace: Workspace, dataset: str, index: int) -> Structure:
    version = open_dataset(workspace, dataset)
    count = len(version.natoms)
    if not -count <= index < count:
        raise SimulationError(
            f"{dataset}:{index}: the dataset has {count} frames; expected an index "
            f"between 0 and {count - 1}."
        )
    frame = version.read([index % count])
    return _checked(
        Structure(
            where=f"{dataset}:{index}",
            z=frame.z.astype(np.int64),
            coord=frame.coord.astype(np.float64),
            box=np.nan_to_num(frame.box[0]),
            pbc=frame.pbc[0],
        )
    )


def _checked(structure: Structure) -> Structure:
    if structure.natoms == 0:
        raise SimulationError(f"{structure.where}: has no atoms.")
    rows = np.flatnonzero(~np.isfinite(structure.coord).all(axis=1))
    if len(rows):
        raise SimulationError(
            f"{structure.where}: coord of atom {rows[0]} is no number. Mend the file."
        )
    if not structure.box[structure.pbc].any(axis=1).all():
        raise SimulationError(
            f"{structure.where}: is periodic along a direction without a cell vector."
        )
    try:
        complete_box(structure.box, structure.pbc)
    except CellError as error:
        raise SimulationError(
            f"{structure.where}: {error}. Mend the cell in the file."
        ) from error
    return structure


def _integer(text: str, where: str) -> int:
    try:
        return int(text)
    except ValueError as error:
        raise SimulationError(
            f"{where}: '{text}' is no frame index; expected a whole number."
        ) from error


def default_timestep(structure: Structure) -> float:
    """Time step, fs: 0.5 with hydrogen, else 1."""
    return 0.5 if bool((structure.z == 1).any()) else 1.0
