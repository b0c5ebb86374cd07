"""Reader of ``parquet``: one row a frame, with the columns that dpbench writes.

Needed are ``atomic_numbers``, ``positions``, ``energy`` and ``forces``; ``cell``,
``pbc`` and ``virial`` may be absent. Units as in ``io.writers.parquet_columns``.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from dpbench.errors import SourceError
from dpbench.frames import Frames, concatenate, offsets
from dpbench.io.gate import judge
from dpbench.io.parsed import ParsedSource, SourceFiles

MOST_INFLATION = 1000
"""Times that the columns may be larger than the file; beyond, it is a bomb."""

_NEEDED = ("atomic_numbers", "positions", "energy", "forces")
_OPTIONAL = ("cell", "pbc", "virial")


def read(files: SourceFiles) -> ParsedSource:
    """Read all rows of a file.

    Raises:
        SourceError: If it is damaged, or lacks a column.
    """
    reader = ParquetFrames([files.main])
    n = reader.nframes
    if not n:
        raise SourceError(f"{files.main}: has no row; expected one a frame.")
    frames = concatenate([reader.group(i) for i in range(reader.n_groups)])
    return ParsedSource(
        code="unknown",
        code_version=None,
        format="parquet",
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
    """Tell files with the needed columns from all other Parquet files."""
    try:
        return ParquetFrames([path]).nframes > 0
    except SourceError:
        return False


@final
class ParquetFrames:
    """Files whose rows, counted through all of them, can be read in any order."""

    def __init__(self, paths: Sequence[Path]) -> None:
        """Read the files' footers.

        Raises:
            SourceError: If one is damaged, lacks a column, or unpacks to far more than
                it holds.
        """
        self._groups: list[tuple[Path, int]] = []
        counts: list[int] = []
        for path in paths:
            metadata = _metadata(path)
            for number in range(metadata.num_row_groups):
                group = metadata.row_group(number)
                if group.total_byte_size > MOST_INFLATION * path.stat().st_size:
                    raise SourceError(
                        f"{path}: row group {number} unpacks to "
                        f"{group.total_byte_size} bytes, the file has "
                        f"{path.stat().st_size}; refused."
                    )
                self._groups.append((path, number))
                counts.append(group.num_rows)
        self._edges = offsets(counts)
        self.nframes = int(self._edges[-1])
        self._last: tuple[int, Frames] | None = None

    @property
    def n_groups(self) -> int:
        """Number of row groups in all files."""
        return len(self._groups)

    def read(self, indices: Sequence[int] | NDArray[np.integer]) -> Frames:
        """Read rows, in the order of ``indices``; rising ones are fast."""
        index = np.asarray(indices, dtype=np.int64)
        which = np.searchsorted(self._edges, index, side="right") - 1
        cuts = np.flatnonzero(np.diff(which)) + 1
        parts = []
        for run in np.split(np.arange(len(index)), cuts):
            if len(run):
                number = int(which[run[0]])
                parts.append(
                    self.group(number).select(index[run] - self._edges[number])
                )
        return concatenate(parts)

    def group(self, number: int) -> Frames:
        """Read a row group; the last one is kept.

        Raises:
            SourceError: If it is damaged.
        """
        if self._last is None or self._last[0] != number:
            path, inner = self._groups[number]
            try:
                with pq.ParquetFile(path) as file:
                    known = set(file.schema_arrow.names)
                    names = [n for n in (*_NEEDED, *_OPTIONAL) if n in known]
                    frames = _frames(file.read_row_group(inner, columns=names))
            except (pa.ArrowException, OSError, ValueError, TypeError) as error:
                raise SourceError(
                    f"{path}: row group {inner} cannot be read ({error}). Export it "
                    "again."
                ) from error
            self._last = (number, frames)
        return self._last[1]


def _metadata(path: Path) -> Any:
    try:
        with pq.ParquetFile(path) as file:
            names = set(file.schema_arrow.names)
            metadata = file.metadata
    except (pa.ArrowException, OSError) as error:
        raise SourceError(f"{path}: is no readable Parquet file ({error}).") from error
    missing = [name for name in _NEEDED if name not in names]
    if missing:
        raise SourceError(
            f"{path}: has no column {missing[0]}; expected {', '.join(_NEEDED)}. Turn "
            "it into another format first, e.g. with pandas and ASE."
        )
    return metadata


def _frames(table: pa.Table) -> Frames:
    columns = {name: table[name].combine_chunks() for name in table.schema.names}
    n = table.num_rows
    z = columns["atomic_numbers"]
    edges = offsets(np.diff(_offsets(z)))
    numbers = _flat(z, 1).astype(np.int64)
    if len(numbers) and not 0 < numbers.min() <= numbers.max() < 119:
        raise ValueError(f"atomic number {numbers.min()} or {numbers.max()}")
    box = _tensors(columns.get("cell"), n)
    pbc = columns.get("pbc")
    given = np.logical_not(np.isnan(box).any(axis=(1, 2)))
    return Frames(
        atom_offset=edges,
        z=numbers.astype(np.uint8),
        coord=_vectors(columns["positions"], edges),
        force=_vectors(columns["forces"], edges),
        box=box,
        pbc=(
            np.repeat(given[:, None], 3, axis=1)
            if pbc is None
            else _flat(pbc, 1).astype(np.bool_).reshape(n, 3)
        ),
        energy=columns["energy"].to_numpy(zero_copy_only=False).astype(np.float64),
        virial=_tensors(columns.get("virial"), n),
    )


def _offsets(lists: Any) -> NDArray[np.int64]:
    edges: NDArray[np.int64] = lists.offsets.to_numpy().astype(np.int64)
    return edges


def _flat(lists: Any, depth: int) -> NDArray[Any]:
    """Take all numbers of nested lists; ``flatten`` leaves out what is null."""
    for _ in range(depth):
        lists = lists.flatten()
    flat: NDArray[Any] = lists.to_numpy(zero_copy_only=False)
    return flat


def _vectors(lists: Any, edges: NDArray[np.int64]) -> NDArray[Any]:
    """(atom, 3) of all frames; NaN where a frame has none."""
    given = lists.is_valid().to_numpy(zero_copy_only=False)
    flat = _flat(lists, 2)
    counts = np.diff(edges)
    out = np.full((int(edges[-1]), 3), np.nan, dtype=flat.dtype)
    out[np.repeat(given, counts)] = flat.reshape(-1, 3)
    return out


def _tensors(lists: Any, n: int) -> NDArray[np.float64]:
    out = np.full((n, 3, 3), np.nan)
    if lists is not None:
        given = lists.is_valid().to_numpy(zero_copy_only=False)
        out[given] = _flat(lists, 2).reshape(-1, 3, 3)
    return out
