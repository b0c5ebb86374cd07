"""Chaining pairs of things that belong together."""

import numpy as np
from numpy.typing import NDArray

Index = NDArray[np.int64]


def units(nframes: int, joined: NDArray[np.int64]) -> Index:
    """Chain pairs of twins to units.

    Args:
        nframes: Number of frames.
        joined: (pair, 2), frames that are twins.

    Returns:
        (frame), the lowest frame of each frame's unit; itself for a frame without twin.
    """
    unit_of = np.arange(nframes)
    if not len(joined):
        return unit_of
    one, two = joined[:, 0], joined[:, 1]
    while True:
        low = np.minimum(unit_of[one], unit_of[two])
        if (unit_of[one] == low).all() and (unit_of[two] == low).all():
            return unit_of
        # The units' names are joined, not the frames alone: chains shrink by halves.
        for ends in (unit_of[one], unit_of[two], one, two):
            np.minimum.at(unit_of, ends, low)
        unit_of = unit_of[unit_of]
