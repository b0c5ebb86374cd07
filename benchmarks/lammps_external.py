"""dpbench's kernels inside LAMMPS, beside DeePMD-kit's plugin: time of a step.

Water, NVE, 0.5 fs, one model on all sides, made as for benchmarks.md_step. Sides take
turns; each turn is a LAMMPS of its own, of which the loop of the last run counts, as
LAMMPS measures it: neighbour lists, integration and, for dpbench, the way to its
process and back included, starting not. All sides share the same core or cores, also
the two processes of dpbench's. Beside the wall time stands that of the processor, which
says more on a machine that others use.

Example:
    python -m benchmarks.lammps_external --data deepmd_water/data \
        --python ENV/bin/python --models md-models --cores 0
"""

import argparse
import json
import os
import re
import subprocess
import tempfile
import time
from collections.abc import Callable
from contextlib import chdir
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.md_step import models
from benchmarks.md_step.structures import write_structures
from benchmarks.turns.process import machine
from dpbench.md.lammps import WANTED, LammpsRun, moving_structure, run_lammps

INPUT = """units metal
boundary p p p
atom_style atomic
read_data water.lmp
mass 1 15.999
mass 2 1.008
{potential}
neighbor {skin} bin
velocity all create 300 4711
fix 1 all nve
timestep 0.0005
thermo 100
run 20
run {steps}
"""

LOOP = re.compile(r"Loop time of (\S+) on .*?([0-9.]+)% CPU use", re.DOTALL)

Turn = Callable[[], tuple[float, float]]
"""Runs LAMMPS once; returns seconds of wall and processor a step."""

OURS = "pair_style none\n" + WANTED


def main() -> None:
    args = arguments()
    os.sched_setaffinity(0, {int(core) for core in args.cores.split(",")})
    models.make_models(
        args.models,
        data=args.data,
        dp=args.python.parent,
        precision=args.precision,
        steps=args.training_steps,
    )
    record: dict[str, Any] = {
        "benchmark": "lammps_external",
        "system": "water, NVE, 0.5 fs",
        "precision": args.precision,
        "cores": args.cores,
        "steps_a_turn": args.steps,
        "rounds": args.rounds,
        "skin_angstrom": args.skin,
        "machine": machine(),
    }
    with tempfile.TemporaryDirectory(prefix="lammps-external-") as name, chdir(name):
        natoms = write_structures(args.data / "data_0", Path(name), args.repeat)
        record["atoms"] = natoms
        record |= compare(sides(args), args.rounds, natoms)
    record["load_average_after"] = os.getloadavg()[0]
    text = json.dumps(record, indent=1)
    if args.out:
        args.out.write_text(text + "\n")
    print(text)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="holds data_0 ...")
    parser.add_argument(
        "--python", type=Path, required=True, help="of DeePMD-kit's environment"
    )
    parser.add_argument("--models", type=Path, required=True, help="kept between runs")
    parser.add_argument("--training-steps", type=int, default=2000)
    parser.add_argument(
        "--precision", choices=("float32", "float64"), default="float64"
    )
    parser.add_argument("--cores", default="0")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--skin", type=float, default=1.0)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    for name in ("data", "models"):
        setattr(args, name, getattr(args, name).resolve())
    if args.out:
        args.out = args.out.resolve()
    return args


def sides(args: argparse.Namespace) -> dict[str, Turn]:
    """Return what runs each side once."""

    def text(potential: str) -> str:
        return INPUT.format(potential=potential, skin=args.skin, steps=args.steps)

    def plugin(name: str) -> Turn:
        pair = f"pair_style deepmd {args.models / name}\npair_coeff * * O H"
        path = Path(f"{name}.in")
        path.write_text(text(pair))
        return lambda: run_plugin(args.python, path, args.steps)

    def ours(name: str, *, is_exact: bool) -> Turn:
        path = Path(f"{name}.in")
        path.write_text(text(OURS))
        moving = moving_structure(
            args.models / models.OURS, skin=args.skin, is_exact=is_exact
        )
        run = LammpsRun(
            input=path,
            python=args.python,
            types=("O", "H"),
            arguments=("-log", "log", "-screen", "none"),
        )

        def turn() -> tuple[float, float]:
            began = time.process_time()
            report = run_lammps(run, moving)
            own = (time.process_time() - began) / report.work.evaluations
            wall, cpu = loop_seconds(Path("log"), args.steps)
            return wall, cpu + own

        return turn

    return {
        "plugin, TensorFlow, compressed": plugin(models.COMPRESSED),
        "dpbench, tabulated": ours("tabulated", is_exact=False),
        "plugin, TensorFlow": plugin(models.PLAIN),
        "dpbench, exact": ours("exact", is_exact=True),
    }


def run_plugin(python: Path, path: Path, steps: int) -> tuple[float, float]:
    """Run LAMMPS with DeePMD-kit's plugin; its libraries lie in several packages."""
    (site,) = python.parent.parent.glob("lib/python3*/site-packages")
    parts = ("tensorflow", "torch/lib", "deepmd/lib", "nvidia/cuda_runtime/lib")
    libraries = [str(site / part) for part in parts] + [
        str(python.parent.parent / "lib")
    ]
    environment = {
        "OMP_NUM_THREADS": "1",
        "DP_INTRA_OP_PARALLELISM_THREADS": "1",
        "DP_INTER_OP_PARALLELISM_THREADS": "1",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "LD_LIBRARY_PATH": os.pathsep.join(libraries),
        "LAMMPS_PLUGIN_PATH": str(site / "deepmd" / "lib"),
    }
    words = [str(site / "lammps" / "lmp"), "-in", str(path), "-log", "log"]
    done = subprocess.run(
        [*words, "-screen", "none"],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"LAMMPS: {done.stdout[-1000:]} {done.stderr[-1000:]}")
    return loop_seconds(Path("log"), steps)


def loop_seconds(log: Path, steps: int) -> tuple[float, float]:
    """Return wall and processor time of a step of the last run, of LAMMPS alone."""
    seconds, percent = LOOP.findall(log.read_text())[-1]
    wall = float(seconds) / steps
    return wall, wall * float(percent) / 100


def compare(turns: dict[str, Turn], rounds: int, natoms: int) -> dict[str, Any]:
    """Let the sides take turns; give times per atom and step, and ratios."""
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in turns}
    for number in range(rounds + 1):
        for name, turn in turns.items():
            seconds = turn()
            if number:  # the first round warms caches up
                found[name].append(seconds)
    pairs = list(turns)
    record: dict[str, Any] = {"microseconds_per_atom_and_step": {}, "times_as_fast": {}}
    for index, clock in enumerate(("wall", "cpu")):
        of = {
            name: [1e6 * both[index] / natoms for both in values]
            for name, values in found.items()
        }
        record["microseconds_per_atom_and_step"][clock] = {
            name: {"median": median(values), "all": values}
            for name, values in of.items()
        }
        ratios = {}
        for peer, own in (pairs[:2], pairs[2:]):
            each = [a / b for a, b in zip(of[peer], of[own], strict=True)]
            ratios[f"{peer} / {own}"] = {"median": median(each), "all": each}
        record["times_as_fast"][clock] = ratios
    return record


if __name__ == "__main__":
    main()
