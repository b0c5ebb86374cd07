"""Energy of a measurement, where this machine lets it be read."""

import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

POWERCAP = Path("/sys/class/powercap")
"""Where Linux shows the counters of RAPL."""

QUERY = ("--query-gpu=power.draw", "--format=csv,noheader,nounits")


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """One look at the counters."""

    joules: tuple[float, ...]
    """Of each package, J."""
    watts: float | None
    """Of all GPUs together, W."""
    at: float
    """s."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PowerMeter:
    """RAPL's counters of processor packages, and NVML's power of GPUs."""

    packages: tuple[Path, ...]
    """Folders with ``energy_uj`` that may be read."""
    has_gpu: bool
    """Whether ``nvidia-smi`` tells a power."""
    why_not: str | None
    """Why nothing can be read; None where something can."""

    @classmethod
    def find(cls, root: Path = POWERCAP) -> "PowerMeter":
        """Look for what can be read here.

        Args:
            root: Folder of the counters; tests bring their own.
        """
        zones = sorted(root.glob("intel-rapl:*")) if root.is_dir() else []
        whole = [zone for zone in zones if zone.name.count(":") == 1]
        usable = tuple(zone for zone in whole if _counter(zone) is not None)
        has_gpu = _gpu_watts() is not None
        why_not = None
        if not usable and not has_gpu:
            why_not = f"{root} is not there: no RAPL, as in most virtual machines"
            if whole:
                why_not = f"the counters below {root} may not be read by this user"
        return cls(packages=usable, has_gpu=has_gpu, why_not=why_not)

    @property
    def source(self) -> str:
        """Name what is read, for records."""
        parts = [f"RAPL, {len(self.packages)} packages"] if self.packages else []
        return ", ".join([*parts, *(["nvidia-smi, sampled"] if self.has_gpu else [])])

    def start(self) -> Reading:
        """Look at the counters."""
        return Reading(
            joules=tuple(_counter(zone) or 0.0 for zone in self.packages),
            watts=_gpu_watts() if self.has_gpu else None,
            at=time.perf_counter(),
        )

    def joules_since(self, before: Reading) -> float | None:
        """Return the energy since a look, J; None where a counter went away."""
        now = self.start()
        total = 0.0
        pairs = zip(self.packages, before.joules, now.joules, strict=True)
        for zone, then, after in pairs:
            passed = after - then
            if passed < 0:  # the counter starts again at its range
                around = _number(zone / "max_energy_range_uj")
                if around is None:
                    return None
                passed += around / 1e6
            total += passed
        if before.watts is not None and now.watts is not None:
            total += (before.watts + now.watts) / 2 * (now.at - before.at)
        return total


def _counter(zone: Path) -> float | None:
    """Return J of a package."""
    found = _number(zone / "energy_uj")
    return None if found is None else found / 1e6


def _number(path: Path) -> float | None:
    try:
        return float(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None


def _gpu_watts() -> float | None:
    program = shutil.which("nvidia-smi")
    if program is None:
        return None
    try:
        done = subprocess.run(
            [program, *QUERY], capture_output=True, text=True, timeout=10, check=True
        )
        return sum(float(line) for line in done.stdout.split())
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
