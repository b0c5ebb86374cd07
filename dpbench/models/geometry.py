"""Types and neighbour vectors of frames; numpy only."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dpbench.elements import SYMBOLS
from dpbench.errors import ModelError
from dpbench.frames import Frames
from dpbench.kernels.neighbours import Neighbours


def atom_types(z: NDArray[np.integer], type_map: Sequence[str]) -> NDArray[np.int64]:
    """Return the index of each atom's element into ``type_map``, (atom).

    Raises:
        ModelError: If an element is not in ``type_map``.
    """
    table = np.full(len(SYMBOLS), -1, dtype=np.int64)
    for index, symbol in enumerate(type_map):
        table[SYMBOLS.index(symbol)] = index
    atype: NDArray[np.int64] = table[z]
    if (atype < 0).any():
        unknown = SYMBOLS[int(z[np.argmin(atype)])]
        raise ModelError(
            f"element {unknown} is not among the model's types {', '.join(type_map)}. "
            "Use a model that was trained on it, or leave such frames out."
        )
    return atype


def edge_vectors(
    coord: NDArray[np.floating], box: NDArray[np.floating], neighbours: Neighbours
) -> NDArray[np.float64]:
    """Return coord[j] + shift @ box - coord[i] of each edge, (edge, 3), Å."""
    coord = np.asarray(coord, dtype=np.float64)
    vectors = coord[neighbours.edge_j] - coord[neighbours.edge_i]
    # Open directions have no cell vector (NaN) and no shift.
    vectors += neighbours.shift @ np.nan_to_num(box)
    return vectors


def frame_geometry(
    frames: Frames, index: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return coordinates (atom, 3) and cell (3, 3) of a frame for compiled code, Å.

    Open directions, which have no cell vector and no shift, are zero rows.
    """
    coord = np.ascontiguousarray(frames.coord[frames.atoms_of(index)], dtype=np.float64)
    return coord, np.nan_to_num(frames.box[index])
