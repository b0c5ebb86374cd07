"""Watches during a run that tabulated embedding nets stay true to the exact ones."""

import logging
from dataclasses import replace

import torch

from dpbench.kernels.assembly import select_frames
from dpbench.kernels.batch import Batch
from dpbench.models.potential import DeepPotential
from dpbench.train.engine import Engine, choose_engine

REFINE_ABOVE = 1e-6
"""eV/Å; where a force component by tables is further off, the tables get finer."""

FORCE_LIMIT = 1e-5
"""eV/Å; a larger difference is told."""

MOST_INTERVALS = 8192
"""Tables are not made finer than this."""

LOOKS = 10
"""Comparisons in a run, evenly spread."""

logger = logging.getLogger(__name__)


def is_due(engine: Engine, done: int, steps: int) -> bool:
    """Say whether to compare after ``done`` of ``steps`` steps."""
    if not engine.name.endswith("table"):
        return False
    return done == 1 or done % max(1, steps // LOOKS) == 0 or done == steps


def table_error(engine: Engine, model: DeepPotential, batch: Batch) -> float:
    """Return the largest error of a force component by tables, eV/Å.

    It is that of the first frame of the batch: the exact net of a whole batch in
    float64 may need more memory than training does. Both sides are evaluated in
    float64, so that it is the tables' error alone. It is that of the worst rank where
    several share a batch.
    """
    wide = model.to(model.device, torch.float64)
    frame = select_frames(batch, 0, 1).to(model.device, torch.float64)
    off = engine.predict(wide, frame).force - wide.energy_and_forces(frame).force
    return engine.worst(float(off.abs().max()) if len(off) else 0.0)


def finer(engine: Engine, error: float, *, step: int) -> Engine:
    """Return an engine with twice the pieces where ``error`` asks for it.

    Args:
        engine: The engine so far.
        error: What ``table_error`` found.
        step: Of the run, for the log.
    """
    if error > FORCE_LIMIT:
        logger.warning(
            "step %d: forces by tables of %d pieces are off by %.2g eV/Å from those of "
            "the exact embedding net",
            *(step, engine.intervals, error),
        )
    # A NaN is left to the check of the loss.
    if not error > REFINE_ABOVE or engine.intervals >= MOST_INTERVALS:
        return engine
    wanted = 2 * engine.intervals
    logger.info("step %d: tables get %d pieces (error %.2g)", step, wanted, error)
    return replace(engine, intervals=wanted)


def engine_of(
    model: DeepPotential, engine: Engine | None, pieces: int | None
) -> Engine:
    """Return the engine to begin with, its tables as fine as the run has made them.

    Args:
        model: What is trained.
        engine: As chosen; None takes the fastest that serves.
        pieces: Of each table, where the run has made them finer.
    """
    chosen = choose_engine(model.config) if engine is None else engine
    return chosen if pieces is None else replace(chosen, intervals=pieces)
