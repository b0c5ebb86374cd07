"""Start the sides of a comparison, and let them take turns."""

import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, kw_only=True)
class Command:
    """How to start a side."""

    name: str
    """Of the side."""
    module: str
    """Below ``benchmarks``; takes its arguments as one JSON object."""
    arguments: dict[str, Any]
    folder: Path
    """Where its log goes."""
    python: str = sys.executable
    """Interpreter."""
    threads: int = 1
    """Threads of its numerical libraries."""
    cores: str | None = None
    """Cores to pin it to, as taskset takes them."""
    flags: Mapping[str, str] = field(default_factory=dict)
    """More of its environment."""

    def environment(self) -> dict[str, str]:
        """Return the environment, with the threads of every library that asks it."""
        counted = (
            "OMP_NUM_THREADS",
            "NUMBA_NUM_THREADS",
            "TF_INTRA_OP_PARALLELISM_THREADS",
            "DP_INTRA_OP_PARALLELISM_THREADS",
        )
        single = ("TF_INTER_OP_PARALLELISM_THREADS", "DP_INTER_OP_PARALLELISM_THREADS")
        found = dict.fromkeys(counted, str(self.threads)) | dict.fromkeys(single, "1")
        found |= {"OMP_WAIT_POLICY": "PASSIVE", "PYTHONPATH": str(ROOT)}
        return os.environ | found | dict(self.flags)

    def words(self) -> list[str]:
        """Return the command line."""
        told = json.dumps(self.arguments)
        line = [self.python, "-m", f"benchmarks.{self.module}", told]
        return line if self.cores is None else ["taskset", "-c", self.cores, *line]


class Side:
    """A process that takes steps when told to."""

    def __init__(self, command: Command) -> None:
        """Start the process and wait until it has warmed up."""
        self.name = command.name
        self.samples: list[tuple[float, float]] = []
        self._log = command.folder / f"{command.name}.log"
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                command.words(),
                env=command.environment(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        self.told = self._read()

    def turn(self) -> None:
        """Let the side take its steps."""
        if self._process.stdin is None:
            raise RuntimeError(f"{self.name}: has no stdin")
        self._process.stdin.write("go\n")
        self._process.stdin.flush()
        self.samples += [(wall, cpu) for wall, cpu in self._read()]

    def stop(self) -> None:
        """End the process."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.wait()

    def _read(self) -> Any:
        line = self._process.stdout.readline() if self._process.stdout else ""
        if not line:
            raise SystemExit(f"{self.name} failed:\n{self._log.read_text()[-3000:]}")
        return json.loads(line)


def interleave(sides: Sequence[Side], rounds: int) -> dict[str, Any]:
    """Let the sides take turns; return what each told, and its times."""
    for _ in range(rounds):
        for side in sides:
            side.turn()
    found = {}
    for side in sides:
        side.stop()
        found[side.name] = side.told | {
            "wall": spread([wall for wall, _ in side.samples]),
            "cpu": spread([cpu for _, cpu in side.samples]),
        }
    return found


def spread(values: Sequence[float]) -> dict[str, Any]:
    """Return median, quartiles, fastest and all samples, ms."""
    quartiles = statistics.quantiles(values, n=4)[::2] if len(values) > 1 else []
    return {
        "median_ms": statistics.median(values),
        "quartiles_ms": quartiles,
        "fastest_ms": min(values),
        "samples_ms": [round(value, 3) for value in values],
    }


def ratio(found: Mapping[str, Any], slow: str, fast: str) -> dict[str, float]:
    """Return the time of one side over that of another, by clock."""
    return {
        clock: found[slow][clock]["median_ms"] / found[fast][clock]["median_ms"]
        for clock in ("wall", "cpu")
    }


def machine() -> dict[str, Any]:
    """Name the machine, for records."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if "model name" in line]
    return {
        "cpu": names[0] if names else platform.processor(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "load_average": os.getloadavg()[0],
    }
