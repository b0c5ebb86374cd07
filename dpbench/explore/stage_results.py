"""What each stage of an iteration came to, as it is kept on disk.

One JSON file a stage, written at once at the stage's end: that it is there means that
the stage is done. Reports and resumed loops read these files and nothing else.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

from dpbench.config import from_mapping, to_mapping
from dpbench.errors import WorkspaceError
from dpbench.explore.select.settings import TrustLevels
from dpbench.store.files import disk_errors, write_atomically

FORMAT: Final = 1
"""Format of the files."""

CONFIG: Final = "config_digest"
"""Key of the note beside a result: the configuration that its stage went by."""

StageResult = TypeVar("StageResult")


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainedModel:
    """One member of the ensemble."""

    path: str
    """Its file, relative to the folder of the exploration."""
    digest: str
    """The model's content."""
    seed: int
    """Of its run."""
    steps: int
    """Optimiser steps in this iteration."""
    errors: dict[str, float | None]
    """Last point of the learning curve, e.g. ``rmse_f_validation``, eV/Å."""
    cpu_seconds: float
    """Spent on it."""
    started_from: str | None = None
    """Digest of the model that it began with; None = drawn anew."""
    note: str = ""
    """Why it was drawn anew though there was one to start from; else empty."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainResult:
    """Stage ``train``."""

    dataset: str
    """``NAME-vN`` that was trained on."""
    digest: str
    """Digest of that version."""
    split: str
    """Digest of the split."""
    models: tuple[TrainedModel, ...]
    """The members."""
    cpu_seconds: float = 0.0
    """Of all members; 0 where the models of the iteration before were kept because
    the dataset has not grown."""
    wall_seconds: float = 0.0
    """From begin to end, of the session that ended it."""
    is_kept: bool = False
    """Whether the models are those of the iteration before."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WalkSummary:
    """One walk of stage ``explore``."""

    name: str
    """Unique in the iteration."""
    structure: str
    """Generator that its first frame is from."""
    temperature: float
    """K."""
    pressure: float | None
    """GPa; None = constant volume."""
    replica: int
    """Which of several that differ by their seed."""
    nframes: int
    """Frames that it kept."""
    outcome: str
    """``done``, ``exploded`` or ``failed``."""
    reason: str
    """Why, unless done."""
    dropped: dict[str, int]
    """Frames that the filters kept out, by reason."""
    cpu_seconds: float
    """Spent on it."""
    origin: str = ""
    """How its first frame was made."""
    steps: int = 0
    """Steps that it made."""
    engine: str = ""
    """What moved the atoms."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ExploreResult:
    """Stage ``explore``."""

    stage: int
    """Which of ``[[explore.stages]]``."""
    walks: tuple[WalkSummary, ...]
    """In the order of the tasks."""
    cpu_seconds: float = 0.0
    """Of all walks."""
    wall_seconds: float = 0.0
    """From begin to end, of the session that ended it."""

    @property
    def is_idle(self) -> bool:
        """Whether there were walks and none gave a frame; such are made again."""
        return bool(self.walks) and not any(one.nframes for one in self.walks)


@dataclass(frozen=True, kw_only=True, slots=True)
class Histogram:
    """Counts between edges."""

    edges: tuple[float, ...]
    """(bin + 1), in the unit of the quantity."""
    counts: tuple[int, ...]
    """(bin), values in each, the last edge included; the first has all below it."""
    beyond: int = 0
    """Values above the last edge."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ChosenFrame:
    """A frame that is to be labelled."""

    walk: str
    """Where it is from."""
    step: int
    """Of that walk."""
    max_devi_f: float
    """Largest force deviation of an atom, eV/Å."""
    key: str = ""
    """Of its label; empty until it is labelled."""
    atom: int | None = None
    """In the middle of the cluster that was cut; None = the whole frame."""
    distance: float | None = None
    """Of its descriptor from all labelled and chosen before; None = unknown."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StopReason:
    """That a stage of exploring, or all, ends, and why."""

    kind: str
    """Which criterion, as ``select.stopping`` names it."""
    reason: str
    """In words, with the numbers."""
    ends: str
    """``stage`` or ``all``; the last stage's end is that of all."""
    is_converged: bool = True
    """False where want of candidates or a limit ended it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SelectResult:
    """Stage ``select``."""

    stage: int
    """Which of ``[[explore.stages]]`` the frames are from."""
    counts: dict[str, int]
    """Frames ``accurate``, ``candidate`` and ``failed``."""
    levels: dict[str, TrustLevels]
    """Trust levels used, by structure; the adaptive rule finds the lower ones."""
    max_devi_f: Histogram
    """eV/Å."""
    max_devi_v: Histogram
    """eV/atom."""
    chosen: tuple[ChosenFrame, ...]
    """To be labelled, in the order of labelling."""
    rejected: dict[str, int]
    """Frames not chosen, by reason."""
    stop: StopReason | None = None
    """Why the stage of exploring, or all, ends with this iteration; None = it goes
    on."""
    cpu_seconds: float = 0.0
    """Of deviations and choice."""
    wall_seconds: float = 0.0
    """From begin to end."""
    by_walk: dict[str, dict[str, int]] = field(default_factory=dict)
    """Verdicts by walk."""
    rescued: int = 0
    """Failed frames among the chosen, for want of candidates."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelledFrame:
    """A frame with a label."""

    key: str
    """Name of its folder in ``labels/``."""
    walk: str
    """Where it is from."""
    step: int
    """Of that walk."""
    attempts: int
    """Runs of the code until it was accepted."""
    remedies: tuple[str, ...]
    """What was changed for the attempts after the first."""
    cpu_seconds: float
    """Spent on it; of this iteration, 0 where the label was there already."""
    is_cached: bool = False
    """Whether the label was there already."""
    atom: int | None = None
    """In the middle of the cluster that was cut; None = the whole frame."""


@dataclass(frozen=True, kw_only=True, slots=True)
class QuarantinedFrame:
    """A frame that could not be labelled."""

    key: str
    """Name of its folder in ``labels/``."""
    walk: str
    """Where it is from."""
    step: int
    """Of that walk."""
    reason: str
    """Why."""
    attempts: int
    """Runs of the code."""
    trouble: str = ""
    """Class of the reason, as ``labels.driver`` names it."""
    cpu_seconds: float = 0.0
    """Spent on it in this iteration."""
    atom: int | None = None
    """In the middle of the cluster that was cut; None = the whole frame."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelResult:
    """Stage ``label``; also ``start/label.json`` for the frames of the start."""

    driver: str
    """Name of the driver."""
    done: tuple[LabelledFrame, ...]
    """In the order in which they were chosen."""
    quarantined: tuple[QuarantinedFrame, ...]
    """Likewise."""
    cpu_seconds: float = 0.0
    """Of all labels."""
    wall_seconds: float = 0.0
    """From begin to end, of the session that ended it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class IngestResult:
    """Stage ``ingest``; also ``start/ingest.json``."""

    version: str
    """``NAME-vN`` that the exploration goes on with."""
    digest: str
    """Of that version."""
    nframes: int
    """Frames of it."""
    new: int
    """Frames that this iteration added."""
    refused: dict[str, int]
    """Labelled frames that did not enter, by reason."""
    wall_seconds: float = 0.0
    """From begin to end."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AssessedErrors:
    """Errors of one set of models on one set of frames, mean over the models."""

    rmse_e: float | None
    """eV/atom."""
    rmse_f: float | None
    """eV/Å."""
    p95_f: float | None = None
    """95th percentile of the length of the force error, eV/Å."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AssessResult:
    """The frames that an iteration added, before and after training on them."""

    nframes: int
    """Frames that were added."""
    before: AssessedErrors | None
    """By the models of this iteration; None if there are no such frames."""
    after: AssessedErrors | None
    """By the models of the next, which were trained on them."""
    validation_before: AssessedErrors | None = None
    """By the models of this iteration, on the split's validation part."""
    validation_after: AssessedErrors | None = None
    """By the models of the next."""
    cpu_seconds: float = 0.0
    """Spent on it."""


REFUSED: Final = "label.refused"
"""Name of a ``LabelResult`` with which the loop did not go on: too many failed."""

STAGES: Final[dict[str, type]] = {
    "train": TrainResult,
    "explore": ExploreResult,
    "select": SelectResult,
    "label": LabelResult,
    "ingest": IngestResult,
    "assess": AssessResult,
}
"""Result by stage, in order; ``assess`` is written after the next ``train``."""


def iteration_folder(root: Path, iteration: int) -> Path:
    """Return the folder of an iteration below that of the exploration."""
    return root / f"iter.{iteration:06d}"


def write_result(
    folder: Path, stage: str, result: Any, *, config: str | None = None
) -> None:
    """Write the result of a stage; from then on it is done.

    Args:
        folder: Of the iteration, or ``start``.
        stage: Key of ``STAGES``.
        result: Of the class that the table gives.
        config: Digest of the configuration that it went by, kept beside the result.

    Raises:
        WorkspaceError: If it cannot be written.
    """
    path = folder / f"{stage}.json"
    head = {"format": FORMAT} if config is None else {"format": FORMAT, CONFIG: config}
    text = json.dumps({**head, **to_mapping(result)}, indent=1)
    with disk_errors(path):
        write_atomically(path, text.encode())


def read_refused(folder: Path) -> LabelResult | None:
    """Read the labels that the loop has stopped for; None if it has not.

    Raises:
        WorkspaceError: If the file is damaged or of another format.
    """
    return _read(folder / f"{REFUSED}.json", LabelResult)


def read_result(folder: Path, kind: type[StageResult]) -> StageResult | None:
    """Read the result of the stage whose class this is; None if it is not done.

    Raises:
        WorkspaceError: If the file is damaged or of another format.
    """
    stage = next(name for name, cls in STAGES.items() if cls is kind)
    return _read(folder / f"{stage}.json", kind)


def _read(path: Path, kind: type[StageResult]) -> StageResult | None:
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise WorkspaceError(
            f"{path}: cannot be read ({error}); expected the result of a stage. Remove "
            "it to do the stage again: what it has finished is not done twice."
        ) from error
    found = told.pop("format", None) if isinstance(told, dict) else None
    if found != FORMAT:
        raise WorkspaceError(
            f"{path}: is of format {found!r}; expected {FORMAT}. It was written by "
            "another version of dpbench: go on with that one."
        )
    told.pop(CONFIG, None)
    return from_mapping(kind, told, where=str(path))


def config_of(folder: Path, stage: str) -> str | None:
    """Return the digest of the configuration that a stage went by.

    None if it is not done, or was written before such a note was kept.
    """
    try:
        told = json.loads((folder / f"{stage}.json").read_text(encoding="utf-8"))
        return str(told[CONFIG])
    except (OSError, ValueError, KeyError, TypeError):
        return None
