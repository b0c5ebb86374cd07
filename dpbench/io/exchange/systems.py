"""Systems of ``deepmd/npy``, mixed type and ``deepmd/hdf5`` that dpbench exported.

Every declared shape is held against the size of the file before anything is read.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, final

import h5py
import numpy as np
from numpy.typing import NDArray

from dpbench.elements import atomic_numbers
from dpbench.errors import SourceError
from dpbench.frames import Frames, offsets
from dpbench.io.exchange.content import is_given
from dpbench.io.exchange.sidecar import SystemEntry

Load = Callable[[str], Any]
"""Gives an array of a set by its name, not yet read; None where there is none."""

MOST_INFLATION = 1000
"""Times that an array may be larger than its file."""


@final
class SystemReader:
    """One system whose frames can be read in any order."""

    def __init__(
        self,
        where: str,
        *,
        types: NDArray[np.integer],
        names: Sequence[str],
        sets: Sequence[Load],
        nframes: int,
    ) -> None:
        """Take a system.

        Args:
            where: Name in messages.
            types: (atom), index into ``names``.
            names: Elements.
            sets: The arrays of each set, in order.
            nframes: Frames that it must have.

        Raises:
            SourceError: If its arrays do not fit each other.
        """
        self._where, self._types, self._sets = where, types, sets
        self._numbers = np.array(atomic_numbers(list(names), where=where))
        known = len(names)
        if types.ndim != 1 or (
            len(types) and not 0 <= types.min() <= types.max() < known
        ):
            raise SourceError(f"{where}: type.raw does not fit type_map.raw.")
        counts = []
        for load in sets:
            coord = load("coord")
            self._check(coord, "coord", None)
            counts.append(len(coord))
        if sum(counts) != nframes:
            raise SourceError(
                f"{where}: has {sum(counts)} frames; expected {nframes}. Export again."
            )
        self.nframes = nframes
        self._edges = offsets(counts)

    def read(self, indices: NDArray[np.int64]) -> Frames:
        """Read frames, in the order of ``indices``."""
        n, natoms = len(indices), len(self._types)
        which = np.searchsorted(self._edges, indices, side="right") - 1
        arrays: dict[str, NDArray[Any] | None] = {}
        sizes = {"coord": 3 * natoms, "force": 3 * natoms, "real_atom_types": natoms}
        sizes |= {"box": 9, "virial": 9, "energy": 1, "aparam": self._aparam_size}
        for name, size in sizes.items():
            out: NDArray[Any] | None = None
            for number in np.unique(which).tolist():
                source = self._sets[number](name)
                if source is None:
                    continue
                self._check(source, name, int(np.diff(self._edges)[number]))
                mine = which == number
                rows = _pick(source, indices[mine] - self._edges[number])
                if out is None:
                    out = np.full((n, size), np.nan if rows.dtype.kind == "f" else 0)
                    out = out.astype(rows.dtype)
                out[mine] = rows
            arrays[name] = out
        return self._frames(arrays, n)

    def _frames(self, arrays: Mapping[str, NDArray[Any] | None], n: int) -> Frames:
        natoms = len(self._types)
        types = arrays["real_atom_types"]
        if types is None:
            types = np.broadcast_to(self._types, (n, natoms))
        if types.size and not -1 <= types.min() <= types.max() < len(self._numbers):
            raise SourceError(f"{self._where}: real_atom_types names an unknown type.")
        is_real = types >= 0
        coord, force = arrays["coord"], arrays["force"]
        if coord is None:
            raise SourceError(f"{self._where}: coord.npy is missing. Export again.")
        if force is None:
            force = np.full_like(coord, np.nan)
        box, aparam = _double(arrays["box"], (n, 3, 3)), arrays["aparam"]
        if aparam is not None:
            aparam = aparam.reshape(*is_real.shape, -1)[is_real].astype(np.float64)
        return Frames(
            atom_offset=offsets(is_real.sum(axis=1)),
            z=self._numbers[np.where(is_real, types, 0)][is_real].astype(np.uint8),
            coord=coord.reshape(n, natoms, 3)[is_real],
            force=force.reshape(n, natoms, 3)[is_real],
            box=box,
            pbc=np.repeat(is_given(box)[:, None], 3, axis=1),
            energy=_double(arrays["energy"], (n,)),
            virial=_double(arrays["virial"], (n, 3, 3)),
            aparam=aparam,
        )

    @cached_property
    def _aparam_size(self) -> int:
        """Numbers of the atoms of a frame: as many for each atom, in each set."""
        natoms = len(self._types)
        for load in self._sets:
            shape: tuple[int, ...] = getattr(load("aparam"), "shape", ())
            if len(shape) == 2 and natoms and shape[1] % natoms == 0:
                return int(shape[1])
        return natoms

    def _check(self, array: Any, name: str, nframes: int | None) -> None:
        """Refuse an array of another shape or type than the system has."""
        natoms = len(self._types)
        sizes = {"coord": 3 * natoms, "force": 3 * natoms, "real_atom_types": natoms}
        sizes |= {"box": 9, "virial": 9, "energy": 1, "aparam": self._aparam_size}
        size = sizes[name]
        found = None if array is None else tuple(array.shape)
        kind = "i" if name == "real_atom_types" else "f"
        fits = (
            found is not None
            and len(found) == 2
            and found[1] == size
            and nframes in (None, found[0])
            and array.dtype.kind == kind
        )
        if not fits:
            expected = "nframes" if nframes is None else nframes
            raise SourceError(
                f"{self._where}: {name} has shape {found}; expected ({expected}, "
                f"{size}). Export again."
            )


def npy_arrays(folder: Path, nframes: int) -> SystemReader:
    """Open a system of ``deepmd/npy`` or mixed type.

    Raises:
        SourceError: If a file is missing or damaged.
    """
    try:
        types = np.array((folder / "type.raw").read_text().split(), dtype=np.int64)
        names = (folder / "type_map.raw").read_text().split()
        sets = sorted(path for path in folder.glob("set.*") if path.is_dir())
    except (OSError, ValueError) as error:
        raise SourceError(f"{folder}: is no system ({error}). Export again.") from error
    loaders = [_npy_loader(path) for path in sets]
    return SystemReader(
        str(folder), types=types, names=names, sets=loaders, nframes=nframes
    )


@contextmanager
def hdf5_arrays(
    path: Path, systems: Sequence[SystemEntry]
) -> Iterator[list[SystemReader]]:
    """Open the systems of a ``deepmd/hdf5`` file.

    Raises:
        SourceError: If the file is damaged, or a system is missing or declares more
            than the file can hold.
    """
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise SourceError(f"{path}: is no readable HDF5 file ({error}).") from error
    most = MOST_INFLATION * path.stat().st_size
    with file:
        yield [_hdf5_system(path, file, system, most=most) for system in systems]


def _hdf5_system(
    path: Path, file: Any, system: SystemEntry, *, most: int
) -> SystemReader:
    where = f"{path}#/{system.path}"

    def array(holder: Any, key: str) -> Any:
        # links to other files and object names would lead out of the export
        link = holder.get(key, getlink=True)
        if link is None:
            return None
        item = holder[key] if isinstance(link, h5py.HardLink) else None
        if not isinstance(item, h5py.Dataset) or item.dtype.kind not in "fibS":
            raise SourceError(f"{where}/{key}: is no plain array. Export again.")
        if item.external or item.is_virtual or item.nbytes > most:
            raise SourceError(
                f"{where}/{key}: declares {item.nbytes} bytes, the file has "
                f"{path.stat().st_size}; refused."
            )
        return item

    link = file.get(system.path, getlink=True)
    group = file[system.path] if isinstance(link, h5py.HardLink) else None
    if not isinstance(group, h5py.Group):
        raise SourceError(f"{where}: no such group. Export again.")
    raw, names = array(group, "type.raw"), array(group, "type_map.raw")
    if raw is None or names is None:
        raise SourceError(f"{where}: has no type.raw or type_map.raw. Export again.")
    keys = sorted(key for key in group if key.startswith("set."))
    return SystemReader(
        where,
        types=np.asarray(raw[()], dtype=np.int64),
        names=[bytes(name).decode(errors="replace") for name in names[()]],
        sets=[_hdf5_loader(group[key], array) for key in keys],
        nframes=system.n_frames,
    )


def _hdf5_loader(group: Any, array: Callable[[Any, str], Any]) -> Load:
    def load(name: str) -> Any:
        return array(group, f"{name}.npy")

    return load


def _npy_loader(folder: Path) -> Load:
    def load(name: str) -> Any:
        path = folder / f"{name}.npy"
        if not path.is_file():
            return None
        try:
            # a memory map is refused if the file is shorter than its header says
            return np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError, OverflowError) as error:
            raise SourceError(
                f"{path}: cannot be read ({error}). Export again."
            ) from error

    return load


def _pick(source: Any, rows: NDArray[np.int64]) -> NDArray[Any]:
    """Read rows through the smallest run that holds them: HDF5 is slow otherwise."""
    low, high = int(rows.min()), int(rows.max()) + 1
    if high - low <= 4 * len(rows):
        return np.asarray(source[low:high])[rows - low]
    unique, inverse = np.unique(rows, return_inverse=True)
    return np.asarray(source[unique])[inverse.reshape(-1)]


def _double(array: NDArray[Any] | None, shape: tuple[int, ...]) -> NDArray[np.float64]:
    if array is None:
        return np.full(shape, np.nan)
    return array.astype(np.float64).reshape(shape)
