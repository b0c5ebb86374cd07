"""dpbench's runs: settings from a file, schedules that end at parts of the budget.

The clock runs from the first command to the last: ``dpbench ingest`` of the same
systems, the split (all frames are trained on, as the peer does), and ``dpbench train``
with its start-up, statistics, neighbour lists and tables. A finished run is left alone.

Example:
    python -m benchmarks.time_to_accuracy.ours --data deepmd_water/data --out tta \
        --settings benchmarks/time_to_accuracy/settings/default.toml --core 0
"""

import argparse
import shutil
import sys
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.time_to_accuracy.protocol import (
    BUDGET_S,
    FRACTIONS,
    SEEDS,
    TEST,
    TRAIN,
    finished,
    timed,
    write_record,
)

START_UP_S = 10
"""Kept from the budget for ingest, start-up and the end of the run."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="holds data_0 ...")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--settings", type=Path, nargs="+", required=True)
    parser.add_argument("--seeds", nargs="+", type=int, default=list(SEEDS))
    parser.add_argument("--budget", type=float, default=BUDGET_S, help="the peer's, s")
    parser.add_argument(
        "--fractions",
        nargs="+",
        type=divisor,
        default=list(FRACTIONS),
        help="parts of the budget, as divisors: 20 10 means budget/20 and budget/10",
    )
    parser.add_argument(
        "--steps", type=int, help="instead of a time, where the machine is busy"
    )
    parser.add_argument("--core", type=int, help="core to pin to")
    args = parser.parse_args()
    fractions = [1.0] if args.steps else args.fractions
    for seed, settings, part in product(args.seeds, args.settings, fractions):
        length = f"{args.steps}steps" if args.steps else f"{args.budget / part:g}s"
        folder = args.out / f"dpbench-{settings.stem}-{length}-seed{seed}"
        if not finished(folder):
            seconds = None if args.steps else args.budget / part
            write_record(folder, run(args, folder, settings, seconds, seed))


def divisor(text: str) -> float:
    """Read what the budget is divided by; a part is no longer than the whole."""
    value = float(text)
    if not 1 <= value < float("inf"):
        raise argparse.ArgumentTypeError(
            f"{text} is no divisor of the budget; expected 1 or more. Give 20 for a "
            "twentieth, not 0.05."
        )
    return value


def run(
    args: argparse.Namespace,
    folder: Path,
    settings: Path,
    seconds: float | None,
    seed: int,
) -> dict[str, Any]:
    """Ingest, split and train in a fresh workspace, then score."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    shutil.copy(settings, folder / "train.toml")
    dpbench = [sys.executable, "-m", "dpbench.cli", "--workspace", "workspace"]
    systems = [str((args.data / name).resolve()) for name in TRAIN]
    length = (
        ["--steps", str(args.steps)]
        if seconds is None
        else ["--time-budget", f"{max(1.0, seconds - START_UP_S):g}s"]
    )
    commands = {
        "ingest": ["ingest", "deepmd", *systems, "--dataset", "water"],
        "split": [
            *("dataset", "split", "water", "--fractions", "train=1"),
            *("--name", "all", "--skip-twins"),
        ],
        "train": [
            *("train", "--dataset", "water", "--split", "all", "--device", "cpu"),
            *("--config", "train.toml", "--seed", str(seed), *length),
        ],
    }
    clocks = {
        name: timed([*dpbench, *command], folder, core=args.core, log=f"{name}.log")
        for name, command in commands.items()
    }
    return {
        "side": "dpbench",
        "settings": settings.stem,
        "seed": seed,
        "budget_s": seconds,
        "train": {
            clock: sum(found[clock] for found in clocks.values())
            for clock in ("wall", "cpu")
        },
        "commands": clocks,
        **score(folder / "m.pth", args.data / TEST),
    }


def score(path: Path, system: Path) -> dict[str, Any]:
    """Return the RMSE of forces (eV/Å) and energies per atom (eV), and the record."""
    from dpbench.frames import uniform
    from dpbench.kernels.neighbours import find_neighbours
    from dpbench.models.batching import make_batch
    from dpbench.models.checkpoint import load_model

    model, provenance = load_model(path)
    kinds = np.loadtxt(system / "type.raw", dtype=int)
    arrays = {
        name: np.load(system / "set.000" / f"{name}.npy")
        for name in ("coord", "box", "energy", "force")
    }
    count = len(arrays["energy"])
    frames = uniform(
        z=np.array([8, 1])[kinds],
        coord=arrays["coord"].reshape(count, -1, 3),
        box=arrays["box"].reshape(count, 3, 3),
        energy=arrays["energy"].ravel(),
        force=arrays["force"].reshape(count, -1, 3),
    )
    energy, force = [], []
    for index in range(count):
        frame = frames.select([index])
        found = find_neighbours(frame.coord, frame.box[0], frame.pbc[0], model.rcut)
        batch = make_batch(frame, [found], model.type_map, dtype=model.dtype)
        predicted = model.energy_and_forces(batch)
        energy.append(float(predicted.energy[0] - batch.energy[0]) / len(kinds))
        force.append((predicted.force - batch.force).numpy())
    force_rmse, energy_rmse = (
        float(np.sqrt(np.mean(np.square(errors)))) for errors in (force, energy)
    )
    kept = ("engine", "kernels", "steps", "config", "roofline", "versions", "plan")
    return {
        "steps": provenance.get("steps"),
        "force_rmse": force_rmse,
        "energy_rmse_per_atom": energy_rmse,
        "provenance": {name: provenance.get(name) for name in kept},
    }


if __name__ == "__main__":
    main()
