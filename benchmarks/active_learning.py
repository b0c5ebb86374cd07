"""Active selection beside a random draw: Al-Mg with real DFT, three seeds.

Run from the repository root, with pw.x installed::

    python benchmarks/active_learning.py --test DIR --work DIR [--seeds 1 2 3]

For each seed ``dpbench explore almg-lda`` runs as it ships, the seed apart. The control
then repeats its iterations: the same start frames, as many new labels, by the same
DFT, with the same seeds, trainer and steps; but the frames are drawn at random from all
that the exploration had walked through until then. ``--test`` names the raw outputs of
``almg_qe_lda``, which neither side sees: all models are scored on them at the end.

Everything is kept in ``--work``, and a run that was stopped goes on. Figures go to
``--out``.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from shutil import copy, copytree
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("NUMBA_NUM_THREADS", "1")

import numpy as np
from active_learning_figures import (
    compared,
    errors,
    mean_errors,
    summary,
    table,
)

from dpbench.config import to_mapping
from dpbench.explore.config import read_config
from dpbench.explore.journal import Iteration, exploration_folder, iterations_of
from dpbench.explore.sampling.walks import read_walk
from dpbench.explore.session import Session
from dpbench.explore.spread import Resources, hired
from dpbench.explore.stage_results import ChosenFrame, IngestResult
from dpbench.explore.stages.exploring import walks_folder
from dpbench.explore.stages.ingesting import add_labels
from dpbench.explore.stages.labelling import Wanted, label_frames
from dpbench.explore.stages.start import start
from dpbench.explore.stages.training import train
from dpbench.explore.training import EnsembleSettings, member_tasks, train_member
from dpbench.explore.training_split import training_split
from dpbench.fingerprint import git_state, hardware_fingerprint
from dpbench.frames import Frames, concatenate
from dpbench.io.parsed import Quarantine, SourceFiles
from dpbench.io.readers import READERS
from dpbench.md.batches import evaluate_many
from dpbench.md.skin import Geometry
from dpbench.models.checkpoint import load_model
from dpbench.store.dataset import open_dataset
from dpbench.store.workspace import Workspace

REGISTRY = Path(__file__).resolve().parents[1] / "registry" / "explorations"
FILES = ("almg-lda.toml", "almg-lda.train.toml", "almg-lda.pw.in")
EXPLORATION = "almg"
SIDES = {"active": "workspace", "random": "control"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--test", type=Path, required=True, help="outputs of pw.x")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--members", type=int, default=2, help="scored, of each side")
    parser.add_argument("--workers", type=int, default=2, help="processes at a time")
    parser.add_argument(
        "--longer",
        type=int,
        metavar="STEPS",
        help="train on the last version of each side again, anew and for so long",
    )
    parser.add_argument("--only", choices=("active", "random", "longer", "score"))
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    work = args.work.resolve()
    for seed in args.seeds if args.only in (None, "active") else ():
        explore(work / f"seed-{seed}", seed, workers=args.workers)
    for seed in args.seeds if args.only in (None, "random") else ():
        control(work / f"seed-{seed}", seed, args=args)
    for seed in args.seeds if args.longer and args.only in (None, "longer") else ():
        for side in SIDES.values():
            longer(work / f"seed-{seed}" / side, seed, args=args)
    if args.only in (None, "score"):
        told = report(work, args)
        text = json.dumps(told, indent=1) + "\n"
        (args.out or work / "active_learning.json").write_text(text)
        print(table(told["seeds"], told["summary"]))


def explore(folder: Path, seed: int, *, workers: int) -> None:
    """Run the exploration as it ships, the seed and the number of processes apart."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        text = (REGISTRY / name).read_text()
        if name == FILES[0]:
            text = text.replace("\nseed = 1\n", f"\nseed = {seed}\n")
            text += f"\n[resources]\nworkers = {workers}\n"
        (folder / name).write_text(text)
    began, before = time.perf_counter(), os.times()
    command = [sys.executable, "-m", "dpbench", "--quiet", "--workspace"]
    command += [str(folder / "workspace"), "explore", str(folder / FILES[0])]
    subprocess.run(command, check=True)
    after = os.times()
    sessions = json.loads(_text(folder / "sessions.json") or "[]")
    spent = after.children_user + after.children_system
    spent -= before.children_user + before.children_system
    sessions.append(
        {"wall": round(time.perf_counter() - began, 1), "cpu": round(spent, 1)}
    )
    (folder / "sessions.json").write_text(json.dumps(sessions))


def control(folder: Path, seed: int, *, args: argparse.Namespace) -> None:
    """Repeat the iterations with frames drawn at random from the same pool."""
    mine = Workspace.find(folder / "workspace")
    iterations = iterations_of(exploration_folder(mine, EXPLORATION))
    draw = np.random.default_rng([seed, 20])
    share_start(folder)
    with at_work(folder, args) as session:
        version, pool, used = start(session), [], set[int]()
        for iteration, after in pairwise(iterations):
            trained(session, iteration, version)
            pool += walked(iteration)
            known, later = (
                open_dataset(mine, one.train.dataset).nframes  # type: ignore[union-attr]
                for one in (iteration, after)
            )
            version = drawn(
                session,
                concatenate(pool),
                count=later - known,
                draw=draw,
                used=used,
                iteration=iteration,
                before=version,
            )
        trained(session, iterations[-1], version)


def share_start(folder: Path) -> None:
    """Hand the control the labels and models that both sides begin with.

    They are the same by their digests: paying for them twice would change nothing.
    """
    mine, other = (
        exploration_folder(Workspace(root=folder / name), EXPLORATION)
        for name in ("workspace", "control")
    )
    if other.exists():
        return
    told = json.loads((mine / "start" / "label.json").read_text())
    for one in told["done"]:
        copytree(mine / "labels" / one["key"], other / "labels" / one["key"])
    first = Path("iter.000000")
    copytree(mine / first / "train", other / first / "train")
    copy(mine / first / "train.json", other / first / "train.json")


@contextmanager
def at_work(folder: Path, args: argparse.Namespace) -> Iterator[Session]:
    """Set the control up: the same configuration, in a workspace of its own."""
    config = read_config(folder / FILES[0])
    ensemble = replace(config.train, models=args.members)
    config = replace(config, train=ensemble, resources=Resources(workers=args.workers))
    workspace = Workspace.find(folder / "control", create=True)
    with hired(config.resources) as crew:
        yield Session(
            workspace=workspace,
            config=config,
            base=folder,
            crew=crew,
            announce=lambda _: None,
        )


def trained(session: Session, iteration: Iteration, version: IngestResult) -> None:
    """Train the control's models of an iteration, with that iteration's seeds."""
    folder = session.root / iteration.folder.name
    train(
        session,
        Iteration(number=iteration.number, folder=folder),
        dataset=version.version,
    )


def walked(iteration: Iteration) -> list[Frames]:
    """Read all frames of an iteration's walks that passed the filters."""
    explored = iteration.explore
    walks = explored.walks if explored else ()
    found = [read_walk(walks_folder(iteration) / walk.name) for walk in walks]
    return [walk.frames for walk in found if walk is not None and walk.frames.nframes]


def drawn(
    session: Session,
    pool: Frames,
    *,
    count: int,
    draw: np.random.Generator,
    used: set[int],
    iteration: Iteration,
    before: IngestResult,
) -> IngestResult:
    """Label frames drawn at random until so many are in the dataset."""
    version, number = before, 0
    while (missing := before.nframes + count - version.nframes) > 0:
        free = np.array([i for i in range(pool.nframes) if i not in used])
        rows = draw.permutation(free)[:missing]
        used.update(rows.tolist())
        chosen = tuple(
            ChosenFrame(walk=f"random-{row}", step=0, max_devi_f=0.0) for row in rows
        )
        wanted = Wanted(frames=pool.select(rows), chosen=chosen)
        labelled = label_frames(session, wanted, iteration=iteration.number)
        version = add_labels(
            session,
            labelled,
            before=open_dataset(session.workspace, version.version),
            note=f"drawn at random, iteration {iteration.number}, part {number}",
            iteration=iteration.number,
        )
        number += 1
    return version


def longer(folder: Path, seed: int, *, args: argparse.Namespace) -> list[Path]:
    """Train anew on the last version of a side, long enough that data is what lacks.

    Returns:
        The models.
    """
    workspace = Workspace.find(folder)
    version = open_dataset(workspace, EXPLORATION)
    config = read_config(folder.parent / FILES[0])
    tasks = member_tasks(
        EnsembleSettings(
            models=args.members,
            steps=args.longer,
            config=config.train.config,
            validation=0.0,
        ),
        workspace=folder,
        dataset=version.label,
        split=training_split(version, validation=0.0),
        folder=folder / f"longer-{args.longer}",
        iteration=0,
        seed=seed,
        base=folder.parent,
        elements=version.symbols,
    )
    return [train_member(task).path for task in tasks]


def report(work: Path, args: argparse.Namespace) -> dict[str, Any]:
    """Score all models on the test set, and put the figures together."""
    test = test_frames(args.test)
    seeds = []
    for seed in args.seeds:
        folder = work / f"seed-{seed}"
        sides = {
            name: curve(Workspace.find(folder / where), test, args.members)
            for name, where in SIDES.items()
        }
        if args.longer:
            for name, where in SIDES.items():
                paths = longer(folder / where, seed, args=args)
                sides[name][-1]["longer"] = [by_part(path, test) for path in paths]
        sessions = json.loads((folder / "sessions.json").read_text())
        seeds.append(
            {
                "seed": seed,
                **sides,
                "compared": compared(sides["active"], sides["random"]),
                "wall_seconds": round(sum(one["wall"] for one in sessions), 1),
                "cpu_seconds": round(sum(one["cpu"] for one in sessions), 1),
                "stop": stop_of(folder),
            }
        )
    commit, dirty = git_state()
    return {
        "benchmark": "active_learning",
        "code": {"commit": commit, "dirty": dirty},
        "hardware": to_mapping(hardware_fingerprint(device="cpu")),
        "test": {"name": "almg_qe_lda", "frames": test.nframes},
        "members": args.members,
        "longer_steps": args.longer,
        "configuration": (folder / FILES[0]).read_text().splitlines(),
        "workers": args.workers,
        "summary": summary([one["compared"] for one in seeds]),
        "seeds": seeds,
    }


def stop_of(folder: Path) -> dict[str, Any]:
    """Say how an exploration ended."""
    root = exploration_folder(Workspace.find(folder / "workspace"), EXPLORATION)
    chosen = [one.select for one in iterations_of(root) if one.select is not None]
    stop = chosen[-1].stop
    return {
        "iterations": len(chosen),
        "counts": [one.counts for one in chosen],
        "reason": None if stop is None else stop.reason,
        "is_converged": None if stop is None else stop.is_converged,
    }


def curve(workspace: Workspace, test: Frames, members: int) -> list[dict[str, Any]]:
    """Score the models of every iteration: one point a number of labels."""
    root = exploration_folder(workspace, EXPLORATION)
    points: dict[int, dict[str, Any]] = {}
    for iteration in iterations_of(root):
        found = iteration.train
        if found is None:
            continue
        version = open_dataset(workspace, found.dataset)
        scored = [score(root / one.path, test) for one in found.models[:members]]
        points[version.nframes] = {
            "labels": version.nframes,
            "version": found.digest,
            "models": [one.digest for one in found.models[:members]],
            **mean_errors(scored),
        }
    return [points[count] for count in sorted(points)]


def score(path: Path, test: Frames) -> dict[str, float]:
    """Score one model on the test set."""
    model = load_model(path)[0]
    rows = [test.atoms_of(i) for i in range(test.nframes)]
    structures = [
        Geometry(
            z=test.z[row].astype(np.int64),
            coord=test.coord[row],
            box=test.box[i],
            pbc=test.pbc[i],
        )
        for i, row in enumerate(rows)
    ]
    found = list(evaluate_many(model, structures))
    return errors(
        np.array([one.energy for one in found]),
        np.concatenate([one.force for one in found]),
        true_energy=test.energy,
        true_force=test.force,
        natoms=test.natoms,
    )


def by_part(path: Path, test: Frames) -> dict[str, dict[str, float]]:
    """Score a model on all test frames, and on those of each crystal."""
    is_cubic = np.ptp(np.linalg.norm(test.box, axis=2), axis=1) < 0.1
    parts = {"fcc": test.select(np.flatnonzero(is_cubic))}
    parts["hcp"] = test.select(np.flatnonzero(~is_cubic))
    return {"all": score(path, test)} | {n: score(path, t) for n, t in parts.items()}


def test_frames(folder: Path) -> Frames:
    """Read the good frames of the test set from the raw outputs."""
    blocks = []
    for path in sorted(folder.glob("*.out")):
        source = SourceFiles(format="qe", paths=(path, path.with_suffix(".in")))
        parsed = READERS["qe"].read(source)
        good = [i for i, why in enumerate(parsed.quarantine) if why == Quarantine.NONE]
        blocks.append(parsed.frames.select(good))
    return concatenate(blocks)


def _text(path: Path) -> str:
    return path.read_text() if path.is_file() else ""


if __name__ == "__main__":
    main()
