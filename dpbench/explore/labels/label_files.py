"""Files of a label: ``label.json`` of the whole, ``finding.json`` of each attempt.

    labels/<key>/attempt.0/...       input and output of the program, run.json
    labels/<key>/attempt.0/finding.json   what came of it
    labels/<key>/label.json          the end: done or quarantined

A file that is there is whole. What has no ``finding.json`` yet is judged again if its
run ended, and run again if it did not.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from dpbench.config import canonical_json
from dpbench.explore.labels.driver import Finding, Trouble
from dpbench.store.files import write_atomically

LABEL_FILE, FINDING_FILE = "label.json", "finding.json"

Status = Literal["done", "quarantined"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Attempt:
    """One run of the program on one frame."""

    finding: Finding
    """What came of it."""
    remedies: tuple[str, ...]
    """All remedies that it had."""
    theory: dict[str, Any]
    """Level of theory as its outputs tell it."""
    cpu_seconds: float
    """s."""
    wall_seconds: float
    """s."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Labelled:
    """What came of one frame."""

    key: str
    """Digest of the frame and of the driver's identity; name of its folder."""
    status: Status
    """Whether there is a label."""
    reason: str
    """Why there is none, in one line; empty if there is one."""
    trouble: Trouble
    """The class of that."""
    attempts: int
    """Runs of the program."""
    remedies: tuple[str, ...]
    """Names of what was changed from attempt to attempt."""
    outputs: tuple[Path, ...]
    """What ingest reads; empty if there is no label."""
    cpu_seconds: float
    """Of all attempts."""
    wall_seconds: float
    """Of all attempts."""
    theory: dict[str, Any]
    """Level of theory as the outputs tell it, with the reciprocal lengths that its mesh
    is compared by; empty if there is no label."""
    allowed: dict[str, float]
    """``attempts`` and ``seconds`` that there were: a quarantined label is tried again
    once either is raised."""
    was_kept: bool = False
    """Whether it was there already, and cost nothing now."""


def attempt_folder(folder: Path, number: int) -> Path:
    """Return the folder of one attempt."""
    return folder / f"attempt.{number}"


def write_attempt(folder: Path, attempt: Attempt) -> None:
    """Keep what came of an attempt in its folder."""
    write_atomically(folder / FINDING_FILE, canonical_json(asdict(attempt)))


def read_attempt(folder: Path) -> Attempt | None:
    """Return what came of an attempt; None if it did not end."""
    found = _read(folder / FINDING_FILE)
    if found is None:
        return None
    finding = found.pop("finding")
    finding["trouble"] = Trouble(finding["trouble"])
    found["remedies"] = tuple(found["remedies"])
    return Attempt(finding=Finding(**finding), **found)


def write_label(folder: Path, label: Labelled) -> None:
    """Keep the end of a label; paths are written relative to its folder."""
    plain = asdict(label)
    del plain["was_kept"]
    plain["outputs"] = [path.relative_to(folder).as_posix() for path in label.outputs]
    write_atomically(folder / LABEL_FILE, canonical_json(plain))


def read_label(folder: Path) -> Labelled | None:
    """Return what came of a frame; None if it has not ended."""
    found = _read(folder / LABEL_FILE)
    if found is None:
        return None
    found["trouble"] = Trouble(found["trouble"])
    found["remedies"] = tuple(found["remedies"])
    found["outputs"] = tuple(folder / name for name in found["outputs"])
    label = Labelled(**found, was_kept=True)
    if all(path.exists() for path in label.outputs):
        return label
    return None


def _read(path: Path) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
    return found
