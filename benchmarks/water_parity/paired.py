"""Train dpbench on water from the very start weights that DeePMD-kit drew.

The end of so short a run depends on its start weights more than on anything else, so
that a handful of independent seeds says little. Here each seed starts where the peer's
run of that seed started (``peer.py`` must have finished it); batches and optimiser
are dpbench's own.

Example:
    python benchmarks/water_parity/paired.py --dp .cache/deepmd/bin/dp \
        --data deepmd_water/data --out runs
"""

import argparse
import json
import os
import subprocess
import time
from pathlib import Path

from inputs import SEEDS
from ours import read_curve, score

from dpbench.models.checkpoint import save_model
from dpbench.models.deepmd_file import read_deepmd
from dpbench.store.workspace import Workspace
from dpbench.train.config import resolved
from dpbench.train.history import CURVE_FILE, CurveFile
from dpbench.train.input_json import read_input_json
from dpbench.train.loader import prefetch
from dpbench.train.loop import Hooks, LoopState, run_loop
from dpbench.train.progress import Silent
from dpbench.train.session import Session, begin
from dpbench.train.systems import ingest_systems


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dp", required=True, help="the `dp` program")
    parser.add_argument("--data", type=Path, required=True, help="holds data_0 ...")
    parser.add_argument("--out", type=Path, required=True, help="as of peer.py")
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    args = parser.parse_args()
    for seed in args.seeds:
        folder = args.out / f"paired-seed{seed}"
        folder.mkdir(parents=True, exist_ok=True)
        settings = args.out / f"tf-seed{seed}" / "input.json"
        start = peer_start(args.dp, json.loads(settings.read_text()), folder)
        session = prepare(settings, start, folder)
        record = {"seed": seed, "backend": "paired"} | train(session, args, folder)
        (folder / "record.json").write_text(json.dumps(record, indent=1) + "\n")
        print(json.dumps({k: v for k, v in record.items() if k != "curve"}), flush=True)


def peer_start(dp: str, config: dict, folder: Path) -> Path:
    """Let the peer draw its start weights: one step at no learning rate."""
    config["learning_rate"] |= {"start_lr": 1e-30, "stop_lr": 1e-31}
    config["training"] |= {"numb_steps": 1, "save_freq": 1, "disp_freq": 1}
    work = folder / "start"
    work.mkdir(exist_ok=True)
    (work / "input.json").write_text(json.dumps(config))
    for command in (
        ["--tf", "train", "input.json", "--skip-neighbor-stat"],
        ["--tf", "freeze", "-o", "start.pb"],
        ["convert-backend", "start.pb", "start.dp"],
    ):
        done = subprocess.run(
            [dp, *command],
            cwd=work,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise SystemExit(f"dp {' '.join(command)}: {done.stderr[-2000:]}")
    return work / "start.dp"


def prepare(settings: Path, start: Path, folder: Path) -> Session:
    """Set up the run of ``input.json`` and put the peer's start weights into it."""
    import torch

    torch.set_num_threads(1)
    workspace = Workspace.find(folder / ".dpbench", create=True)
    found = read_input_json(settings)
    dataset, split = ingest_systems(workspace, found, settings)
    session = begin(
        workspace,
        resolved(found.config, split=split),
        dataset=dataset,
        device=torch.device("cpu"),
        command=(),
    )
    drawn = read_deepmd(start).parameters
    if drawn.shapes != session.model.parameters.shapes:
        raise SystemExit(f"{start}: has other nets than {settings}")
    session.model.parameters.flat.copy_(drawn.flat)
    return session


def train(session: Session, args: argparse.Namespace, folder: Path) -> dict:
    """Run the loop and score its last weights on all of data_3."""
    started = time.monotonic()
    state = run_loop(
        session.model,
        session.optimiser,
        session.schedule,
        prefetch(session.pipeline.make_batch, 0, session.plan.steps),
        plan=session.plan,
        state=LoopState(),
        hooks=Hooks(
            validate=session.validate, save=lambda state: None, watcher=Silent()
        ),
    )
    seconds = time.monotonic() - started
    CurveFile(folder / CURVE_FILE, rows=state.rows)
    save_model(folder / "m.pth", session.model, session.provenance)
    force_rmse, energy_rmse = score(folder / "m.pth", args.data / "data_3")
    return {
        "train_s": seconds,
        "force_rmse": force_rmse,
        "energy_rmse_per_atom": energy_rmse,
        "curve": read_curve(folder / CURVE_FILE),
    }


if __name__ == "__main__":
    main()
