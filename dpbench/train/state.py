"""Checkpoints: model files that hold the state of training beside the model.

``checkpoint-STEP.pth`` loads like any model file, and ``--resume`` goes on from it bit
for bit. It is written whole or not at all, and holds no code. Where an optimiser
averages, the model is the average, and the weights that are trained lie in the state.
"""

import hashlib
import io
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from dpbench.errors import DpbenchError, ModelError, TrainingError
from dpbench.models.checkpoint import (
    MAGIC,
    load_model,
    read_payload,
    sealed_payload,
    write_whole,
)
from dpbench.models.potential import DeepPotential
from dpbench.train.history import COLUMNS, CurveRow
from dpbench.train.loop import LoopState
from dpbench.train.optimisers.protocol import Optimiser, OptimiserState
from dpbench.train.optimisers.solution import solution_model
from dpbench.train.validation import RunningErrors

STATE_FORMAT = 2
"""Format of the training state; all older ones are read."""

_NAME = re.compile(r"checkpoint-(\d+)\.pth")


@dataclass(frozen=True, kw_only=True, slots=True)
class Checkpoint:
    """A checkpoint as read."""

    path: Path
    """The file."""
    model: DeepPotential
    """The model as it is trained at that step, on the CPU."""
    optimiser: OptimiserState
    """State of the optimiser."""
    state: LoopState
    """State of the loop."""
    provenance: dict[str, Any]
    """What the run is: data, configuration, plan."""


def checkpoint_path(folder: Path, step: int) -> Path:
    """Name the checkpoint of a step."""
    return folder / f"checkpoint-{step}.pth"


def checkpoints(folder: Path) -> list[Path]:
    """List the checkpoints in a run's folder, oldest first."""
    found = [(int(m[1]), p) for p, m in _named(folder)]
    return [path for _, path in sorted(found)]


def save_checkpoint(
    path: Path,
    model: DeepPotential,
    optimiser: Optimiser,
    state: LoopState,
    *,
    provenance: dict[str, Any],
) -> None:
    """Write a checkpoint.

    Args:
        path: File to write or replace.
        model: The model as it is trained.
        optimiser: Over its parameters.
        state: Where the run is.
        provenance: JSON values that say what the run is.

    Raises:
        TrainingError: If the parameters are not finite, or the disk refuses.
    """
    if not bool(torch.isfinite(model.parameters.flat).all()):
        raise TrainingError(
            f"step {state.step}: a parameter is not finite; the training diverged. "
            "The last checkpoint is kept. Lower learning_rate.start_lr."
        )
    solution = solution_model(model, optimiser)
    trained = None if solution is model else model.parameters.flat.detach().cpu()
    training = {
        "format": STATE_FORMAT,
        "step": state.step,
        "seconds": state.seconds,
        "running": state.running.sums.cpu(),
        "rows": [[asdict(row)[name] for name in COLUMNS] for row in state.rows],
        "parameters": trained,
        "optimiser": optimiser.state(),
        "rng": torch.get_rng_state(),
        "table_error": state.table_error,
        "table_intervals": state.table_intervals,
        "table_reach": list(state.table_reach),
    }
    content = {"training": training, "training_seal": _seal(training)}
    buffer = io.BytesIO()
    torch.save(sealed_payload(solution, provenance) | content, buffer)
    try:
        write_whole(path, buffer.getvalue())
    except ModelError as error:
        raise TrainingError(
            f"{error} The checkpoint of step {state.step} is lost, older ones stay. "
            "Make room, then go on with --resume."
        ) from error


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint; restores torch's random state too.

    Raises:
        ModelError: If the file is missing or damaged.
        TrainingError: If it is a model without training state.
    """
    payload = read_payload(path)
    training = payload.get("training")
    if payload.get("magic") != MAGIC or not isinstance(training, dict):
        raise TrainingError(
            f"{path}: holds no state of training; expected a checkpoint-STEP.pth of "
            "a run. Name one of those, or the run."
        )
    if training.get("format") not in range(1, STATE_FORMAT + 1):
        raise TrainingError(
            f"{path}: has state format {training.get('format')}; this dpbench reads "
            f"up to {STATE_FORMAT}. Update dpbench."
        )
    try:
        # torch does not verify the checksums of its archive.
        if payload["training_seal"] != _seal(training):
            raise ValueError("its state does not fit its checksum")
        model, provenance = load_model(path)
        if training.get("parameters") is not None:
            model.parameters.flat.copy_(training["parameters"])
        state = LoopState(
            step=training["step"],
            seconds=training["seconds"],
            running=RunningErrors(training["running"]),
            rows=[
                CurveRow(**dict(zip(COLUMNS, row, strict=True)))
                for row in training["rows"]
            ],
            table_error=training.get("table_error"),
            table_intervals=training.get("table_intervals"),
            table_reach=training.get("table_reach", []),
        )
        checkpoint = Checkpoint(
            path=path,
            model=model,
            optimiser=training["optimiser"],
            state=state,
            provenance=provenance,
        )
        torch.set_rng_state(training["rng"])
    except (KeyError, ValueError, TypeError, AttributeError, DpbenchError) as error:
        raise ModelError(f"{path}: is damaged: {error}. Use an older one.") from error
    return checkpoint


def prune(folder: Path, *, keep: int) -> None:
    """Remove all but the newest ``keep`` checkpoints."""
    for path in checkpoints(folder)[:-keep]:
        path.unlink(missing_ok=True)


def _seal(training: dict[str, Any]) -> str:
    """Checksum of a training state."""
    if training["format"] == 1:
        return _first_seal(training)
    digest = hashlib.sha256()
    for told in _told(training, ""):
        digest.update(told)
    return digest.hexdigest()


def _told(value: Any, name: str) -> Iterator[bytes]:
    """Yield all that a state holds, by name and kind, in an order of its own."""
    if isinstance(value, dict):
        for key in sorted(value):
            yield from _told(value[key], f"{name}/{key}")
    elif isinstance(value, torch.Tensor):
        yield f"{name} {value.dtype} {tuple(value.shape)}".encode()
        yield value.contiguous().numpy().tobytes()
    else:
        yield f"{name} {value!r}".encode()


def _first_seal(training: dict[str, Any]) -> str:
    """Checksum of a state of format 1, which knew Adam alone."""
    digest = hashlib.sha256()
    optimiser = training["optimiser"]
    plain = [training[name] for name in ("format", "step", "seconds", "rows")]
    digest.update(repr([*plain, optimiser["count"]]).encode())
    tensors = (training["running"], optimiser["mean"], optimiser["square"])
    for tensor in (*tensors, training["rng"]):
        digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()


def _named(folder: Path) -> Iterator[tuple[Path, re.Match[str]]]:
    for path in folder.glob("checkpoint-*.pth"):
        match = _NAME.fullmatch(path.name)
        if match:
            yield path, match
