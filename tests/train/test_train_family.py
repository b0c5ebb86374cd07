"""Every kind of model trains from TOML, goes on, and is used."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms

from dpbench.config import from_mapping, read_toml, to_mapping
from dpbench.errors import ConfigError, ModelError
from dpbench.eval.native import NativeEvaluator
from dpbench.md.ase_calculator import DPCalculator
from dpbench.models.checkpoint import load_model
from dpbench.train import run as front
from dpbench.train.config import TrainConfig
from dpbench.train.history import read_curve
from dpbench.train.input_json import from_input_json
from dpbench.train.model_inputs import frame_numbers
from dpbench.train.model_settings import FittingSettings, ModelSettings
from dpbench.train.run import train
from tests.train.small_runs import small_config


@pytest.fixture(autouse=True)
def undrawn(monkeypatch) -> None:
    """Drawing takes longer than such a training."""
    monkeypatch.setattr(front, "draw_curve", lambda *_, **__: None)


SMALL = "rcut = 4.0\nneuron = [4, 8]\n"

DESCRIPTORS = {
    "se_e2_r": f'[model.descriptor]\ntype = "se_e2_r"\n{SMALL}',
    "se_atten_v2": (
        f'[model.descriptor]\ntype = "se_atten_v2"\n{SMALL}axis_neuron = 2\n'
    ),
    "dpa1": (
        f'[model.descriptor]\ntype = "dpa1"\n{SMALL}axis_neuron = 2\n'
        "type_one_side = true\nsel = 60\n"
    ),
    "hybrid": (
        '[model.descriptor]\ntype = "hybrid"\n'
        f"[[model.descriptor.list]]\n{SMALL}axis_neuron = 2\n"
        '[[model.descriptor.list]]\ntype = "se_e2_r"\nrcut = 3.0\nneuron = [4]\n'
    ),
    "hybrid_mixed": (
        '[model.descriptor]\ntype = "hybrid"\n'
        f"[[model.descriptor.list]]\n{SMALL}axis_neuron = 2\n"
        f'[[model.descriptor.list]]\ntype = "se_atten_v2"\n{SMALL}axis_neuron = 2\n'
    ),
    "pair_table": (
        f"[model.descriptor]\n{SMALL}axis_neuron = 2\n"
        '[model.pair_table]\nfile = "zbl.txt"\nsw_rmin = 1.0\nsw_rmax = 2.4\n'
    ),
    "fparam": (
        f"[model.descriptor]\n{SMALL}axis_neuron = 2\n"
        '[model.fitting]\nneuron = [8, 8]\nfparam = ["charge", "temperature"]\n'
        "default_fparam = [0.0, 300.0]\n"
    ),
}


def configuration(kind: str, folder: Path) -> TrainConfig:
    """Read the kind's model from TOML; the run is that of all small tests."""
    (folder / "train.toml").write_text(DESCRIPTORS[kind])
    r = np.arange(1, 402) * 0.01
    fade = np.clip(1 - r / 3.5, 0, None) ** 3
    np.savetxt(folder / "zbl.txt", np.stack([r, *[20 / r * fade] * 3], axis=1))
    read = from_mapping(TrainConfig, read_toml(folder / "train.toml"), where="t")
    plain = small_config(steps=40, validation_every=10, checkpoint_every=20)
    model = read.model
    if kind != "fparam":
        model = replace(model, fitting=plain.model.fitting)
    return replace(plain, model=model)


@pytest.fixture(params=DESCRIPTORS)
def kind(request):
    return request.param


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """A folder of its own: the table's path is relative."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_kind_trains_goes_on_and_is_used(kind, here, workspace, version):
    config = configuration(kind, here)
    report = train(workspace, config, dataset="pairs", out=here)
    curve = list(read_curve(report.run_folder / "curve.csv"))
    assert curve[-1].rmse_f_train < curve[0].rmse_f_train
    model, _ = load_model(report.model_path)
    assert model.config.descriptor.type in kind or kind in ("pair_table", "fparam")
    # Going on from half way gives the same model.
    half = report.run_folder / "checkpoint-20.pth"
    again = train(workspace, None, dataset=None, out=here / "again", resume=half)
    assert load_model(again.model_path)[0].parameters.flat.equal(model.parameters.flat)
    frames = version.read(np.arange(3))
    evaluator = NativeEvaluator(model)
    if kind == "fparam":
        numbers = frame_numbers(version, np.arange(3), model.config.fitting)
        assert numbers.tolist() == [[0.0, 300.0]] * 3  # the defaults: nothing is told
    predicted = evaluator.predict(frames)
    atoms = Atoms(
        numbers=frames.z[:4], positions=frames.coord[:4], cell=frames.box[0], pbc=True
    )
    atoms.calc = DPCalculator(model)
    assert atoms.get_potential_energy() == pytest.approx(predicted.energy[0], abs=1e-6)
    np.testing.assert_allclose(atoms.get_forces(), predicted.force[:4], atol=1e-5)


INPUT = {
    "se_e2_r": {"type": "se_e2_r", "neuron": [4, 8], "rcut": 4.0},
    "se_atten_v2": {"type": "se_atten_v2", "attn_layer": 0, "neuron": [4, 8]},
    "hybrid": {
        "type": "hybrid",
        "list": [
            {"type": "se_e2_a", "rcut": 4.0, "neuron": [4, 8], "axis_neuron": 2},
            {"type": "se_r", "rcut": 3.0, "neuron": [4]},
        ],
    },
}


@pytest.mark.parametrize("kind", INPUT)
def test_input_json_of_every_kind_trains(kind, here, workspace):
    data = {
        "model": {
            "type_map": ["C", "Si"],
            "descriptor": INPUT[kind],
            "fitting_net": {"neuron": [8, 8]},
        },
        "learning_rate": {"start_lr": 5e-3, "stop_lr": 1e-4},
        "loss": {"start_pref_v": 0.1},
        "training": {"training_data": {"systems": []}, "numb_steps": 20},
    }
    config = from_input_json(data, where="input.json").config
    report = train(workspace, config, dataset="pairs", out=here)
    model, _ = load_model(report.model_path)
    assert model.config.descriptor.type == kind
    assert report.steps == 20


def test_facts_that_frames_do_not_tell_are_named(version):
    settings = FittingSettings(fparam=("temperature",))
    with pytest.raises(ModelError, match=r"12 of 12 frames .* temperature"):
        frame_numbers(version, np.arange(12), settings)
    assert frame_numbers(version, np.arange(12), FittingSettings()) is None


def test_facts_are_read_in_the_order_of_their_names():
    facts = np.zeros(3, dtype=[("charge", "f8"), ("multiplicity", "i2")])
    facts["charge"], facts["multiplicity"] = [0.0, 1.0, -1.0], [1, 2, -1]

    class Version:
        label = "ions-v1"

    Version.facts = facts
    settings = FittingSettings(
        fparam=("multiplicity", "charge"), default_fparam=(1.0, 0.0)
    )
    found = frame_numbers(Version, np.array([2, 1]), settings)
    assert found.tolist() == [[1.0, -1.0], [2.0, 1.0]]


def test_settings_round_trip_through_the_record_of_a_run(kind, here):
    config = configuration(kind, here)
    assert from_mapping(TrainConfig, to_mapping(config), where="run.json") == config


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[descriptor]\ntype = "se_e3"\n', "expected one of"),
        ('[descriptor]\ntype = "se_e2_r"\naxis_neuron = 4\n', "unknown key"),
        ('[descriptor]\ntype = "hybrid"\n', "missing key 'list'"),
        ('[descriptor]\ntype = "se_atten_v2"\nattn_layer = 2\n', "attn_layer"),
        ('[descriptor]\ntype = "se_atten_v2"\nsel = "auto:0.5"\n', "at least 1"),
        ('[fitting]\nfparam = ["pressure"]\n', "temperature"),
        ('[fitting]\nfparam = ["charge"]\ndefault_fparam = [1.0, 2.0]\n', "as many"),
        ("[pair_table]\nfile = 'x'\nsw_rmin = 2.0\nsw_rmax = 1.0\n", "sw_rmin"),
    ],
)
def test_settings_that_do_not_fit_are_refused(text, words, tmp_path):
    (tmp_path / "model.toml").write_text(text)
    with pytest.raises(ConfigError, match=words):
        from_mapping(ModelSettings, read_toml(tmp_path / "model.toml"), where="model")
