"""Writer of ``deepmd/lmdb``: one LMDB, one msgpack record a frame.

Keys are frame numbers of twelve digits; ``__metadata__`` holds the type map, and atom
count and system of every frame. A label or cell that is missing is absent.

Source: dpdata 1.1 documentation, "deepmd/lmdb"; DeePMD-kit 3.2,
``deepmd/dpmodel/utils/lmdb_data.py``.
"""

from pathlib import Path
from typing import Any, final

import lmdb
import msgpack
import numpy as np
from numpy.typing import NDArray

from dpbench.elements import SYMBOLS
from dpbench.frames import Frames
from dpbench.io.exchange.content import Content
from dpbench.io.writers import Written
from dpbench.io.writers.systems import loses_cells, periodicity_notes

KEY_FORMAT = "012d"
"""Format of a frame's key."""

FIRST_SIZE = 1 << 26
"""Bytes of the first memory map; it is doubled when it is full."""


def write(folder: Path, content: Content) -> Written:
    """Write all frames into ``folder / data.mdb``."""
    survey = content.survey
    index_of = {name: i for i, name in enumerate(content.elements)}
    table = np.array([index_of.get(symbol, -1) for symbol in SYMBOLS], dtype=np.int32)
    has_cell = survey.pbc.any(axis=1) & survey.has_box
    with _Database(folder) as database:
        number = 0
        for chunk, frames in content.blocks():
            records = []
            for i in range(frames.nframes):
                record = _record(
                    frames, i, table[frames.z[frames.atoms_of(i)]], dtype=content.dtype
                )
                record["atom_numbs"] = np.bincount(
                    table[frames.z[frames.atoms_of(i)]], minlength=len(index_of)
                ).tolist()
                if not has_cell[chunk[i]]:
                    record.pop("cells", None)
                records.append((format(number, KEY_FORMAT).encode(), record))
                number += 1
            database.put(records)
        metadata = {
            "nframes": content.nframes,
            "frame_idx_fmt": KEY_FORMAT,
            "type_map": list(content.elements),
            "frame_nlocs": content.natoms.tolist(),
            "frame_system_ids": _system_ids(content).tolist(),
        }
        database.put([(b"__metadata__", metadata)])
    notes = list(periodicity_notes(content))
    if has_cell.any() and not has_cell.all():
        notes.append(
            "frames with and without a cell in one LMDB: DeePMD-kit's test takes the "
            "periodicity of the first for all; export them apart for that"
        )
    return Written(is_lossless=not loses_cells(content), notes=tuple(notes))


def _system_ids(content: Content) -> NDArray[np.int64]:
    """(frame), number of each frame's composition, which DeePMD-kit samples by."""
    names = np.array(content.version.formulas)[content.frames]
    return np.unique(names, return_inverse=True)[1].reshape(-1)


def _record(
    frames: Frames, i: int, types: NDArray[np.int32], *, dtype: np.dtype[Any]
) -> dict[str, Any]:
    """Write frame ``i`` as DeePMD-kit has it; only what the frame has."""
    rows = frames.atoms_of(i)
    arrays: dict[str, NDArray[Any]] = {
        "atom_types": types,
        "coords": frames.coord[rows].astype(dtype, copy=False),
    }
    labels = {
        "cells": frames.box[i],
        "energies": frames.energy[i : i + 1].reshape(()),
        "forces": frames.force[rows].astype(dtype, copy=False),
        "virials": frames.virial[i],
    }
    arrays |= {name: a for name, a in labels.items() if not np.isnan(a).any()}
    aparam = frames.aparam_of(i)
    arrays |= {} if aparam is None else {"aparam": aparam}
    return {name: _encode(array) for name, array in arrays.items()}


def _encode(array: NDArray[Any]) -> dict[str, Any]:
    return {
        "type": array.dtype.name,
        "shape": list(array.shape),
        "data": np.ascontiguousarray(array).tobytes(),
    }


@final
class _Database:
    """An LMDB that grows as it is written."""

    def __init__(self, folder: Path) -> None:
        # lock=False: nobody else knows of the folder yet, and no lock file is left
        self._environment = lmdb.open(str(folder), map_size=FIRST_SIZE, lock=False)

    def __enter__(self) -> "_Database":
        return self

    def __exit__(self, *_: object) -> None:
        self._environment.close()

    def put(self, records: list[tuple[bytes, dict[str, Any]]]) -> None:
        """Write records in one transaction, in a larger map if they do not fit."""
        packed = [(key, msgpack.packb(value)) for key, value in records]
        while True:
            try:
                with self._environment.begin(write=True) as transaction:
                    for key, value in packed:
                        transaction.put(key, value, append=key != b"__metadata__")
            except lmdb.MapFullError:
                size = self._environment.info()["map_size"]
                self._environment.set_mapsize(2 * size)
            except lmdb.Error as error:
                raise OSError(f"LMDB: {error}") from error
            else:
                return
