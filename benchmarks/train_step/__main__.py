"""A training step of dpbench against DeePMD-kit's trainers, interleaved and pinned.

Each side is its program's own trainer in a process of its own: the same ``input.json``,
frames, net, precision and loss. A side takes a few steps when told to, then the next
does, so that whatever else the machine does hits all alike. Beside them runs the floor:
the matrix products alone that no such step can do without. Median, quartiles and all
samples go to the record, and each peer's time over ours; on a busy machine trust the
CPU time, because wall time counts waiting too.

DeePMD-kit's best is sought among its TensorFlow trainer (plain, with XLA, without
oneDNN) and its PyTorch trainers (eager, compiled).

Example:
    python -m benchmarks.train_step --data deepmd_water/data --cores 0 \
        --dp-python .cache/deepmd/bin/python --out benchmarks/records/train_step.json
"""

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.turns.process import Command, Side, interleave, machine, ratio

SETTINGS = Path(__file__).resolve().parents[1] / "water_parity" / "input.json"

PEERS: dict[str, tuple[str, dict[str, str]]] = {
    "deepmd-tf": ("tf", {}),
    "deepmd-tf-xla": ("tf", {"DP_JIT": "1"}),
    "deepmd-tf-no-onednn": ("tf", {"TF_ENABLE_ONEDNN_OPTS": "0"}),
    "deepmd-pt": ("pt", {}),
    "deepmd-pt-compile": ("pt-expt", {}),
}
"""Name -> backend of DeePMD-kit and the flags in its environment; the last one
compiles for minutes before it starts."""

OURS = ("dpbench-table", "dpbench-exact", "dpbench-autograd", "dpbench")
"""Engines of dpbench; ``dpbench`` alone takes whichever it chooses."""

FLOORS = ("gemm-floor", "gemm-floor-with-nets")
"""The products of the fitting nets alone; with those of the embedding nets at knots."""


def main() -> None:
    args = arguments()
    record: dict[str, Any] = {
        "benchmark": "train_step",
        "system": "water, 192 atoms a frame",
        "cores": args.cores,
        "steps_a_round": args.steps,
        "rounds": args.rounds,
        "machine": machine(),
        "cases": [],
    }
    with tempfile.TemporaryDirectory(prefix="train-step-") as folder:
        for precision in args.precision:
            for threads in args.threads:
                for batch in args.batch:
                    case = compare(args, Path(folder), precision, threads, batch)
                    record["cases"].append(case)
                    print(line(case), flush=True)
    record["load_average_after"] = os.getloadavg()[0]
    if args.out:
        args.out.write_text(json.dumps(record, indent=1) + "\n")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="holds data_0 ...")
    parser.add_argument("--dp-python", help="interpreter that has DeePMD-kit")
    parser.add_argument(
        "--sides",
        nargs="+",
        choices=[*OURS, *PEERS, *FLOORS],
        default=["dpbench-table", "deepmd-tf", *FLOORS],
    )
    parser.add_argument("--precision", nargs="+", default=["float64", "float32"])
    parser.add_argument("--threads", nargs="+", type=int, default=[1])
    parser.add_argument("--batch", nargs="+", type=int, default=[1])
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--steps", type=int, default=5, help="steps a round")
    parser.add_argument("--cores", help="cores to pin to, e.g. 0 or 0,1")
    parser.add_argument("--out", type=Path, help="JSON record to write")
    args = parser.parse_args()
    if args.dp_python is None and any(side in PEERS for side in args.sides):
        parser.error("peers need --dp-python")
    return args


def compare(
    args: argparse.Namespace, root: Path, precision: str, threads: int, batch: int
) -> dict[str, Any]:
    """Let the sides take turns on one case."""
    sides = []
    for name in args.sides:
        folder = root / f"{precision}-{threads}-{batch}-{name}"
        folder.mkdir()
        settings = write_input(args, folder, precision, batch, name)
        sides.append(start(args, settings, name, precision, threads, batch))
    found = interleave(sides, args.rounds)
    ours = [name for name in found if name in OURS]
    peers = [name for name in found if name in PEERS]
    floors = [name for name in found if name in FLOORS]
    pairs = [(a, b) for b in ours for a in peers]
    pairs += [(a, b) for a in ours for b in floors]
    ratios = {f"{a} / {b}": ratio(found, a, b) for a, b in pairs}
    best = min(peers, key=lambda name: found[name]["wall"]["median_ms"], default=None)
    return {
        "precision": precision,
        "threads": threads,
        "batch": batch,
        "sides": found,
        "best_peer": best,
        "ratios": ratios,
    }


def write_input(
    args: argparse.Namespace, folder: Path, precision: str, batch: int, name: str
) -> Path:
    """Write the ``input.json`` of a case; it never validates nor ends."""
    text = SETTINGS.read_text().replace("DATA", str(args.data.resolve()))
    config = json.loads(text)
    for section in (config["model"]["descriptor"], config["model"]["fitting_net"]):
        section["precision"] = precision
    never = 10**7
    config["learning_rate"] |= {"start_lr": 1e-6, "stop_lr": 1e-7}
    config["training"]["training_data"]["batch_size"] = batch
    config["training"] |= {"numb_steps": never, "disp_freq": never, "save_freq": never}
    if name == "deepmd-pt-compile":
        config["training"]["enable_compile"] = True
    path = folder / "input.json"
    path.write_text(json.dumps(config, indent=1))
    return path


def start(
    args: argparse.Namespace,
    settings: Path,
    name: str,
    precision: str,
    threads: int,
    batch: int,
) -> Side:
    """Start a side."""
    told = {"input": str(settings), "steps": args.steps, "threads": threads}
    module, python, flags = "ours", sys.executable, {}
    if name in PEERS:
        backend, flags = PEERS[name]
        module, python = "peer", args.dp_python
        told |= {"backend": backend, "flags": flags}
    elif name in FLOORS:
        module = "floor"
        told |= floor_sizes(args, settings, precision, batch)
        told["knots"] = knots() if name.endswith("with-nets") else 0
    else:
        told["engine"] = name.partition("-")[2] or None
    return Side(
        Command(
            name=name,
            module=f"train_step.{module}",
            arguments=told,
            folder=settings.parent,
            python=python,
            threads=threads,
            cores=args.cores,
            flags=flags,
        )
    )


def knots() -> int:
    """Return at how many points a table of a run's first step knows its net."""
    from dpbench.models.edge_features import INTERVALS

    return INTERVALS + 1


def floor_sizes(
    args: argparse.Namespace, settings: Path, precision: str, batch: int
) -> dict[str, Any]:
    """Return the sizes of the products of a step."""
    model = json.loads(settings.read_text())["model"]
    descriptor, fitting = model["descriptor"], model["fitting_net"]
    kinds = np.loadtxt(args.data / "data_0" / "type.raw", dtype=int)
    return {
        "precision": precision,
        "atoms_by_type": [batch * int(n) for n in np.bincount(kinds)],
        "inputs": descriptor["neuron"][-1] * descriptor["axis_neuron"],
        "fitting": fitting["neuron"],
        "embedding": descriptor["neuron"],
        "nets": len(descriptor["sel"]),
    }


def line(case: dict[str, Any]) -> str:
    """Put a case into some lines."""
    head = f"{case['precision']}, {case['threads']} threads, batch {case['batch']}"
    rows = [
        f"  {name:<20} {side['wall']['median_ms']:8.2f} ms wall "
        f"{side['cpu']['median_ms']:8.2f} ms CPU"
        for name, side in case["sides"].items()
    ]
    ratios = [
        f"  {name:<34} {value['wall']:6.2f} wall {value['cpu']:6.2f} CPU"
        for name, value in case["ratios"].items()
    ]
    return "\n".join([head, *rows, *ratios])


if __name__ == "__main__":
    main()
