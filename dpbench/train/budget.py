"""Turning a time budget into steps: once, from a few timed steps, and then recorded."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from math import ceil, floor, log10

import torch

from dpbench.kernels.batch import Batch
from dpbench.models.potential import DeepPotential
from dpbench.train.config import (
    DEFAULT_TIME_BUDGET,
    RunSettings,
    parse_duration,
)
from dpbench.train.engine import Engine, Prefactors, choose_engine
from dpbench.train.loop import Plan
from dpbench.train.optimisers import make_optimiser
from dpbench.train.optimisers.config import OptimiserConfig
from dpbench.train.optimisers.stepping import stepper
from dpbench.train.schedule import Schedule

ROWS = 50
"""Points of the learning curve where the user names no interval."""

CHECKPOINTS = 10
"""Checkpoints written in a run where the user names no interval."""

VALIDATION_SHARE = 0.1
"""Most of a time budget that validation may take."""

MOST_EPOCHS = 100
"""Without a stated length, a run is no longer than so many passes over the data ..."""

LEAST_STEPS = 20_000
"""... or this many steps, whichever is more."""

_TIMED_STEPS = 20
_WARM_STEPS = 3
_TIMED_SECONDS = 4.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Costs:
    """Seconds that things take here."""

    step: float
    """One optimiser step."""
    validation: float
    """One validation."""
    busy: float | None = None
    """One optimiser step were the cores ours alone: CPU time by thread. None = not
    known, as on a GPU."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Length:
    """How long a run is, and why."""

    steps: int
    """Optimiser steps."""
    rows: int
    """Points of the learning curve."""
    reason: str
    """Shown to the user, and recorded."""


def measure_costs(
    model: DeepPotential,
    make_batch: Callable[[int], Batch],
    validate: Callable[[DeepPotential], object],
    schedule: Schedule,
    *,
    optimiser: OptimiserConfig | None = None,
    engine: Engine | None = None,
) -> Costs:
    """Time some steps and one validation; the model is left as it is.

    Ranks that share batches take the same steps: the slowest clock ends them for all.
    """
    engine = choose_engine(model.config) if engine is None else engine
    scratch = model.to(model.device, model.dtype)
    method = make_optimiser(scratch.parameters, optimiser or OptimiserConfig())
    take_step = stepper(method, engine, scratch)
    seconds: list[tuple[float, float]] = []
    began, worked = time.perf_counter(), 0.0
    for step in range(_WARM_STEPS + _TIMED_STEPS):
        batch = make_batch(step)
        start, cpu = time.perf_counter(), time.process_time()
        energy, force, virial = schedule.prefactors(0)
        result = engine.losses_and_gradients(
            model, batch, Prefactors(energy=energy, force=force, virial=virial)
        )
        float(result.loss)  # waits for the device
        middle = time.perf_counter()
        take_step(batch, result.gradient, 1e-9)
        float(scratch.parameters.flat[0])
        seconds.append((middle - start, time.perf_counter() - middle))
        if step >= _WARM_STEPS:
            worked += time.process_time() - cpu
        # Asked at every step, because all ranks have to answer.
        spent = engine.worst(time.perf_counter() - began)
        if step >= _WARM_STEPS and spent > _TIMED_SECONDS:
            break
    start = time.perf_counter()
    validate(model)
    spent = time.perf_counter() - start
    gradients, moves = zip(*(seconds[_WARM_STEPS:] or seconds), strict=True)
    # The mean of moves: what an optimiser does every twenty steps counts as well.
    step = statistics.median(gradients) + statistics.fmean(moves)
    taken = len(seconds) - _WARM_STEPS
    busy = None
    if model.device.type == "cpu" and taken > 0:
        busy = worked / taken / torch.get_num_threads()
    return Costs(step=step, validation=spent, busy=busy)


def choose_length(
    settings: RunSettings, *, steps_per_epoch: int, costs: Callable[[], Costs]
) -> Length:
    """Decide the number of steps.

    Args:
        settings: What the user stated.
        steps_per_epoch: Batches of one pass over the training frames.
        costs: Called only where time decides.
    """
    if settings.steps is not None:
        return Length(steps=settings.steps, rows=ROWS, reason="steps as stated")
    if settings.epochs is not None:
        steps = max(1, ceil(settings.epochs * steps_per_epoch))
        reason = f"{settings.epochs:g} epochs of {steps_per_epoch} steps"
        return Length(steps=steps, rows=ROWS, reason=reason)
    text = settings.time_budget or DEFAULT_TIME_BUDGET
    budget, cost = parse_duration(text), costs()
    rows = max(1, min(ROWS, floor(VALIDATION_SHARE * budget / cost.validation)))
    step = cost.step
    if settings.time_budget is None and cost.busy is not None:
        # What else the machine does now must not decide how good the model becomes.
        step = min(step, cost.busy)
    fitting = (budget - rows * cost.validation) / step
    steps = _round_down(max(fitting, 1.0))
    reason = f"time budget {text} at {step * 1000:.3g} ms a step"
    if settings.time_budget is None:
        most = max(LEAST_STEPS, MOST_EPOCHS * steps_per_epoch)
        if steps > most:
            steps = most
            reason = f"{most / steps_per_epoch:.0f} passes over the training frames"
        else:
            reason = f"default {reason}"
    return Length(steps=steps, rows=rows, reason=reason)


def make_plan(settings: RunSettings, length: Length) -> Plan:
    """Fix the intervals of validation and checkpoints."""
    steps = length.steps
    return Plan(
        steps=steps,
        validation_every=settings.validation_every or max(10, steps // length.rows),
        checkpoint_every=settings.checkpoint_every or max(1, steps // CHECKPOINTS),
    )


def _round_down(value: float) -> int:
    """Keep two digits, rounded down: a timing is not better known than that."""
    unit: int = 10 ** max(0, floor(log10(value)) - 1)
    return int(value // unit) * unit
