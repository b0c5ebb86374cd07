"""What programs demand of the frames that they label, checked before the first one."""

from collections.abc import Collection

import numpy as np

from dpbench.errors import ConfigError
from dpbench.frames import Frames


def demand_elements(frames: Frames, known: Collection[str], *, where: str) -> None:
    """Check that there is a file, or whatever ``where`` names, for every element.

    Raises:
        ConfigError: If one is missing.
    """
    missing = [symbol for symbol in frames.symbols if symbol not in known]
    if missing:
        raise ConfigError(
            f"{where}: none of {', '.join(missing)}; expected one for every element of "
            "the frames. Add it."
        )


def demand_cells(frames: Frames, *, where: str) -> None:
    """Check that every frame has a cell.

    Raises:
        ConfigError: If one has none.
    """
    count = int(np.count_nonzero(np.isnan(frames.box).any(axis=(1, 2))))
    if count:
        raise ConfigError(
            f"{where}: {count} of {frames.nframes} frames have no cell; expected one "
            "in each. Put them into a box with vacuum."
        )


def demand_full_periodicity(frames: Frames, *, where: str) -> None:
    """Check that every frame is periodic along all three cell vectors.

    Raises:
        ConfigError: If one is not.
    """
    count = int(np.count_nonzero(~frames.pbc.all(axis=1)))
    if count:
        raise ConfigError(
            f"{where}: {count} of {frames.nframes} frames are not periodic along all "
            "three cell vectors; expected that of each. Put vacuum around them and "
            "make them periodic."
        )
