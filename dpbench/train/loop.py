"""The training loop. It needs numpy, torch, numba and h5py alone, and any batches.

Everything that decides the arithmetic is in the arguments: the loop reads no clock, no
file and no random number to choose what to do, so that a run can be repeated and gone
on with bit for bit.
"""

import time
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from typing import Protocol

import torch

from dpbench.errors import TrainingError
from dpbench.kernels.batch import Batch
from dpbench.kernels.heap import keep_freed_memory
from dpbench.models.potential import DeepPotential
from dpbench.train.engine import Engine, Prefactors, StepResult
from dpbench.train.history import CurveRow, Errors
from dpbench.train.monitor import engine_of, finer, is_due, table_error
from dpbench.train.optimisers.protocol import Optimiser
from dpbench.train.optimisers.stepping import stepper
from dpbench.train.schedule import Schedule
from dpbench.train.validation import RunningErrors

ALIGN_EVERY = 20
"""Steps after which ranks take over the weights of the first, apart from rows."""


class Watcher(Protocol):
    """Told by the loop how far it is; see ``dpbench.train.progress``."""

    def step(self, done: int, loss: float | None) -> None:
        """``done`` steps are made; the loss is None where it was not looked at."""

    def row(self, row: CurveRow) -> None:
        """A validation was made."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """How long a run is, and what happens when."""

    steps: int
    """Optimiser steps of the whole run."""
    validation_every: int
    """Steps between two rows of the learning curve."""
    checkpoint_every: int
    """Steps between two checkpoints."""

    def ends(self, step: int) -> tuple[bool, bool]:
        """Say whether a row of the curve, and a checkpoint, follow ``step``."""
        done = step + 1
        is_last = done == self.steps
        is_row = is_last or done % self.validation_every == 0
        return is_row, is_last or done % self.checkpoint_every == 0


@dataclass(kw_only=True, slots=True)
class LoopState:
    """What changes while a run goes on, apart from model and optimiser."""

    step: int = 0
    """Optimiser steps done."""
    seconds: float = 0.0
    """Time trained, over all sessions of the run."""
    waited: float = 0.0
    """Time that the loop waited for its batches, in this session of the run."""
    began_at: float = 0.0
    """``seconds`` when this session of the run began."""
    running: RunningErrors = field(default_factory=RunningErrors)
    """Training errors since the last row."""
    rows: list[CurveRow] = field(default_factory=list)
    """The learning curve."""
    interrupted: bool = False
    """Whether the loop stopped because it was asked to."""
    table_error: float | None = None
    """Largest difference of a force by tables from the exact one that was seen in the
    run, eV/Å; None where no table was used."""
    table_intervals: int | None = None
    """Pieces of each table by now; None before the first comparison."""
    table_reach: list[float] = field(default_factory=list)
    """Distances that the tables of a recorded step reach, Å, which its engine writes
    here; empty without one."""

    def count(self, result: StepResult) -> None:
        """Take note of a step that was made."""
        self.running.add((result.mse_energy, result.mse_force, result.mse_virial))
        self.step += 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Hooks:
    """What the loop calls on its way."""

    validate: Callable[[DeepPotential], Errors]
    """Score the model on the validation frames."""
    save: Callable[[LoopState], None]
    """Write a checkpoint; model and optimiser are at ``state.step``. Every rank calls
    it."""
    watcher: Watcher
    """Shown to the user."""
    should_stop: Callable[[], bool] = lambda: False
    """Asked after every step."""
    align: Callable[[], None] = lambda: None
    """Let all ranks have the same weights; before each row, and every ``ALIGN_EVERY``
    steps of the run."""


def run_loop(
    model: DeepPotential,
    optimiser: Optimiser,
    schedule: Schedule,
    batches: Iterator[Batch],
    *,
    plan: Plan,
    state: LoopState,
    hooks: Hooks,
    engine: Engine | None = None,
) -> LoopState:
    """Train from ``state.step`` to ``plan.steps``.

    Args:
        model: Changed in place.
        optimiser: Over the model's flat parameters.
        schedule: Learning rate and prefactors of each step.
        batches: The batches of step ``state.step`` and on; closed at the end.
        plan: Length, and the times of validation and checkpoint.
        state: Where to start; changed in place.
        hooks: Validation, checkpoints, progress, and the wish to stop.
        engine: Gives losses and gradients; the fastest that serves the model unless
            one is named.

    Returns:
        ``state``, at the last step done.

    Raises:
        TrainingError: If the loss is not finite any more.
    """
    engine = engine_of(model, engine, state.table_intervals)
    take_step = stepper(optimiser, engine, model)
    began = time.perf_counter() - state.seconds
    state.began_at = state.seconds
    # A look at the loss waits for the device: rarely there, always on the CPU.
    look_every = 1 if model.device.type == "cpu" else 20
    with closing(_timed(batches, state)) as stream:
        for batch in stream:
            step = state.step
            rate, weights = schedule.learning_rate(step), _prefactors(schedule, step)
            result = engine.losses_and_gradients(model, batch, weights)
            is_row, is_checkpoint = plan.ends(step)
            is_looked_at = step % look_every == 0 or is_row or is_checkpoint
            loss = _finite_loss(result, step) if is_looked_at else None
            take_step(batch, result.gradient, rate)
            state.count(result)
            if is_due(engine, state.step, plan.steps):
                engine = _watch_tables(engine, model, batch, state)
                take_step = stepper(optimiser, engine, model)
            _align(hooks, state, is_row=is_row)
            state.seconds = time.perf_counter() - began
            hooks.watcher.step(state.step, loss)
            if is_row:
                _add_row(model, state, rate, hooks)
            state.interrupted = state.step < plan.steps and hooks.should_stop()
            if is_checkpoint or state.interrupted:
                hooks.save(state)
            if state.interrupted:
                return state
    return state


def _align(hooks: Hooks, state: LoopState, *, is_row: bool) -> None:
    """Let ranks take over the first one's weights where it is due."""
    if is_row or state.step % ALIGN_EVERY == 0:
        hooks.align()


def _prefactors(schedule: Schedule, step: int) -> Prefactors:
    energy, force, virial = schedule.prefactors(step)
    return Prefactors(energy=energy, force=force, virial=virial)


def _watch_tables(
    engine: Engine, model: DeepPotential, batch: Batch, state: LoopState
) -> Engine:
    """Compare the tables with the exact nets; return an engine that is fine enough."""
    error = table_error(engine, model, batch)
    state.table_error = max(error, state.table_error or 0.0)
    engine = finer(engine, error, step=state.step)
    state.table_intervals = engine.intervals
    return engine


def _timed(batches: Iterator[Batch], state: LoopState) -> Generator[Batch, None, None]:
    """Wrap any iterator so that it can be closed, and waiting for it is counted."""
    keep_freed_memory()
    with ExitStack() as stack:
        if isinstance(batches, Generator):
            stack.enter_context(closing(batches))
        while True:
            asked = time.perf_counter()
            batch = next(batches, None)
            state.waited += time.perf_counter() - asked
            if batch is None:
                return
            yield batch


def _add_row(
    model: DeepPotential, state: LoopState, learning_rate: float, hooks: Hooks
) -> None:
    trained, validated = state.running.errors(), hooks.validate(model)
    row = CurveRow(
        step=state.step,
        learning_rate=learning_rate,
        rmse_e_train=trained.energy,
        rmse_f_train=trained.force,
        rmse_v_train=trained.virial,
        rmse_e_validation=validated.energy,
        rmse_f_validation=validated.force,
        rmse_v_validation=validated.virial,
        wall_time=state.seconds,
    )
    state.rows.append(row)
    state.running = RunningErrors()
    hooks.watcher.row(row)


def _finite_loss(result: StepResult, step: int) -> float:
    loss = float(result.loss)
    if not torch.isfinite(torch.tensor(loss)):
        raise TrainingError(
            f"step {step}: the loss is {loss}; expected a finite number: the training "
            "diverged. The last checkpoint is kept. Lower learning_rate.start_lr or "
            "look at the data with 'dpbench dataset stats'."
        )
    return loss
