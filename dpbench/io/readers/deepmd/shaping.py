"""Bringing the arrays of a DeePMD-kit set into shape, and judging numbers of atoms.

Source: DeePMD-kit documentation, "Formats of a system" (doc/data/system.md).
"""

import numpy as np
from numpy.typing import NDArray

from dpbench.io.parsed import Quarantine

Array = NDArray[np.floating]


def fit(
    array: NDArray[np.generic], nframes: int | None, row: tuple[int, ...]
) -> Array | None:
    """Shape an array to (nframes, *row); None if its size does not allow it."""
    size = int(np.prod(row, dtype=np.int64))
    if array.ndim == 0 or not np.issubdtype(array.dtype, np.number):
        return None
    count = len(array) if nframes is None else nframes
    flat_row = array.size == count * size and len(array) == count
    if not flat_row or np.iscomplexobj(array):
        return None
    # float32 stays float32: a store is lossless, and no wider than its source.
    dtype = array.dtype if array.dtype in (np.float32, np.float64) else np.float64
    return array.astype(dtype, copy=False).reshape(count, *row)


def atom_numbers(
    array: NDArray[np.generic] | None, is_real: NDArray[np.bool_], where: str
) -> tuple[Array | None, list[Quarantine], list[str]]:
    """Shape ``aparam`` to (frame, atom, number); judge the frames by it.

    Args:
        array: As it lies on disk; None where there is none.
        is_real: (frame, atom), which atoms are no padding.
        where: Its file, for notes.

    Returns:
        The numbers, a verdict for each frame, and notes.
    """
    shape = is_real.shape
    good = [Quarantine.NONE] * shape[0]
    if array is None:
        return None, good, []
    count = array.size // max(1, shape[0] * shape[1])
    numbers = fit(array, shape[0], (shape[1], count)) if count else None
    if numbers is None:
        note = (
            f"{where}: shape {array.shape} does not fit {shape[0]} frames of "
            f"{shape[1]} atoms; expected (nframes, natoms * numb_aparam). The system "
            "is quarantined as bad_shape; write it again."
        )
        return None, [Quarantine.BAD_SHAPE] * shape[0], [note]
    bad = is_real & np.logical_not(np.isfinite(numbers).all(axis=2))
    for index in np.flatnonzero(bad.any(axis=1)).tolist():
        good[index] = Quarantine.NOT_A_NUMBER
    if not bad.any():
        return numbers, good, []
    frame, atom = np.argwhere(bad)[0].tolist()
    note = (
        f"{where}: holds no number for {int(bad.sum())} atoms, the first is atom "
        f"{atom} of frame {frame}; expected finite numbers. Their frames are "
        "quarantined."
    )
    return numbers, good, [note]
