"""DeePMD-kit itself trains on a split; its model is read and evaluated natively."""

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from dpbench.backends.launch import Launch
from dpbench.eval.native import NativeEvaluator
from dpbench.models.deepmd_file import read_deepmd
from dpbench.store.dataset import open_dataset
from dpbench.store.splits.making import find_split
from dpbench.train.history import read_curve
from dpbench.trainers.run import Request, train_foreign
from dpbench.trainers.table import trainer_of

ENERGY, FORCE = 1e-10, 1e-10

THEIRS = {
    "model": {
        "descriptor": {
            "type": "se_e2_a",
            "rcut": 4.0,
            "rcut_smth": 1.0,
            "sel": [60, 60],
            "neuron": [4, 8],
            "axis_neuron": 2,
            "type_one_side": True,
        },
        "fitting_net": {"neuron": [8, 8]},
    },
    "learning_rate": {"start_lr": 0.01, "stop_lr": 1e-3, "decay_steps": 5},
    "loss": {
        "start_pref_e": 1,
        "limit_pref_e": 1,
        "start_pref_f": 10,
        "limit_pref_f": 10,
        "start_pref_v": 0.1,
        "limit_pref_v": 0.1,
    },
    "training": {"training_data": {"batch_size": 4}, "disp_freq": 5, "numb_steps": 1},
}

PEER = """
import sys
import numpy as np
from deepmd.infer import DeepPot

arrays = np.load(sys.argv[2])
model = DeepPot(sys.argv[1])
types = [model.get_type_map().index(symbol) for symbol in arrays["symbols"].tolist()]
energy, force, _ = model.eval(arrays["coord"], arrays["box"], types)
np.savez(sys.argv[3], energy=energy.ravel(), force=force.reshape(-1, 3))
"""


def launch(python: str) -> Launch:
    threads = {"TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1"}
    return Launch(
        name="deepmd", python=Path(python), adapter=Path(os.devnull), env=threads
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", ["deepmd", "deepmd-tf"])
def test_a_model_that_deepmd_kit_trained_here_is_evaluated_natively(
    deepmd_python, workspace, tmp_path, name
):
    config = tmp_path / "input.json"
    config.write_text(json.dumps(THEIRS))
    report = train_foreign(
        workspace,
        trainer_of(name),
        Request(config=config, dataset="pairs", out=tmp_path, steps=20, seed=3),
        launch=launch(deepmd_python),
    )
    assert report.steps == 20
    rows = read_curve(report.run_folder / "curve.csv")
    assert rows[-1].step == 20
    for field in ("rmse_e_train", "rmse_f_validation", "rmse_v_validation"):
        assert 0 < getattr(rows[-1], field) < 100

    version = open_dataset(workspace, "pairs")
    frames = version.read(find_split(version).part("test"))
    model = read_deepmd(tmp_path / "m.dp")
    ours = NativeEvaluator(model, is_exact=True).predict(frames)
    (frozen,) = report.run_folder.glob("frozen.*")
    count = frames.nframes
    np.savez(
        tmp_path / "frames.npz",
        coord=frames.coord.reshape(count, -1),
        box=frames.box.reshape(count, -1),
        symbols=np.where(frames.z[: len(frames.z) // count] == 6, "C", "Si"),
    )
    done = subprocess.run(
        [deepmd_python, "-c", PEER, str(frozen), "frames.npz", "out.npz"],
        cwd=tmp_path,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    with np.load(tmp_path / "out.npz") as arrays:
        theirs = dict(arrays)
    allowed = 1e-12 * np.abs(ours.energy) + ENERGY
    assert (np.abs(ours.energy - theirs["energy"]) <= allowed).all()
    np.testing.assert_allclose(ours.force, theirs["force"], 0, FORCE)
