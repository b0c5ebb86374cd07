"""One probe in a process of its own: memory watched, time bounded, its end judged."""

import json
import os
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from dpbench.backends.keeper import Keeper
from dpbench.cores import THREAD_VARIABLES
from dpbench.eval.speed.configurations import ProbeJob, write_job

Status = Literal["ok", "out_of_memory", "timeout", "crashed", "failed"]

ALL_THREAD_VARIABLES = (
    *THREAD_VARIABLES,
    "DP_INTRA_OP_PARALLELISM_THREADS",
    "TF_INTRA_OP_PARALLELISM_THREADS",
)
"""What tells each backend how many threads to use."""

OPENING_SECONDS = 120.0
"""Beside the timeout of the work itself: starting and opening, s."""

KILLED = (-9, 137)
"""Exit statuses of a process that the kernel ended for want of memory."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Probed:
    """How a process ended, and what it found."""

    status: Status
    reason: str | None
    """Why it is not ``ok``, with the last words."""
    peak_bytes: int
    """Memory of the process and its children, files that are mapped left out."""
    answer: dict[str, Any] = field(default_factory=dict)
    """What the probe wrote; empty where it did not come to that."""


def run_probe(job: ProbeJob) -> Probed:
    """Do a job in a new process; however it ends, the ladder goes on.

    Args:
        job: What to measure; its memory and timeout bound the process.

    Returns:
        The status: ``out_of_memory`` where it held more than it may, or the kernel
        ended it; ``timeout``; ``crashed``; or what the probe says itself.
    """
    with tempfile.TemporaryDirectory(prefix="dpbench-speed-") as name:
        folder = Path(name)
        target = folder / "answer.json"
        write_job(folder / "job.json", job)
        words = [sys.executable, "-m", "dpbench.eval.speed.probe"]
        keeper = Keeper(
            [*words, str(folder / "job.json"), str(target)],
            env=environment_of(job.threads),
            fds=(),
            memory_limit=job.memory,
        )
        keeper.start()
        try:
            has_ended = keeper.wait(job.timeout_s + OPENING_SECONDS)
        finally:
            keeper.kill()
        answer = _answer(target)
        return _judged(keeper, answer, job, has_ended=has_ended)


def environment_of(threads: int) -> dict[str, str]:
    """Return the variables of a probe: as here, with so many threads."""
    counts = dict.fromkeys(ALL_THREAD_VARIABLES, str(threads))
    quiet = {
        "DP_INTER_OP_PARALLELISM_THREADS": "1",
        "TF_INTER_OP_PARALLELISM_THREADS": "1",
        "OMP_WAIT_POLICY": "PASSIVE",
        "TF_CPP_MIN_LOG_LEVEL": os.environ.get("TF_CPP_MIN_LOG_LEVEL", "3"),
    }
    return {**os.environ, **quiet, **counts}


def _answer(path: Path) -> dict[str, Any]:
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return told if isinstance(told, dict) else {}


def _judged(
    keeper: Keeper, answer: dict[str, Any], job: ProbeJob, *, has_ended: bool
) -> Probed:
    status: Status
    if keeper.too_large is not None or keeper.exit_status in KILLED:
        status, reason = "out_of_memory", keeper.how_it_ended()
        if not has_ended:
            status, reason = "timeout", f"took longer than {job.timeout_s:g} s"
    elif not has_ended:
        status, reason = "timeout", f"took longer than {job.timeout_s:g} s"
    elif answer:
        status, reason = answer["status"], answer["reason"]
    else:
        status = "crashed"
        reason = f"{keeper.how_it_ended()}: {keeper.last_words() or 'it said nothing'}"
        if "MemoryError" in reason or "bad_alloc" in reason:
            status = "out_of_memory"
    return Probed(status=status, reason=reason, peak_bytes=keeper.peak, answer=answer)
