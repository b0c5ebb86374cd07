"""Runs of a task from one start structure: step, look, take down, move the targets."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpbench.eval.evaluator import AbstractEvaluator
from dpbench.eval.motion.fields import field_of
from dpbench.eval.motion.replicas import Replicas, structure_of
from dpbench.eval.motion.watching import Limits, RunWatch
from dpbench.frames import Frames
from dpbench.md.settings import Baths

Array = NDArray[np.float64]

LOOK_EVERY = 20
"""Steps between two looks at distances, which cost a neighbour search of each run."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """How runs are done."""

    baths: Baths
    """Ensemble and targets at the start."""
    steps: int
    """Of each run."""
    seeds: tuple[int, ...]
    """One run each."""
    sample_every: int
    """Steps between two samples."""
    limits: Limits
    """What ends a run."""
    targets: Callable[[int], Baths] | None = None
    """Targets of a step, for ramps; None = those of the start."""
    retarget_every: int = 1
    """Steps between two moves of the targets."""
    after_step: Callable[[Replicas], None] | None = None
    """Done after each step."""
    keeps_coord: bool = False
    """Whether samples hold coordinates."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Runs:
    """What runs left; NaN where one had failed already."""

    step: NDArray[np.int64]
    """(sample)."""
    values: dict[str, Array]
    """``energy`` and ``kinetic`` (eV), ``temperature`` (K), ``virial`` (eV, trace),
    ``volume`` (Å^3), each (run, sample); ``coord`` (run, sample, atom, 3), Å."""
    endings: list[dict[str, Any]]
    """One per run: seed, status, kind, step and reason."""


def make_runs(evaluator: AbstractEvaluator, start: Frames, plan: Plan) -> Runs:
    """Run molecular dynamics, one run for each seed, side by side.

    Args:
        evaluator: The model on its backend.
        start: One frame.
        plan: Ensemble, length, seeds, limits.

    Returns:
        Samples, and how each run ended. A run that fails is a result, not an error.

    Raises:
        BackendError: If the backend fails, which says nothing of the model.
    """
    replicas = _replicas(evaluator, start, plan)
    every = plan.sample_every
    steps = np.arange(0, plan.steps + 1, every)
    values = _blank(len(plan.seeds), len(steps), len(start.z), plan.keeps_coord)
    # Floating-point trouble is what these runs look for, not a warning to print.
    with np.errstate(all="ignore"):
        replicas.start()
        if len(replicas.live):
            replicas.sample()
        _take(replicas, values, 0)
        for step in range(1, plan.steps + 1):
            if not len(replicas.live):
                break
            if plan.targets is not None and (step - 1) % plan.retarget_every == 0:
                replicas.dynamics.retarget(plan.targets(step))
            replicas.step()
            if plan.after_step is not None and len(replicas.live):
                plan.after_step(replicas)
            if len(replicas.live) and (step % LOOK_EVERY == 0 or step == plan.steps):
                replicas.sample()
            if step % every == 0:
                _take(replicas, values, step // every)
    return Runs(step=steps, values=values, endings=_endings(replicas, plan))


def _replicas(evaluator: AbstractEvaluator, start: Frames, plan: Plan) -> Replicas:
    box = start.box[0] if bool(start.pbc.all()) else None
    structure = structure_of(start.z, start.coord, box)
    watch = RunWatch(
        plan.limits,
        z=structure.z,
        coord=structure.coord,
        box=structure.box,
        pbc=structure.pbc,
        is_conserving=plan.baths.ensemble == "nve" and plan.after_step is None,
    )
    return Replicas(
        lambda nreplicas: field_of(evaluator, structure.z, nreplicas),
        structure,
        plan.baths,
        seeds=plan.seeds,
        watch=watch,
        device=evaluator.device,
    )


def _blank(nruns: int, nsamples: int, natoms: int, keeps_coord: bool) -> dict[str, Any]:
    names = ("energy", "kinetic", "temperature", "virial", "volume")
    values = {name: np.full((nruns, nsamples), np.nan) for name in names}
    if keeps_coord:
        values["coord"] = np.full((nruns, nsamples, natoms, 3), np.nan)
    return values


def _take(replicas: Replicas, values: dict[str, Array], index: int) -> None:
    """Take down what the replicas are like that hold."""
    live, dynamics, state = replicas.live, replicas.dynamics, replicas.dynamics.state
    if not len(live):
        return
    kinetic = 0.5 * state.twice_kinetic()
    virial = state.virial.diagonal(dim1=1, dim2=2).sum(dim=1)
    for name, found in (
        ("energy", state.energy + kinetic),
        ("kinetic", kinetic),
        ("temperature", state.temperature(dynamics.dof)),
        ("virial", virial),
        ("volume", state.volume()),
    ):
        values[name][live, index] = found.cpu().numpy()
    if "coord" in values:
        values["coord"][live, index] = state.coord.cpu().numpy()


def _endings(replicas: Replicas, plan: Plan) -> list[dict[str, Any]]:
    found = []
    for run, seed in enumerate(plan.seeds):
        failure = replicas.failures.get(run)
        found.append(
            {
                "seed": seed,
                "status": "completed" if failure is None else failure.kind,
                "failure_step": None if failure is None else failure.step,
                "reason": None if failure is None else failure.reason,
            }
        )
    return found
