"""Start the sides of a comparison, and let them take turns."""

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent

PEERS: dict[str, tuple[str, dict[str, str]]] = {
    "deepmd-tf": ("tf", {}),
    "deepmd-tf-xla": ("tf", {"DP_JIT": "1"}),
    "deepmd-tf-no-onednn": ("tf", {"TF_ENABLE_ONEDNN_OPTS": "0"}),
    "deepmd-pt": ("pt", {}),
    "deepmd-pt-compile": ("pt-expt", {}),
}
"""Name -> backend of DeePMD-kit and the flags in its environment."""

OURS = ("dpbench-table", "dpbench-exact", "dpbench-autograd", "dpbench")
"""Engines of dpbench; ``dpbench`` alone takes whichever it chooses."""

FLOORS = ("gemm-floor", "gemm-floor-with-nets")
"""The products of the fitting nets alone; with those of the embedding nets at knots."""


class Side:
    """A process that takes steps when told to."""

    def __init__(
        self, name: str, command: list[str], *, threads: int, extra: Mapping[str, str]
    ) -> None:
        """Start a process and wait until it has warmed up.

        Args:
            name: Name of the side.
            command: What to run; the last word is a file in the side's folder.
            threads: Threads of its numerical libraries.
            extra: Flags for its environment.
        """
        self.name = name
        self.samples: list[tuple[float, float]] = []
        self._log = Path(command[-1]).parent / f"{name}.log"
        one = {
            variable: str(threads)
            for variable in (
                "OMP_NUM_THREADS",
                "NUMBA_NUM_THREADS",
                "TF_INTRA_OP_PARALLELISM_THREADS",
                "DP_INTRA_OP_PARALLELISM_THREADS",
            )
        }
        one |= {
            "TF_INTER_OP_PARALLELISM_THREADS": "1",
            "DP_INTER_OP_PARALLELISM_THREADS": "1",
            "OMP_WAIT_POLICY": "PASSIVE",
        }
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                command[:-1],
                env=os.environ | one | dict(extra),
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


def spread(values: list[float]) -> dict[str, Any]:
    """Return median, quartiles, fastest and all samples, ms."""
    return {
        "median_ms": statistics.median(values),
        "quartiles_ms": statistics.quantiles(values, n=4)[::2],
        "fastest_ms": min(values),
        "samples_ms": [round(value, 2) for value in values],
    }


def interleave(sides: list[Side], rounds: int) -> dict[str, Any]:
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


def script(
    python: str, name: str, arguments: dict[str, Any], cores: str | None
) -> list[str]:
    """Return the command of a side, pinned to ``cores`` where some are named."""
    command = [python, str(HERE / f"{name}.py"), json.dumps(arguments)]
    return command if cores is None else ["taskset", "-c", cores, *command]


def own_python() -> str:
    """Return the interpreter that runs this."""
    return sys.executable
