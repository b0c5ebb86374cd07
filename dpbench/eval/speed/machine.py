"""The machine while speeds are measured: what else runs, how hot, how fast."""

import os
import resource
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dpbench.cores import available_cores

BUSY = 0.15
"""Share of the cores that others may use before a row counts as disturbed."""

_TICKS = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100


@dataclass(frozen=True, kw_only=True, slots=True)
class Moment:
    """Counters at one moment."""

    at: float
    """s."""
    busy_s: float | None
    """Processor seconds of all processes since the start; None where not told."""
    own_s: float
    """Those of this process and of its children that have ended."""


def look() -> Moment:
    """Read the counters."""
    own = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, _CHILDREN)]
    return Moment(
        at=time.perf_counter(),
        busy_s=_busy_seconds(),
        own_s=sum(usage.ru_utime + usage.ru_stime for usage in own),
    )


_CHILDREN = resource.RUSAGE_CHILDREN


def cores_of_others(before: Moment, after: Moment) -> float | None:
    """Return how many cores other processes kept busy between two looks."""
    passed = after.at - before.at
    if before.busy_s is None or after.busy_s is None or not passed > 0:
        return None
    others = (after.busy_s - before.busy_s) - (after.own_s - before.own_s)
    return round(max(0.0, others / passed), 3)


def is_busy(others: float | None) -> bool:
    """Tell whether others used enough of the machine to disturb a timing."""
    return others is not None and others > BUSY * available_cores()


def _busy_seconds() -> float | None:
    try:
        line = Path("/proc/stat").read_text(encoding="ascii").splitlines()[0]
    except (OSError, IndexError):
        return None
    user, nice, system, _idle, _wait, irq, soft, *_ = map(int, line.split()[1:])
    return (user + nice + system + irq + soft) / _TICKS


def conditions() -> dict[str, Any]:
    """Read clock and temperature of the processor; null with the reason where not."""
    clocks = _numbers("/sys/devices/system/cpu", "cpu[0-9]*/cpufreq/scaling_cur_freq")
    heats = _numbers("/sys/class/thermal", "thermal_zone*/temp")
    return {
        "clock_mhz": [round(value / 1e3, 1) for value in clocks] or None,
        "clock_why_not": None if clocks else "the system shows no cpufreq",
        "temperature_c": [round(value / 1e3, 1) for value in heats] or None,
        "temperature_why_not": None if heats else "the system shows no thermal zone",
    }


def _numbers(folder: str, pattern: str) -> list[float]:
    found = []
    for path in sorted(Path(folder).glob(pattern)):
        try:
            found.append(float(path.read_text(encoding="ascii")))
        except (OSError, ValueError):
            continue
    return found
