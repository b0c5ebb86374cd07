"""Peak memory of ``dpbench md`` by atom, at several sizes, a process for each.

Reported is what a larger run needs beyond the smallest, by atom, with positions (24 B)
told apart: a program that is started has its libraries in memory anyway.

Example:
    python -m benchmarks.md_step.memory --data deepmd_water/data --models md-models \
        --repeat 4 8 --out memory.json
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.md_step import models
from benchmarks.md_step.structures import write_structures
from benchmarks.turns.process import Command, machine

POSITION_BYTES = 24
STEPS = 3


def main() -> None:
    if len(sys.argv) == 2 and sys.argv[1].startswith("{"):
        run(json.loads(sys.argv[1]))
        return
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="holds data_0 ...")
    parser.add_argument("--models", type=Path, required=True, help="as of md_step")
    parser.add_argument("--precision", default="float32")
    parser.add_argument(
        "--repeat",
        nargs="+",
        type=int,
        default=[8, 17],
        help="copies of 192 atoms along each side; 8 are 98,304, 17 are 943,296",
    )
    parser.add_argument("--core", default="0")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    model = args.models / args.precision / models.OURS
    base = measure(args, model, 1)
    sizes = [measure(args, model, repeat) for repeat in args.repeat]
    for size in sizes:
        grown = size["peak_bytes"] - base["peak_bytes"]
        size["bytes_per_atom"] = grown / (size["atoms"] - base["atoms"])
        size["beyond_positions"] = size["bytes_per_atom"] - POSITION_BYTES
        print(json.dumps(size), flush=True)
    record = {
        "benchmark": "md_memory",
        "precision": args.precision,
        "machine": machine(),
        "base": base,
        "sizes": sizes,
    }
    if args.out:
        args.out.write_text(json.dumps(record, indent=1) + "\n")


def measure(args: argparse.Namespace, model: Path, repeat: int) -> dict[str, Any]:
    """Run a few steps of one size; return its atoms, peak and time."""
    with tempfile.TemporaryDirectory(prefix="md-memory-") as name:
        folder = Path(name)
        natoms = write_structures(args.data / "data_0", folder, repeat)
        command = Command(
            name="memory",
            module="md_step.memory",
            arguments={
                "model": str(model.resolve()),
                "structure": str(folder / "water.extxyz"),
                "precision": args.precision,
                "out": str(folder / "run"),
            },
            folder=folder,
            cores=args.core,
        )
        done = subprocess.run(
            command.words(),
            env=command.environment(),
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode:
        raise SystemExit(done.stderr[-2000:])
    return {"atoms": natoms} | json.loads(done.stdout.splitlines()[-1])


def run(told: dict[str, Any]) -> None:
    """Take a few steps and say what was used; the process that is measured."""
    import torch

    from dpbench.md.run import start_run
    from dpbench.md.settings import Baths, MDConfig

    torch.set_num_threads(1)
    config = MDConfig(
        model=told["model"],
        structure=told["structure"],
        baths=Baths(timestep=0.5),
        steps=STEPS,
        precision=told["precision"],
        traj_every=0,
        log_every=1,
    )
    report = start_run(config, Path(told["out"]))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    found = {"peak_bytes": peak, "s_per_step": report.outcome.seconds_per_step}
    print(json.dumps(found))


if __name__ == "__main__":
    main()
