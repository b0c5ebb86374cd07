"""Reading a segment's arrays straight from the mapped shard files.

zarr-python spends milliseconds on each small read; a batch of random frames needs
hundreds. The shards of a segment are uncompressed, so a frame is a slice of a mapped
file. What is not laid out so (another codec, another writer) goes through zarr-python.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from dpbench.errors import DatasetError
from dpbench.store.mapping import map_file

INDEX_ENTRY = 16
"""Bytes of one (offset, length) pair of a shard's index."""

CRC_SIZE = 4
"""Bytes of the checksum behind a shard's index."""


class RowReader(Protocol):
    """Copies ranges of rows of one array."""

    dtype: np.dtype[Any]
    rows: int

    def copy(self, start: int, stop: int, out: NDArray[Any]) -> None:
        """Copy rows ``start:stop``, which must exist, into ``out``."""


class MappedArray:
    """One array whose shards are mapped into memory."""

    __slots__ = ("_shard_rows", "_views", "dtype", "rows")

    def __init__(self, views: Sequence[NDArray[Any]], *, shard_rows: int) -> None:
        """Hold the views, one for each shard; all but the last have shard_rows rows."""
        self._views = tuple(views)
        self._shard_rows = shard_rows
        self.dtype = views[0].dtype
        self.rows = sum(len(view) for view in views)

    def copy(self, start: int, stop: int, out: NDArray[Any]) -> None:
        """Copy rows ``start:stop``, which must exist, into ``out``."""
        size = self._shard_rows
        shard = start // size
        begin = shard * size
        if stop <= begin + size:
            out[:] = self._views[shard][start - begin : stop - begin]
            return
        middle = begin + size
        self.copy(start, middle, out[: middle - start])
        self.copy(middle, stop, out[middle - start :])


class ZarrArray:
    """One array read through zarr-python: any codec, slowly."""

    __slots__ = ("_array", "dtype", "rows")

    def __init__(self, folder: Path) -> None:
        """Open the array."""
        import zarr

        self._array = zarr.open_array(folder, mode="r", zarr_format=3)
        self.dtype = np.dtype(self._array.dtype)
        self.rows = int(self._array.shape[0])

    def copy(self, start: int, stop: int, out: NDArray[Any]) -> None:
        """Copy rows ``start:stop``, which must exist, into ``out``."""
        out[:] = self._array[start:stop]


def open_array(folder: Path, *, rows: int, shape: tuple[int, ...]) -> RowReader:
    """Open one array of a segment, mapped if its layout allows.

    Args:
        folder: The array's folder, with ``zarr.json``.
        rows: Rows that the segment must have.
        shape: Shape of one row.

    Raises:
        DatasetError: If a file is missing, cut or damaged.
    """
    meta = _read_metadata(folder)
    if list(meta["shape"]) != [rows, *shape]:
        raise DatasetError(
            f"{folder}: has shape {meta['shape']}; expected {[rows, *shape]}. "
            "Restore the segment from a copy, or ingest its sources again."
        )
    try:
        layout = _plain_layout(meta)
    except (KeyError, IndexError, TypeError, AttributeError):
        layout = None  # a form that we do not write: zarr-python decides
    if layout is None:
        return ZarrArray(folder)
    chunk_rows, shard_rows = layout
    dtype = np.dtype(meta["data_type"]).newbyteorder("<")
    views = []
    for number, start in enumerate(range(0, rows, shard_rows)):
        path = folder.joinpath("c", str(number), *("0" for _ in shape))
        needed = -(-min(rows - start, shard_rows) // chunk_rows)
        chunk_bytes = chunk_rows * int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        data = _map_shard(
            path,
            needed=needed,
            total=shard_rows // chunk_rows,
            chunk_bytes=chunk_bytes,
        )
        if data is None:
            return ZarrArray(folder)
        view = data.view(dtype).reshape(-1, *shape)
        views.append(view[: min(rows - start, shard_rows)])
    return MappedArray(views, shard_rows=shard_rows)


def _read_metadata(folder: Path) -> dict[str, Any]:
    path = folder / "zarr.json"
    try:
        meta = json.loads(path.read_bytes())
        meta["shape"], meta["data_type"], meta["codecs"], meta["chunk_grid"]
    except OSError as error:
        raise _missing(path, error) from error
    except (ValueError, KeyError, TypeError) as error:
        raise DatasetError(
            f"{path}: is not the metadata of a Zarr v3 array; the file is damaged. "
            "Restore the segment from a copy, or ingest its sources again."
        ) from error
    checked: dict[str, Any] = meta
    return checked


def _plain_layout(meta: dict[str, Any]) -> tuple[int, int] | None:
    """Return (chunk rows, shard rows) if shards hold plain bytes only, else None."""
    codecs, shape = meta["codecs"], meta["shape"]
    if len(codecs) != 1 or codecs[0]["name"] != "sharding_indexed":
        return None
    inner = codecs[0]["configuration"]
    shard = meta["chunk_grid"]["configuration"]["chunk_shape"]
    chunk = inner["chunk_shape"]
    is_plain = (
        inner["index_location"] == "end"
        and [codec["name"] for codec in inner["codecs"]] == ["bytes"]
        and [codec["name"] for codec in inner["index_codecs"]] == ["bytes", "crc32c"]
        and _is_little(inner["codecs"][0])
        and _is_little(inner["index_codecs"][0])
        and meta["chunk_key_encoding"]
        == {"name": "default", "configuration": {"separator": "/"}}
        and not meta.get("storage_transformers")
        and shard[1:] == chunk[1:] == shape[1:]
        and shard[0] % chunk[0] == 0
    )
    return (chunk[0], shard[0]) if is_plain else None


def _is_little(codec: dict[str, Any]) -> bool:
    endian = codec.get("configuration", {}).get("endian", "little")
    return bool(endian == "little")


def _map_shard(
    path: Path, *, needed: int, total: int, chunk_bytes: int
) -> NDArray[np.uint8] | None:
    """Map the data of a shard if its chunks lie in order without gaps, else None."""
    try:
        data = map_file(path)
    except OSError as error:
        raise _missing(path, error) from error
    tail = total * INDEX_ENTRY + CRC_SIZE
    if len(data) < tail:
        raise _damaged(path, f"has {len(data)} bytes, too few for its index")
    index = data[-tail:-CRC_SIZE].copy().view("<u8").reshape(total, 2)[:needed]
    ends = index.sum(axis=1, dtype=np.uint64)
    if (ends > len(data) - tail).any() or (index[:, 1] != chunk_bytes).any():
        raise _damaged(path, f"has {len(data)} bytes, which do not fit its index")
    expected = np.arange(needed, dtype=np.uint64) * np.uint64(chunk_bytes)
    if (index[:, 0] != expected).any():
        return None
    return data[: needed * chunk_bytes]


def _missing(path: Path, error: OSError) -> DatasetError:
    return DatasetError(
        f"{path}: cannot be read ({error.strerror}); expected a file of a segment. "
        "Restore the segment from a copy, or ingest its sources again."
    )


def _damaged(path: Path, found: str) -> DatasetError:
    return DatasetError(
        f"{path}: {found}; the file is cut or damaged. "
        "Restore the segment from a copy, or ingest its sources again."
    )
