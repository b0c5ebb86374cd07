"""A step of molecular dynamics: ``dpbench md`` against LAMMPS, interleaved and pinned.

Water, NVE, 0.5 fs, the same model on all sides: DeePMD-kit's TensorFlow trains it
shortly, freezes and compresses it, and dpbench reads it. LAMMPS runs ``pair_style
deepmd`` with the compressed and the plain model, each with the skin that LAMMPS takes
by default and with that of dpbench: the fastest is the peer. Sides take turns; each
turn is the mean of some steps, rebuilding of neighbour lists included, so that there is
one figure a turn; medians and quartiles of those go to the record. The floor is two
units of the fitting net, measured in the same run.

Example:
    python -m benchmarks.md_step --data deepmd_water/data --dp .cache/deepmd/bin \
        --models md-models --cores 0 --out benchmarks/records/md_step.json
"""

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.md_step import models
from benchmarks.md_step.agreement import differences
from benchmarks.md_step.structures import write_structures
from benchmarks.turns.process import Command, Side, interleave, machine, ratio

TIMESTEP_FS = 0.5
PRECISIONS = ("float64", "float32")

OURS = ("dpbench", "dpbench-exact")
PEERS = {"lammps-compressed": models.COMPRESSED, "lammps-plain": models.PLAIN}
PEER_SKINS = (2.0, 1.0)
"""Å, the default of LAMMPS with these units, and that of dpbench."""
FLOOR = "gemm-floor"


def main() -> None:
    args = arguments()
    for precision in args.precision:
        models.make_models(
            args.models / precision,
            data=args.data,
            dp=args.dp,
            precision=precision,
            steps=args.training_steps,
        )
    record: dict[str, Any] = {
        "benchmark": "md_step",
        "system": "water, NVE, 0.5 fs",
        "cores": args.cores,
        "threads": args.threads,
        "steps_a_turn": args.steps,
        "rounds": args.rounds,
        "peer_skins_angstrom": args.peer_skins,
        "machine": machine(),
        "cases": [],
    }
    for repeat in args.repeat:
        with tempfile.TemporaryDirectory(prefix="md-step-") as folder:
            case = compare(args, Path(folder), repeat)
        record["cases"].append(case)
        record["load_average_after"] = os.getloadavg()[0]
        print(words(case), flush=True)
        if args.out:  # also what there is of a run that is stopped
            args.out.write_text(json.dumps(record, indent=1) + "\n")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="holds data_0 ...")
    parser.add_argument(
        "--dp", type=Path, required=True, help="folder of dp and its python"
    )
    parser.add_argument("--models", type=Path, required=True, help="kept between runs")
    parser.add_argument("--training-steps", type=int, default=2000)
    parser.add_argument(
        "--repeat", nargs="+", type=int, default=[1, 2], help="192 and 1536 atoms"
    )
    parser.add_argument(
        "--sides",
        nargs="+",
        choices=[*OURS, *PEERS, FLOOR],
        default=["dpbench", *PEERS, FLOOR],
    )
    parser.add_argument(
        "--precision", nargs="+", choices=PRECISIONS, default=list(PRECISIONS)
    )
    parser.add_argument(
        "--peer-skins",
        nargs="+",
        type=float,
        default=list(PEER_SKINS),
        help="Å; each peer runs with each, and the fastest counts",
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--steps", type=int, default=20, help="steps a turn")
    parser.add_argument("--cores", help="cores to pin to, e.g. 0")
    parser.add_argument("--out", type=Path, help="JSON record to write")
    return parser.parse_args()


def compare(args: argparse.Namespace, folder: Path, repeat: int) -> dict[str, Any]:
    """Let the sides take turns on one size."""
    system = args.data / "data_0"
    natoms = write_structures(system, folder, repeat)
    counts = np.bincount(np.loadtxt(system / "type.raw", dtype=int)) * repeat**3
    sides = [
        start(args, folder, name, precision, counts, skin=skin)
        for precision in args.precision
        for name in args.sides
        for skin in (args.peer_skins if name in PEERS else [None])
    ]
    found = interleave(sides, args.rounds)
    for side in found.values():
        for clock in ("wall", "cpu"):
            us = 1e3 * side[clock]["median_ms"] / natoms
            side[clock]["us_per_atom_and_step"] = us
    ours = [name for name in found if name.startswith(OURS)]
    others = [name for name in found if name not in ours]
    peers = [name for name in others if not name.startswith(FLOOR)]
    ratios = {f"{a} / {b}": ratio(found, a, b) for b in ours for a in peers}
    ratios |= {
        f"{a} / {b}": ratio(found, a, b)
        for a in ours
        for b in others
        if b.startswith(FLOOR) and b.split(" ")[1] == a.split(" ")[1]
    }
    forces = {
        precision: differences(
            folder,
            args.models / precision,
            dp_python=str(args.dp / "python"),
            precision=precision,
        )
        for precision in args.precision
        if any(name in PEERS for name in args.sides)
    }
    return {
        "atoms": natoms,
        "sides": found,
        "best_peer": best_peers(found),
        "ratios": ratios,
        "largest_force_difference": forces,
    }


def best_peers(found: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the fastest peer of each precision, its skin, and its time over ours."""
    best = {}
    for precision in PRECISIONS:
        # The precision is the second word of a name.
        here = [name for name in found if name.split(" ")[1] == precision]
        peers = [name for name in here if name.startswith(tuple(PEERS))]
        if not peers:
            continue
        first = min(peers, key=lambda name: found[name]["wall"]["median_ms"])
        best[precision] = {
            "side": first,
            "skin_angstrom": found[first]["skin"],
            "ratios": {
                name: ratio(found, first, name)
                for name in here
                if name.startswith(OURS)
            },
        }
    return best


def start(
    args: argparse.Namespace,
    folder: Path,
    name: str,
    precision: str,
    counts: np.ndarray,
    *,
    skin: float | None = None,
) -> Side:
    """Start a side."""
    made = args.models / precision
    told: dict[str, Any] = {
        "steps": args.steps,
        "threads": args.threads,
        "precision": precision,
        "timestep_fs": TIMESTEP_FS,
    }
    module, python, label = "ours", sys.executable, f"{name} {precision}"
    if name in PEERS:
        label += f" skin {skin:g}"
        told["skin"] = skin
        module, python = "lammps_side", str(args.dp / "python")
        told |= {"model": str((made / PEERS[name]).resolve()), "forces": None}
        told["structure"] = str(folder / "water.lmp")
    elif name == FLOOR:
        model = json.loads((made / "input.json").read_text())["model"]
        descriptor = model["descriptor"]
        module = "floor"
        told["atoms_by_type"] = [int(n) for n in counts]
        told["inputs"] = descriptor["neuron"][-1] * descriptor["axis_neuron"]
        told["fitting"] = model["fitting_net"]["neuron"]
    else:
        told |= {"model": str((made / models.OURS).resolve())}
        told |= {"structure": str(folder / "water.extxyz"), "exact": name != "dpbench"}
    return Side(
        Command(
            name=label,
            module=f"md_step.{module}",
            arguments=told,
            folder=folder,
            python=python,
            threads=args.threads,
            cores=args.cores,
        )
    )


def words(case: dict[str, Any]) -> str:
    """Put a case into some lines."""
    rows = [f"{case['atoms']} atoms, us/atom/step"]
    rows += [
        f"  {name:<36} {side['wall']['us_per_atom_and_step']:8.2f} wall "
        f"{side['cpu']['us_per_atom_and_step']:8.2f} CPU"
        for name, side in case["sides"].items()
    ]
    rows += [
        f"  {name:<60} {value['wall']:6.2f} wall {value['cpu']:6.2f} CPU"
        for name, value in case["ratios"].items()
    ]
    rows += [
        f"  the peer in {precision} is {best['side']}"
        for precision, best in case["best_peer"].items()
    ]
    for precision, found in case["largest_force_difference"].items():
        rows += [
            f"  {precision} {name:<40} {value:.2e} eV/Å"
            for name, value in found.items()
        ]
    return "\n".join(rows)


if __name__ == "__main__":
    main()
