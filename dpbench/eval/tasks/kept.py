"""What the dear stage of a task leaves: arrays and plain facts, in one file."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from dpbench.errors import EvaluationError
from dpbench.eval.kept_files import whole_kept, write_kept
from dpbench.eval.task_results import PredictionFile
from dpbench.store.workspace import Workspace

FACTS = "facts"
"""Name of the plain facts among the arrays of a file."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Kept:
    """Answers of a model in one task."""

    arrays: Mapping[str, NDArray[Any]]
    """By name; numbers only."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """Plain JSON: what was done, how each run ended."""
    wall_time_s: float = 0.0
    """Seconds of the dear stage."""


def keep_answers(workspace: Workspace, kept: Kept) -> PredictionFile:
    """Write answers to a file named by its digest; the same answers give the same.

    Raises:
        EvaluationError: If an array bears the name of the facts.
        WorkspaceError: If it cannot be written.
    """
    if FACTS in kept.arrays:
        raise EvaluationError(f"an array is named '{FACTS}'; expected another name.")
    told = {"facts": kept.facts, "wall_time_s": kept.wall_time_s}
    text = json.dumps(told, sort_keys=True).encode()
    buffer = BytesIO()
    arrays: dict[str, Any] = {name: kept.arrays[name] for name in sorted(kept.arrays)}
    arrays[FACTS] = np.frombuffer(text, np.uint8)
    np.savez(buffer, **arrays)
    return write_kept(workspace, buffer.getvalue(), nframes=0)


def load_answers(workspace: Workspace, file: PredictionFile) -> Kept:
    """Read answers back, checking that they are the ones that were written.

    Raises:
        EvaluationError: If the file is missing or damaged.
    """
    what = "the answers that a record was scored from"
    path = whole_kept(workspace, file, what=what)
    try:
        with np.load(path, allow_pickle=False) as arrays:
            told = json.loads(arrays[FACTS].tobytes())
            return Kept(
                arrays={name: arrays[name] for name in arrays.files if name != FACTS},
                facts=told["facts"],
                wall_time_s=told["wall_time_s"],
            )
    except (BadZipFile, KeyError, ValueError) as error:
        raise EvaluationError(
            f"{path}: {error}; expected answers that dpbench kept. Evaluate the model "
            "again."
        ) from error
