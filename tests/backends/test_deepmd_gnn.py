"""MACE as a model of DeePMD-kit: trained, frozen and evaluated in its environment."""

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from dpbench.backends.cards import load_card
from dpbench.backends.client import Launch, open_backend
from dpbench.backends.trust import Trust, digest_of
from dpbench.frames import uniform

pytestmark = [pytest.mark.backends, pytest.mark.slow]

PATIENCE = 900.0
STEP = 1e-4

TRAIN = {
    "model": {
        "type": "mace",
        "type_map": ["Al", "Cu"],
        "r_max": 4.5,
        "sel": 80,
        "num_radial_basis": 4,
        "max_ell": 1,
        "num_interactions": 2,
        "hidden_irreps": "4x0e + 4x1o",
        "correlation": 2,
        "radial_MLP": [8],
        "precision": "float64",
    },
    "learning_rate": {"start_lr": 0.01, "stop_lr": 0.001, "decay_steps": 1},
    "loss": {
        "start_pref_e": 1,
        "limit_pref_e": 1,
        "start_pref_f": 10,
        "limit_pref_f": 10,
        "start_pref_v": 0,
        "limit_pref_v": 0,
    },
    "training": {
        "numb_steps": 2,
        "seed": 1,
        "disp_freq": 1,
        "save_freq": 2,
        "training_data": {"systems": ["data"], "batch_size": 1},
    },
}


def structure(seed: int):
    rng = np.random.default_rng(seed)
    box = 3.9 * (np.eye(3) + 0.05 * rng.normal(size=(3, 3)))
    places = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
    return places @ box + 0.1 * rng.normal(size=(4, 3)), box


def write_data(folder: Path) -> None:
    """Energies and forces without meaning: the model alone is looked at."""
    made = [structure(seed) for seed in range(4)]
    (folder / "set.000").mkdir(parents=True)
    (folder / "type.raw").write_text("0\n1\n1\n1\n")
    (folder / "type_map.raw").write_text("Al\nCu\n")
    rng = np.random.default_rng(9)
    arrays = {
        "coord": np.array([coord.ravel() for coord, _ in made]),
        "box": np.array([box.ravel() for _, box in made]),
        "energy": rng.normal(size=4),
        "force": rng.normal(size=(4, 12)),
    }
    for name, array in arrays.items():
        np.save(folder / "set.000" / f"{name}.npy", array)


def test_mace_of_deepmd_gnn_is_a_backend(tmp_path, figures):
    folder = os.environ.get("DPBENCH_BACKENDS_TEST", "")
    prefix = Path(folder) / "deepmd-gnn"
    if not folder or not (prefix / "bin" / "dp").is_file():
        pytest.skip(f"no deepmd-gnn below DPBENCH_BACKENDS_TEST = '{folder}'")
    card = load_card("deepmd-gnn")
    (site,) = prefix.glob("lib/python3.*/site-packages")
    env = {
        name: text.replace("{site}", str(site)).replace("{old}", "")
        for name, text in card.env.items()
    }
    env |= {"OMP_NUM_THREADS": "1", "DP_INTRA_OP_PARALLELISM_THREADS": "1"}
    write_data(tmp_path / "data")
    (tmp_path / "input.json").write_text(json.dumps(TRAIN))
    for words in (["train", "input.json"], ["freeze", "-o", "mace.pth"]):
        done = subprocess.run(
            [prefix / "bin" / "dp", "--pt", *words],
            cwd=tmp_path,
            env={**os.environ, **env},
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-3000:]
    model = tmp_path / "mace.pth"
    coord, box = structure(20)
    shear = np.eye(3)
    shear[0, 1] = shear[1, 0] = STEP / 2
    back = 2 * np.eye(3) - shear
    moved = [coord.copy(), coord.copy()]
    moved[0][1, 2] += STEP
    moved[1][1, 2] -= STEP
    frames = uniform(
        z=[13, 29, 29, 29],
        coord=np.array([coord, *moved, coord @ shear, coord @ back]),
        box=np.array([box, box, box, box @ shear, box @ back]),
    )
    launch = Launch(
        name="deepmd-gnn",
        python=prefix / "bin" / "python",
        adapter=card.adapter_path,
        env=env,
        options=card.options,
        takes_suffix=True,
    )
    with open_backend(
        launch,
        model,
        trust=Trust(named=frozenset({digest_of(model)})),
        timeout_s=PATIENCE,
        start_timeout_s=PATIENCE,
    ) as opened:
        answer = opened.evaluate(frames)
        version = opened.facts["versions"]["deepmd-gnn"]
    found = answer.predictions
    e = found.energy
    assert found.force[1, 2] == pytest.approx((e[2] - e[1]) / (2 * STEP), abs=1e-6)
    assert found.virial[0, 0, 1] == pytest.approx((e[4] - e[3]) / (2 * STEP), abs=1e-6)
    assert np.abs(found.force).max() > 1e-3
    figures(f"deepmd-gnn {version}: {1e3 * answer.worker_s / 5:.0f} ms a frame")
