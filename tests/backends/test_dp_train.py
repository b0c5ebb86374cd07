"""A model that ``dp train`` made is evaluated here as it is there."""

import json
from pathlib import Path

import numpy as np
import pytest

from dpbench.backends import consistency
from dpbench.backends.client import open_backend
from dpbench.backends.consistency import (
    ENERGY,
    ENERGY_RELATIVE,
    FORCE,
    ONE_THREAD,
    VIRIAL,
    native_answers,
)
from dpbench.backends.deepmd_convert import convert_by_deepmd
from dpbench.backends.launch import Launch
from dpbench.backends.trust import Trust, digest_of
from dpbench.frames import Frames, uniform
from dpbench.models.deepmd_file import read_deepmd
from tests.backends.test_dp_test import dp

WORKER = consistency.WORKER.with_name("deepmd_kit.py")

pytestmark = [pytest.mark.deepmd, pytest.mark.slow]

SYSTEM = "generated/npy/almg_qe_lda/Al2Mg2_fcc_900K"


def frames_of(folder: Path, count: int) -> Frames:
    arrays = {
        name: np.load(folder / "set.000" / f"{name}.npy")[:count]
        for name in ("coord", "box")
    }
    return uniform(
        z=np.array([13, 12])[np.loadtxt(folder / "type.raw", dtype=int)],
        coord=arrays["coord"].reshape(count, -1, 3).astype(np.float64),
        box=arrays["box"].reshape(count, 3, 3).astype(np.float64),
    )


def script(system: Path) -> dict:
    """A small input.json as users write it, with DeePMD-kit's own defaults."""
    return {
        "model": {
            "type_map": ["Al", "Mg"],
            "descriptor": {
                "type": "se_e2_a",
                "sel": [60, 60],
                "rcut": 5.0,
                "rcut_smth": 0.5,
                "neuron": [4, 8, 16],
                "axis_neuron": 4,
                "seed": 1,
            },
            "fitting_net": {"neuron": [12, 12, 12], "seed": 1},
        },
        "learning_rate": {"type": "exp", "start_lr": 1e-3, "stop_lr": 1e-5},
        "loss": {"start_pref_e": 0.02, "start_pref_f": 1000},
        "training": {
            "training_data": {"systems": [str(system)], "batch_size": 4},
            "numb_steps": 20,
            "seed": 1,
            "disp_freq": 10,
        },
    }


@pytest.mark.parametrize(
    ("flag", "suffix"), [("--pt", ".pth"), ("--tf", ".pb")], ids=["PyTorch", "TF"]
)
def test_what_dp_train_made_says_the_same_here(
    deepmd_python, shared_data, flag, suffix, tmp_path
):
    system = shared_data / SYSTEM
    (tmp_path / "input.json").write_text(json.dumps(script(system)))
    dp(deepmd_python, tmp_path, flag, "train", "input.json")
    frozen = tmp_path / f"trained{suffix}"
    dp(deepmd_python, tmp_path, flag, "freeze", "-o", frozen.name)

    launch = Launch(
        name="deepmd",
        python=Path(deepmd_python),
        adapter=WORKER,
        env=ONE_THREAD,
        takes_suffix=True,
    )
    trust = Trust(named=frozenset({digest_of(frozen)}))
    made = convert_by_deepmd(launch, frozen, tmp_path / "here.dp", trust=trust)
    assert frozen.name in made.compared

    frames = frames_of(system, 5)
    here = native_answers(read_deepmd(tmp_path / "here.dp"), frames)
    with open_backend(launch, frozen, trust=trust) as model:
        there = model.evaluate(frames).predictions
    allowed = ENERGY_RELATIVE * np.abs(there.energy) + ENERGY
    assert (np.abs(here.energy - there.energy) <= allowed).all()
    np.testing.assert_allclose(here.force.reshape(-1, 3), there.force, 0, FORCE)
    largest = float(np.abs(there.virial).max())
    np.testing.assert_allclose(here.virial, there.virial, 0, VIRIAL * (largest + 1))
    assert np.ptp(there.energy) > 0
