"""What outputs print of molecular dynamics: time step and temperature."""

import math
import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dpbench.io.readers.snapshots import Snapshot
from dpbench.io.readers.tables import to_float

_TIME_STEPS = {
    "qe": ("Time step  ", re.compile(r"Time step +=.*?(\S+) femto-seconds")),
    "cp2k": (
        "MD_PAR| Time step [fs]",
        re.compile(r"MD_PAR\| Time step \[fs\]\s+(\S+)"),
    ),
}
"""What each code prints before its time step, fs, and the whole of it."""

_TEMPERATURES = {
    "qe": ("temperature           =", re.compile(r"temperature +=\s*(\S+) K")),
    "cp2k": ("MD| Temperature [K]", re.compile(r"MD\| Temperature \[K\]\s+(\S+)")),
}
"""What each code prints before the temperature of a step, K, and the whole of it."""


def time_step(code: str, text: str) -> float | None:
    """Return the time step, fs; None if the output tells none.

    Args:
        code: ``qe`` or ``cp2k``.
        text: The output, or its part before the first step.
    """
    mark, pattern = _TIME_STEPS[code]
    at = text.find(mark)
    found = pattern.match(text, at) if at >= 0 else None
    value = to_float(found[1]) if found else math.nan
    return value if math.isfinite(value) and value > 0 else None


def temperature(code: str, text: str, *, start: int, stop: int) -> float:
    """Return the kinetic temperature printed in ``text[start:stop]``, K; else NaN."""
    mark, pattern = _TEMPERATURES[code]
    at = text.find(mark, start, stop)
    found = pattern.match(text, at, stop) if at >= 0 else None
    return to_float(found[1]) if found else math.nan


def temperatures_of(snapshots: Sequence[Snapshot]) -> NDArray[np.float64] | None:
    """(frame), kinetic temperature, K; NaN where not told. None if nowhere told."""
    told = np.array([s.temperature for s in snapshots], dtype=np.float64)
    return None if np.isnan(told).all() else told
