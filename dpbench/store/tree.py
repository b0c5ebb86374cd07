"""A version as an xarray DataTree for notebooks: named dimensions, units, lazy arrays.

Every array is a dask array over the segments' rows that the version keeps. Nothing but
manifests is read until something is computed; what is computed is read shard by shard.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dpbench.frames import ATOM_FIELDS, FRAME_FIELDS
from dpbench.store.masks import kept_rows
from dpbench.store.segment import layout
from dpbench.store.segment.read import Segment
from dpbench.store.workspace import Workspace

if TYPE_CHECKING:
    import xarray

    from dpbench.store.dataset import DatasetVersion

BLOCK_FRAMES = 65_536
"""Frames of a dask block; blocks of atoms are as large as a shard."""

OPEN_SEGMENTS = 256
"""Segments whose maps a process keeps for the blocks that it computes."""


def open_tree(version: "DatasetVersion") -> "xarray.DataTree":
    """Lay a version out as a tree.

    Returns:
        The groups ``frames`` (one row a frame), ``atoms`` (one row an atom; the rows
        of frame i are ``atom_offset[i]`` to ``atom_offset[i + 1]``), ``sources`` and
        ``compositions``, to which ``frames/source_id`` and ``frames/system_id`` point.
        Units and descriptions are attributes.

    Raises:
        DatasetError: If a manifest is missing or damaged.
    """
    # Imported here: xarray and dask take a second, and training does without them.
    import xarray

    parts = list(_parts(version))
    table, formulas = _composition_table(version)
    frames = {
        name: _variable(spec, [_frame_column(part, name, table) for part in parts])
        for name, spec in (layout.FRAMES | layout.OPTIONAL_FRAMES).items()
        if name != "atom_offset"
    }
    offset = [_Column(part=part, name="atom_end", shift=part.atoms) for part in parts]
    frames["atom_offset"] = _variable(layout.FRAMES["atom_offset"], offset, first=0)
    atoms = {
        name: _variable(spec, [_Column(part=part, name=name) for part in parts])
        for name, spec in layout.ATOMS.items()
    }
    width = max((segment.numb_aparam for segment in version.segments), default=0)
    if width:
        columns = [_Column(part=part, name="aparam", width=width) for part in parts]
        atoms["aparam"] = _variable(replace(layout.APARAM, shape=(width,)), columns)
    sources = [s for segment in version.segments for s in segment.manifest["sources"]]
    told = {
        key: ("source", np.array([str(s[key] or "") for s in sources], dtype=np.str_))
        for key in ("path", "format", "code", "code_version", "theory")
    }
    return xarray.DataTree.from_dict(
        {
            "/": xarray.Dataset(attrs=_attributes(version)),
            "/frames": xarray.Dataset(frames),
            "/atoms": xarray.Dataset(atoms),
            "/sources": xarray.Dataset(told),
            "/compositions": xarray.Dataset({"formula": ("composition", formulas)}),
        },
        name=version.label,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Part:
    """The rows of one segment that a version keeps."""

    root: Path
    segment: str
    starts: tuple[int, ...]
    """First frame row of each run of kept rows."""
    stops: tuple[int, ...]
    """The row after the last of each run."""
    atoms: int
    """Atoms of the version before this segment."""
    natoms: int
    """Atoms of the kept rows."""
    sources: int
    """Sources of the version before this segment."""

    @property
    def nframes(self) -> int:
        """Number of kept rows."""
        return sum(self.stops) - sum(self.starts)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Column:
    """One array of a part, as dask wants an array to be; it pickles small."""

    part: _Part
    name: str
    shift: int = 0
    """Added to values that count within the segment."""
    table: tuple[int, ...] = ()
    """Values by what stands in the segment."""
    width: int = 0
    """Numbers in a row of ``aparam``."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Rows, and the shape of a row."""
        rows = self.part.natoms if self._is_atom else self.part.nframes
        return (rows, *self._spec.shape)

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return len(self.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the values."""
        if self._spec.dtype == "float":
            return _open(self.part.root, self.part.segment).array(self.name).dtype
        return np.dtype(self._spec.dtype)

    def __getitem__(self, key: tuple[slice, ...]) -> NDArray[Any]:
        """Read kept rows, of which ``key`` names a range."""
        rows, *rest = key
        start, stop, _ = rows.indices(self.shape[0])
        values = self._read(start, stop)
        if self.table:
            values = np.array(self.table, dtype=self.dtype)[values]
        return (values + self.dtype.type(self.shift) if self.shift else values)[
            (slice(None), *rest)
        ]

    @property
    def _is_atom(self) -> bool:
        return self.name in ATOM_FIELDS or self.name == "aparam"

    @property
    def _spec(self) -> layout.ArraySpec:
        if self.name == "aparam":
            return replace(layout.APARAM, shape=(self.width,))
        if self.name == "atom_end":
            return layout.FRAMES["atom_offset"]
        specs = layout.ATOMS | layout.FRAMES | layout.OPTIONAL_FRAMES
        return specs[self.name]

    def _read(self, start: int, stop: int) -> NDArray[Any]:
        segment = _open(self.part.root, self.part.segment)
        if self.name == "atom_end":
            natoms = segment.facts["natoms"][_rows(self.part)]
            ends: NDArray[Any] = np.cumsum(natoms, dtype=np.int64)[start:stop]
            return ends
        if not self._is_atom and self.name not in FRAME_FIELDS:
            facts: NDArray[Any] = segment.facts[self.name][_rows(self.part)][start:stop]
            return facts
        edges = np.array([self.part.starts, self.part.stops])
        if self._is_atom and len(self.part.starts):
            edges = segment.atom_offset[edges]
        out = np.empty((max(0, stop - start), *self._spec.shape), dtype=self.dtype)
        if self.name == "aparam":
            out[:] = np.nan
            if not segment.numb_aparam:
                return out
        before = np.concatenate([[0], np.cumsum(edges[1] - edges[0])])
        for run, first in enumerate(edges[0].tolist()):
            low, high = max(start, before[run]), min(stop, before[run + 1])
            if low < high:
                at = first + int(low - before[run])
                target = out[low - start : high - start]
                if self.name == "aparam":
                    target = target[:, : segment.numb_aparam]
                segment.array(self.name).copy(at, at + int(high - low), target)
        return out


@lru_cache(maxsize=OPEN_SEGMENTS)
def _open(root: Path, segment_id: str) -> Segment:
    return Segment(Workspace.find(root), segment_id)


def _rows(part: _Part) -> NDArray[np.int64]:
    runs = zip(part.starts, part.stops, strict=True)
    return np.concatenate(
        [np.zeros(0, dtype=np.int64), *(np.arange(a, b) for a, b in runs)]
    )


def _parts(version: "DatasetVersion") -> Iterator[_Part]:
    atoms = sources = 0
    entries = version.payload["data"]
    for segment, entry in zip(version.segments, entries, strict=True):
        rows = kept_rows(segment.nframes, entry["excluded"])
        breaks = np.flatnonzero(np.diff(rows) != 1) + 1
        runs = [run for run in np.split(rows, breaks) if len(run)]
        natoms = int(segment.manifest["n_atoms"])
        if len(rows) < segment.nframes:
            natoms = int(segment.facts["natoms"][rows].sum(dtype=np.int64))
        yield _Part(
            root=version.workspace.root,
            segment=segment.id,
            starts=tuple(int(run[0]) for run in runs),
            stops=tuple(int(run[-1]) + 1 for run in runs),
            atoms=atoms,
            natoms=natoms,
            sources=sources,
        )
        atoms += natoms
        sources += len(segment.manifest["sources"])


def _frame_column(
    part: _Part, name: str, table: Mapping[str, tuple[int, ...]]
) -> _Column:
    if name == "source_id":
        return _Column(part=part, name=name, shift=part.sources)
    if name == "system_id":
        return _Column(part=part, name=name, table=table[part.segment])
    return _Column(part=part, name=name)


def _composition_table(
    version: "DatasetVersion",
) -> tuple[dict[str, tuple[int, ...]], NDArray[np.str_]]:
    """Return where each segment's compositions stand in those of the version."""
    manifests = {segment.id: segment.manifest for segment in version.segments}
    names = sorted({f for m in manifests.values() for f in m["compositions"]})
    table = {
        key: tuple(names.index(formula) for formula in manifest["compositions"])
        for key, manifest in manifests.items()
    }
    return table, np.array(names, dtype=np.str_)


def _variable(
    spec: layout.ArraySpec, columns: list[_Column], *, first: int | None = None
) -> "xarray.Variable":
    """Put columns behind each other, with the names and units of the layout."""
    import dask.array as lazy
    import xarray

    is_atom = spec.dims[0] == "atom"
    rows = layout.SHARD_ROWS if is_atom else BLOCK_FRAMES
    blocks: list[Any] = []
    if first is not None:
        blocks.append(_from_array(np.array([first], dtype=spec.dtype), chunks=1))
    for column in columns:
        if column.shape[0]:
            name = f"{column.name}-{column.part.segment[:16]}-{hash(column):x}"
            chunks = (rows, *column.shape[1:])
            blocks.append(_from_array(column, chunks=chunks, name=name))
    dtype = "f8" if spec.dtype == "float" else spec.dtype
    none = _from_array(np.zeros((0, *spec.shape), dtype=dtype), chunks=-1)
    concatenate: Any = lazy.concatenate
    attributes = {"description": spec.description}
    if spec.units:
        attributes["units"] = spec.units
    data = concatenate(blocks) if blocks else none
    return xarray.Variable(spec.dims, data, attrs=attributes)


def _from_array(array: Any, **options: Any) -> Any:
    import dask.array as lazy

    make: Any = lazy.from_array
    return make(array, **options)


def _attributes(version: "DatasetVersion") -> dict[str, Any]:
    return {
        "dataset": version.name,
        "version": version.number,
        "digest": version.digest,
        "n_frames": version.nframes,
        "n_atoms": version.payload["n_atoms"],
        "created_at": version.payload["created_at"],
    }
