"""Ladders as the result of the task ``md_throughput``."""

from collections.abc import Mapping, Sequence
from typing import Any

from dpbench.config import to_mapping
from dpbench.eval.speed.engines import INTEGRATORS
from dpbench.eval.speed.families import TITLES
from dpbench.eval.speed.results import Ladder, Ladders, Level, Rung
from dpbench.eval.speed.settings import LEVELS, SpeedSettings, reference_size
from dpbench.eval.task_results import TaskResult
from dpbench.eval.tasks.doing import code_digest
from dpbench.metrics.definitions import MetricValue, metric_value

TASK = "md_throughput"
"""Name of the task."""

SOURCES = (
    "dpbench.eval.speed.engines",
    "dpbench.eval.speed.families",
    "dpbench.eval.speed.lammps_log",
    "dpbench.eval.speed.lammps_runs",
    "dpbench.eval.speed.lammps_session",
    "dpbench.eval.speed.measuring",
    "dpbench.eval.speed.probe",
    "dpbench.eval.speed.processes",
    "dpbench.eval.speed.reporting",
    "dpbench.eval.speed.results",
    "dpbench.eval.timing",
)
"""Modules whose source decides the numbers: rows of two versions never mix."""

NO_LIST = "the backend keeps its neighbour lists to itself"


def headline(
    ladders: Sequence[Ladder], sizes: Sequence[int]
) -> tuple[MetricValue, ...]:
    """Return the dynamics at the reference size, one number per family."""
    wanted = reference_size(tuple(sizes))
    found = []
    for ladder in ladders:
        level = next(
            (
                rung.levels.get(LEVELS[2])
                for rung in ladder.rungs
                if rung.asked == wanted and rung.status == "ok"
            ),
            None,
        )
        name = f"md_{ladder.family}_us_per_atom_step"
        if level is None:
            found.append(metric_value(name, None, n=0))
            continue
        found.append(
            metric_value(
                name,
                level.median,
                n=len(level.samples),
                interval=(level.ci_low, level.ci_high),
            )
        )
    return tuple(found)


def protocol_of(
    settings: SpeedSettings,
    ladders: Ladders,
    *,
    conditions: Mapping[str, Any],
    together: Sequence[str] = (),
) -> dict[str, Any]:
    """Say how the ladders were climbed.

    Args:
        settings: What was asked for.
        ladders: What came of it.
        conditions: Of the machine, as ``machine.conditions`` and the fingerprint say.
        together: Labels of all configurations that took turns.
    """
    rungs = [rung for ladder in ladders.ladders for rung in ladder.rungs]
    return {
        **to_mapping(settings),
        "reference_natoms": reference_size(settings.sizes),
        "engine": ladders.engine,
        "integrator": INTEGRATORS[ladders.engine],
        "ensemble": "nvt, Langevin",
        "independent_processes": settings.processes,
        "interleaving": "one process of each configuration a round; the first of a "
        "round changes",
        "configurations": list(together or (ladders.label,)),
        "warmup": "first call, then chunks up to half a window; none of it counts",
        "busy_machine": any(rung.is_busy for rung in rungs),
        **conditions,
    }


def samples_of(ladders: Ladders) -> dict[str, Any]:
    """Lay out raw times and what follows from them, family by family."""
    return {
        "label": ladders.label,
        "families": {
            ladder.family: _family(ladder) if ladder.elements else None
            for ladder in ladders.ladders
        },
    }


def _family(ladder: Ladder) -> dict[str, Any]:
    return {
        "title": TITLES[ladder.family],
        "elements": list(ladder.elements),
        "timestep_fs": ladder.timestep,
        "max_natoms": ladder.max_natoms,
        "sizes": [_rung(rung) for rung in ladder.rungs],
    }


def _rung(rung: Rung) -> dict[str, Any]:
    told: dict[str, Any] = to_mapping(rung)
    told["levels"] = {name: _level(level) for name, level in rung.levels.items()}
    if rung.status == "ok" and LEVELS[0] not in rung.levels:
        told["levels"][LEVELS[0]] = None
        told["forward_why_not"] = NO_LIST
    return told


def _level(level: Level) -> dict[str, Any]:
    told: dict[str, Any] = to_mapping(level)
    told |= told.pop("ns_per_day")  # the names carry the time step
    return told


def task_result(
    settings: SpeedSettings,
    ladders: Ladders,
    *,
    conditions: Mapping[str, Any],
    together: Sequence[str] = (),
) -> TaskResult:
    """Make the result of the task; it failed where no size of any family ran."""
    rungs = [rung for ladder in ladders.ladders for rung in ladder.rungs]
    has_any = any(rung.status == "ok" for rung in rungs)
    reason = None
    if not rungs:
        reason = "the model knows no element of any family"
    elif not has_any:
        reason = f"{rungs[0].status}: {rungs[0].reason}"
    return TaskResult(
        task=TASK,
        code=code_digest(SOURCES),
        status="ok" if has_any else "failed",
        reason=reason,
        protocol=protocol_of(
            settings, ladders, conditions=conditions, together=together
        ),
        metrics=headline(ladders.ladders, settings.sizes),
        samples=samples_of(ladders),
        wall_time_s=ladders.wall_time_s,
    )
