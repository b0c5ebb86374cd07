"""What an iteration's labels were worth: errors before and after training on them."""

import logging
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dpbench.errors import BackendError, ModelError
from dpbench.eval.ensemble import open_ensemble
from dpbench.eval.evaluator import AbstractEvaluator
from dpbench.eval.predict import predict, read_blocks
from dpbench.explore.stage_results import AssessedErrors, AssessResult, TrainResult
from dpbench.metrics.accuracy import accuracy_metrics
from dpbench.metrics.frame_errors import FrameErrors, frame_errors, merge_errors
from dpbench.store.dataset import DatasetVersion, open_dataset
from dpbench.store.digests import as_keys
from dpbench.store.splits.filed import find_split
from dpbench.store.workspace import Workspace

ENERGY, FORCE = "energy_rmse_per_atom_mev", "force_rmse_component_mev_per_ang"
"""Metrics that are looked at."""

PERCENTILE = 95.0
"""Of the lengths of the force errors."""

Index = NDArray[np.int64]

logger = logging.getLogger(__name__)


def assess(
    workspace: Workspace, root: Path, *, before: TrainResult, after: TrainResult
) -> AssessResult:
    """Measure the models of two iterations on what came between them.

    Both are asked about the same frames: those that the later version has and the
    earlier one lacks, and those that its split holds out, which neither was trained on.

    Args:
        workspace: Has both versions.
        root: Folder of the exploration, which the models' paths are relative to.
        before: Of the iteration that chose the frames.
        after: Of the next one, trained on them.

    Raises:
        DatasetError: If a version or the split is missing.
    """
    started = time.process_time()
    earlier = open_dataset(workspace, before.dataset)
    version = open_dataset(workspace, after.dataset)
    new = new_frames(earlier, version)
    held = validation_frames(version, after.split)
    found = {}
    for name, trained in (("before", before), ("after", after)):
        paths = [root / model.path for model in trained.models]
        found[name] = _errors_of(paths, version, (new, held), workspace=workspace)
    return AssessResult(
        nframes=len(new),
        before=found["before"][0],
        after=found["after"][0],
        validation_before=found["before"][1],
        validation_after=found["after"][1],
        cpu_seconds=round(time.process_time() - started, 3),
    )


def new_frames(earlier: DatasetVersion, later: DatasetVersion) -> Index:
    """Return the frames of the later version that the earlier one lacks."""
    known = as_keys(earlier.frame_digests)
    is_known = np.isin(as_keys(later.frame_digests), known)
    return np.flatnonzero(~is_known).astype(np.int64)


def validation_frames(version: DatasetVersion, split: str) -> Index:
    """Return the frames of the part ``validation``; none where the split has none.

    Raises:
        DatasetError: If the version has no such split.
    """
    found = find_split(version, split)
    if found is None or "validation" not in found.parts:
        return np.zeros(0, np.int64)
    return found.part("validation")


def ensemble_errors(
    models: Sequence[AbstractEvaluator], version: DatasetVersion, frames: Index
) -> AssessedErrors | None:
    """Measure the errors of models on frames of a version, the mean over the models.

    Args:
        models: At least one.
        version: Has the labels.
        frames: (frame), indices in the version.

    Returns:
        The errors; None where there is no frame.

    Raises:
        ModelError: If a model refuses a frame.
    """
    if not len(frames):
        return None
    each = [_model_errors(model, version, frames) for model in models]
    energy, force, far = zip(*each, strict=True)
    return AssessedErrors(rmse_e=_mean(energy), rmse_f=_mean(force), p95_f=_mean(far))


def _errors_of(
    paths: Sequence[Path],
    version: DatasetVersion,
    groups: Sequence[Index],
    *,
    workspace: Workspace,
) -> list[AssessedErrors | None]:
    """Open an ensemble and measure it on several groups of frames."""
    with ExitStack() as stack:
        models = open_ensemble(stack, paths, workspace=lambda: workspace)
        return [_told(models, version, frames) for frames in groups]


def _told(
    models: Sequence[AbstractEvaluator], version: DatasetVersion, frames: Index
) -> AssessedErrors | None:
    """Measure; where a model refuses a frame there is no number, and a word on it."""
    try:
        return ensemble_errors(models, version, frames)
    except (ModelError, BackendError) as error:
        logger.warning("%s: the errors are not told: %s", version.label, error)
        return None


def _model_errors(
    model: AbstractEvaluator, version: DatasetVersion, frames: Index
) -> tuple[float | None, float | None, float | None]:
    """Energy RMSE (eV/atom), force RMSE and its far percentile (eV/Å) of one model."""
    parts: list[FrameErrors] = []
    lengths: list[NDArray[np.float64]] = []
    kept, _ = predict(model, version, frames)
    for first, last, block in read_blocks(version, frames):
        answer = kept.part(first, last)
        parts.append(frame_errors(block, answer, elements=version.symbols))
        error = np.linalg.norm(answer.force - block.force, axis=1)
        # As in frame_errors: a label that is missing is left out, an answer that is
        # no number is infinitely wrong.
        labelled = np.isfinite(block.force).all(axis=1)
        lengths.append(np.nan_to_num(error[labelled], nan=np.inf))
    errors = merge_errors(parts)
    value = {one.name: one.value for one in accuracy_metrics(errors)}
    far = np.concatenate(lengths)
    return (
        _from_milli(value[ENERGY]),
        _from_milli(value[FORCE]),
        float(np.percentile(far, PERCENTILE)) if len(far) else None,
    )


def _from_milli(value: float | None) -> float | None:
    return None if value is None else value / 1000


def _mean(values: Sequence[float | None]) -> float | None:
    """Return the mean over the models; None where a label is missing."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known and np.isfinite(known).all() else None
