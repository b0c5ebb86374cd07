"""Count what a step costs, in things that can be counted: a gate that cannot flake.

    python -m benchmarks.counts            print
    python -m benchmarks.counts --check    end with 1 where a count grew
    python -m benchmarks.counts --write    take today's counts as the bounds

Seconds depend on who else uses the machine; these do not: operations of torch, calls
of Python functions, neighbour lists built, files opened, SQL statements, bytes on disk.
They grow where somebody adds a loop over atoms, a search at every step, a query for
every dataset, or stores a number twice. The bounds lie in
``benchmarks/records/counts.json``; a count may exceed its bound by ``SLACK``, which
other versions of Python and torch need.
"""

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode

BOUNDS = Path(__file__).resolve().parent / "records" / "counts.json"

SLACK = 0.25
"""Growth that is let pass; what is caught here is a multiple."""

MD_STEPS = 40
NFRAMES = 400
BATCH = 32
DATASETS = (3, 9)


class Tally(TorchDispatchMode):
    """Counts operations of torch, calls of Python functions and opened files."""

    def __init__(self) -> None:
        """Start at zero."""
        super().__init__()
        self.operations = self.calls = self.opened = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        """Count an operation and do it."""
        self.operations += 1
        return func(*args, **(kwargs or {}))


_COUNTING: list[Tally] = []


def _hear(event: str, _: Any) -> None:
    if event == "open" and _COUNTING:
        _COUNTING[-1].opened += 1


@contextmanager
def counting() -> Iterator[Tally]:
    """Count what happens inside."""
    tally = Tally()

    def profile(_frame: Any, event: str, _arg: Any) -> None:
        if event == "call":
            tally.calls += 1

    _COUNTING.append(tally)
    try:
        sys.setprofile(profile)
        yield tally
    finally:
        sys.setprofile(None)
        _COUNTING.pop()


def operations_of(work: Callable[[], object]) -> int:
    """Count the torch operations of some work, done once before."""
    work()
    tally = Tally()
    with tally:
        work()
    return tally.operations


def calls_of(work: Callable[[], object]) -> int:
    """Count the Python calls of some work, done once before."""
    work()
    with counting() as tally:
        work()
    return tally.calls


def of_training() -> dict[str, float]:
    """Count what the gradient of a batch takes, at two sizes."""
    from dpbench.eval.kernel_bench.water import make_water
    from dpbench.train.engine import choose_engine
    from dpbench.train.loss import Prefactors

    found: dict[str, float] = {}
    calls = []
    for side in (2, 3):
        water = make_water(torch.float64, molecules_per_side=side)
        engine = choose_engine(water.model.config)
        step = partial(
            engine.losses_and_gradients,
            water.model,
            water.batch,
            Prefactors(energy=1.0, force=1.0, virial=0.0),
        )
        calls.append(calls_of(step))
        found["training, torch operations a gradient"] = operations_of(step)
    found["training, Python calls a gradient"] = calls[-1]
    found["training, Python calls at 81 atoms over those at 24"] = calls[1] / calls[0]
    return found


def of_dynamics() -> dict[str, float]:
    """Count what steps of molecular dynamics take."""
    from ase import units
    from ase.md.verlet import VelocityVerlet

    from dpbench.eval.kernel_bench.water import make_water
    from dpbench.eval.native import NativeEvaluator
    from dpbench.eval.structures import set_temperature, to_atoms

    water = make_water(torch.float64, molecules_per_side=3)
    evaluator = NativeEvaluator(water.model)
    atoms = to_atoms(water.frames)
    atoms.calc = evaluator.calculator()
    set_temperature(atoms, 30, seed=0)
    dynamics = VelocityVerlet(atoms, 0.1 * units.fs)
    built: list[int] = []

    def run() -> None:
        dynamics.run(MD_STEPS)
        built.append(evaluator.list_builds(atoms.calc) or 0)

    calls = calls_of(run)
    return {
        "md, Python calls a step": calls / MD_STEPS,
        "md, neighbour lists in 80 steps": built[1],
        "md, torch operations a force call": operations_of(
            lambda: evaluator.forward(water.frames)
        ),
    }


def of_data(folder: Path) -> dict[str, float]:
    """Count what a dataset takes on disk, and what reading it takes."""
    from dpbench.io.ingest import IngestOptions, ingest
    from dpbench.store.dataset import open_dataset
    from dpbench.store.workspace import Workspace

    write_system(folder / "system", nframes=NFRAMES)
    workspace = Workspace.find(folder / "workspace", create=True)
    options = IngestOptions(workers=0, bundle_bytes=0)
    ingest(workspace, "deepmd", [folder / "system"], dataset="frames", options=options)
    rows = np.random.default_rng(0).permutation(NFRAMES)[:BATCH]
    open_dataset(workspace, "frames").read(rows)
    with counting() as opening:
        version = open_dataset(workspace, "frames")
        version.read(rows)
    stored = sum(
        path.stat().st_size
        for path in workspace.root.rglob("*")
        if path.is_file() and "registry" not in path.name
    )
    return {
        "data, bytes a frame over those of its numbers": stored
        / (NFRAMES * raw_bytes_per_frame()),
        "data, files opened by opening and one batch": opening.opened,
        "data, Python calls a batch": calls_of(lambda: version.read(rows)),
    }


def raw_bytes_per_frame() -> int:
    """Coordinates, forces, cell, virial and energy of eight atoms in float64."""
    return 8 * (2 * 3 * 8 + 9 + 9 + 1)


def write_system(folder: Path, *, nframes: int, seed: int = 0) -> None:
    """Write a deepmd/npy system of eight atoms."""
    rng = np.random.default_rng(seed)
    (folder / "set.000").mkdir(parents=True)
    (folder / "type.raw").write_text("0\n" * 8)
    (folder / "type_map.raw").write_text("Si\n")
    sites = np.indices((2, 2, 2)).reshape(3, -1).T * 2.5
    arrays = {
        "coord": (sites + rng.normal(0, 0.1, (nframes, 8, 3))).reshape(nframes, -1),
        "box": np.tile(np.eye(3) * 5.0, (nframes, 1, 1)).reshape(nframes, -1),
        "energy": rng.normal(-40, 0.1, nframes),
        "force": rng.normal(0, 1, (nframes, 24)),
        "virial": rng.normal(0, 1, (nframes, 9)),
    }
    for name, array in arrays.items():
        np.save(folder / "set.000" / f"{name}.npy", array)


def of_registry(folder: Path) -> dict[str, float]:
    """Count the SQL statements of listing datasets, with few and with more."""
    from sqlalchemy import Engine, event

    from dpbench.io.ingest import IngestOptions, ingest
    from dpbench.store.summary import list_datasets
    from dpbench.store.workspace import Workspace

    workspace = Workspace.find(folder / "many", create=True)
    options = IngestOptions(workers=0, bundle_bytes=0)
    statements: list[str] = []

    def hear(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        statements.append(statement)

    counted = []
    for number in range(max(DATASETS)):
        system = folder / f"one-{number}"
        write_system(system, nframes=2, seed=number)
        ingest(workspace, "deepmd", [system], dataset=f"d{number}", options=options)
        if number + 1 in DATASETS:
            list_datasets(workspace)
            statements.clear()
            event.listen(Engine, "before_cursor_execute", hear)
            list_datasets(workspace)
            event.remove(Engine, "before_cursor_execute", hear)
            counted.append(len(statements))
    return {
        "registry, SQL statements of a list": counted[-1],
        "registry, those with 9 datasets over those with 3": counted[1] / counted[0],
    }


def count_all() -> dict[str, float]:
    """Count everything, on one thread."""
    torch.set_num_threads(1)
    sys.addaudithook(_hear)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        return of_training() | of_dynamics() | of_data(folder) | of_registry(folder)


def grown(found: dict[str, float], bounds: dict[str, float]) -> list[str]:
    """Word every count that is above its bound, or has none."""
    out = []
    for name, value in found.items():
        bound = bounds.get(name)
        if bound is None:
            out.append(f"{name}: {value:.6g} has no bound; run with --write.")
        elif value > bound * (1 + SLACK):
            out.append(f"{name}: {value:.6g}; expected at most {bound:.6g} and a bit.")
    out += [f"{name}: is no longer counted." for name in bounds if name not in found]
    return out


def main() -> None:
    """Parse, count, compare."""
    parser = argparse.ArgumentParser(description="Count what a step costs.")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--write", action="store_true")
    chosen = parser.parse_args()
    found = count_all()
    for name, value in found.items():
        print(f"{value:12.6g}  {name}")
    if chosen.write:
        record = {"benchmark": "counts", "counts": found}
        BOUNDS.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    if chosen.check:
        bounds = json.loads(BOUNDS.read_text(encoding="utf-8"))["counts"]
        wrong = grown(found, bounds)
        for line in wrong:
            print(line, file=sys.stderr)
        raise SystemExit(1 if wrong else 0)


if __name__ == "__main__":
    os.environ.setdefault("NUMBA_NUM_THREADS", "1")
    main()
