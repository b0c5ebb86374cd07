"""The deviation of an ensemble on explored frames, whatever engine made them."""

import logging
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dpbench.errors import ModelError
from dpbench.eval.ensemble import open_ensemble
from dpbench.eval.evaluator import AbstractEvaluator
from dpbench.eval.model_deviation import Material, Request, measure_deviation
from dpbench.explore.select.table import DeviationTable, table_of
from dpbench.frames import Frames
from dpbench.metrics.model_deviation import COLUMNS, Deviation
from dpbench.store.workspace import Workspace

BLOCK_FRAMES = 512
"""Frames that pass through all models at a time."""

logger = logging.getLogger(__name__)

Names = Sequence[str] | NDArray[np.str_]


def deviations(
    models: Sequence[Path],
    frames: Frames,
    *,
    relative: float | None = None,
    relative_virial: float | None = None,
    relative_to_walk: bool = False,
    step: NDArray[np.int64] | None = None,
    walk: NDArray[np.int64] | None = None,
    structure: Names | None = None,
    workspace: Callable[[], Workspace] | None = None,
    device: str = "cpu",
    progress: Callable[[str], None] | None = None,
    refusals: list[ModelError] | None = None,
) -> DeviationTable:
    """Ask all models about all frames, and tell how far they disagree.

    A frame that a model refuses, for it has more neighbours than the model has slots,
    gets NaN in all columns: selection judges it as failed, with this reason.

    Args:
        models: Files of the models, two at least.
        frames: Structures; labels are not looked at.
        relative: Level of the relative force deviation, eV/Å; None = absolute.
        relative_virial: Level of the relative virial deviation, eV/atom.
        relative_to_walk: Whether to divide force deviations by the root mean square
            force of their walk, after the first model.
        step: (frame); None = 0, 1, 2, ...
        walk: (frame), number of each frame's walk; None = one walk.
        structure: (frame), name of what each walk started from; None = no name.
        workspace: Opens the workspace where a model is of a foreign backend.
        device: Where.
        progress: Told a few words after each block.
        refusals: Takes what the models say of frames that they refuse, all of them
            too; None = it is an error if they refuse every frame.

    Raises:
        EvaluationError: If there are fewer than two models.
        ModelError: If a file is no model, or the models refuse every frame.
    """
    count = frames.nframes
    step = np.arange(count, dtype=np.int64) if step is None else step
    if not count:
        return table_of(step, {}, [], walk=walk, structure=structure)
    request = Request(relative=relative, relative_virial=relative_virial)
    with ExitStack() as stack:
        opened = open_ensemble(
            stack, models, workspace=workspace or Workspace.find, device=device
        )
        found = _all(opened, frames, request, progress, refusals)
        table = table_of(
            step,
            {name: np.array([getattr(d, name) for d in found]) for name in COLUMNS},
            [deviation.atom_devi_f for deviation in found],
            walk=walk,
            structure=structure,
        )
        if not relative_to_walk:
            return table
        return table.relative_to_walks(_forces(opened[0], frames, table))


def _all(
    evaluators: Sequence[AbstractEvaluator],
    frames: Frames,
    request: Request,
    progress: Callable[[str], None] | None,
    refusals: list[ModelError] | None,
) -> list[Deviation]:
    """Measure all frames, block by block, and take down what was refused."""
    count = frames.nframes
    found: list[Deviation] = []
    refused: list[ModelError] = []
    for first in range(0, count, BLOCK_FRAMES):
        block = frames.select(range(first, min(first + BLOCK_FRAMES, count)))
        found += _measured(evaluators, block, request, refused)
        if progress is not None:
            progress(f"{len(found)} of {count} frames")
    if len(refused) == count and refusals is None:
        raise refused[0]
    _tell(refused, count)
    if refusals is not None:
        refusals += refused
    return found


def _measured(
    evaluators: Sequence[AbstractEvaluator],
    frames: Frames,
    request: Request,
    refused: list[ModelError],
) -> list[Deviation]:
    """Measure some frames; halve them until the ones that are refused stand alone."""
    material = Material(
        label="explored frames",
        frame_idx=np.arange(frames.nframes, dtype=np.int64),
        blocks=lambda: iter([frames]),
    )
    names = [str(number) for number in range(len(evaluators))]
    try:
        report = measure_deviation(evaluators, material, names=names, request=request)
    except ModelError as error:
        if frames.nframes == 1:
            refused.append(error)
            return [_unknown(int(frames.natoms[0]))]
        half = frames.nframes // 2
        return [
            deviation
            for rows in (range(half), range(half, frames.nframes))
            for deviation in _measured(
                evaluators, frames.select(rows), request, refused
            )
        ]
    return list(report.deviations)


def _unknown(natoms: int) -> Deviation:
    """Return the deviation of a frame about which a model says nothing."""
    return Deviation(
        **dict.fromkeys(COLUMNS, float("nan")), atom_devi_f=np.full(natoms, np.nan)
    )


def _tell(refused: Sequence[ModelError], count: int) -> None:
    if refused:
        logger.warning(
            "%d of %d explored frames are refused by a model and count as failed; the "
            "first: %s",
            len(refused),
            count,
            refused[0],
        )


def _forces(
    evaluator: AbstractEvaluator, frames: Frames, table: DeviationTable
) -> NDArray[np.float64]:
    """(atom, 3), eV/Å: what one model says; NaN for frames that were refused."""
    force = np.full((len(frames.z), 3), np.nan)
    known = np.flatnonzero(np.isfinite(table.max_devi_f))
    for first in range(0, len(known), BLOCK_FRAMES):
        rows = known[first : first + BLOCK_FRAMES]
        answer = evaluator.predict(frames.select(rows)).force
        starts = np.repeat(frames.atom_offset[rows], frames.natoms[rows])
        within = np.concatenate([np.arange(n) for n in frames.natoms[rows].tolist()])
        force[starts + within] = answer
    return force
