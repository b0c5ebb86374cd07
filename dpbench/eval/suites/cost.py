"""What a suite will cost, told before it starts."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from dpbench.errors import DpbenchError
from dpbench.eval.evaluator import AbstractEvaluator
from dpbench.eval.opening import opened
from dpbench.eval.stability import StabilitySettings
from dpbench.eval.structures import displaced, replicas_to_reach, supercell
from dpbench.eval.suites.measuring import plan_of
from dpbench.eval.suites.units import Unit
from dpbench.eval.tasks.md_throughput import ATOM_STEPS_PER_S
from dpbench.eval.tasks.table import TASKS
from dpbench.eval.throughput import QUANTITIES, ThroughputSettings
from dpbench.frames import Frames
from dpbench.store.dataset import open_dataset
from dpbench.store.splits.making import named_split
from dpbench.store.workspace import Workspace

NATOMS = 64
"""Atoms of the structure that is timed, at least."""

CALLS = 20
"""Timed calls at most; the least of them counts, for a plan and not for a record."""

PATIENCE = 0.5
"""Seconds after which no further call is timed."""

OPENING = 1.0
"""Seconds that a unit takes beside its evaluations: opening, comparing, filing."""

WINDOWED = ("md_throughput", "scaling", "dft_speedup")
"""Tasks whose windows last as long whatever a step takes."""

WARM_UP = 1.5
"""How much longer a timing takes than its windows."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Survey:
    """What a look at a model on a backend told."""

    us_per_atom_step: float | None
    """Of a warm model on about ``NATOMS`` atoms; None if it could not be timed."""
    type_map: tuple[str, ...] | None
    """Elements that it knows; None if it could not be opened."""
    trouble: str | None = None
    """Why not."""


def survey(workspace: Workspace, units: Sequence[Unit]) -> Survey:
    """Open a model on its backend and time it on a frame of its first unit.

    Args:
        workspace: Holds the data.
        units: Of one model on one backend, some at least.
    """
    try:
        with opened(workspace, plan_of(workspace, units[0]), units[0].options) as model:
            evaluator = model.evaluator
            known = tuple(evaluator.type_map)
            for unit in units:
                frame = _frame(workspace, unit)
                if set(frame.symbols) <= set(known):
                    speed = _speed(evaluator, frame)
                    return Survey(us_per_atom_step=speed, type_map=known)
            return Survey(us_per_atom_step=None, type_map=known)
    except DpbenchError as error:
        words = " ".join(str(error).split())
        return Survey(us_per_atom_step=None, type_map=None, trouble=words)


def seconds_of(unit: Unit, us_per_atom_step: float | None) -> float | None:
    """Estimate how long a unit takes, s; None where that is not known.

    Args:
        unit: The unit.
        us_per_atom_step: Speed of its model, as ``survey`` measures it.
    """
    settings = unit.settings
    if isinstance(settings, ThroughputSettings):
        windows = settings.nsizes * len(QUANTITIES) * settings.repeats
        return OPENING + WARM_UP * windows * settings.window_s
    if unit.task.task in WINDOWED:
        work = float(TASKS[unit.task.task].cost(settings))
        return OPENING + WARM_UP * work / ATOM_STEPS_PER_S
    if us_per_atom_step is None:
        return None
    if unit.task.task == "accuracy":
        work = float(unit.natoms)
    elif isinstance(settings, StabilitySettings):
        work = float(settings.min_natoms * settings.steps * len(settings.seeds))
    else:
        work = float(TASKS[unit.task.task].cost(settings))
    return OPENING + 1e-6 * us_per_atom_step * work


def _frame(workspace: Workspace, unit: Unit) -> Frames:
    version = open_dataset(workspace, unit.version)
    rows = named_split(version, unit.split).part(unit.task.part)
    return version.read([int(rows[0])])


def _speed(evaluator: AbstractEvaluator, frame: Frames) -> float:
    larger = supercell(frame, replicas_to_reach(frame, NATOMS))
    times: list[float] = []
    for seed in range(CALLS + 1):
        moved = displaced(larger, amplitude=0.01, seed=seed)
        begin = time.perf_counter()
        evaluator.predict(moved)
        evaluator.synchronise()
        times.append(time.perf_counter() - begin)
        if len(times) > 1 and sum(times[1:]) > PATIENCE:
            break
    # The first compiles and allocates.
    return 1e6 * min(times[1:]) / int(larger.natoms.sum())
