"""Put all runs into one record, and say how much sooner dpbench is as accurate.

The peer's best is the group of runs (backend and batch) with the lowest median force
RMSE over its seeds. Which of our groups is held against it is named beforehand: by
``--ours``, else it is the longest, of the largest part of the budget. The score on the
test frames does not choose it; all our groups are listed beside, as they came out.

Times are compared by one clock at a time: wall with wall, CPU with CPU. A folder of
records that another driver wrote counts as the peer's, too: ``batch``, ``seed``,
``steps``, ``force_rmse`` and ``train`` with ``wall`` and ``cpu``. Such runs of a stated
number of steps stand for a nominal budget, whatever the machine did at the time: that
budget is compared with ours, never with a wall time. The ratio of a comparison is the
smallest of its clocks.

Example:
    python -m benchmarks.time_to_accuracy.collect tta --peers more-peers \
        --ours "dpbench default 240 s" --out benchmarks/records/time_to_accuracy.json
"""

import argparse
import json
import statistics
from collections import defaultdict
from pathlib import Path
from typing import Any

from benchmarks.time_to_accuracy.protocol import BUDGET_S, RECORD
from benchmarks.turns.process import machine

WALL, NOMINAL = "wall", "nominal budget of stated steps"
"""What the seconds of a peer are."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", type=Path, nargs="+", help="folders of both drivers")
    parser.add_argument(
        "--peers", type=Path, nargs="*", default=[], help="records of another driver"
    )
    parser.add_argument(
        "--budget", type=float, default=BUDGET_S, help="what --peers stand for, s"
    )
    parser.add_argument(
        "--ours",
        metavar="NAME",
        help="our group that counts, e.g. 'dpbench default 240 s'; else the longest",
    )
    parser.add_argument("--seeds", type=int, default=3, help="runs that make a group")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    runs = [record for folder in args.runs for record in read(folder)]
    runs += [
        {"side": "deepmd-tf", "budget_s": args.budget} | record | {"seconds": NOMINAL}
        for folder in args.peers
        for record in read(folder)
    ]
    record = summary(runs, seeds=args.seeds, ours=args.ours)
    print(words(record))
    if args.out:
        full = record | {"machine": machine(), "runs": runs}
        args.out.write_text(json.dumps(full, indent=1) + "\n")


def read(folder: Path) -> list[dict[str, Any]]:
    """Read the records of all runs in a folder."""
    found = [json.loads(p.read_text()) for p in sorted(folder.glob(f"*/{RECORD}"))]
    return [record for record in found if record.get("force_rmse") is not None]


def summary(
    runs: list[dict[str, Any]], *, seeds: int, ours: str | None = None
) -> dict[str, Any]:
    """Group the runs over seeds and compare the groups.

    Args:
        runs: Records of both drivers.
        seeds: A group with fewer runs is told, but decides nothing.
        ours: Name of our group that counts; None takes the longest.
    """
    together = defaultdict(list)
    for run in runs:
        together[name_of(run)].append(run)
    groups = {name: group(found) for name, found in sorted(together.items())}
    peers = {name: g for name, g in groups.items() if g["side"] != "dpbench"}
    own = {name: g for name, g in groups.items() if g["side"] == "dpbench"}
    result: dict[str, Any] = {"groups": groups, "needed_seeds": seeds}
    whole = {name: g for name, g in peers.items() if len(g["seeds"]) >= seeds}
    if not whole:
        return result | {"verdict": f"no peer has all its {seeds} seeds yet"}
    best = min(whole, key=lambda name: whole[name]["force_rmse_median"])
    peer = whole[best]
    target = peer["force_rmse_median"]
    result |= {
        "best_peer": best,
        "peer_seeds": len(peer["seeds"]),
        "peer_seconds_are": peer["seconds"],
        "target_force_rmse": target,
        "better_peers_of_fewer_seeds": {
            name: len(g["seeds"])
            for name, g in peers.items()
            if name not in whole and g["force_rmse_median"] < target
        },
        "ours_by_length": {
            name: {
                "seeds": len(own[name]["seeds"]),
                "force_rmse_median": own[name]["force_rmse_median"],
                "is_as_accurate": own[name]["force_rmse_median"] <= target,
                "time_ratios": time_ratios(peer, own[name]),
            }
            for name in sorted(own, key=lambda name: length(own[name]))
        },
    }
    chosen = ours if ours is not None else longest(own)
    result |= {"ours": chosen, "ours_chosen_by": "name" if ours else "length"}
    return result | judge(result, own, seeds=seeds)


def judge(result: dict[str, Any], own: dict[str, Any], *, seeds: int) -> dict[str, Any]:
    """Hold the group that counts against the peer; return ratio and verdict."""
    chosen, best = result["ours"], result["best_peer"]
    if chosen is None:
        return {"verdict": "which of our settings counts must be named: --ours"}
    if chosen not in own:
        return {"verdict": f"there is no group {chosen!r}; expected one of {[*own]}"}
    count = len(own[chosen]["seeds"])
    if count < seeds:
        return {"verdict": f"{chosen} has {count} of {seeds} seeds yet"}
    rmse, target = own[chosen]["force_rmse_median"], result["target_force_rmse"]
    told = f"{best} ({result['peer_seeds']} seeds, {target:.4f} eV/Å)"
    if rmse > target:
        return {"verdict": f"{chosen} has {rmse:.4f} eV/Å, above {told}"}
    ratios = result["ours_by_length"][chosen]["time_ratios"]
    told_clocks = "wall" if result["peer_seconds_are"] == WALL else "nominal"
    counted = {c: r for c, r in ratios.items() if c in (told_clocks, "cpu")}
    clock = min(counted, key=lambda name: counted[name])
    return {
        "time_ratio": counted[clock],
        "time_ratio_of": clock,
        "verdict": f"{chosen} ({count} seeds, {rmse:.4f} eV/Å) is as accurate as "
        f"{told} in 1/{counted[clock]:.1f} of its time by {clock}; the peer's seconds "
        f"are {result['peer_seconds_are']}; all clocks: "
        + ", ".join(f"{name} {value:.1f}" for name, value in ratios.items()),
    }


def time_ratios(peer: dict[str, Any], own: dict[str, Any]) -> dict[str, float]:
    """Return the peer's time over ours, like by like; nominal where both have one."""
    ratios = {
        clock: peer[f"{clock}_median_s"] / own[f"{clock}_median_s"]
        for clock in ("wall", "cpu")
    }
    if own["budget_s"] is not None:
        ratios["nominal"] = peer["budget_s"] / own["budget_s"]
    return ratios


def length(found: dict[str, Any]) -> tuple[bool, float]:
    """Return what orders our groups: by steps, then by stated time."""
    budget = found["budget_s"]
    return (False, max(found["steps"])) if budget is None else (True, budget)


def longest(own: dict[str, Any]) -> str | None:
    """Return the longest of our groups; None where they are not of one kind."""
    kinds = {(g["settings"], g["budget_s"] is None) for g in own.values()}
    if len(kinds) != 1:
        return None
    return max(own, key=lambda name: length(own[name]))


def name_of(run: dict[str, Any]) -> str:
    """Name the group of a run: all that is alike but the seed."""
    if run["side"] == "dpbench":
        budget = run.get("budget_s")
        part = f"{run['steps']} steps" if budget is None else f"{budget:g} s"
        return f"dpbench {run['settings']} {part}"
    nominal = " nominal" if run.get("seconds") == NOMINAL else ""
    return f"{run['side']} batch {run['batch']} {run['budget_s']:g} s{nominal}"


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
        "settings": runs[0].get("settings"),
        "seconds": runs[0].get("seconds", WALL),
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
        f"{'group':<42} {'seeds':>5} {'force RMSE eV/Å':>16} {'wall s':>8} {'CPU s':>8}"
    ]
    for name, found in record["groups"].items():
        rows.append(
            f"{name:<42} {len(found['seeds']):>5} {found['force_rmse_median']:>16.4f} "
            f"{found['wall_median_s']:>8.0f} {found['cpu_median_s']:>8.0f}"
        )
    rows += [
        f"{name} was better, but has {count} seeds only"
        for name, count in record.get("better_peers_of_fewer_seeds", {}).items()
    ]
    return "\n".join([*rows, record["verdict"]])


if __name__ == "__main__":
    main()
