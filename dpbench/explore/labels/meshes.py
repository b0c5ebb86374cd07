"""Meshes of k-points from a spacing, the same for every program."""

from dpbench.explore.labels.qe_input import mesh_of
from dpbench.frames import Frames


def divisions(frame: Frames, spacing: float) -> tuple[int, int, int]:
    """Return the divisions of one frame: N = max(1, ceil(|b| / spacing)).

    Args:
        frame: One frame.
        spacing: 1/Å, with the factor 2 pi.
    """
    _, rows = mesh_of(frame, spacing)
    first, second, third = (int(word) for word in rows[0].split()[:3])
    return first, second, third
