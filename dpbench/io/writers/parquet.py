"""Writer of ``parquet``: a folder as Hugging Face's hub has it.

``data/SPLIT-00000-of-00001.parquet``, a dataset card ``README.md`` and Croissant
metadata ``croissant.json``. One row a frame; nested lists; null = no label.

Source: Hugging Face hub documentation, "Dataset cards"; Croissant format 1.1.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from dpbench.frames import Frames, offsets
from dpbench.io.exchange.content import Content, is_given
from dpbench.io.writers import Written
from dpbench.io.writers.parquet_columns import COLUMNS, split_name

ROW_GROUP = 1000
"""Most frames of a row group, which is what a reader takes at once."""

SHARD_BYTES = 2_000_000_000
"""Bytes of arrays after which the next file is begun."""


def write(folder: Path, content: Content) -> Written:
    """Write all frames below ``folder / "data"``."""
    (folder / "data").mkdir()
    schema = arrow_schema(content.dtype)
    names = _file_names(content)
    shards = _shards(content, len(names))
    for name, positions in zip(names, shards, strict=True):
        with pq.ParquetWriter(
            folder / name, schema, compression="zstd", use_dictionary=False
        ) as writer:
            for chunk, frames in content.blocks(positions):
                for start in range(0, len(chunk), ROW_GROUP):
                    part = np.arange(start, min(start + ROW_GROUP, len(chunk)))
                    table = _table(content, chunk[part], frames.select(part), schema)
                    writer.write_table(table, row_group_size=ROW_GROUP)
    count = int((content.survey.numb_aparam > 0).sum())
    if not count:
        return Written()
    note = (
        f"the numbers of atoms (aparam) of {count} frames: an import gives them "
        "without, and another digest; take any other format"
    )
    return Written(is_lossless=False, notes=(note,))


def arrow_schema(dtype: np.dtype[Any]) -> pa.Schema:
    """Return the columns, coordinates and forces of type ``dtype``."""
    single = pa.from_numpy_dtype(dtype)
    vectors = pa.list_(pa.list_(single))
    tensor = pa.list_(pa.list_(pa.float64()))
    types = {
        "formula": pa.string(),
        "natoms": pa.int32(),
        "atomic_numbers": pa.list_(pa.uint8()),
        "positions": vectors,
        "cell": tensor,
        "pbc": pa.list_(pa.bool_()),
        "energy": pa.float64(),
        "forces": vectors,
        "virial": tensor,
        "source": pa.string(),
        "step": pa.int32(),
        "theory": pa.string(),
        "charge": pa.float64(),
        "multiplicity": pa.int16(),
        "temperature": pa.float64(),
    }
    return pa.schema([pa.field(name, types[name]) for name in COLUMNS])


def _file_names(content: Content) -> list[str]:
    n_numbers = content.natoms.sum() * 6 + content.nframes * 20
    count = max(1, -(-int(n_numbers) * content.dtype.itemsize // SHARD_BYTES))
    count = min(count, content.nframes)
    split = split_name(content.part)
    return [f"data/{split}-{i:05d}-of-{count:05d}.parquet" for i in range(count)]


def _shards(content: Content, count: int) -> Iterator[NDArray[np.int64]]:
    yield from np.array_split(np.arange(content.nframes), count)


def _table(
    content: Content, positions: NDArray[np.int64], frames: Frames, schema: pa.Schema
) -> pa.Table:
    sources = [content.sources[i] for i in content.source[positions].tolist()]
    formulas = content.version.formulas
    has_force = frames.has_force
    told = {name: v[positions] for name, v in content.electrons.items()}
    columns = {
        "formula": pa.array([formulas[i] for i in content.frames[positions].tolist()]),
        "natoms": pa.array(frames.natoms, pa.int32()),
        "atomic_numbers": _lists(frames.atom_offset, pa.array(frames.z)),
        "positions": _vectors(frames.atom_offset, frames.coord, schema),
        "cell": _tensors(frames.box),
        "pbc": _lists(np.arange(frames.nframes + 1) * 3, pa.array(frames.pbc.ravel())),
        "energy": pa.array(frames.energy, mask=~frames.has_energy),
        "forces": _vectors(frames.atom_offset, frames.force, schema, given=has_force),
        "virial": _tensors(frames.virial),
        "source": pa.array([source.sha256 for source in sources]),
        "step": pa.array(content.step[positions]),
        "theory": pa.array([source.theory_id for source in sources]),
        "charge": _known(told["charge"]),
        "multiplicity": pa.array(told["multiplicity"], mask=told["multiplicity"] < 1),
        "temperature": _known(told["temperature"]),
    }
    return pa.table([columns[name] for name in COLUMNS], schema=schema)


def _known(values: NDArray[np.float64]) -> pa.Array:
    return pa.array(values, mask=np.isnan(values))


def _lists(
    edges: NDArray[np.int64], values: pa.Array, mask: NDArray[np.bool_] | None = None
) -> pa.Array:
    return pa.ListArray.from_arrays(
        pa.array(edges, pa.int32()),
        values,
        mask=None if mask is None else pa.array(mask),
    )


def _vectors(
    edges: NDArray[np.int64],
    array: NDArray[np.floating],
    schema: pa.Schema,
    given: NDArray[np.bool_] | None = None,
) -> pa.Array:
    """Lists of (x, y, z), of the frames that have them; the others are null."""
    single = schema.field("positions").type.value_type.value_type
    counts = np.diff(edges)
    if given is not None:
        array = array[np.repeat(given, counts)]
        counts = np.where(given, counts, 0)
    rows = _lists(np.arange(len(array) + 1) * 3, pa.array(array.ravel(), single))
    return _lists(offsets(counts), rows, None if given is None else ~given)


def _tensors(array: NDArray[np.float64]) -> pa.Array:
    """Lists of three rows; frames that have none are null."""
    given = is_given(array)
    rows = array[given].reshape(-1, 3)
    inner = _lists(np.arange(len(rows) + 1) * 3, pa.array(rows.ravel()))
    return _lists(offsets(np.where(given, 3, 0)), inner, np.logical_not(given))
