"""Task ``nve``: is energy conserved over long runs, and do they hold at all?"""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpbench.config import to_mapping
from dpbench.errors import ConfigError
from dpbench.eval.evaluator import AbstractEvaluator
from dpbench.eval.motion.running import Plan, make_runs
from dpbench.eval.motion.starts import described, starts_of
from dpbench.eval.motion.summary import (
    how_it_went,
    listed,
    mean_over_systems,
    median_over_systems,
    survived_percent,
)
from dpbench.eval.motion.watching import Limits
from dpbench.eval.structures import default_timestep
from dpbench.eval.task_results import TaskResult
from dpbench.eval.tasks.kept import Kept
from dpbench.eval.tasks.task import Job, Task
from dpbench.md.settings import Baths
from dpbench.metrics.drift import FS_PER_PS, Drift, energy_drift
from dpbench.metrics.survival import stability_score

TOLERANCE = 0.5
"""meV/atom/ps: drifts below it count as none (LAMBench: 5e-4 eV/atom/ps)."""

CRASHED = 5.0
"""Instability of a failed run (LAMBench)."""

FEWEST_POINTS = 5
"""Of the energy, behind the part that is dropped."""

TRACE_POINTS = 100
"""Most points of a trace that a record keeps."""


@dataclass(frozen=True, kw_only=True, slots=True)
class NveSettings:
    """What a suite may choose."""

    temperature: float = 300.0
    """K, of the velocities at the start."""
    timestep: float | None = None
    """fs; None: 0.5 with hydrogen, else 1."""
    steps: int = 10_000
    """Of each run."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Of the velocities; one run each from every start structure."""
    nstructures: int = 9
    """Start structures at most: the first frame of each source, formulas in turn."""
    sample_every: int = 10
    """Steps between two points, and between two looks at distances."""
    min_natoms: int = 64
    """Smaller frames are repeated to this many atoms."""
    discard: float = 0.2
    """Part dropped before the regression."""
    limits: Limits = field(default_factory=lambda: Limits(partner_ang=2.5))
    """What ends a run as failed."""

    def __post_init__(self) -> None:
        """Check that a run has enough points for a slope."""
        if not 0 <= self.discard < 1:
            raise ConfigError(f"discard = {self.discard}; expected 0 up to below 1.")
        if self.steps * (1 - self.discard) < FEWEST_POINTS * self.sample_every:
            raise ConfigError(
                f"steps = {self.steps}: leaves fewer than {FEWEST_POINTS} points, one "
                f"each {self.sample_every} steps, for a slope. Ask for more steps."
            )
        if not self.seeds or self.nstructures < 1 or self.sample_every < 1:
            raise ConfigError(
                "seeds, nstructures, sample_every: expected at least one of each."
            )


MODES = {
    "smoke": NveSettings(steps=200, nstructures=1, sample_every=2),
    "standard": NveSettings(steps=2000, nstructures=3, sample_every=5),
    "full": NveSettings(),
}


def predict(evaluator: AbstractEvaluator, job: Job) -> Kept:
    """Run constant-energy dynamics from each start structure with each seed."""
    begin = time.perf_counter()
    settings: NveSettings = job.settings
    starts = starts_of(
        job.part, task="nve", most=settings.nstructures, min_natoms=settings.min_natoms
    )
    arrays: dict[str, NDArray[Any]] = {}
    systems = []
    for number, start in enumerate(starts):
        job.say(f"nve {number + 1}/{len(starts)}: {start.formula}")
        timestep = settings.timestep or default_timestep(start.structure)
        runs = make_runs(
            evaluator,
            start.structure,
            Plan(
                baths=Baths(
                    ensemble="nve",
                    temperature=settings.temperature,
                    timestep=timestep,
                    zero_every=0,
                ),
                steps=settings.steps,
                seeds=settings.seeds,
                sample_every=settings.sample_every,
                limits=settings.limits,
            ),
        )
        for name in ("energy", "kinetic", "temperature"):
            arrays[f"{name}_{number}"] = runs.values[name]
        arrays["step"] = runs.step
        systems.append(
            {**described(start), "timestep_fs": timestep, "runs": runs.endings}
        )
    return Kept(
        arrays=arrays,
        facts={"systems": systems},
        wall_time_s=round(time.perf_counter() - begin, 3),
    )


def score(kept: Kept, job: Job) -> TaskResult:
    """Fit the drift of every run; a failed run counts as the worst."""
    settings: NveSettings = job.settings
    systems = []
    for number, system in enumerate(kept.facts["systems"]):
        found = [
            _scored(kept, number, index, job=job)
            for index in range(len(system["runs"]))
        ]
        systems.append({**system, "runs": found})
    by_system = [system["runs"] for system in systems]
    runs = [run for system in by_system for run in system]
    status, reason = how_it_went(runs)

    def values(name: str) -> list[list[Any]]:
        return [[run[name] for run in system] for system in by_system]

    drift = median_over_systems(
        "nve_drift_mev_per_atom_ps",
        [[_size(v) for v in system] for system in values("drift_mev_per_atom_ps")],
    )
    return TaskResult(
        task="nve",
        code="",
        status=status,
        reason=reason,
        protocol={
            "ensemble": "NVE",
            "integrator": "velocity Verlet (dpbench)",
            **to_mapping(settings),
        },
        metrics=(
            drift,
            mean_over_systems("nve_instability", values("instability")),
            median_over_systems("nve_drift_over_fluctuation", values("ratio")),
            mean_over_systems(
                "nve_survived_percent",
                [survived_percent(system, settings.steps) for system in by_system],
            ),
        ),
        samples={"systems": systems},
        wall_time_s=kept.wall_time_s,
    )


def _size(drift: float | None) -> float | None:
    return None if drift is None else abs(drift)


def _scored(kept: Kept, number: int, index: int, *, job: Job) -> dict[str, Any]:
    """Score one run."""
    settings: NveSettings = job.settings
    system = kept.facts["systems"][number]
    run: Mapping[str, Any] = system["runs"][index]
    natoms, timestep = system["natoms"], system["timestep_fs"]
    clock = kept.arrays["step"] * timestep
    energy = kept.arrays[f"energy_{number}"][index]
    kinetic = kept.arrays[f"kinetic_{number}"][index]
    temperature = kept.arrays[f"temperature_{number}"][index]
    drift = None
    if run["failure_step"] is None:
        drift = energy_drift(clock, energy, natoms=natoms, discard=settings.discard)
    origin = energy[0] if len(energy) else math.nan
    detached = run["failure_step"] if run["status"] == "detached" else None
    exploded = run["failure_step"] if detached is None else None
    return {
        **run,
        "drift_mev_per_atom_ps": None if drift is None else drift.slope,
        "residual_mev_per_atom": None if drift is None else drift.residual,
        "instability": _instability(drift),
        "ratio": _ratio(drift, clock, kinetic, natoms=natoms, discard=settings.discard),
        "stability_score": stability_score(
            settings.steps, exploded_at=exploded, detached_at=detached
        ),
        "time_fs": listed(clock, digits=3, most=TRACE_POINTS),
        "energy_mev_per_atom": listed(
            (energy - origin) * 1000 / natoms, digits=5, most=TRACE_POINTS
        ),
        "temperature_k": listed(temperature, digits=1, most=TRACE_POINTS),
    }


def _instability(drift: Drift | None) -> float:
    """Orders of magnitude above what is tolerated.

    Source:
        LAMBench, NVE task.
    """
    if drift is None:
        return CRASHED
    if drift.magnitude <= TOLERANCE:
        return 0.0
    return min(CRASHED, math.log10(drift.magnitude / TOLERANCE))


def _ratio(
    drift: Drift | None,
    clock: Any,
    kinetic: Any,
    *,
    natoms: int,
    discard: float,
) -> float | None:
    """Drift over the fitted time, in widths of the kinetic energy.

    Source:
        MLIP Audit: |slope| T / sigma_KE.
    """
    if drift is None:
        return None
    kept = clock >= clock[0] + discard * (clock[-1] - clock[0])
    width = float(np.std(kinetic[kept])) * 1000 / natoms
    fitted = float(clock[-1] - clock[kept][0]) / FS_PER_PS
    return None if width == 0 else drift.magnitude * fitted / width


def cost(settings: NveSettings) -> float:
    """Atoms times steps of all runs, before the frames are known."""
    runs = settings.nstructures * len(settings.seeds)
    return float(runs * settings.steps * settings.min_natoms)


TASK = Task(
    name="nve",
    title="Energy drift (NVE)",
    settings=NveSettings,
    modes=MODES,
    predict=predict,
    score=score,
    cost=cost,
    sources=(
        "dpbench.eval.tasks.nve",
        "dpbench.eval.motion.fields",
        "dpbench.eval.motion.replicas",
        "dpbench.eval.motion.running",
        "dpbench.eval.motion.starts",
        "dpbench.eval.motion.summary",
        "dpbench.eval.motion.watching",
        "dpbench.metrics.drift",
        "dpbench.metrics.survival",
    ),
)
