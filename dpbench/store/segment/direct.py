"""Reading a segment's arrays straight from the mapped shard files.

zarr-python spends milliseconds on each small read; a batch of random frames needs
hundreds. The shards of a segment are uncompressed, so a frame is a slice of a mapped
file. What is not laid out so (another codec, another writer) goes through zarr-python.
"""

import errno
import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, final

import numpy as np
from numpy.typing import NDArray

from dpbench.errors import DatasetError
from dpbench.store.segment.mapping import map_file

INDEX_ENTRY = 16
"""Bytes of one (offset, length) pair of a shard's index."""

CRC_SIZE = 4
"""Bytes of the checksum behind a shard's index."""


NO_CHUNK = np.uint64(2**64 - 1)
"""Offset and length of a chunk that a shard does not hold."""


class RowReader(Protocol):
    """Copies ranges of rows of one array."""

    dtype: np.dtype[Any]
    rows: int

    def copy(self, start: int, stop: int, out: NDArray[Any]) -> None:
        """Copy rows ``start:stop``, which must exist, into ``out``."""


@final
class MappedArray:
    """One array whose shards are mapped into memory."""

    __slots__ = ("dtype", "files", "rows", "shard_rows", "views")

    def __init__(
        self,
        views: Sequence[NDArray[Any]],
        *,
        shard_rows: int,
        files: Sequence[tuple[Path, int]] = (),
    ) -> None:
        """Hold the views, one for each shard; all but the last have shard_rows rows.

        Args:
            views: Rows of each shard.
            shard_rows: Rows of a shard.
            files: (file, bytes) of the shards, as they were when they were mapped.
        """
        self.views = tuple(views)
        self.shard_rows = shard_rows
        self.files = tuple(files)
        self.dtype = views[0].dtype
        self.rows = sum(len(view) for view in views)

    def copy(self, start: int, stop: int, out: NDArray[Any]) -> None:
        """Copy rows ``start:stop``, which must exist, into ``out``."""
        size = self.shard_rows
        shard = start // size
        begin = shard * size
        if stop <= begin + size:
            out[:] = self.views[shard][start - begin : stop - begin]
            return
        middle = begin + size
        self.copy(start, middle, out[: middle - start])
        self.copy(middle, stop, out[middle - start :])


@final
class ZarrArray:
    """One array read through zarr-python: any codec, any store, slowly."""

    __slots__ = ("_array", "_where", "dtype", "rows", "shape")

    def __init__(self, store: Any, path: str = "") -> None:
        """Open the array.

        Args:
            store: A folder, or a store of zarr-python.
            path: Path of the array in it.

        Raises:
            DatasetError: If it is missing or damaged.
        """
        import zarr

        self._where = f"{store}/{path}" if path else str(store)
        with self._errors():
            self._array = zarr.open_array(store, path=path, mode="r", zarr_format=3)
        self.dtype = np.dtype(self._array.dtype)
        self.shape: tuple[int, ...] = tuple(self._array.shape)
        self.rows = self.shape[0] if self.shape else 0

    def copy(self, start: int, stop: int, out: NDArray[Any]) -> None:
        """Copy rows ``start:stop``, which must exist, into ``out``.

        Raises:
            DatasetError: If a file is missing or damaged.
        """
        with self._errors():
            out[:] = self._array[start:stop]

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except DatasetError:
            raise
        # Each codec and each store raises errors of its own.
        except Exception as error:
            said = str(error).partition("\n")[0]
            raise DatasetError(
                f"{self._where}: cannot be read ({type(error).__name__}: {said}); "
                "expected an array of a segment. Restore the segment from a copy, or "
                "ingest its sources again."
            ) from error


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
    if meta["shape"] != [rows, *shape]:
        raise _wrong_shape(folder, meta["shape"], [rows, *shape])
    try:
        layout = plain_layout(meta)
        dtype = np.dtype(meta["data_type"]).newbyteorder("<")
    except (KeyError, IndexError, TypeError, AttributeError):
        layout = None  # a form that we do not write: zarr-python decides
    if layout is None or dtype.kind not in "biuf":
        return ZarrArray(folder)
    chunk_rows, shard_rows = layout
    views, files = [], []
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
        files.append((path, data.nbytes))
        view = data.view(dtype).reshape(-1, *shape)
        views.append(view[: min(rows - start, shard_rows)])
    return MappedArray(views, shard_rows=shard_rows, files=files)


def open_remote_array(
    store: Any, path: str, *, rows: int, shape: tuple[int, ...]
) -> RowReader:
    """Open one array of a segment in another store than a folder.

    Args:
        store: A store of zarr-python.
        path: Path of the array in it.
        rows: Rows that the segment must have.
        shape: Shape of one row.

    Raises:
        DatasetError: If it is missing or damaged.
    """
    array = ZarrArray(store, path)
    if array.shape != (rows, *shape):
        raise _wrong_shape(path, list(array.shape), [rows, *shape])
    return array


def check_files(arrays: Iterable[RowReader]) -> None:
    """Look whether every mapped file is as long as when it was mapped.

    To read behind the end of a file that was cut since kills the process. Segments
    never change; this names what a disk or a person did to one.

    Raises:
        DatasetError: If a file has become shorter, or is gone.
    """
    for array in arrays:
        for path, size in array.files if isinstance(array, MappedArray) else ():
            try:
                found = path.stat().st_size
            except OSError as error:
                raise _missing(path, error) from error
            if found < size:
                raise _damaged(path, f"has {found} bytes, and had {size} or more")


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


def plain_layout(meta: dict[str, Any]) -> tuple[int, int] | None:
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
        and chunk[0] > 0
        and shard[0] > 0
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
        if error.errno == errno.ENOMEM:
            raise DatasetError(
                f"{path}: cannot be mapped; expected fewer maps than the system lets a "
                "process have (vm.max_map_count). Put the dataset's segments together "
                "with 'dpbench dataset pack'."
            ) from error
        raise _missing(path, error) from error
    tail = total * INDEX_ENTRY + CRC_SIZE
    if len(data) < tail:
        raise _damaged(path, f"has {len(data)} bytes, too few for its index")
    index = data[-tail:-CRC_SIZE].copy().view("<u8").reshape(total, 2)[:needed]
    if (index == NO_CHUNK).any():
        return None  # a chunk of fill values, which zarr-python makes up
    ends = index.sum(axis=1, dtype=np.uint64)
    if (ends > len(data) - tail).any() or (index[:, 1] != chunk_bytes).any():
        raise _damaged(path, f"has {len(data)} bytes, which do not fit its index")
    expected = np.arange(needed, dtype=np.uint64) * np.uint64(chunk_bytes)
    if (index[:, 0] != expected).any():
        return None
    return data[: needed * chunk_bytes]


def _wrong_shape(where: object, found: object, expected: object) -> DatasetError:
    return DatasetError(
        f"{where}: has shape {found}; expected {expected}. Restore the segment from a "
        "copy, or ingest its sources again."
    )


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
