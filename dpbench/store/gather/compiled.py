"""The compiled gather: frames from mapped shards into arrays that are there already.

Python spends more than a microsecond on every slice that it copies, and a batch of 32
random frames is 224 slices. Here one call copies them all, without the interpreter's
lock. Importing this module loads numba; what only lists or plans does not import it.

Addresses are checked before anything is read through them: indices against the version,
rows against the shards that were mapped.
"""

from typing import Any

import numpy as np
from numba import njit

from dpbench.store.gather.intrinsics import copy_bytes, touch, widen
from dpbench.store.gather.table import FRAME_COLUMN, NFIELDS

OUT_OF_BOUNDS = -1
"""``measure`` found an index that the version does not have."""

FIRST_CLOSED = -2
"""``measure`` found segment 0 not open; segment N gives N less."""

AHEAD = 2
"""Frames that memory is asked for ahead of the copy."""

LINE, PAGE = 64, 4096
"""Bytes of a cache line and of a page of memory."""

HEAD = 8 * LINE
"""Bytes of a run that are asked for; then the processor sees that it goes on."""

_compiled: Any = njit(nogil=True, cache=True, error_model="numpy")
_inlined: Any = njit(nogil=True, error_model="numpy", inline="always")


@_compiled
def measure(index, places, itemsize, offset, widest):  # type: ignore[no-untyped-def]
    """Check indices, and find the size of what they name.

    Args:
        index: (picked), frame indices.
        places: (frame, 4), see ``GatherTable.places``.
        itemsize: (segment, field), see ``GatherTable``; 0 where it is not open.
        offset: (picked + 1), filled with the first atom of each picked frame.
        widest: (field), filled with the largest item of the segments that are used.

    Returns:
        0, ``OUT_OF_BOUNDS``, or ``FIRST_CLOSED - N`` if segment N is not open.
    """
    nframes = len(places)
    offset[0] = 0
    widest[:] = 0
    last = -1
    for i in range(len(index)):
        frame = index[i]
        if frame < 0 or frame >= nframes:
            return OUT_OF_BOUNDS
        segment = places[frame, 0]
        if segment != last:
            last = segment
            if itemsize[segment, 0] == 0:
                return FIRST_CLOSED - segment
            for field in range(len(widest)):
                widest[field] = max(widest[field], itemsize[segment, field])
        offset[i + 1] = offset[i] + places[frame, 3]
    return 0


@_inlined
def _touch_head(source, size):  # type: ignore[no-untyped-def]
    """Ask for the first lines of a run of bytes, and of its second page of memory."""
    for at in range(0, min(size, HEAD), LINE):
        touch(source + np.uint64(at))
    page = PAGE - np.int64(source & np.uint64(PAGE - 1))
    for at in range(page, min(size, page + HEAD), LINE):
        touch(source + np.uint64(at))


@_inlined
def _copy_rows(source, shards, rows, sizes, target):  # type: ignore[no-untyped-def]
    """Copy rows of one array from ``source`` on, across shards where they lie so."""
    address, first, shard_rows = shards
    start, count = rows
    items, have, want = sizes
    if have == want and start + count <= shard_rows:
        copy_bytes(target, source, count * items * have)
        return
    done = 0
    while done < count:
        shard = (start + done) // shard_rows
        inside = start + done - shard * shard_rows
        if done:
            source = address[first + shard]
        part = min(count - done, shard_rows - inside)
        to = target + np.uint64(done * items * want)
        if have == want:
            copy_bytes(to, source, part * items * have)
        else:
            for i in range(part * items):
                widen(to, source, i)
        done += part


@_inlined
def _address_of(place, field, table, address, items):  # type: ignore[no-untyped-def]
    """Find where the first row of a frame lies in one array."""
    itemsize, first, shard_rows = table
    segment = place[0]
    row = place[1] if field >= FRAME_COLUMN else place[2]
    rows = shard_rows[segment, field]
    # Most arrays are one shard, and a division is as slow as a small copy.
    shard = 0 if row < rows else row // rows
    inside = (row - shard * rows) * items[field] * itemsize[segment, field]
    return address[first[segment, field] + shard] + np.uint64(inside)


@_compiled
def copy(  # type: ignore[no-untyped-def]
    index, places, offset, table, address, items, widest, target
):
    """Copy the picked frames; ``measure`` has accepted the indices.

    Args:
        index: (picked), frame indices.
        places: (frame, 4), see ``GatherTable.places``.
        offset: (picked + 1), from ``measure``.
        table: (itemsize, first, shard_rows), each (segment, field).
        address: (shard), where each mapped shard lies.
        items: (field), numbers in a row.
        widest: (field), bytes of a number in the target.
        target: (field), where the target arrays lie.
    """
    itemsize, first, shard_rows = table
    count = len(index)
    sources = np.empty((count, NFIELDS), dtype=np.uint64)
    # The reads of frames are asked for ahead: one after the other, each would wait for
    # memory. Rows of frames are few bytes in many places, so all of them at once.
    for i in range(count):
        place = places[index[i]]
        for field in range(NFIELDS):
            sources[i, field] = _address_of(place, field, table, address, items)
            if field >= FRAME_COLUMN:
                touch(sources[i, field])
    for i in range(count):
        ahead = min(i + AHEAD, count - 1)
        later = places[index[ahead]]
        for field in range(FRAME_COLUMN):
            size = later[3] * items[field] * itemsize[later[0], field]
            _touch_head(sources[ahead, field], size)
        place = places[index[i]]
        segment = place[0]
        for field in range(NFIELDS):
            is_frame = field >= FRAME_COLUMN
            to = i if is_frame else offset[i]
            want = widest[field]
            _copy_rows(
                sources[i, field],
                (address, first[segment, field], shard_rows[segment, field]),
                (place[1], 1) if is_frame else (place[2], place[3]),
                (items[field], itemsize[segment, field], want),
                target[field] + np.uint64(to * items[field] * want),
            )
