"""Task ``throughput``: what a step costs, in three quantities that never mix."""

import itertools
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from ase import units
from ase.md.verlet import VelocityVerlet

from dpbench.errors import BackendCrashed, BackendTimeout, DpbenchError
from dpbench.eval.evaluator import AbstractEvaluator
from dpbench.eval.structures import (
    default_timestep,
    displaced,
    replicas_to_reach,
    set_temperature,
    supercell,
    to_atoms,
)
from dpbench.eval.task_results import (
    SizeResult,
    Throughput,
    ThroughputProtocol,
    Timing,
)
from dpbench.eval.timing import Case, Clock, Measurement, measure
from dpbench.frames import Frames
from dpbench.kernels.neighbours import find_neighbours
from dpbench.metrics.definitions import MetricValue, metric_value
from dpbench.metrics.statistics import spread

logger = logging.getLogger(__name__)

SECONDS_PER_DAY = 86_400.0
DISPLACEMENT = 0.01
"""Å; structures of forward timings differ by this much, so that no cache can hit."""

QUANTITIES = (
    "forward_us_per_atom_step",
    "forward_with_list_us_per_atom_step",
    "md_us_per_atom_step",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class ThroughputSettings:
    """What the user may choose."""

    window_s: float = 1.0
    """Target length of a timed window, s."""
    repeats: int = 5
    """Windows per quantity."""
    min_natoms: int = 64
    """Atoms of the smallest system, at least."""
    growth: int = 4
    """Ratio of one size to the one before."""
    nsizes: int = 3
    """Sizes of the ladder."""
    max_natoms: int = 4000
    """No larger system is tried."""
    temperature: float = 300.0
    """K, of the molecular dynamics."""
    timestep: float | None = None
    """fs; None: 0.5 with hydrogen, else 1."""


def measure_throughput(
    evaluator: AbstractEvaluator,
    frame: Frames,
    *,
    start_frame: int,
    settings: ThroughputSettings,
    clock: Clock = time.perf_counter,
) -> Throughput:
    """Time the model on supercells of one frame.

    Args:
        evaluator: The model on its backend.
        frame: One frame, repeated to each size.
        start_frame: Its index in the dataset version, for the record.
        settings: Windows, repeats, sizes.
        clock: Source of time; tests bring their own.

    Returns:
        All sizes from small to large. A size that does not fit into memory is a result
        and ends the ladder; any other error rises.
    """
    protocol = ThroughputProtocol(
        window_s=settings.window_s,
        repeats=settings.repeats,
        timestep=settings.timestep or default_timestep(frame),
        temperature=settings.temperature,
        integrator="velocity Verlet (ASE), NVE",
        independent_processes=False,
        start_frame=start_frame,
    )
    begin = time.perf_counter()
    sizes: list[SizeResult] = []
    for replicas in ladder(frame, settings):
        result = _measure_size(
            evaluator, supercell(frame, replicas), replicas, protocol, clock=clock
        )
        sizes.append(result)
        if result.status != "ok":
            break
    return Throughput(
        protocol=protocol,
        sizes=tuple(sizes),
        metrics=_headline(sizes),
        natoms=max((s.natoms for s in sizes if s.status == "ok"), default=None),
        wall_time_s=round(time.perf_counter() - begin, 3),
    )


def ladder(frame: Frames, settings: ThroughputSettings) -> list[tuple[int, int, int]]:
    """Replicas of each size, from small to large, each size once."""
    smallest = max(len(frame.z), settings.min_natoms)
    targets = (smallest * settings.growth**k for k in range(settings.nsizes))
    out: list[tuple[int, int, int]] = []
    for index, target in enumerate(targets):
        if index and target > settings.max_natoms:
            break
        replicas = replicas_to_reach(frame, target)
        if replicas not in out:
            out.append(replicas)
    return out


def _measure_size(
    evaluator: AbstractEvaluator,
    frame: Frames,
    replicas: tuple[int, int, int],
    protocol: ThroughputProtocol,
    *,
    clock: Clock,
) -> SizeResult:
    natoms = len(frame.z)
    volume = abs(np.linalg.det(frame.box[0])) if frame.pbc.all() else None
    status, quantities = "ok", {}
    try:
        quantities = _time_quantities(evaluator, frame, protocol, clock=clock)
    except (BackendCrashed, BackendTimeout):
        raise  # of the program, not of the model
    except DpbenchError as error:
        # Dynamics of a poor model explode; that is a result, and no speed.
        logger.warning("speed of %d atoms was not measured: %s", natoms, error)
        status = "failed"
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        status = "out_of_memory"
    return SizeResult(
        natoms=natoms,
        replicas=replicas,
        density=None if volume is None else round(natoms / volume, 6),
        mean_neighbours=_mean_neighbours(frame, evaluator.rcut),
        status=status,  # type: ignore[arg-type]
        quantities=quantities,
    )


def _mean_neighbours(frame: Frames, rcut: float | None) -> float | None:
    if rcut is None:
        return None
    pairs = find_neighbours(frame.coord, frame.box[0], frame.pbc[0], rcut)
    return round(len(pairs.edge_i) / len(frame.z), 3)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory, of host or device, ran out."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    said = str(error)
    return "can't allocate memory" in said or "not enough memory" in said


def _time_quantities(
    evaluator: AbstractEvaluator,
    frame: Frames,
    protocol: ThroughputProtocol,
    *,
    clock: Clock,
) -> dict[str, Timing]:
    variants = [displaced(frame, amplitude=DISPLACEMENT, seed=s) for s in (1, 2)]
    on_list = [evaluator.prepare(variant) for variant in variants]
    prepared = itertools.cycle([forward for forward in on_list if forward is not None])
    moved = itertools.cycle(variants)
    step, rebuilds = _dynamics(evaluator, frame, protocol)
    steps: tuple[Callable[[], object], ...] = (
        lambda: next(prepared)(),
        lambda: evaluator.forward(next(moved)),
        step,
    )
    cases = [
        Case(name=name, step=function, synchronise=evaluator.synchronise)
        for name, function in zip(QUANTITIES, steps, strict=True)
        if name != QUANTITIES[0] or None not in on_list
    ]
    measurements = measure(
        cases, window_s=protocol.window_s, repeats=protocol.repeats, clock=clock
    )
    return {
        m.name: timing(
            m,
            natoms=len(frame.z),
            timestep=protocol.timestep if m.name == QUANTITIES[2] else None,
            list_rebuilds=rebuilds() if m.name == QUANTITIES[2] else None,
        )
        for m in measurements
    }


def _dynamics(
    evaluator: AbstractEvaluator, frame: Frames, protocol: ThroughputProtocol
) -> tuple[Callable[[], object], Callable[[], int | None]]:
    """Return one step of real dynamics, and the count of neighbour lists built."""
    atoms = to_atoms(displaced(frame, amplitude=DISPLACEMENT, seed=0))
    calculator = evaluator.calculator()
    atoms.calc = calculator
    set_temperature(atoms, protocol.temperature, seed=0)
    dynamics = VelocityVerlet(atoms, timestep=protocol.timestep * units.fs)
    return dynamics.step, lambda: evaluator.list_builds(calculator)


def timing(
    measurement: Measurement,
    *,
    natoms: int,
    timestep: float | None,
    list_rebuilds: int | None = None,
) -> Timing:
    """Turn raw times into µs/atom/step and what follows from it.

    Args:
        measurement: Seconds per step of each window.
        natoms: Number of atoms.
        timestep: fs; None for what is no molecular dynamics.
        list_rebuilds: Neighbour lists built meanwhile.
    """
    samples = tuple(1e6 * s / natoms for s in measurement.samples)
    summary = spread(samples)
    steps_per_s = 1e6 / (summary.median * natoms)
    per_day = None
    if timestep is not None:
        per_day = timestep * steps_per_s * SECONDS_PER_DAY * 1e-6
    return Timing(
        samples=samples,
        steps_per_window=measurement.steps_per_window,
        warmup_steps=measurement.warmup_steps,
        warmup_s=measurement.warmup_s,
        first_call_s=measurement.first_call_s,
        median=summary.median,
        quartile_low=summary.quartile_low,
        quartile_high=summary.quartile_high,
        ci_low=summary.ci_low,
        ci_high=summary.ci_high,
        steps_per_s=steps_per_s,
        katom_step_per_s=1e3 / summary.median,
        ns_per_day=per_day,
        list_rebuilds=list_rebuilds,
    )


def _headline(sizes: list[SizeResult]) -> tuple[MetricValue, ...]:
    """The numbers of the largest size that ran; None where none did."""
    done = [size for size in sizes if size.status == "ok"]
    out = []
    for name in QUANTITIES:
        best = done[-1].quantities.get(name) if done else None
        if best is None:  # nothing ran, or the backend keeps its lists to itself
            out.append(metric_value(name, None, n=0))
            continue
        out.append(
            metric_value(
                name,
                best.median,
                n=len(best.samples),
                interval=(best.ci_low, best.ci_high),
            )
        )
    return tuple(out)
