"""Checksums of the chunks of a segment's arrays: they tell where a file is damaged.

The sha256 of every file is in the segment's manifest and tells that it is. Beside it
stand, for each shard, its size, the CRC-32 of its index and of every chunk as it lies
in the file, compressed or not: a single flipped bit changes exactly one of them.
"""

import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpbench.store.segment import layout
from dpbench.store.segment.direct import CRC_SIZE, INDEX_ENTRY, NO_CHUNK

ABSENT = "-"
"""What stands for a chunk that a shard does not hold."""

Entry = dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """A damaged part of an array's file."""

    part: str
    """``chunk``, ``index`` (of the shard), ``end`` (it is cut, or too long)."""
    first: int
    """Number of the first chunk in the array that it concerns."""
    last: int
    """Number of the last one."""
    rows: int
    """Rows of a chunk."""


def array_of(name: str) -> str | None:
    """Return ``atoms/coord`` of a file of that array, metadata too; else None."""
    parts = PurePosixPath(name).parts
    is_array = len(parts) > 3 and parts[0] == layout.GROUP
    return "/".join(parts[1:3]) if is_array else None


def checksums(folder: Path, files: Sequence[str]) -> dict[str, Entry]:
    """Checksum the shards among the files of a segment that has just been written."""
    found = {}
    for name in files:
        array = array_of(name)
        if array is None or PurePosixPath(name).name == "zarr.json":
            continue
        meta = json.loads((folder / layout.GROUP / array / "zarr.json").read_bytes())
        inner = meta["codecs"][0]["configuration"]
        rows = int(inner["chunk_shape"][0])
        per_shard = int(meta["chunk_grid"]["configuration"]["chunk_shape"][0]) // rows
        data = (folder / name).read_bytes()
        found[name] = {
            "bytes": len(data),
            "rows": rows,
            "index": _crc(data[-_tail(per_shard) :]),
            "chunks": " ".join(_chunks(data, per_shard)),
        }
    return found


def damaged_places(name: str, entry: Entry, data: bytes) -> list[Place]:
    """Find the damaged parts of a shard.

    Args:
        name: Its path in the segment, ``segment.zarr/atoms/coord/c/NUMBER/0``.
        entry: What ``checksums`` has said of it.
        data: Its content as it is now.
    """
    expected = entry["chunks"].split()
    per_shard = len(expected)
    start = _shard_number(name) * per_shard
    there = [i for i, crc in enumerate(expected) if crc != ABSENT]
    rows = int(entry["rows"])
    first, last = start + there[0], start + there[-1]
    whole = {"first": first, "last": last, "rows": rows}
    if len(data) != entry["bytes"]:
        return [Place(part="end", **whole)]
    if _crc(data[-_tail(per_shard) :]) != entry["index"]:
        return [Place(part="index", **whole)]
    found = _chunks(data, per_shard)
    return [
        Place(part="chunk", first=start + i, last=start + i, rows=rows)
        for i in there
        if found[i] != expected[i]
    ]


def frames_of(
    place: Place, array: str, atom_offset: NDArray[np.int64]
) -> tuple[int, int] | None:
    """Return the range of frames [start, stop) whose rows a place holds.

    Args:
        place: Where the damage is.
        array: ``atoms/coord`` or the like.
        atom_offset: (frame + 1), first atom row of each frame of the segment.
    """
    nframes = len(atom_offset) - 1
    start, stop = place.first * place.rows, (place.last + 1) * place.rows
    if array.startswith("atoms/"):
        start = int(np.searchsorted(atom_offset, start, side="right")) - 1
        stop = int(np.searchsorted(atom_offset, stop, side="left"))
    start, stop = max(0, min(start, nframes - 1)), min(stop, nframes)
    return (start, stop) if start < stop else None


def _shard_number(name: str) -> int:
    parts = PurePosixPath(name).parts
    return int(parts[parts.index("c") + 1])


def _tail(per_shard: int) -> int:
    return per_shard * INDEX_ENTRY + CRC_SIZE


def _chunks(data: bytes, per_shard: int) -> list[str]:
    """Checksum the chunks of a shard, in the order of its index."""
    tail = data[-_tail(per_shard) : -CRC_SIZE]
    index = np.frombuffer(tail, dtype="<u8").reshape(per_shard, 2)
    return [
        ABSENT
        if offset == NO_CHUNK
        else _crc(memoryview(data)[int(offset) : int(offset) + int(length)])
        for offset, length in index
    ]


def _crc(data: bytes | memoryview) -> str:
    return f"{zlib.crc32(data):08x}"
