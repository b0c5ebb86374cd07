"""Print the record of the race as the table of docs/optimisers.md.

Example:
    python benchmarks/race/table.py benchmarks/records/race.json
"""

import json
import statistics
import sys
from pathlib import Path


def main() -> None:
    runs = json.loads(Path(sys.argv[1]).read_text())["runs"]
    print("| task | budget | candidate | steps | force | energy |")
    print("| --- | --- | --- | --- | --- | --- |")
    groups: dict[tuple, list[dict]] = {}
    for run in runs:
        key = (run["task"], run["budget_s"], run["candidate"])
        groups.setdefault(key, []).append(run)
    tasks = list(dict.fromkeys(run["task"] for run in runs))

    def rank(key: tuple) -> tuple:
        return tasks.index(key[0]), key[1], median(groups[key], "force_rmse")

    for key in sorted(groups, key=rank):
        task, budget, candidate = key
        found = groups[key]
        force = [run["force_rmse"] for run in found]
        shown = f"{median(found, 'force_rmse'):.4f}"
        if len(found) > 1:
            shown += f" ({min(force):.4f} to {max(force):.4f}, {len(found)} seeds)"
        energy = 1e3 * median(found, "energy_deviation_per_atom")
        steps = round(median(found, "steps"))
        cells = (task, f"{budget:g} s", candidate, steps, shown, f"{energy:.2f}")
        print("| " + " | ".join(map(str, cells)) + " |")


def median(runs: list[dict], name: str) -> float:
    return statistics.median(run[name] for run in runs)


if __name__ == "__main__":
    main()
