"""The whole loop by tblite: one command, real labels, in minutes on two cores."""

import json
import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from dpbench.eval.ensemble import open_ensemble
from dpbench.explore.labels.tblite_options import TbliteOptions
from dpbench.explore.labels.tight_binding import Convergence, single_point
from dpbench.explore.sampling.walks import read_walks
from dpbench.frames import Frames, concatenate
from dpbench.store.dataset import open_dataset
from dpbench.store.workspace import Workspace
from tests.explore.tight_binding import need_tblite

LIMIT = 240  # s, of the whole loop
GOOD = 0.06  # eV/Å, force RMSE on frames that no model was trained on
GAIN = 0.75  # of the force RMSE of the models of the start frames


def explore(folder: Path) -> dict:
    """Run ``dpbench explore nacl-xtb`` as a user does; return what it prints."""
    command = ["-m", "dpbench.cli", "--workspace", str(folder), "explore", "nacl-xtb"]
    done = subprocess.run(
        [sys.executable, *command, "--json"],
        capture_output=True,
        text=True,
        timeout=LIMIT,
        cwd=Path(__file__).parents[2],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def unseen(folder: Path) -> Frames:
    """Frames of the last walks, which no model was trained on, labelled by tblite."""
    walks = [walk for walk in read_walks(folder) if walk.temperature > 500]
    found = []
    for walk in walks:
        for row in (walk.frames.nframes // 2, walk.frames.nframes - 1):
            label = single_point(
                walk.frames.select([row]),
                TbliteOptions(),
                Convergence(max_iterations=250, damping=0.4),
            )
            assert isinstance(label, Frames), label
            found.append(label)
    return concatenate(found)


def force_error(workspace: Workspace, models: list[Path], frames: Frames) -> float:
    """RMSE of the force components, eV/Å, the mean over the models."""
    with ExitStack() as stack:
        opened = open_ensemble(stack, models, workspace=lambda: workspace)
        errors = [model.predict(frames).force - frames.force for model in opened]
    return float(np.mean([np.sqrt(np.mean(error**2)) for error in errors]))


@pytest.mark.slow
@pytest.mark.external
def test_one_command_takes_rock_salt_from_20_labels_to_convergence(
    tmp_path, monkeypatch, figures
):
    need_tblite(monkeypatch)
    told = explore(tmp_path)
    assert told["stop"]["is_converged"], told["stop"]
    root = tmp_path / "explorations" / "nacl"
    workspace = Workspace.find(tmp_path)
    version = open_dataset(workspace, told["version"])
    start = open_dataset(workspace, "nacl-v1")
    assert len(start.natoms) == 20 < len(version.natoms)
    levels = {level["functional"] for level in map(dict, version.theories.values())}
    assert levels == {"GFN1-xTB"}
    labels = sorted(root.glob("labels/*/label.json"))
    assert len(labels) == len(version.natoms), "a label is missing, or was paid twice"

    last = told["iterations"] - 1
    frames = unseen(root / f"iter.{last:06d}" / "explore")
    ensembles = [
        sorted(root.glob(f"iter.{number:06d}/train/*/m.pth")) for number in (0, last)
    ]
    before, after = (force_error(workspace, m, frames) for m in ensembles)
    figures(
        f"{len(version.natoms)} labels, {told['iterations']} iterations; force RMSE "
        f"on unseen frames {1000 * before:.0f} -> {1000 * after:.0f} meV/Å"
    )
    assert after < GOOD
    assert after < GAIN * before

    times = [path.stat().st_mtime_ns for path in labels]
    again = explore(tmp_path)
    assert (again["version"], again["digest"]) == (told["version"], told["digest"])
    assert [path.stat().st_mtime_ns for path in labels] == times
