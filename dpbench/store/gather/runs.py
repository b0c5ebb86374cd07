"""Reading frames in runs of neighbouring rows, from any kind of array."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpbench.frames import ATOM_FIELDS, FRAME_FIELDS, Frames, offsets
from dpbench.store.gather.buffer import FrameBuffer
from dpbench.store.gather.table import FIELDS
from dpbench.store.segment.read import Segment


def read_runs(
    segments: Sequence[Segment],
    which: NDArray[np.int64],
    rows: NDArray[np.int64],
    *,
    out: FrameBuffer | None = None,
) -> Frames:
    """Copy rows of segments behind each other, run by run of neighbouring rows.

    Args:
        segments: The segments of a version.
        which: (frame), number of the segment of each frame; at least one.
        rows: (frame), its row there.
        out: Where to put them; None = fresh memory.

    Raises:
        DatasetError: If a file is missing or damaged.
    """
    is_break = (np.diff(which) != 0) | (np.diff(rows) != 1)
    starts = np.concatenate([[0], np.flatnonzero(is_break) + 1])
    stops = np.append(starts[1:], len(rows))
    natoms = np.empty(len(rows), dtype=np.int64)
    used = np.unique(which).tolist()
    for number in used:
        mine = which == number
        natoms[mine] = segments[number].facts["natoms"][rows[mine]]
    offset = offsets(natoms)
    arrays = _allocate([segments[number] for number in used], offset, out)
    coord, force, z = (arrays[name] for name in ("coord", "force", "z"))
    per_frame = [(name, arrays[name]) for name in FRAME_FIELDS]
    runs = zip(
        which[starts].tolist(),
        rows[starts].tolist(),
        starts.tolist(),
        stops.tolist(),
        offset[starts].tolist(),
        offset[stops].tolist(),
        strict=True,
    )
    for number, row, start, stop, first, last in runs:
        segment = segments[number]
        readers = segment.arrays
        atom = int(segment.atom_offset[row])
        end = atom + last - first
        readers["coord"].copy(atom, end, coord[first:last])
        readers["force"].copy(atom, end, force[first:last])
        readers["z"].copy(atom, end, z[first:last])
        row_end = row + stop - start
        for name, array in per_frame:
            readers[name].copy(row, row_end, array[start:stop])
    return Frames(
        atom_offset=offset, **arrays, aparam=read_aparam(segments, which, rows, offset)
    )


def read_aparam(
    segments: Sequence[Segment],
    which: NDArray[np.int64],
    rows: NDArray[np.int64],
    offset: NDArray[np.int64],
) -> NDArray[np.float64] | None:
    """Copy the numbers of atoms of some frames, always to fresh memory.

    Args:
        segments: The segments of a version.
        which: (frame), number of the segment of each frame.
        rows: (frame), its row there.
        offset: (frame + 1), first atom of each frame in what is returned.

    Returns:
        (atom, number), NaN where a segment has fewer; None if none of them has any.

    Raises:
        DatasetError: If a file is missing or damaged.
    """
    widths = {number: segments[number].numb_aparam for number in np.unique(which)}
    if not any(widths.values()):
        return None
    out = np.full((int(offset[-1]), max(widths.values())), np.nan)
    for i, (number, row) in enumerate(zip(which.tolist(), rows.tolist(), strict=True)):
        segment, width = segments[number], widths[number]
        if width:
            first = int(segment.atom_offset[row])
            target = out[offset[i] : offset[i + 1], :width]
            segment.array("aparam").copy(first, first + len(target), target)
    return out


def _allocate(
    segments: Sequence[Segment],
    offset: NDArray[np.int64],
    out: FrameBuffer | None,
) -> dict[str, NDArray[Any]]:
    """Make the arrays that are filled; float32 only if all segments are."""
    nframes, natoms = len(offset) - 1, int(offset[-1])
    dtypes = {
        name: np.result_type(*{s.arrays[name].dtype for s in segments})
        for name in FIELDS
    }
    if out is not None:
        out.widest[:] = [dtypes[name].itemsize for name in FIELDS]
        return out.arrays(nframes, natoms)
    return {
        name: np.empty(
            (natoms if name in ATOM_FIELDS else nframes, *shape), dtype=dtypes[name]
        )
        for name, shape in FIELDS.items()
    }
