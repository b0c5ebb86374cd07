"""The dear stage: ask the model, keep its answers as a file."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpbench.errors import BackendError, EvaluationError
from dpbench.eval.evaluator import AbstractEvaluator
from dpbench.eval.kept_files import whole_kept, write_kept
from dpbench.eval.task_results import PredictionFile
from dpbench.frames import Frames, offsets
from dpbench.metrics.frame_errors import Predictions
from dpbench.store.dataset import DatasetVersion
from dpbench.store.workspace import Workspace
from dpbench.train.model_inputs import frame_numbers

FILE_FORMAT = 1
"""Of the kept predictions."""

ATOMS_PER_READ = 50_000
"""Atoms read from the store at a time."""


@dataclass(frozen=True, kw_only=True, slots=True)
class KeptPredictions:
    """Answers of a model for some frames of a dataset version."""

    indices: NDArray[np.int64]
    """(frame), index of each frame in the version."""
    frame_digests: NDArray[np.uint8]
    """(frame, 32), which frames these are, whatever version they are read from."""
    atom_offset: NDArray[np.int64]
    """(frame + 1), rows of each frame in ``predictions.force``."""
    predictions: Predictions

    def part(self, first: int, last: int) -> Predictions:
        """Return the answers for the frames ``first`` up to but not ``last``."""
        atoms = slice(self.atom_offset[first], self.atom_offset[last])
        missing = self.predictions.no_virial
        return Predictions(
            energy=self.predictions.energy[first:last],
            force=self.predictions.force[atoms],
            virial=self.predictions.virial[first:last],
            no_virial=None if missing is None else missing[first:last],
        )


def predict(
    evaluator: AbstractEvaluator,
    version: DatasetVersion,
    indices: NDArray[np.int64],
    *,
    progress: Callable[[int], None] | None = None,
) -> tuple[KeptPredictions, float]:
    """Ask the model about frames of a version.

    Args:
        evaluator: The model on its backend.
        version: Dataset version.
        indices: Frames to predict, (frame).
        progress: Called with the number of frames done since the last call.

    Returns:
        The answers in the order of ``indices``, and the seconds the model took.
    """
    parts: list[Predictions] = []
    seconds = 0.0
    for first, last, frames in read_blocks(version, indices):
        more = _inputs(evaluator, version, indices[first:last])
        begin = time.perf_counter()
        try:
            parts.append(evaluator.predict(frames, **more))
        except BackendError as error:
            rows = f"{int(indices[first])} to {int(indices[last - 1])}"
            raise type(error)(
                f"{error} It was given the frames {rows} of {version.label}."
            ) from error
        seconds += time.perf_counter() - begin
        if progress is not None:
            progress(last - first)
    kept = KeptPredictions(
        indices=indices,
        frame_digests=version.frame_digests[indices],
        atom_offset=offsets(version.natoms[indices]),
        predictions=Predictions(
            energy=np.concatenate([part.energy for part in parts]),
            force=np.concatenate([part.force for part in parts]),
            virial=np.concatenate([part.virial for part in parts]),
            no_virial=_no_virial(parts),
        ),
    )
    return kept, seconds


def _no_virial(parts: Sequence[Predictions]) -> NDArray[np.bool_] | None:
    """Return which frames have no virial; None if every one has."""
    if all(part.no_virial is None for part in parts):
        return None
    return np.concatenate(
        [
            np.zeros(len(part.energy), bool) if missing is None else missing
            for part in parts
            for missing in [part.no_virial]
        ]
    )


def _inputs(
    evaluator: AbstractEvaluator, version: DatasetVersion, indices: NDArray[np.int64]
) -> dict[str, NDArray[np.float64]]:
    """Return what the model takes beside the structures, where it takes anything."""
    if evaluator.fitting is None:
        return {}
    numbers = frame_numbers(version, indices, evaluator.fitting)
    return {} if numbers is None else {"fparam": numbers}


def read_blocks(
    version: DatasetVersion, indices: NDArray[np.int64]
) -> Iterator[tuple[int, int, Frames]]:
    """Read frames in blocks of bounded size: (first, last, frames)."""
    ends = np.cumsum(version.natoms[indices])
    first = 0
    while first < len(indices):
        done = int(ends[first - 1]) if first else 0
        last = int(np.searchsorted(ends, done + ATOMS_PER_READ, side="right"))
        last = max(last, first + 1)
        yield first, last, version.read(indices[first:last])
        first = last


def keep(workspace: Workspace, kept: KeptPredictions) -> PredictionFile:
    """Write predictions to ``predictions/SHA256.npz`` in the workspace.

    Raises:
        WorkspaceError: If the file cannot be written.
    """
    buffer, missing = BytesIO(), kept.predictions.no_virial
    arrays: dict[str, Any] = {
        "file_format": np.int64(FILE_FORMAT),
        "indices": kept.indices,
        "frame_digests": kept.frame_digests,
        "atom_offset": kept.atom_offset,
        "energy": kept.predictions.energy,
        "force": kept.predictions.force,
        "virial": kept.predictions.virial,
    }
    if missing is not None:
        arrays["no_virial"] = missing
    np.savez(buffer, **arrays)
    return write_kept(workspace, buffer.getvalue(), nframes=len(kept.indices))


def load(workspace: Workspace, file: PredictionFile) -> KeptPredictions:
    """Read kept predictions back, checking that they are the ones that were written.

    Raises:
        EvaluationError: If the file is missing, damaged or of a newer format.
    """
    path = whole_kept(workspace, file, what="the predictions of a record")
    with np.load(path, allow_pickle=False) as arrays:
        number = int(arrays["file_format"])
        if number > FILE_FORMAT:
            raise EvaluationError(
                f"{path}: file format {number}; expected at most {FILE_FORMAT}. Read "
                "it with a newer dpbench."
            )
        return KeptPredictions(
            indices=arrays["indices"],
            frame_digests=arrays["frame_digests"],
            atom_offset=arrays["atom_offset"],
            predictions=Predictions(
                energy=arrays["energy"],
                force=arrays["force"],
                virial=arrays["virial"],
                no_virial=arrays.get("no_virial"),
            ),
        )
