"""Observables and trajectories as Zarr groups that grow by chunks."""

from pathlib import Path
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from dpbench.errors import SimulationError
from dpbench.md.observables import COLUMNS, Sample
from dpbench.md.state import State

FORMAT = 1
"""Of the groups written."""

LOG_ROWS = 1024
"""Log points of a chunk."""

CHUNK_BYTES = 4 << 20
"""About the size of a trajectory's chunk, which is what is held in memory."""

Columns = dict[str, tuple[tuple[int, ...], str, str, tuple[str, ...]]]
"""Name -> (shape of a row, dtype, units, dimensions of a row)."""


@final
class GrowingGroup:
    """Arrays with one row per record; whole chunks are written, the rest is held."""

    def __init__(
        self, path: Path, columns: Columns, *, rows: int, attributes: dict[str, Any]
    ) -> None:
        """Open the group at ``path``, or make it.

        Args:
            path: A folder, ``*.zarr``.
            columns: What a row holds.
            rows: Rows of a chunk.
            attributes: Of a new group.
        """
        import zarr  # takes 0.3 s

        self._path, self._rows = path, rows
        if path.exists():
            group = zarr.open_group(path, mode="r+")
        else:
            group = zarr.create_group(
                path, attributes={"format": FORMAT, **attributes}, zarr_format=3
            )
            for name, (shape, dtype, units, dims) in columns.items():
                group.create_array(
                    name,
                    shape=(0, *shape),
                    dtype=dtype,
                    chunks=(rows, *shape),
                    dimension_names=("record", *dims),
                    attributes={"units": units} if units else {},
                )
        self._arrays: dict[str, Any] = {name: group[name] for name in columns}
        self._held: dict[str, list[Any]] = {name: [] for name in columns}
        self._written: int = min(array.shape[0] for array in self._arrays.values())

    def append(self, **row: Any) -> None:
        """Take one row."""
        for name, value in row.items():
            self._held[name].append(value)
        held = len(next(iter(self._held.values())))
        if (self._written + held) % self._rows == 0:
            self.flush()

    def flush(self) -> int:
        """Write all that is held; return the number of rows."""
        count = len(next(iter(self._held.values())))
        if count:
            last = self._written + count
            for name, array in self._arrays.items():
                array.resize((last, *array.shape[1:]))
                array[self._written : last] = np.asarray(self._held[name], array.dtype)
                self._held[name].clear()
            self._written = last
        return self._written

    def cut(self, rows: int) -> None:
        """Drop what follows the first ``rows``.

        Raises:
            SimulationError: If there are fewer.
        """
        if self._written < rows:
            raise SimulationError(
                f"{self._path}: has {self._written} records; expected {rows} as when "
                "the restart file was written. Put it back, or start a new run."
            )
        for array in self._arrays.values():
            array.resize((rows, *array.shape[1:]))
        self._written = rows


@final
class ZarrLog:
    """One row per log point, one column per replica."""

    def __init__(self, path: Path, nreplicas: int) -> None:
        """Append to the group at ``path``."""
        columns: Columns = {
            "step": ((), "int64", "", ()),
            "time": ((), "float64", "ps", ()),
        }
        for name, (_, unit, _) in COLUMNS.items():
            columns[name] = ((nreplicas,), "float64", unit, ("replica",))
        self._group = GrowingGroup(
            path, columns, rows=LOG_ROWS, attributes={"kind": "dpbench md observables"}
        )

    def write(self, sample: Sample) -> None:
        """Take a log point."""
        self._group.append(step=sample.step, time=sample.time, **sample.values)

    def position(self) -> Any:
        """Write what is held; return the number of rows."""
        return self._group.flush()

    def cut(self, position: Any) -> None:
        """Drop rows of later steps."""
        self._group.cut(int(position))

    def close(self) -> None:
        """Write what is held."""
        self._group.flush()


@final
class ZarrTrajectory:
    """Positions, cells and energies of all replicas; velocities and forces if asked."""

    def __init__(self, path: Path, state: State, fields: tuple[str, ...]) -> None:
        """Append to the group at ``path``.

        Args:
            path: A folder.
            state: Says how many replicas and atoms there are.
            fields: Of ``coord``, ``velocity`` and ``force``, what is written.
        """
        replicas, natoms = state.nreplicas, state.natoms
        rows = max(1, CHUNK_BYTES // (24 * replicas * natoms))
        units = {"coord": "angstrom", "velocity": "angstrom/ps", "force": "eV/angstrom"}
        columns: Columns = {
            "step": ((), "int64", "", ()),
            "time": ((), "float64", "ps", ()),
            "energy": ((replicas,), "float64", "eV", ("replica",)),
            "box": (
                (replicas, 3, 3),
                "float64",
                "angstrom",
                ("replica", "cell", "xyz"),
            ),
        }
        self._fields = ("coord", *(f for f in fields if f != "coord"))
        for name in self._fields:
            shape = (replicas, natoms, 3)
            columns[name] = (shape, "float64", units[name], ("replica", "atom", "xyz"))
        attributes = {
            "kind": "dpbench md trajectory",
            "atomic_numbers": [int(z) for z in state.z],
            "pbc": [bool(flag) for flag in state.pbc],
        }
        self._group = GrowingGroup(path, columns, rows=rows, attributes=attributes)

    def write(self, state: State, sample: Sample) -> None:
        """Take a frame of every replica."""
        arrays: dict[str, NDArray[np.float64]] = {
            name: getattr(state, name).cpu().numpy().copy()
            for name in ("box", *self._fields)
        }
        self._group.append(
            step=sample.step,
            time=sample.time,
            energy=sample.values["potential"],
            **arrays,
        )

    def position(self) -> Any:
        """Write what is held; return the number of frames."""
        return self._group.flush()

    def cut(self, position: Any) -> None:
        """Drop frames of later steps."""
        self._group.cut(int(position))

    def close(self) -> None:
        """Write what is held."""
        self._group.flush()
