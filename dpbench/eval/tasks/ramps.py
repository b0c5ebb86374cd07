"""Task ``ramps``: how hot, and how compressed, before a run no longer holds?"""

import time
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from dpbench.config import to_mapping
from dpbench.errors import ConfigError
from dpbench.eval.evaluator import AbstractEvaluator
from dpbench.eval.motion.running import Plan, Runs, make_runs
from dpbench.eval.motion.starts import Start, described, starts_of
from dpbench.eval.motion.summary import (
    how_it_went,
    listed,
    mean_over_systems,
    survived_percent,
)
from dpbench.eval.motion.watching import Limits
from dpbench.eval.task_results import TaskResult
from dpbench.eval.tasks.kept import Kept
from dpbench.eval.tasks.task import Job, Task
from dpbench.frames import Frames
from dpbench.md.settings import Baths
from dpbench.metrics.definitions import MetricValue, metric_value
from dpbench.metrics.survival import survival_curve
from dpbench.units import GPA

Ramp = Literal["heating", "compression"]

BAR_PER_GPA = 1e4

FS_PER_PS = 1000.0

STAIRS = 200
"""Most steps of the targets; each is held for a 200th of the run at least."""

SAMPLES = 50
"""Points of each run that are kept."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RampSettings:
    """What a suite may choose; the defaults are MLIP Arena's."""

    ramps: tuple[Ramp, ...] = ("heating", "compression")
    """``heating`` at constant volume; ``compression`` heats as well."""
    temperatures: tuple[float, float] = (300.0, 3000.0)
    """K, at the start and at the end; linear in time."""
    pressures_gpa: tuple[float, float] = (0.0, 500.0)
    """GPa, at the start and at the end of the compression; linear in time."""
    duration_ps: float = 10.0
    """ps, of each run."""
    timestep: float | None = None
    """fs; None: 0.5 with hydrogen, else 2."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Of velocities and noise; one run each from every start structure."""
    nstructures: int = 9
    """Start structures at most: the first frame of each source, formulas in turn."""
    min_natoms: int = 64
    """Smaller frames are repeated to this many atoms."""
    tdamp: float = 25.0
    """fs, of the stochastic velocity rescaling."""
    pdamp: float = 75.0
    """fs, of the stochastic cell rescaling."""
    compressibility: float = 1e-6
    """1/bar, that of 100 GPa; with ``pdamp`` how fast the volume moves."""
    limits: Limits = field(default_factory=Limits)
    """What ends a run as failed."""

    def __post_init__(self) -> None:
        """Check that there is something to do."""
        if not self.ramps or not self.seeds or self.nstructures < 1:
            raise ConfigError(
                "ramps, seeds, nstructures: expected at least one of each."
            )
        if not self.duration_ps > 0 or min(self.temperatures) <= 0:
            raise ConfigError(
                f"duration_ps = {self.duration_ps}, temperatures = "
                f"{self.temperatures}; expected positive numbers."
            )


MODES = {
    "smoke": RampSettings(duration_ps=0.2, nstructures=1),
    "standard": RampSettings(duration_ps=1.0, nstructures=3),
    "full": RampSettings(),
}


def default_ramp_timestep(start: Frames) -> float:
    """Time step, fs, by MLIP Arena: 0.5 with hydrogen, else 2."""
    return 0.5 if bool((start.z == 1).any()) else 2.0


def predict(evaluator: AbstractEvaluator, job: Job) -> Kept:
    """Run each ramp from each start structure with each seed."""
    begin = time.perf_counter()
    settings: RampSettings = job.settings
    starts = starts_of(
        job.part,
        task="ramps",
        most=settings.nstructures,
        min_natoms=settings.min_natoms,
    )
    arrays: dict[str, NDArray[Any]] = {}
    systems: list[dict[str, Any]] = []
    skipped: dict[str, str] = {}
    for ramp in settings.ramps:
        missing = _missing(evaluator, starts[0]) if ramp == "compression" else None
        if missing is not None:
            skipped[ramp] = missing
            continue
        for number, start in enumerate(starts):
            job.say(f"{ramp} {number + 1}/{len(starts)}: {start.formula}")
            timestep = settings.timestep or default_ramp_timestep(start.structure)
            plan = plan_of(settings, ramp, timestep=timestep)
            runs = make_runs(evaluator, start.structure, plan)
            arrays |= _kept_arrays(runs, f"{ramp}_{number}")
            systems.append(
                {
                    **described(start),
                    "ramp": ramp,
                    "timestep_fs": timestep,
                    "steps": plan.steps,
                    "runs": runs.endings,
                }
            )
    return Kept(
        arrays=arrays,
        facts={"systems": systems, "skipped": skipped},
        wall_time_s=round(time.perf_counter() - begin, 3),
    )


def plan_of(settings: RampSettings, ramp: Ramp, *, timestep: float) -> Plan:
    """Make the plan of a ramp.

    Args:
        settings: Its ends, its length.
        ramp: Which.
        timestep: fs.
    """
    steps = max(1, round(settings.duration_ps * FS_PER_PS / timestep))
    first = Baths(
        ensemble="nvt" if ramp == "heating" else "npt",
        thermostat="bussi",
        temperature=settings.temperatures[0],
        pressure=settings.pressures_gpa[0] * BAR_PER_GPA,
        timestep=timestep,
        tdamp=settings.tdamp,
        pdamp=settings.pdamp,
        compressibility=settings.compressibility,
    )

    def targets(step: int) -> Baths:
        done = step / steps

        def between(ends: tuple[float, float]) -> float:
            return ends[0] + done * (ends[1] - ends[0])

        return replace(
            first,
            temperature=between(settings.temperatures),
            pressure=between(settings.pressures_gpa) * BAR_PER_GPA,
        )

    return Plan(
        baths=first,
        steps=steps,
        seeds=settings.seeds,
        sample_every=max(1, steps // SAMPLES),
        limits=settings.limits,
        targets=targets,
        retarget_every=max(1, steps // STAIRS),
    )


def _missing(evaluator: AbstractEvaluator, start: Start) -> str | None:
    """Say why there can be no barostat; None if there can."""
    if not bool(start.structure.pbc.all()):
        return "the start structure has no volume"
    found = evaluator.predict(start.structure)
    if found.no_virial is not None and found.no_virial.any():
        return "the backend gives no virial"
    return None


def _kept_arrays(runs: Runs, label: str) -> dict[str, NDArray[Any]]:
    """Return temperature (K), volume (Å^3) and pressure (GPa) along the runs."""
    values = runs.values
    pressure = (2 * values["kinetic"] + values["virial"]) / (3 * values["volume"] * GPA)
    return {
        f"step_{label}": runs.step,
        f"temperature_{label}": values["temperature"],
        f"volume_{label}": values["volume"],
        f"pressure_{label}": pressure,
    }


def score(kept: Kept, job: Job) -> TaskResult:
    """Count how many runs hold after how much of each ramp."""
    settings: RampSettings = job.settings
    metrics: list[MetricValue] = []
    samples: dict[str, Any] = {}
    every: list[dict[str, Any]] = []
    for ramp in settings.ramps:
        systems = [s for s in kept.facts["systems"] if s["ramp"] == ramp]
        metrics += _metrics(ramp, systems)
        every += [run for system in systems for run in system["runs"]]
        if systems:
            samples[ramp] = _samples(kept, ramp, systems)
    status, reason = how_it_went(every)
    return TaskResult(
        task="ramps",
        code="",
        status=status,
        reason=reason,
        protocol={
            "thermostat": "stochastic velocity rescaling",
            "barostat": "stochastic cell rescaling, iso",
            "skipped": dict(kept.facts["skipped"]),
            **to_mapping(settings),
        },
        metrics=tuple(metrics),
        samples=samples,
        wall_time_s=kept.wall_time_s,
    )


def _metrics(ramp: str, systems: list[dict[str, Any]]) -> list[MetricValue]:
    """Area and survivors of one ramp; null where it was skipped."""
    names = f"{ramp}_survival_auc", f"{ramp}_survivors_percent"
    if not systems:
        return [metric_value(name, None, n=0) for name in names]
    parts = [
        [part / 100 for part in survived_percent(system["runs"], system["steps"])]
        for system in systems
    ]
    survivors = [
        [100.0 * (run["failure_step"] is None) for run in system["runs"]]
        for system in systems
    ]
    return [
        mean_over_systems(names[0], parts),
        mean_over_systems(names[1], survivors),
    ]


def _samples(kept: Kept, ramp: str, systems: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the survival curve, and every run with its step and reason."""
    parts = [
        part / 100
        for system in systems
        for part in survived_percent(system["runs"], system["steps"])
    ]
    progress, alive = survival_curve(np.array(parts))
    described = []
    for number, system in enumerate(systems):
        runs = []
        for index, run in enumerate(system["runs"]):
            traces = {
                name: listed(
                    kept.arrays[f"{name}_{ramp}_{number}"][index],
                    digits=3,
                    most=SAMPLES,
                )
                for name in ("temperature", "volume", "pressure")
            }
            runs.append(
                {
                    **run,
                    "temperature_k": traces["temperature"],
                    "volume_ang3": traces["volume"],
                    "pressure_gpa": traces["pressure"],
                }
            )
        described.append({**system, "runs": runs})
    return {
        "progress": listed(progress, digits=3, most=len(progress)),
        "alive": listed(alive, digits=5, most=len(alive)),
        "systems": described,
    }


def cost(settings: RampSettings) -> float:
    """Atoms times steps of all runs, before the frames are known."""
    steps = settings.duration_ps * FS_PER_PS / (settings.timestep or 2.0)
    runs = len(settings.ramps) * settings.nstructures * len(settings.seeds)
    return float(runs * steps * settings.min_natoms)


TASK = Task(
    name="ramps",
    title="Stability on ramps",
    settings=RampSettings,
    modes=MODES,
    predict=predict,
    score=score,
    cost=cost,
    sources=(
        "dpbench.eval.tasks.ramps",
        "dpbench.eval.motion.fields",
        "dpbench.eval.motion.replicas",
        "dpbench.eval.motion.running",
        "dpbench.eval.motion.starts",
        "dpbench.eval.motion.summary",
        "dpbench.eval.motion.watching",
        "dpbench.metrics.survival",
    ),
)
