"""What is run, and how a run is known again and scored.

Peer and ours train on all frames of data_0, data_1 and data_2 of DeePMD-kit's water
example, the same net in the same precision, on one core. The test frames are all 80 of
data_3; nothing sees them before the final weights are scored.
"""

import json
import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

TRAIN = ("data_0", "data_1", "data_2")
TEST = "data_3"
NTEST = 80
BUDGET_S = 1200
"""The peer's schedule ends after as many seconds."""

FRACTIONS = (20, 10, 5, 3)
"""Ours end at the budget divided by these."""

SEEDS = (1000, 2000, 3000)
"""Far apart: DeePMD-kit's TensorFlow backend numbers its layers from the seed."""

RECORD = "record.json"

ONE_THREAD = (
    "OMP_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "TF_INTRA_OP_PARALLELISM_THREADS",
    "TF_INTER_OP_PARALLELISM_THREADS",
    "DP_INTRA_OP_PARALLELISM_THREADS",
    "DP_INTER_OP_PARALLELISM_THREADS",
)
"""What keeps each side to one thread."""


def finished(folder: Path) -> bool:
    """Say whether the run of a folder has been done."""
    return (folder / RECORD).exists()


def write_record(folder: Path, record: Mapping[str, Any]) -> None:
    """File what a run gave; only then does it count as done."""
    draft = folder / f".{RECORD}"
    draft.write_text(json.dumps(record, indent=1) + "\n")
    draft.replace(folder / RECORD)
    print(json.dumps({k: v for k, v in record.items() if k != "curve"}), flush=True)


def timed(
    command: Sequence[str], folder: Path, *, core: int | None, log: str
) -> dict[str, float]:
    """Run a command on one thread; return wall and CPU seconds, start-up included.

    Args:
        command: What to run, in ``folder``.
        folder: Of the run.
        core: Core to pin it to.
        log: Name of the file for what it prints.
    """
    threads = dict.fromkeys(ONE_THREAD, "1")
    pinned = [] if core is None else ["taskset", "-c", str(core)]
    before, began = os.times(), time.monotonic()
    with (folder / log).open("w") as out:
        done = subprocess.run(
            [*pinned, *command],
            cwd=folder,
            env=os.environ | threads,
            stdout=out,
            stderr=subprocess.STDOUT,
            check=False,
        )
    wall, after = time.monotonic() - began, os.times()
    if done.returncode:
        text = (folder / log).read_text()[-2000:]
        raise SystemExit(f"{' '.join(command)} failed:\n{text}")
    cpu = after.children_user + after.children_system
    cpu -= before.children_user + before.children_system
    return {"wall": wall, "cpu": cpu}
