"""Put all runs into one record, and say how much sooner dpbench is as accurate.

The peer's best is the group of runs (backend and batch) with the lowest median force
RMSE over its seeds. Ours counts from the shortest group whose median is as low: the
ratio is the peer's time over the median wall time of that group. A folder of records
that another driver wrote counts as the peer's, too: ``batch``, ``seed``, ``steps``,
``force_rmse`` and ``train`` with ``wall`` and ``cpu``; such runs of a stated number of
steps stand for the budget, whatever the machine did at the time.

Example:
    python -m benchmarks.time_to_accuracy.collect tta --peers more-peers \
        --out benchmarks/records/time_to_accuracy.json
"""

import argparse
import json
import statistics
from collections import defaultdict
from pathlib import Path
from typing import Any

from benchmarks.time_to_accuracy.protocol import BUDGET_S, RECORD
from benchmarks.turns.process import machine


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", type=Path, nargs="+", help="folders of both drivers")
    parser.add_argument("--peers", type=Path, nargs="*", default=[])
    parser.add_argument("--budget", type=float, default=BUDGET_S, help="the peer's, s")
    parser.add_argument("--seeds", type=int, default=3, help="runs that make a group")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    runs = [record for folder in args.runs for record in read(folder)]
    runs += [
        {"side": "deepmd-tf", "budget_s": args.budget} | record
        for folder in args.peers
        for record in read(folder)
    ]
    record = summary(runs, seeds=args.seeds)
    print(words(record))
    if args.out:
        full = record | {"machine": machine(), "runs": runs}
        args.out.write_text(json.dumps(full, indent=1) + "\n")


def read(folder: Path) -> list[dict[str, Any]]:
    """Read the records of all runs in a folder."""
    found = [json.loads(p.read_text()) for p in sorted(folder.glob(f"*/{RECORD}"))]
    return [record for record in found if record.get("force_rmse") is not None]


def summary(runs: list[dict[str, Any]], *, seeds: int) -> dict[str, Any]:
    """Group the runs over seeds and compare the groups.

    Args:
        runs: Records of both drivers.
        seeds: A group with fewer runs is told, but decides nothing.
    """
    together = defaultdict(list)
    for run in runs:
        together[name_of(run)].append(run)
    groups = {name: group(found) for name, found in sorted(together.items())}
    whole = {name: g for name, g in groups.items() if len(g["seeds"]) >= seeds}
    peers = {name: g for name, g in whole.items() if g["side"] != "dpbench"}
    result: dict[str, Any] = {"groups": groups, "needed_seeds": seeds}
    if not peers:
        return result | {"verdict": "no peer has all its seeds yet"}
    best = min(peers, key=lambda name: peers[name]["force_rmse_median"])
    target = peers[best]["force_rmse_median"]
    reaching = {
        name: g
        for name, g in whole.items()
        if g["side"] == "dpbench" and g["force_rmse_median"] <= target
    }
    result |= {"best_peer": best, "target_force_rmse": target}
    if not reaching:
        return result | {"verdict": f"no own group reaches {target:.4f} eV/Å yet"}
    first = min(reaching, key=lambda name: reaching[name]["wall_median_s"])
    theirs, ours = peers[best]["budget_s"], reaching[first]["wall_median_s"]
    return result | {
        "fastest": first,
        "time_ratio": theirs / ours,
        "verdict": f"{first} is as accurate as {best} after {ours:.0f} s of "
        f"{theirs:.0f} s: 1/{theirs / ours:.1f} of the time",
    }


def name_of(run: dict[str, Any]) -> str:
    """Name the group of a run: all that is alike but the seed."""
    if run["side"] == "dpbench":
        budget = run.get("budget_s")
        length = f"{run['steps']} steps" if budget is None else f"{budget:g} s"
        return f"dpbench {run['settings']} {length}"
    return f"{run['side']} batch {run['batch']} {run['budget_s']:g} s"


def group(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Return medians and all values over the seeds of a group."""
    runs = sorted(runs, key=lambda run: run["seed"])
    values = [run["force_rmse"] for run in runs]
    walls = [run["train"]["wall"] for run in runs]
    energies = [
        run["energy_rmse_per_atom"] for run in runs if "energy_rmse_per_atom" in run
    ]
    return {
        "side": runs[0]["side"],
        "seeds": [run["seed"] for run in runs],
        "steps": [run["steps"] for run in runs],
        "budget_s": runs[0].get("budget_s"),
        "force_rmse": values,
        "force_rmse_median": statistics.median(values),
        "energy_rmse_per_atom_median": statistics.median(energies)
        if energies
        else None,
        "wall_s": walls,
        "wall_median_s": statistics.median(walls),
        "cpu_median_s": statistics.median(run["train"]["cpu"] for run in runs),
    }


def words(record: dict[str, Any]) -> str:
    """Put the record into a table and a verdict."""
    rows = [
        f"{'group':<34} {'seeds':>5} {'force RMSE eV/Å':>16} {'wall s':>8} {'CPU s':>8}"
    ]
    for name, found in record["groups"].items():
        rows.append(
            f"{name:<34} {len(found['seeds']):>5} {found['force_rmse_median']:>16.4f} "
            f"{found['wall_median_s']:>8.0f} {found['cpu_median_s']:>8.0f}"
        )
    return "\n".join([*rows, record["verdict"]])


if __name__ == "__main__":
    main()
