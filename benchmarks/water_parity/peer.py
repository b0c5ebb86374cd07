"""Train DeePMD-kit on water with several seeds, and score each model on data_3.

Example:
    python benchmarks/water_parity/peer.py --dp .cache/deepmd/bin/dp \
        --data deepmd_water/data --out runs
"""

import argparse
import json
import os
import re
import subprocess
import time
from pathlib import Path

from inputs import SEEDS, write_input

NFRAMES = 80  # of data_3: all of them are scored


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dp", required=True, help="the `dp` program")
    parser.add_argument("--data", type=Path, required=True, help="holds data_0 ...")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument("--backend", choices=["tf", "pt"], default="tf")
    args = parser.parse_args()
    for seed in args.seeds:
        folder = args.out / f"{args.backend}-seed{seed}"
        record = train_and_score(args, seed, folder)
        (folder / "record.json").write_text(json.dumps(record, indent=1) + "\n")
        print(json.dumps({k: v for k, v in record.items() if k != "curve"}), flush=True)


def train_and_score(args: argparse.Namespace, seed: int, folder: Path) -> dict:
    """Run ``dp train``, ``dp freeze`` and ``dp test`` in ``folder``."""
    write_input(folder, args.data, seed)
    started = time.monotonic()
    run(args, folder, "train", "input.json")
    seconds = time.monotonic() - started
    frozen = "frozen.pb" if args.backend == "tf" else "frozen.pth"
    run(args, folder, "freeze", "-o", frozen)
    system = str((args.data / "data_3").resolve())
    test = run(args, folder, "test", "-m", frozen, "-s", system, "-n", str(NFRAMES))
    curve = [line.split() for line in (folder / "lcurve.out").read_text().splitlines()]
    header = next(row[1:] for row in curve if row[0] == "#" and "step" in row)
    rows = [[float(x) for x in row] for row in curve if row and row[0] != "#"]
    return {
        "seed": seed,
        "backend": args.backend,
        "train_s": seconds,
        "force_rmse": figure(test, "Force  RMSE"),
        "energy_rmse_per_atom": figure(test, "Energy RMSE/Natoms"),
        "curve": {"columns": header, "rows": rows},
    }


def run(args: argparse.Namespace, folder: Path, *command: str) -> str:
    """Run one ``dp`` command on one thread; return what it printed."""
    threads = {
        "OMP_NUM_THREADS": "1",
        "DP_INTRA_OP_PARALLELISM_THREADS": "1",
        "DP_INTER_OP_PARALLELISM_THREADS": "1",
    }
    done = subprocess.run(
        [args.dp, f"--{args.backend}", *command],
        cwd=folder,
        env=os.environ | threads,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    (folder / f"{command[0]}.log").write_text(done.stdout)
    if done.returncode:
        raise SystemExit(f"dp {' '.join(command)} failed: {done.stdout[-2000:]}")
    return done.stdout


def figure(log: str, label: str) -> float:
    """Find the last ``label : value`` in the log of ``dp test``."""
    values = re.findall(rf"{re.escape(label)}\s*:\s*([0-9.eE+-]+)", log)
    if not values:
        raise SystemExit(f"dp test printed no '{label}': {log[-2000:]}")
    return float(values[-1])


if __name__ == "__main__":
    main()
