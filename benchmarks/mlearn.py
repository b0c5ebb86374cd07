"""dpbench's default models on the mlearn set, beside the published potentials.

Run from the repository root::

    python benchmarks/mlearn.py --data DIR [--elements Si Mo] [--seeds 1 2 3]

DIR holds a folder for each element with ``training.json`` and ``test.json``
(materialsvirtuallab/mlearn, folder ``data``). For each element the two files are
ingested and split as published, a model is trained with the default settings for each
seed (``dpbench train --dataset NAME --split published --seed N``, nothing else), and
``test.json`` is scored once, at the end. The Markdown table is printed; all figures go
to ``mlearn.json`` in the output folder. A run that was stopped goes on where it was.

One thread unless ``--threads`` says otherwise: a default training of such a set takes
some minutes of one core.
"""

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from typing import Any

REGISTRY = Path(__file__).resolve().parents[1] / "registry"
PUBLISHED = REGISTRY / "suites" / "mlearn" / "published.toml"
THEORY = REGISTRY / "theory" / "mlearn.toml"

ENERGY = "energy_mae_per_atom_mev"
FORCE = "force_mae_component_mev_per_ang"
REPORTED = (
    ENERGY,
    FORCE,
    "energy_rmse_per_atom_mev",
    "force_rmse_component_mev_per_ang",
    "virial_mae_per_atom_mev",
)
"""Metrics of a record that are kept."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of elements")
    parser.add_argument("--elements", nargs="+", default=["Si", "Mo"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--out", type=Path, default=Path("mlearn-benchmark"))
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    run = Runner(args.out.resolve(), threads=args.threads)
    found: dict[str, list[dict[str, Any]]] = {}
    for element in args.elements:
        dataset = prepare(run, element, args.data)
        found[element] = [score(run, dataset, seed) for seed in args.seeds]
    report = {
        "benchmark": "mlearn",
        "versions": {"python": platform.python_version()},
        "threads": args.threads,
        "runs": found,
    }
    (args.out / "mlearn.json").write_text(json.dumps(report, indent=1) + "\n")
    print(table(found, published()))


class Runner:
    """Runs commands of dpbench in one folder."""

    def __init__(self, folder: Path, *, threads: int) -> None:
        """Work in ``folder``, with so many threads."""
        self.folder = folder
        self._more = ("--workspace", str(folder / "workspace"))
        count = str(threads)
        names = ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS")
        self._environment = {**os.environ, **dict.fromkeys(names, count)}

    def __call__(self, *arguments: str) -> str:
        """Run ``dpbench arguments``; return what it prints, or stop with its error."""
        print("$ dpbench", *arguments, flush=True)
        done = subprocess.run(
            [sys.executable, "-m", "dpbench", *arguments, *self._more],
            env=self._environment,
            cwd=self.folder,
            stdout=subprocess.PIPE,
            text=True,
            check=False,
        )
        if done.returncode:
            raise SystemExit(f"dpbench {arguments[0]}: ended with {done.returncode}")
        return done.stdout


def prepare(run: Runner, element: str, data: Path) -> str:
    """Ingest and split an element as published, once; return the dataset's name."""
    dataset = f"mlearn-{element.lower()}"
    mark = run.folder / f"{dataset}.split"
    if not mark.exists():
        source = (data / element).resolve()
        named = ("--dataset", dataset, "--theory", str(THEORY))
        run("ingest", "mlearn", str(source), *named)
        # As published: runs are shared by both files, and twins stay where they are.
        parts = ("--hold-out", "test=*test.json*", "--fractions", "train=1")
        run("dataset", "split", dataset, *parts, "--skip-twins", "--name", "published")
        mark.touch()
    return dataset


def score(run: Runner, dataset: str, seed: int) -> dict[str, Any]:
    """Train with the default settings and score the test file; once each."""
    kept = run.folder / f"{dataset}-seed{seed}.json"
    model = run.folder / f"{dataset}-seed{seed}.pth"
    training = model.with_suffix(".train.json")
    if not training.exists():
        began, worked = time.monotonic(), cpu_of_children()
        given = ("--dataset", dataset, "--split", "published", "--seed", str(seed))
        told = run("train", *given, "--out", str(model), "--json")
        took = {
            "wall_s": round(time.monotonic() - began, 1),
            "cpu_s": round(cpu_of_children() - worked, 1),
            "told": json.loads(told),
        }
        training.write_text(json.dumps(took, indent=1) + "\n")
    if not kept.exists():
        chosen = ("--dataset", f"{dataset}:test", "--split", "published")
        which = ("--tasks", "accuracy", "--name", f"dpbench-default-seed{seed}")
        run("evaluate", "--model", str(model), *chosen, *which, "--out", str(kept))
    record = json.loads(kept.read_text())
    values = {m["name"]: m["value"] for m in record["accuracy"]["metrics"]}
    trained = json.loads(training.read_text())
    told = trained["told"]
    return {
        "seed": seed,
        **{name: values[name] for name in REPORTED},
        "train_wall_s": trained["wall_s"],
        "train_cpu_s": trained["cpu_s"],
        "steps": told.get("steps"),
    }


def cpu_of_children() -> float:
    """CPU time of all commands so far, s: the machine may do other things as well."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def published() -> dict[str, dict[tuple[str, str], float]]:
    """Read the published errors: model -> (element, metric) -> value."""
    rows = tomllib.loads(PUBLISHED.read_text(encoding="utf-8"))["row"]
    return {
        row["model"]: {
            (value["data"].capitalize(), value["metric"]): value["value"]
            for value in row["values"]
        }
        for row in rows
    }


def table(
    found: dict[str, list[dict[str, Any]]],
    others: dict[str, dict[tuple[str, str], float]],
) -> str:
    """Return the Markdown table: errors, their spread over seeds, and ratios."""
    heads = [f"{e} energy | {e} force" for e in found]
    lines = [
        "| model | " + " | ".join(heads) + " |",
        "| --- |" + " --- | --- |" * len(found),
    ]
    own: dict[tuple[str, str], float] = {}
    cells = []
    for element, runs in found.items():
        for metric, digits, scale in ((ENERGY, 2, 1.0), (FORCE, 3, 1e-3)):
            values = [scale * run[metric] for run in runs]
            own[element, metric] = statistics.fmean(values)
            spread = statistics.stdev(values) if len(values) > 1 else float("nan")
            cells.append(f"**{own[element, metric]:.{digits}f}** ± {spread:.{digits}f}")
    count = max(len(runs) for runs in found.values())
    lines.append(f"| dpbench, defaults, {count} seeds | " + " | ".join(cells) + " |")
    keys = list(own)
    for model, values in others.items():
        shown = []
        for element, metric in keys:
            value = values[element, metric]
            digits, scale = (2, 1.0) if metric == ENERGY else (3, 1e-3)
            ratio = own[element, metric] / (scale * value)
            shown.append(f"{scale * value:.{digits}f} ({ratio:.2f})")
        lines.append(f"| {model}, published | " + " | ".join(shown) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
