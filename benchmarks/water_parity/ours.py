"""Train dpbench on water with several seeds, and score each model on data_3.

The same input.json as the peer's goes to the real command, `dpbench train`.

Example:
    python benchmarks/water_parity/ours.py --data deepmd_water/data --out runs
"""

import argparse
import csv
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from inputs import SEEDS, write_input


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="holds data_0 ...")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    args = parser.parse_args()
    for seed in args.seeds:
        folder = args.out / f"dpbench-seed{seed}"
        record = train_and_score(args, seed, folder)
        (folder / "record.json").write_text(json.dumps(record, indent=1) + "\n")
        print(json.dumps({k: v for k, v in record.items() if k != "curve"}), flush=True)


def train_and_score(args: argparse.Namespace, seed: int, folder: Path) -> dict:
    """Run ``dpbench train`` in ``folder`` and score its model on all of data_3."""
    write_input(folder, args.data, seed)
    command = [sys.executable, "-m", "dpbench.cli", "--threads", "1"]
    command += ["train", "--config", "input.json", "--device", "cpu"]
    started = time.monotonic()
    done = subprocess.run(
        command,
        cwd=folder,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    seconds = time.monotonic() - started
    (folder / "train.log").write_text(done.stdout)
    if done.returncode:
        raise SystemExit(f"dpbench train failed: {done.stdout[-2000:]}")
    force_rmse, energy_rmse = score(folder / "m.pth", args.data / "data_3")
    curves = sorted(folder.glob(".dpbench/runs/*/*curve*.csv"))
    return {
        "seed": seed,
        "backend": "dpbench",
        "train_s": seconds,
        "force_rmse": force_rmse,
        "energy_rmse_per_atom": energy_rmse,
        "curve": read_curve(curves[-1]) if curves else None,
    }


def score(path: Path, system: Path) -> tuple[float, float]:
    """Return the RMSE of forces (eV/Å) and of energies per atom (eV) on a system."""
    import torch

    from dpbench.frames import uniform
    from dpbench.kernels.neighbours import find_neighbours
    from dpbench.models.batching import make_batch
    from dpbench.models.checkpoint import load_model

    torch.set_num_threads(1)
    model, _ = load_model(path)
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
    rms = [float(np.sqrt(np.mean(np.square(errors)))) for errors in (force, energy)]
    return rms[0], rms[1]


def read_curve(path: Path) -> dict:
    """Return the learning curve in columns and rows."""
    with path.open(newline="") as file:
        columns, *rows = list(csv.reader(file))
    return {"columns": columns, "rows": rows}


if __name__ == "__main__":
    main()
