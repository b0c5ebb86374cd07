"""DeePMD-kit's runs: each batch size with a schedule that ends at the budget.

The steps that fit into the budget are measured first, on this machine, from a short run
of the same input: what it prints as its average, which leaves out the first display.
Finished runs are left alone, so that the command may be called again.

Example:
    python -m benchmarks.time_to_accuracy.peer --dp .cache/deepmd/bin/dp \
        --data deepmd_water/data --out tta --core 0
"""

import argparse
import json
import re
from itertools import product
from pathlib import Path
from typing import Any

from benchmarks.time_to_accuracy.protocol import (
    BUDGET_S,
    NTEST,
    SEEDS,
    TEST,
    TRAIN,
    finished,
    timed,
    write_record,
)
from benchmarks.turns.process import ROOT

SETTINGS = ROOT / "benchmarks" / "water_parity" / "input.json"
PROBE = 240
"""Steps of the short run, for batch 1; fewer for larger batches."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dp", required=True, help="the `dp` program")
    parser.add_argument("--data", type=Path, required=True, help="holds data_0 ...")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--backend", nargs="+", choices=["tf", "pt"], default=["tf"])
    parser.add_argument("--batch", nargs="+", type=int, default=[1, 2, 4, 8])
    parser.add_argument("--seeds", nargs="+", type=int, default=list(SEEDS))
    parser.add_argument("--budget", type=float, default=BUDGET_S, help="seconds")
    parser.add_argument("--stop-lr", type=float, default=1e-5)
    parser.add_argument("--core", type=int, help="core to pin to")
    args = parser.parse_args()
    for seed, backend, batch in product(args.seeds, args.backend, args.batch):
        folder = args.out / f"peer-{backend}-b{batch}-{args.budget:g}s-seed{seed}"
        if not finished(folder):
            write_record(folder, run(args, folder, backend, batch, seed))


def run(
    args: argparse.Namespace, folder: Path, backend: str, batch: int, seed: int
) -> dict[str, Any]:
    """Measure the steps, train, freeze and test."""
    folder.mkdir(parents=True, exist_ok=True)
    dp = [args.dp, f"--{backend}"]
    step_s, start_up_s = measure_step(args, folder, dp, batch)
    steps = max(1, int((args.budget - start_up_s) / step_s))
    write_input(args, folder / "input.json", batch=batch, steps=steps, seed=seed)
    train = timed([*dp, "train", "input.json"], folder, core=args.core, log="train.log")
    model = "m.pb" if backend == "tf" else "m.pth"
    timed([*dp, "freeze", "-o", model], folder, core=args.core, log="freeze.log")
    system = str((args.data / TEST).resolve())
    test = [*dp, "test", "-m", model, "-s", system, "-n", str(NTEST)]
    timed(test, folder, core=args.core, log="test.log")
    told = (folder / "test.log").read_text()
    return {
        "side": f"deepmd-{backend}",
        "batch": batch,
        "seed": seed,
        "steps": steps,
        "budget_s": args.budget,
        "measured_step_ms": 1e3 * step_s,
        "train": train,
        "force_rmse": figure(told, "Force  RMSE"),
        "energy_rmse_per_atom": figure(told, "Energy RMSE/Natoms"),
    }


def measure_step(
    args: argparse.Namespace, folder: Path, dp: list[str], batch: int
) -> tuple[float, float]:
    """Return seconds of a step and of the start-up, from a short run."""
    probe = folder / "probe"
    probe.mkdir(exist_ok=True)
    steps = max(40, PROBE // batch)
    write_input(args, probe / "input.json", batch=batch, steps=steps, seed=1)
    done = timed([*dp, "train", "input.json"], probe, core=args.core, log="probe.log")
    step = figure((probe / "probe.log").read_text(), "average training time")
    return step, max(0.0, done["wall"] - steps * step)


def write_input(
    args: argparse.Namespace, path: Path, *, batch: int, steps: int, seed: int
) -> None:
    """Write the input of a run: exponential decay that ends with it."""
    text = SETTINGS.read_text().replace("DATA", str(args.data.resolve()))
    config = json.loads(text)
    for section in (config["model"]["descriptor"], config["model"]["fitting_net"]):
        section["seed"] = seed
    config["learning_rate"] |= {
        "start_lr": 1e-3,
        "stop_lr": args.stop_lr,
        "decay_steps": max(1, min(5000, steps // 100)),
    }
    training = config["training"]
    training["training_data"]["systems"] = [
        str((args.data / name).resolve()) for name in TRAIN
    ]
    training["training_data"]["batch_size"] = batch
    del training["validation_data"]  # costs the peer time, and data_3 is for the end
    training |= {
        "seed": seed,
        "numb_steps": steps,
        "disp_freq": max(1, steps // 20),
        # Of a multiple of this, 3.2.0 writes no checkpoint at the end.
        "save_freq": 10 * steps,
    }
    path.write_text(json.dumps(config, indent=1))


def figure(text: str, label: str) -> float:
    """Find the last ``label : value`` in what ``dp`` printed."""
    values = re.findall(rf"{re.escape(label)}\s*:\s*([0-9.eE+-]+)", text)
    if not values:
        raise SystemExit(f"dp printed no '{label}': {text[-2000:]}")
    return float(values[-1])


if __name__ == "__main__":
    main()
