"""Labels computed by a library rather than by a program: frames and results as files.

A folder holds the frame as it was asked for and, after the run, either its label or
what went wrong. Neither: the process died on the way.
"""

import json
from collections.abc import Sequence
from pathlib import Path

from dpbench.explore.labels.driver import Finding, LabelError, Trouble
from dpbench.explore.labels.failure import Failure
from dpbench.explore.labels.job import last_words, read_run
from dpbench.explore.labels.remedies import Remedy, finding
from dpbench.frames import Frames
from dpbench.io.parsed import SourceFiles
from dpbench.io.readers import READERS
from dpbench.io.writers.extxyz import frame_text
from dpbench.store.files import write_atomically

FRAME = "frame.xyz"
"""The frame as it was asked for."""

LABEL = "label.xyz"
"""The frame with its label: what ingest reads."""

FAILURE = "failure.json"
"""What went wrong."""

REMEDIES = "remedies.json"
"""Names of the remedies of this attempt."""

OUTPUT = "job.out"
"""What a process of its own printed."""

CODE = "extxyz"
"""The CODE argument of ``dpbench ingest`` that reads ``LABEL``."""


def write_frame(frame: Frames, folder: Path, *, remedies: Sequence[str]) -> None:
    """Keep what is asked for; every digit of the coordinates."""
    text = frame_text(frame, 0, f"remedies={len(remedies)}")
    write_atomically(folder / FRAME, text.encode())
    write_atomically(folder / REMEDIES, json.dumps(list(remedies)).encode())


def read_frame(folder: Path) -> tuple[Frames, tuple[str, ...]]:
    """Return the frame that is asked for, and the remedies of this attempt."""
    remedies: list[str] = json.loads((folder / REMEDIES).read_text())
    return _only(folder / FRAME), tuple(remedies)


def keep(folder: Path, found: Frames | Failure) -> None:
    """Keep the label of a frame, or why there is none."""
    if isinstance(found, Frames):
        text = frame_text(found, 0, f"label={folder.name}")
        write_atomically(folder / LABEL, text.encode())
        return
    told = {"trouble": found.trouble.value, "reason": found.reason}
    write_atomically(folder / FAILURE, json.dumps(told).encode())


def finding_of(
    folder: Path, *, ladder: Sequence[Remedy], tried: Sequence[str]
) -> Finding:
    """Say what came of a run.

    Args:
        folder: Of the attempt.
        ladder: Remedies, mildest first.
        tried: Names of those that were tried.
    """
    if (folder / LABEL).is_file():
        return Finding(ok=True)
    failure = _without_result(folder)
    if (folder / FAILURE).is_file():
        told = json.loads((folder / FAILURE).read_text())
        failure = Failure(trouble=Trouble(told["trouble"]), reason=told["reason"])
    return finding(failure.trouble, failure.reason, ladder=ladder, tried=tried)


def _without_result(folder: Path) -> Failure:
    """Say how a run ended that left nothing."""
    run = read_run(folder)
    if run is None:
        return Failure(trouble=Trouble.DIED, reason="the run has no end")
    trouble = Trouble.TIMED_OUT if run.timed_out else Trouble.DIED
    reason = f"the process {run.in_words()}; its last words: "
    return Failure(trouble=trouble, reason=reason + last_words(folder / OUTPUT))


def _only(path: Path) -> Frames:
    """Read the one frame of a file."""
    parsed = READERS["extxyz"].read(SourceFiles(format="extxyz", paths=(path,)))
    if parsed.frames.nframes != 1:
        raise LabelError(f"{path}: holds {parsed.frames.nframes} frames; expected one.")
    return parsed.frames
