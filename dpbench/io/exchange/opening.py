"""Opening what dpbench exported, so that its frames can be read in any order."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, final

import numpy as np
from numpy.typing import NDArray

from dpbench.errors import SourceError
from dpbench.frames import Frames, concatenate
from dpbench.io.exchange.sidecar import NAME, Sidecar, inside
from dpbench.io.exchange.systems import SystemReader, hdf5_arrays, npy_arrays


class FrameReader(Protocol):
    """Frames, counted as in the table of frames."""

    @property
    def nframes(self) -> int:
        """Number of frames."""

    def read(self, indices: Sequence[int] | NDArray[np.integer]) -> Frames:
        """Read frames, in the order of ``indices``."""


@contextmanager
def open_export(folder: Path, sidecar: Sidecar) -> Iterator[FrameReader]:
    """Open the frames of an export.

    Raises:
        SourceError: If a file is missing or damaged, or does not fit the sidecar.
    """
    if sidecar.format not in _OPENERS:
        raise SourceError(
            f"{folder / NAME}: format = {sidecar.format!r}; expected one of "
            f"{', '.join(_OPENERS)}. Update dpbench, or export again."
        )
    with _OPENERS[sidecar.format](folder, sidecar) as reader:
        if reader.nframes != sidecar.n_frames:
            raise SourceError(
                f"{folder}: the files hold {reader.nframes} frames; {NAME} says "
                f"{sidecar.n_frames}. Export again."
            )
        yield reader


@contextmanager
def _npy(folder: Path, sidecar: Sidecar) -> Iterator[FrameReader]:
    readers = [
        npy_arrays(inside(folder, system.path), system.n_frames)
        for system in sidecar.systems
    ]
    yield _Chain(readers)


@contextmanager
def _hdf5(folder: Path, sidecar: Sidecar) -> Iterator[FrameReader]:
    path = inside(folder, "data.hdf5")
    with hdf5_arrays(path, sidecar.systems) as readers:
        yield _Chain(readers)


@contextmanager
def _lmdb(folder: Path, sidecar: Sidecar) -> Iterator[FrameReader]:
    from dpbench.io.readers.deepmd.lmdb import LmdbFrames

    with LmdbFrames(folder) as reader:
        yield reader


@contextmanager
def _extxyz(folder: Path, sidecar: Sidecar) -> Iterator[FrameReader]:
    from dpbench.io.exchange.extxyz import ExtxyzFrames

    with ExtxyzFrames(inside(folder, "data.xyz")) as reader:
        yield reader


@contextmanager
def _ase_db(folder: Path, sidecar: Sidecar) -> Iterator[FrameReader]:
    from dpbench.io.readers.ase_db import AseFrames

    yield AseFrames(inside(folder, "data.db"))


@contextmanager
def _parquet(folder: Path, sidecar: Sidecar) -> Iterator[FrameReader]:
    from dpbench.io.readers.parquet import ParquetFrames

    names = sorted(name for name in sidecar.files if name.endswith(".parquet"))
    yield ParquetFrames([inside(folder, name) for name in names])


_OPENERS: Mapping[str, Callable[[Path, Sidecar], Any]] = {
    "deepmd/npy": _npy,
    "deepmd/npy/mixed": _npy,
    "deepmd/hdf5": _hdf5,
    "deepmd/lmdb": _lmdb,
    "extxyz": _extxyz,
    "ase/db": _ase_db,
    "parquet": _parquet,
}


@final
class _Chain:
    """Systems one behind the other."""

    def __init__(self, readers: Sequence[SystemReader]) -> None:
        self._readers = readers
        counts = [reader.nframes for reader in readers]
        self._edges = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        self.nframes = int(self._edges[-1])

    def read(self, indices: Sequence[int] | NDArray[np.integer]) -> Frames:
        """Read frames, in the order of ``indices``."""
        index = np.asarray(indices, dtype=np.int64)
        which = np.searchsorted(self._edges, index, side="right") - 1
        order = np.argsort(which, kind="stable")
        parts = []
        for number in np.unique(which).tolist():
            rows = index[order[which[order] == number]] - self._edges[number]
            parts.append(self._readers[number].read(rows))
        back = np.empty(len(order), dtype=np.int64)
        back[order] = np.arange(len(order))
        return concatenate(parts).select(back)
