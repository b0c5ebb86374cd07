"""Race one candidate on one task: the same net, data, start weights and CPU budget.

The budget is CPU time of one core. It is turned into steps beforehand, from the CPU
time of a few steps of engine and optimiser measured in this process (or stated with
``--engine-ms``), so that a run can be repeated step by step on a machine that is busy
with other things. The final weights are scored once, on frames that nothing else uses.
The result is added to the JSON record.

Example:
    python benchmarks/race/run.py --data data --task water --candidate soap \
        --seconds 180 --out benchmarks/records/race.json
"""

import argparse
import json
import os
import platform
import statistics
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("NUMBA_NUM_THREADS", "1")

import numpy as np
import torch
from candidates import CANDIDATES, Candidate
from tasks import Task, load_task

from dpbench.frames import Frames
from dpbench.kernels.choice import kernels_in_use
from dpbench.kernels.neighbours import find_neighbours
from dpbench.models.batching import make_batch
from dpbench.models.potential import DeepPotential
from dpbench.models.statistics import (
    ModelStatistics,
    energy_normal,
    environment_moments,
)
from dpbench.train.engine import Engine, Prefactors, choose_engine
from dpbench.train.optimisers import make_optimiser
from dpbench.train.optimisers.stepping import stepper
from dpbench.train.order import BatchOrder
from dpbench.train.schedule import Schedule
from dpbench.train.validation import validate

ATOMS = 32
"""A batch of a task holds frames for at least so many atoms."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="the shared data")
    parser.add_argument("--task", required=True)
    parser.add_argument("--candidate", required=True, choices=CANDIDATES)
    parser.add_argument("--seconds", type=float, default=180, help="CPU budget")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--intervals", type=int, default=1024, help="of its tables")
    parser.add_argument("--engine-ms", type=float, help="CPU time of a gradient")
    parser.add_argument("--optimiser-ms", type=float, help="CPU time of its use")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--save", type=Path, help="folder for the final weights")
    args = parser.parse_args()
    torch.set_num_threads(1)
    os.nice(max(0, 5 - os.nice(0)))
    task, candidate = load_task(args.task, args.data), CANDIDATES[args.candidate]
    result = race(task, candidate, args)
    print(json.dumps({k: v for k, v in result.items() if k != "settings"}), flush=True)
    if args.out:
        add_to_record(args.out, result)


def race(task: Task, candidate: Candidate, args: argparse.Namespace) -> dict[str, Any]:
    """Train and score; return all that describes the run."""
    model, batches, order = prepare(task, candidate, args.seed)
    loss = candidate.loss
    if not task.has_virial:
        loss = replace(loss, start_pref_v=0.0, limit_pref_v=0.0)
    engine = choose_engine(task.config, args.engine, intervals=args.intervals)
    costs = measure(engine, model, candidate, batches, order, task.has_virial)
    if args.engine_ms:
        costs["engine_ms"] = args.engine_ms * candidate.batch
    costs["optimiser_ms"] = args.optimiser_ms or costs["optimiser_ms"]
    steps = int(1e3 * args.seconds / (costs["engine_ms"] + costs["optimiser_ms"]))
    rates = candidate.learning_rate.suited(candidate.optimiser.type, steps=steps)
    schedule = Schedule(rates, loss, steps=steps)
    optimiser = make_optimiser(model.parameters, candidate.optimiser)
    take_step = stepper(optimiser, engine, model)
    began, trained = time.process_time(), np.zeros(0)
    curve = []
    for step in range(steps):
        rate, weights = schedule.learning_rate(step), schedule.prefactors(step)
        batch = batches(order.frames_of(step))
        found = engine.losses_and_gradients(model, batch, prefactors(weights))
        take_step(batch, found.gradient, rate)
        trained = np.append(trained, float(found.mse_force))
        if not np.isfinite(trained[-1]):
            break
        if (step + 1) % max(1, steps // 20) == 0:
            curve.append([step + 1, float(np.sqrt(trained.mean()))])
            trained = np.zeros(0)
            print(f"  {step + 1}/{steps} train force {curve[-1][1]:.4f}", flush=True)
    used = time.process_time() - began
    model.parameters.flat.copy_(optimiser.solution())
    if args.save:
        args.save.mkdir(parents=True, exist_ok=True)
        torch.save(
            model.parameters.flat, args.save / f"{task.name}-{args.candidate}.pt"
        )
    return {
        "task": task.name,
        "candidate": args.candidate,
        "seed": args.seed,
        "budget_s": args.seconds,
        "steps": steps,
        "engine": engine.name,
        "kernels": kernels_in_use(),
        **{name: round(value, 2) for name, value in costs.items()},
        "cpu_s": round(used, 1),
        **score(model, task.test),
        "train_curve": curve,
        "settings": asdict(replace(candidate, learning_rate=rates)),
    }


def prefactors(weights: tuple[float, float, float]) -> Prefactors:
    energy, force, virial = weights
    return Prefactors(energy=energy, force=force, virial=virial)


def prepare(task: Task, candidate: Candidate, seed: int) -> tuple[Any, Any, BatchOrder]:
    """Make the start model, and what gives the batch of frames."""
    frames, config = task.train, task.config
    found = neighbours_of(frames, config.descriptor.rcut)
    davg, dstd = environment_moments(frames, found, config).finish()
    bias, _, _ = energy_normal(frames, config.type_map).solve()
    known = ModelStatistics(davg=davg, dstd=dstd, energy_bias=bias)
    model = DeepPotential.initialise(config, known, seed)
    size = max(1, round(candidate.batch * max(1, ATOMS // int(frames.natoms.max()))))
    order = BatchOrder(frames.natoms, counted="frames", size=size, seed=seed)
    kept: dict[bytes, Any] = {}

    def batches(chosen: np.ndarray) -> Any:
        key = chosen.tobytes()
        if key in kept:
            return kept[key]
        batch = make_batch(
            frames.select(chosen),
            [found[i] for i in chosen],
            config.type_map,
            dtype=model.dtype,
        )
        if len(chosen) == 1:  # others hardly ever come again
            kept[key] = batch
        return batch

    return model, batches, order


def neighbours_of(frames: Frames, rcut: float) -> list[Any]:
    return [
        find_neighbours(frames.coord[rows], frames.box[i], frames.pbc[i], rcut)
        for i, rows in ((i, frames.atoms_of(i)) for i in range(frames.nframes))
    ]


def measure(
    engine: Engine,
    model: DeepPotential,
    candidate: Candidate,
    batches: Any,
    order: BatchOrder,
    has_virial: bool,
) -> dict[str, float]:
    """Take the CPU time of some steps of a copy; medians, but means of optimisers."""
    scratch = model.to("cpu", model.dtype)
    optimiser = make_optimiser(scratch.parameters, candidate.optimiser)
    take_step = stepper(optimiser, engine, scratch)
    spent, own = [], []
    virial = 0.02 * has_virial
    for step in range(24):
        start = time.process_time()
        batch = batches(order.frames_of(step))
        found = engine.losses_and_gradients(
            scratch, batch, prefactors((0.02, 1000, virial))
        )
        middle = time.process_time()
        take_step(batch, found.gradient, 1e-9)
        spent.append(1e3 * (middle - start))
        own.append(1e3 * (time.process_time() - middle))
    # The mean: what comes every 20 steps must be counted; the first steps warm up.
    return {
        "engine_ms": statistics.median(spent[4:]),
        "optimiser_ms": statistics.mean(own[4:]),
    }


def score(model: DeepPotential, frames: Frames) -> dict[str, float]:
    """Return force and energy RMSE over frames; energies less their mean error."""
    found = neighbours_of(frames, model.rcut)
    made = [
        make_batch(frames.select([i]), [found[i]], model.type_map, dtype=model.dtype)
        for i in range(frames.nframes)
    ]
    errors = validate(model, made)
    energies = [
        float(model.energy_and_forces(b).energy[0] - b.energy[0]) / int(b.natoms[0])
        for b in made
    ]
    return {
        "force_rmse": round(errors.force, 5),
        "energy_rmse_per_atom": round(errors.energy, 7),
        "energy_deviation_per_atom": round(float(np.std(energies)), 7),
        "virial_rmse_per_atom": round(errors.virial, 6),
    }


def add_to_record(path: Path, result: dict[str, Any]) -> None:
    """Add a result to the record; the same task, candidate, seed and budget wins."""
    record = json.loads(path.read_text()) if path.exists() else {"runs": []}
    keys = ("task", "candidate", "seed", "budget_s")
    kept = [r for r in record["runs"] if any(r[k] != result[k] for k in keys)]
    about = {
        "benchmark": "race",
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
        "threads": 1,
    }
    path.write_text(json.dumps(about | {"runs": [*kept, result]}, indent=1) + "\n")


if __name__ == "__main__":
    main()
