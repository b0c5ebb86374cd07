"""Walks by dpbench's own dynamics: replicas side by side, each failing by itself."""

import time
from functools import lru_cache
from pathlib import Path

import numpy as np

from dpbench.eval.motion.replicas import Replicas, structure_of
from dpbench.eval.motion.watching import Kind, Limits, RunWatch
from dpbench.explore.sampling.walk_task import WalkTask
from dpbench.explore.sampling.walks import Outcome, Trail
from dpbench.kernels.heap import keep_freed_memory
from dpbench.md.dynamics import WARMTH
from dpbench.md.forces import ForceField
from dpbench.md.model_source import open_model
from dpbench.md.models import force_field
from dpbench.md.moving import fastest
from dpbench.md.settings import default_limit
from dpbench.models.files import Potential
from dpbench.models.sel import SelOverflow, trained_overflow

SKIN = 1.0
"""Å, extra radius of neighbour lists."""

MODELS_KEPT = 4
"""Opened models that a worker keeps for its next tasks."""


def run_replicas(task: WalkTask) -> list[Trail]:
    """Make the walks of a task side by side.

    Raises:
        ModelError: If the model cannot be opened, or does not know an element.
    """
    keep_freed_memory()
    trails = _run(task, list(range(len(task.names))))
    lost = [row for row, trail in enumerate(trails) if _is_lost(trail)]
    if len(trails) > 1 and len(lost) == len(trails):
        # One start that cannot be evaluated is no fault of the others.
        trails = [_run(task, [row])[0] for row in lost]
    return trails


def _is_lost(trail: Trail) -> bool:
    return trail.outcome != "done" and trail.steps == 0


def _run(task: WalkTask, rows: list[int]) -> list[Trail]:
    began = time.process_time()
    replicas = _replicas(task, rows)
    taken = [_Taken() for _ in rows]
    # Floating-point trouble is told as an explosion, not as a warning.
    with np.errstate(all="ignore"):
        replicas.start()
        for step in range(1, task.stage.steps + 1):
            if not len(replicas.live):
                break
            replicas.step()
            if task.frames_at(step):
                _take(replicas, taken, step)
            if len(replicas.live) and step % task.stage.every == 0:
                replicas.sample()
                replicas.fail(_too_hot(task, rows, replicas))
    share = (time.process_time() - began) / len(rows)
    return [
        _trail(task, replicas, row, one, cpu_seconds=share)
        for row, one in enumerate(taken)
    ]


def _too_hot(
    task: WalkTask, rows: list[int], replicas: Replicas
) -> dict[int, tuple[Kind, str]]:
    """Name replicas that are hotter than their own temperature allows.

    The watch knows one temperature, which is the highest of all.
    """
    if not len(replicas.live):
        return {}
    found: dict[int, tuple[Kind, str]] = {}
    now = replicas.state.temperature(replicas.dynamics.dof).tolist()
    for row, (replica, heat) in enumerate(zip(replicas.live, now, strict=True)):
        limit = default_limit(task.temperatures[rows[int(replica)]])
        if heat > limit:
            reason = f"temperature {heat:.0f} K, more than {limit:.0f} K"
            found[row] = ("exploded", reason)
    return found


class _Taken:
    """Frames of one replica."""

    def __init__(self) -> None:
        self.coord: list[np.ndarray] = []
        self.box: list[np.ndarray] = []
        self.step: list[int] = []


def _take(replicas: Replicas, taken: list[_Taken], step: int) -> None:
    state = replicas.state
    coord, box = state.coord.cpu().numpy(), state.box.cpu().numpy()
    for row, replica in enumerate(replicas.live.tolist()):
        taken[replica].coord.append(coord[row].copy())
        taken[replica].box.append(box[row].copy())
        taken[replica].step.append(step)


def _trail(
    task: WalkTask, replicas: Replicas, row: int, taken: _Taken, *, cpu_seconds: float
) -> Trail:
    failure = replicas.failures.get(row)
    outcome: Outcome = "done"
    if failure is not None:
        outcome = "failed" if failure.kind == "refused" else "exploded"
    count = len(taken.step)
    return Trail(
        coord=np.array(taken.coord).reshape(count, len(task.z), 3),
        box=np.array(taken.box).reshape(count, 3, 3),
        step=np.array(taken.step, dtype=np.int64),
        outcome=outcome,
        reason="" if failure is None else failure.reason,
        # The step at which it was seen is not a step that was made in peace.
        steps=task.stage.steps if failure is None else max(0, failure.step - 1),
        cpu_seconds=cpu_seconds,
    )


def _replicas(task: WalkTask, rows: list[int]) -> Replicas:
    """Put walks side by side, each at its own start."""
    model, overflow = _opened(str(task.model), task.model.stat().st_mtime_ns)
    box = task.box[rows[0]] if task.pbc.all() else None
    structure = structure_of(task.z, task.coord[rows[0]], box)

    def make_field(nreplicas: int) -> ForceField:
        return force_field(
            model, task.z, nreplicas=nreplicas, skin=SKIN, sel_overflow=overflow
        )

    watch = RunWatch(
        # Whatever leaves the others is for the filters to judge.
        Limits(detached_factor=0.0),
        z=structure.z,
        coord=structure.coord,
        box=structure.box,
        pbc=structure.pbc,
        is_conserving=False,
    )
    seeds = tuple(task.seeds[row] for row in rows)
    replicas = Replicas(make_field, structure, task.baths, seeds=seeds, watch=watch)
    # All replicas were put at the first start and temperature; each has its own.
    state = replicas.state
    warmth = np.sqrt(np.array(task.temperatures)[rows] / task.baths.temperature)
    if (warmth != 1).any():
        state.bath[WARMTH] = state.coord.new_tensor(warmth)
        state.velocity *= state.bath[WARMTH][:, None, None]
    state.coord.copy_(state.coord.new_tensor(task.coord[rows]))
    state.box.copy_(state.box.new_tensor(task.box[rows]))
    return replicas


@lru_cache(maxsize=MODELS_KEPT)
def _opened(path: str, changed: int) -> tuple[Potential, SelOverflow]:
    """Open a model once a process; ``changed`` tells one of the same name apart."""
    model, provenance = open_model(Path(path))
    return fastest(model), trained_overflow(provenance)
