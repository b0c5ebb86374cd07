"""Rows of a remote array by byte ranges: what is asked for travels, and no more.

zarr-python fetches the index of a shard and a whole chunk of 65 536 rows for every
slice. The shards of a segment are uncompressed and without gaps, so rows are a range of
bytes. What is not laid out so goes through zarr-python.
"""

import json
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from dpbench.errors import DatasetError
from dpbench.store.remote.store import RemoteStore
from dpbench.store.segment.direct import (
    CRC_SIZE,
    INDEX_ENTRY,
    RowReader,
    open_remote_array,
    plain_layout,
)


@final
class RemoteRows:
    """One array whose rows lie one behind the other in remote shards."""

    __slots__ = (
        "_checked",
        "_chunk_rows",
        "_fallback",
        "_key",
        "_remote",
        "_row_shape",
        "_shard_rows",
        "dtype",
        "rows",
    )

    def __init__(
        self,
        remote: RemoteStore,
        key: str,
        *,
        rows: int,
        row_shape: tuple[int, ...],
        dtype: np.dtype[Any],
        layout: tuple[int, int],
    ) -> None:
        """Hold what is known of the array; no shard is looked at yet.

        Args:
            remote: Where it is.
            key: Key of its folder.
            rows: Rows of the array.
            row_shape: Shape of one row.
            dtype: Type of its numbers, little-endian.
            layout: Rows of a chunk and of a shard.
        """
        self._remote, self._key = remote, key
        self.rows, self._row_shape, self.dtype = rows, row_shape, dtype
        self._chunk_rows, self._shard_rows = layout
        self._checked: set[int] = set()
        self._fallback: RowReader | None = None

    @property
    def _row_bytes(self) -> int:
        return int(np.prod(self._row_shape, dtype=np.int64)) * self.dtype.itemsize

    def copy(self, start: int, stop: int, out: NDArray[Any]) -> None:
        """Copy rows ``start:stop``, which must exist, into ``out``.

        Raises:
            DatasetError: If a shard is missing, cut or damaged.
            WorkspaceError: If the store cannot be reached.
        """
        for shard in range(start // self._shard_rows, -(-stop // self._shard_rows)):
            if shard not in self._checked and self._fallback is None:
                self._check(shard)
        if self._fallback is not None:
            self._fallback.copy(start, stop, out)
            return
        at = start
        while at < stop:
            shard = at // self._shard_rows
            first = shard * self._shard_rows
            end = min(stop, first + self._shard_rows)
            length = (end - at) * self._row_bytes
            data = self._bytes(shard, (at - first) * self._row_bytes, length)
            out[at - start : end - start] = data.view(self.dtype).reshape(
                -1, *self._row_shape
            )
            at = end

    def _check(self, shard: int) -> None:
        """Look whether the chunks of a shard lie one behind the other."""
        left = self.rows - shard * self._shard_rows
        needed = -(-min(left, self._shard_rows) // self._chunk_rows)
        total = self._shard_rows // self._chunk_rows
        tail = total * INDEX_ENTRY + CRC_SIZE
        data = self._bytes(shard, -tail, tail)[:-CRC_SIZE].copy()
        index = data.view("<u8").reshape(total, 2)[:needed]
        size = np.uint64(self._chunk_rows * self._row_bytes)
        expected = np.arange(needed, dtype=np.uint64) * size
        if (index[:, 0] == expected).all() and (index[:, 1] == size).all():
            self._checked.add(shard)
            return
        # Another writer's order, or damage: zarr-python knows the index's checksum.
        self._fallback = open_remote_array(
            self._remote.zarr_store(),
            self._key,
            rows=self.rows,
            shape=self._row_shape,
        )

    def _bytes(self, shard: int, start: int, length: int) -> NDArray[np.uint8]:
        data = self._remote.read_range(self._shard_key(shard), start, length)
        if data is None:
            raise _damaged(self._where(shard), "is missing")
        if len(data) != length:
            raise _damaged(self._where(shard), f"ends {length - len(data)} bytes early")
        return np.frombuffer(data, dtype=np.uint8)

    def _shard_key(self, shard: int) -> str:
        return "/".join([self._key, "c", str(shard), *("0" for _ in self._row_shape)])

    def _where(self, shard: int) -> str:
        return f"{self._remote.url}/{self._shard_key(shard)}"


def open_remote_rows(
    remote: RemoteStore, key: str, *, rows: int, shape: tuple[int, ...]
) -> RowReader:
    """Open one array of a remote segment.

    Args:
        remote: Where it is.
        key: Key of the array's folder.
        rows: Rows that the segment must have.
        shape: Shape of one row.

    Raises:
        DatasetError: If it is missing or damaged.
        WorkspaceError: If the store cannot be reached.
    """
    data = remote.read(f"{key}/zarr.json")
    where = f"{remote.url}/{key}/zarr.json"
    if data is None:
        raise _damaged(where, "is missing")
    layout, dtype = None, np.dtype(np.uint8)
    try:
        meta = json.loads(data)
        found = meta["shape"]
        layout = plain_layout(meta)
        dtype = np.dtype(meta["data_type"]).newbyteorder("<")
    except (ValueError, KeyError, IndexError, TypeError, AttributeError):
        found = [rows, *shape]  # a form that we do not write: zarr-python decides
    if found != [rows, *shape]:
        raise _damaged(where, f"has shape {found}; expected {[rows, *shape]}")
    if layout is None or dtype.kind not in "biuf":
        return open_remote_array(remote.zarr_store(), key, rows=rows, shape=shape)
    return RemoteRows(
        remote, key, rows=rows, row_shape=shape, dtype=dtype, layout=layout
    )


def _damaged(where: str, found: str) -> DatasetError:
    return DatasetError(
        f"{where}: {found}; expected a file of a segment as it was written. Restore "
        "the segment from a copy of the store, or ingest its sources again."
    )
