"""Writer of ``ase/db``: ASE's SQLite database, one row a frame.

Energy, forces and stress (eV/Å^3, tension > 0, = -virial/V) are the row's results;
``dataset``, ``source``, ``step`` and ``theory`` are key-value pairs; the virial with
all its digits and numbers of atoms (``aparam``) stand in ``data``, the levels of theory
in the metadata of the database.

Source: ASE documentation, "A database for atoms".
"""

import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.db import connect

from dpbench.frames import Frames
from dpbench.io.exchange.content import Content
from dpbench.io.gate import volumes
from dpbench.io.writers import Written

FILE = "data.db"
"""Name of the file."""

DESCRIPTIONS = {
    "dataset": ["Dataset", "version of dpbench that holds the frame", "text", ""],
    "source": ["Source", "sha256 of the file it was read from", "text", ""],
    "step": ["Step", "position of the frame in that file", "int", ""],
    "theory": ["Theory", "level of theory, see the metadata", "text", ""],
    "total_charge": ["Total charge", "charge of the frame, if known", "float", "e"],
    "multiplicity": ["Multiplicity", "spin multiplicity 2S + 1", "int", ""],
    "temperature": ["Temperature", "kinetic temperature, if known", "float", "K"],
}
"""Key-value pairs, as ASE's web view words them."""


def write(folder: Path, content: Content) -> Written:
    """Write all frames into ``folder / FILE``."""
    try:
        _write_rows(folder, content)
    except sqlite3.OperationalError as error:  # a full disk, as SQLite words it
        raise OSError(f"SQLite: {error}") from error
    return Written()


def _write_rows(folder: Path, content: Content) -> None:
    database = connect(folder / FILE, type="db", use_lock_file=False)
    with database:
        database.metadata = {
            "title": content.label,
            "key_descriptions": DESCRIPTIONS,
            "theories": content.version.theories,
        }
    for chunk, frames in content.blocks():
        with database:  # one transaction a block
            for i, position in enumerate(chunk.tolist()):
                atoms, data = _atoms(frames, i)
                database.write(atoms, _pairs(content, position), data=data)


def _pairs(content: Content, position: int) -> dict[str, Any]:
    source = content.sources[int(content.source[position])]
    told = content.told(position)
    if "charge" in told:  # ASE means the sum of initial charges by that name
        told["total_charge"] = told.pop("charge")
    return told | {
        "dataset": content.version.label,
        # a bare hash could be read as a number, which ASE refuses
        "source": f"sha256:{source.sha256}",
        "step": int(content.step[position]),
        "theory": f"sha256:{source.theory_id}",
    }


def _atoms(frames: Frames, i: int) -> tuple[Atoms, dict[str, Any]]:
    rows = frames.atoms_of(i)
    box, virial = frames.box[i], frames.virial[i]
    has_box = not np.isnan(box).any()
    atoms = Atoms(
        numbers=frames.z[rows],
        positions=frames.coord[rows],
        cell=box if has_box else None,
        pbc=frames.pbc[i],
    )
    results: dict[str, Any] = {}
    if not np.isnan(frames.energy[i]):
        results["energy"] = float(frames.energy[i])
    if not np.isnan(frames.force[rows]).any():
        results["forces"] = frames.force[rows].astype(np.float64)
    data = {}
    if not np.isnan(virial).any():
        data["virial"] = virial
        if has_box:
            stress = -virial / volumes(box[None])[0]
            symmetric = (stress + stress.T) / 2
            results["stress"] = symmetric[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]
    aparam = frames.aparam_of(i)
    data |= {} if aparam is None else {"aparam": aparam}
    atoms.calc = SinglePointCalculator(atoms, **results)
    return atoms, data
