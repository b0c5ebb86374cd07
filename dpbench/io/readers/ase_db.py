"""Reader of ``ase/db``: ASE's SQLite database, one row a frame.

The energy is the free energy where a row has one, for it is the one whose derivative
the forces are. A tensor ``virial`` in a row's data wins over its stress, which has six
numbers only; virial = -stress * V (tension > 0).

Source: ASE documentation, "A database for atoms".
"""

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any, final

import numpy as np
from ase.db import connect
from numpy.typing import NDArray

from dpbench.errors import SourceError
from dpbench.frames import Frames, concatenate, join_aparam, offsets
from dpbench.io.gate import judge, volumes
from dpbench.io.parsed import ParsedSource, SourceFiles

_BLOCK = 1000
_VOIGT = np.array([[0, 5, 4], [5, 1, 3], [4, 3, 2]])


def read(files: SourceFiles) -> ParsedSource:
    """Read all rows of a database.

    Raises:
        SourceError: If it is no database of ASE's, or a row is damaged.
    """
    database = AseFrames(files.main)
    n = database.nframes
    if not n:
        raise SourceError(f"{files.main}: has no row; expected one a frame.")
    frames = concatenate(
        [
            database.read(range(start, min(start + _BLOCK, n)))
            for start in range(0, n, _BLOCK)
        ]
    )
    return ParsedSource(
        code="unknown",
        code_version=None,
        format="ase/db",
        frames=frames,
        step=np.arange(n, dtype=np.int32),
        n_scf=np.full(n, -1, dtype=np.int16),
        quarantine=judge(
            frames, energy_given=frames.has_energy, force_given=frames.has_force
        ),
        theory={},
        complete=True,
    )


def holds_frames(path: Path) -> bool:
    """Tell ASE's databases from all other SQLite files."""
    try:
        return AseFrames(path).nframes > 0
    except SourceError:
        return False


@final
class AseFrames:
    """A database whose rows can be read in any order."""

    def __init__(self, path: Path) -> None:
        """Find the rows; SourceError if it is no database of ASE's."""
        self._path = path
        try:
            uri = f"{path.resolve().as_uri()}?mode=ro"
            connection = sqlite3.connect(uri, uri=True)
            try:
                rows = connection.execute("SELECT id FROM systems ORDER BY id")
                self._ids = [int(row[0]) for row in rows]
            finally:
                connection.close()
        except sqlite3.Error as error:
            raise SourceError(
                f"{path}: is no readable ASE database ({error}); expected SQLite with "
                "a table of systems."
            ) from error
        self.nframes = len(self._ids)

    def read(self, indices: Sequence[int] | NDArray[np.integer]) -> Frames:
        """Read rows, in the order of ``indices``.

        Raises:
            SourceError: If one is damaged.
        """
        database = connect(self._path, type="db", use_lock_file=False)
        rows = []
        with database:
            for index in indices:
                number = self._ids[int(index)]
                try:
                    rows.append(_Row(database._get_row(number)))
                # ASE's decoder raises whatever it stumbles over in a damaged row
                except Exception as error:
                    raise SourceError(
                        f"{self._path}: row {number} is damaged "
                        f"({type(error).__name__}: {error})."
                    ) from error
        empty = np.zeros((0, 3))
        return Frames(
            atom_offset=offsets([len(row.z) for row in rows]),
            z=np.concatenate([*(row.z for row in rows), np.zeros(0, np.uint8)]),
            coord=np.concatenate([*(row.coord for row in rows), empty]),
            force=np.concatenate([*(row.force for row in rows), empty]),
            box=np.array([row.box for row in rows]).reshape(-1, 3, 3),
            pbc=np.array([row.pbc for row in rows], dtype=np.bool_).reshape(-1, 3),
            energy=np.array([row.energy for row in rows], dtype=np.float64),
            virial=np.array([row.virial for row in rows]).reshape(-1, 3, 3),
            aparam=join_aparam(
                [row.aparam for row in rows], [len(row.z) for row in rows]
            ),
        )


@final
class _Row:
    """One row as the arrays of a frame; what it lacks is NaN."""

    def __init__(self, row: Any) -> None:
        numbers = np.asarray(row.numbers, dtype=np.int64)
        if len(numbers) and not 0 < numbers.min() <= numbers.max() < 119:
            raise ValueError(f"atomic number {numbers.min()} or {numbers.max()}")
        self.z = numbers.astype(np.uint8)
        self.coord = _shaped(row.positions, (len(numbers), 3))
        self.force = _shaped(row.get("forces"), (len(numbers), 3))
        self.pbc = np.asarray(row.pbc, dtype=np.bool_).reshape(3)
        box = _shaped(row.cell, (3, 3))
        self.box = box if box.any() else np.full((3, 3), np.nan)
        energy = row.get("free_energy")
        energy = row.get("energy") if energy is None else energy
        self.energy = np.nan if energy is None else float(energy)
        data = row.data if row.get("data") else {}
        virial, aparam = data.get("virial"), data.get("aparam")
        stress = row.get("stress")
        if virial is None and stress is not None:
            full = np.asarray(stress, dtype=np.float64).reshape(6)[_VOIGT]
            virial = -full * volumes(box[None])[0]
        self.virial = _shaped(virial, (3, 3))
        self.aparam = None if aparam is None else _atom_numbers(aparam, len(numbers))


def _atom_numbers(value: Any, natoms: int) -> NDArray[np.float64]:
    found = np.asarray(value, dtype=np.float64)
    if not natoms or not found.size or found.size % natoms:
        raise ValueError(
            f"data['aparam'] has {found.size} numbers; expected as many for each of "
            f"{natoms} atoms. Take it out, or give it another name"
        )
    return found.reshape(natoms, -1)


def _shaped(value: Any, shape: tuple[int, ...]) -> NDArray[np.float64]:
    if value is None:
        return np.full(shape, np.nan)
    return np.asarray(value, dtype=np.float64).reshape(shape)
