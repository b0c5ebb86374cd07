"""Put the runs of both sides into one record, and say whether they agree.

Example:
    python benchmarks/water_parity/collect.py runs \
        --out benchmarks/records/water_parity.json
"""

import argparse
import json
import math
import os
import statistics
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=Path, help="folder that both drivers wrote to")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--peer-version", default="deepmd-kit 3.2.0, TensorFlow 2.21")
    args = parser.parse_args()
    sides = {name: read(args.runs, name) for name in ("dpbench", "paired", "tf")}
    ours, paired, theirs = (summary(side) for side in sides.values())
    record = {
        "comparison": "validation force RMSE (eV/Å) over all 80 frames of data_3",
        "input": json.loads((HERE / "input.json").read_text()),
        "threads": 1,
        "cores": os.cpu_count(),
        "versions": {"peer": args.peer_version, **versions()},
        "own_start_weights": verdict(ours, theirs),
        "same_start_weights": verdict(paired, theirs) | pairwise(paired, theirs),
    }
    runs = {"dpbench": ours, "dpbench_from_peer_start": paired, "peer": theirs}
    print(json.dumps(record | runs | {"input": "..."}, indent=1))
    for (name, side), found in zip(runs.items(), sides.values(), strict=True):
        record[name] = side | {"runs": found}
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(record) + "\n")


def verdict(ours: dict[str, Any], theirs: dict[str, Any]) -> dict[str, Any]:
    """Compare the means of two sides."""
    difference = ours["mean"] - theirs["mean"]
    combined = math.hypot(ours["standard_error"], theirs["standard_error"])
    return {
        "difference": difference,
        "combined_standard_error": combined,
        "relative_difference": difference / theirs["mean"],
        "within_two_standard_errors": abs(difference) < 2 * combined,
        "within_5_percent": abs(difference) < 0.05 * theirs["mean"],
    }


def pairwise(ours: dict[str, Any], theirs: dict[str, Any]) -> dict[str, Any]:
    """Compare seed by seed, which start weights in common make possible."""
    pairs = zip(ours["force_rmse"], theirs["force_rmse"], strict=True)
    ratios = [a / b for a, b in pairs]
    return {
        "ratio_by_seed": ratios,
        "ratio_mean": statistics.mean(ratios),
        "ratio_standard_error": statistics.stdev(ratios) / math.sqrt(len(ratios)),
    }


def read(folder: Path, side: str) -> list[dict[str, Any]]:
    """Read the records of one side, by seed."""
    files = sorted(folder.glob(f"{side}-seed*/record.json"))
    return [json.loads(file.read_text()) for file in files]


def summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Return mean and standard error over the seeds."""
    values = [run["force_rmse"] for run in runs]
    spread = statistics.stdev(values) if len(values) > 1 else math.nan
    return {
        "seeds": [run["seed"] for run in runs],
        "force_rmse": values,
        "mean": statistics.mean(values),
        "standard_error": spread / math.sqrt(len(values)),
        "median_train_s": statistics.median(run["train_s"] for run in runs),
    }


def versions() -> dict[str, str]:
    import numpy as np
    import torch

    import dpbench

    return {
        "dpbench": dpbench.__version__,
        "torch": torch.__version__,
        "numpy": np.__version__,
    }


if __name__ == "__main__":
    main()
