"""Task ``stability``: does energy stay constant when it should?"""

import math
import time
from dataclasses import dataclass, field

import numpy as np
from ase import Atoms, units
from ase.calculators.calculator import Calculator
from ase.md.verlet import VelocityVerlet
from numpy.typing import NDArray

from dpbench.errors import BackendCrashed, BackendTimeout, DpbenchError
from dpbench.eval.evaluator import AbstractEvaluator
from dpbench.eval.structures import (
    default_timestep,
    from_atoms,
    replicas_to_reach,
    set_temperature,
    supercell,
    to_atoms,
)
from dpbench.eval.task_results import Stability, StabilityProtocol, StabilityRun
from dpbench.frames import Frames
from dpbench.kernels.neighbours import find_neighbours
from dpbench.metrics.definitions import MetricValue, metric_value
from dpbench.metrics.drift import energy_drift
from dpbench.metrics.statistics import spread

LIMITS = {
    "energy_ev_per_atom": 0.5,
    "min_distance_ang": 0.4,
    "temperature_factor": 20.0,
    "temperature_floor_k": 5000.0,
}
"""A run has exploded when its total energy is this far from that of the start, two
atoms are this close, or it is hotter than max(factor * start, floor)."""

TRACE_POINTS = 200
"""Most points of a trace that a record keeps."""

DISTANCE_RANGE = 3.0
"""Å; larger smallest distances are not looked for."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StabilitySettings:
    """What the user may choose."""

    temperature: float = 300.0
    """K."""
    timestep: float | None = None
    """fs; None: 0.5 with hydrogen, else 1."""
    steps: int = 2000
    """Of each run."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """One run each."""
    sample_every: int = 5
    """Steps between two points."""
    min_natoms: int = 64
    """Smaller frames are repeated to this many atoms."""
    discard: float = 0.2
    """Part dropped before the regression."""
    limits: dict[str, float] = field(default_factory=lambda: dict(LIMITS))


def measure_stability(
    evaluator: AbstractEvaluator,
    frame: Frames,
    *,
    start_frame: int,
    settings: StabilitySettings,
) -> Stability:
    """Run constant-energy dynamics from one frame and report drift or explosion.

    Args:
        evaluator: The model on its backend.
        frame: One frame, the start structure.
        start_frame: Its index in the dataset version, for the record.
        settings: Length, temperature, seeds.
    """
    replicas = replicas_to_reach(frame, settings.min_natoms)
    start = supercell(frame, replicas)
    protocol = StabilityProtocol(
        ensemble="NVE",
        integrator="velocity Verlet (ASE)",
        temperature=settings.temperature,
        timestep=settings.timestep or default_timestep(frame),
        steps=settings.steps,
        sample_every=settings.sample_every,
        discard=settings.discard,
        start_frame=start_frame,
        replicas=replicas,
        natoms=len(start.z),
        limits=settings.limits,
    )
    begin = time.perf_counter()
    runs = tuple(
        run_nve(to_atoms(start), evaluator.calculator(), protocol=protocol, seed=seed)
        for seed in settings.seeds
    )
    exploded = any(run.status == "exploded" for run in runs)
    return Stability(
        status="exploded" if exploded else "completed",
        protocol=protocol,
        runs=runs,
        metrics=_summary(runs, protocol),
        wall_time_s=round(time.perf_counter() - begin, 3),
    )


def run_nve(
    atoms: Atoms, calculator: Calculator, *, protocol: StabilityProtocol, seed: int
) -> StabilityRun:
    """Run one trajectory at constant energy.

    Args:
        atoms: Start structure; it is moved.
        calculator: Gives energy and forces.
        protocol: Length, time step, limits.
        seed: Of the velocities.

    Returns:
        The run. An explosion is a result, with its step and its reason.
    """
    atoms.calc = calculator
    set_temperature(atoms, protocol.temperature, seed=seed)
    trace = _Trace()
    reason, step = None, 0
    # Floating-point trouble is what this task looks for, not a warning to print.
    with np.errstate(all="ignore"):
        dynamics = VelocityVerlet(atoms, timestep=protocol.timestep * units.fs)
        try:
            for step in range(protocol.steps + 1):
                if step:
                    dynamics.step()
                if step % protocol.sample_every == 0 or step == protocol.steps:
                    trace.add(atoms, step * protocol.timestep)
                reason = _explosion(atoms, trace, protocol)
                if reason is not None:
                    break
        except (BackendCrashed, BackendTimeout):
            raise  # of the program, not of the model
        except DpbenchError as error:
            reason = f"calculator: {error}"
        except ValueError:
            # Lost atoms make a neighbour search fail; anything else is a bug.
            if np.isfinite(atoms.positions).all():
                raise
            reason = "coordinates are not a number"
    return _finish(trace, reason, step, protocol=protocol, seed=seed)


class _Trace:
    """Points along one run."""

    def __init__(self) -> None:
        self.time: list[float] = []
        self.energy: list[float] = []
        self.temperature: list[float] = []
        self.distance: list[float] = []

    def add(self, atoms: Atoms, time_fs: float) -> None:
        """Take the total energy (eV), temperature (K) and smallest distance (Å)."""
        self.time.append(time_fs)
        self.energy.append(float(atoms.get_total_energy()))
        self.temperature.append(float(atoms.get_temperature()))
        self.distance.append(min_distance(from_atoms(atoms)))


def min_distance(frame: Frames) -> float:
    """Smallest distance of two atoms, Å; infinity if beyond 3 Å, NaN if lost."""
    if not np.isfinite(frame.coord).all():
        return math.nan
    pairs = find_neighbours(frame.coord, frame.box[0], frame.pbc[0], DISTANCE_RANGE)
    if not len(pairs.edge_i):
        return math.inf
    box = np.nan_to_num(frame.box[0])
    vector = frame.coord[pairs.edge_j] - frame.coord[pairs.edge_i] + pairs.shift @ box
    return float(np.sqrt((vector**2).sum(axis=1).min()))


def _explosion(atoms: Atoms, trace: _Trace, protocol: StabilityProtocol) -> str | None:
    """Name the limit that is crossed, if any."""
    limits = protocol.limits
    energy = float(atoms.get_total_energy())
    if not (math.isfinite(energy) and np.isfinite(atoms.get_forces()).all()):
        return "energy or force is not a number"
    moved = abs(energy - trace.energy[0]) / len(atoms)
    if moved > limits["energy_ev_per_atom"]:
        return f"total energy {moved:.3g} eV/atom off the start"
    hottest = max(
        limits["temperature_factor"] * protocol.temperature,
        limits["temperature_floor_k"],
    )
    if atoms.get_temperature() > hottest:
        return f"temperature {atoms.get_temperature():.0f} K"
    if trace.distance[-1] < limits["min_distance_ang"]:
        return f"two atoms {trace.distance[-1]:.3f} Å apart"
    return None


def _finish(
    trace: _Trace,
    reason: str | None,
    step: int,
    *,
    protocol: StabilityProtocol,
    seed: int,
) -> StabilityRun:
    time_fs, energy = np.array(trace.time), np.array(trace.energy)
    drift = None
    if reason is None:
        drift = energy_drift(
            time_fs, energy, natoms=protocol.natoms, discard=protocol.discard
        )
    kept = _thinned(len(time_fs))
    origin = energy[0] if len(energy) else 0.0
    distances = [d for d in trace.distance if math.isfinite(d)]
    return StabilityRun(
        seed=seed,
        status="completed" if reason is None else "exploded",
        reason=reason,
        failure_step=None if reason is None else step,
        steps_done=step,
        drift=None if drift is None else drift.slope,
        residual=None if drift is None else drift.residual,
        min_distance=round(min(distances), 4) if distances else None,
        time=tuple(round(float(t), 6) for t in time_fs[kept]),
        energy=tuple(
            round(float(e), 6) for e in (energy[kept] - origin) * 1000 / protocol.natoms
        ),
        temperature=tuple(round(trace.temperature[i], 3) for i in kept),
    )


def _thinned(npoints: int) -> NDArray[np.int64]:
    if npoints <= TRACE_POINTS:
        return np.arange(npoints)
    return np.linspace(0, npoints - 1, TRACE_POINTS).round().astype(np.int64)


def _summary(
    runs: tuple[StabilityRun, ...], protocol: StabilityProtocol
) -> tuple[MetricValue, ...]:
    """Median |drift| over the runs, and how much of the runs was done."""
    done = 100.0 * min(run.steps_done for run in runs) / max(protocol.steps, 1)
    drifts = [abs(run.drift) for run in runs if run.drift is not None]
    name = "nve_drift_mev_per_atom_ps"
    if len(drifts) < len(runs):
        drift = metric_value(name, None, n=len(drifts))
    else:
        summary = spread(drifts)
        interval = (summary.ci_low, summary.ci_high) if len(drifts) > 1 else None
        drift = metric_value(name, summary.median, n=len(drifts), interval=interval)
    return drift, metric_value("nve_completed_percent", done, n=len(runs))
