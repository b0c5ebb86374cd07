"""Runs that start from a given model: ``dpbench train --init``."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from dpbench.cli.main import cli
from dpbench.errors import ConfigError, ModelError
from dpbench.models.checkpoint import load_model, model_digest, save_model
from dpbench.models.deepmd_file import write_deepmd
from dpbench.models.potential import DeepPotential
from dpbench.models.recognise import recognise
from dpbench.store.workspace import Workspace
from dpbench.train import run as front
from dpbench.train.config import (
    DescriptorSettings,
    FittingSettings,
    HybridSettings,
    ModelSettings,
    SeAttenSettings,
    SeE2RSettings,
    TrainConfig,
)
from dpbench.train.history import read_curve
from dpbench.train.init_model import Init, settings_of
from dpbench.train.run import train
from dpbench.train.session import begin
from tests.models import family, structures
from tests.train.small_runs import small_config


@pytest.fixture(autouse=True)
def undrawn(monkeypatch) -> None:
    """Drawing takes longer than such a training."""
    monkeypatch.setattr(front, "draw_curve", lambda *_, **__: None)


@pytest.fixture(scope="module")
def learned(made, tmp_path_factory) -> Path:
    """A model that has learned something, its bias shifted as of another code."""
    out = tmp_path_factory.mktemp("learned") / "first.pth"
    config = small_config(steps=60, validation_every=60)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(front, "draw_curve", lambda *_, **__: None)
        train(Workspace.find(made / "workspace"), config, dataset="pairs", out=out)
    model, provenance = load_model(out)
    bias = model.statistics.energy_bias + np.array([7.0, -3.0])
    shifted = replace(model.statistics, energy_bias=bias)
    shifted_model = DeepPotential(model.config, model.parameters, shifted)
    save_model(out, shifted_model, provenance)
    return out


@pytest.fixture
def trained(learned, tmp_path) -> Path:
    """A copy of it."""
    return Path(shutil.copy(learned, tmp_path / "first.pth"))


def of(path: Path, **options) -> Init:
    """Start from a file."""
    model, provenance = load_model(path)
    return Init(path=path, model=model, provenance=provenance, **options)


def plain(**training) -> TrainConfig:
    """A configuration that says nothing of the model."""
    return replace(small_config(**training), model=ModelSettings())


def session(workspace, config, init):
    import torch

    return begin(
        workspace,
        config,
        dataset="pairs",
        device=torch.device("cpu"),
        command=(),
        init=init,
    )


def test_step_0_is_the_model_with_the_bias_refitted(workspace, trained):
    """The shift of the bias is undone, nets and statistics are as they were."""
    given, _ = load_model(trained)
    found = session(workspace, plain(steps=4), of(trained))
    assert found.model.parameters.flat.equal(given.parameters.flat)
    np.testing.assert_array_equal(found.model.statistics.davg, given.statistics.davg)
    np.testing.assert_array_equal(found.model.statistics.dstd, given.statistics.dstd)
    assert found.model.config == given.config
    told = found.provenance["init"]
    # Both elements are equally many in every frame, so their mean alone is known.
    assert sum(told["bias_shift"].values()) == pytest.approx(-4.0, abs=0.2)
    assert told["model_digest"] == model_digest(given)
    assert told["provenance"]["run_id"] == load_model(trained)[1]["run_id"]
    assert any("energy bias refitted" in note for note in found.notes)
    data = found.pipeline.data
    batch = data.train_maker(np.arange(len(data.train)))
    error = found.model.energy_and_forces(batch).energy - batch.energy
    assert abs(float(error.mean())) < 1e-9  # eV


@pytest.mark.parametrize(("steps", "rate"), [(100, 1e-2), (10_000, 5e-3)])
def test_length_of_a_run_decides_its_rate(workspace, trained, steps, rate):
    fresh = session(workspace, plain(steps=steps), None)
    tuned = session(workspace, plain(steps=steps), of(trained))
    for found, expected in ((fresh, rate), (tuned, rate / 10)):
        assert found.config.learning_rate.start_lr == pytest.approx(expected)
        assert found.schedule.config == found.config.learning_rate
        told = found.provenance["config"]["learning_rate"]
        assert told["start_lr"] == found.config.learning_rate.start_lr


def test_a_fine_tuned_run_begins_and_ends_better_than_a_fresh_one(
    workspace, trained, tmp_path
):
    rows = {}
    for name, init in (("fresh", None), ("tuned", of(trained))):
        config = small_config(steps=10, validation_every=5)
        out = tmp_path / f"{name}.pth"
        report = train(workspace, config, dataset="pairs", out=out, init=init)
        rows[name] = list(read_curve(report.run_folder / "curve.csv"))
    for fresh, tuned in zip(rows["fresh"], rows["tuned"], strict=True):
        assert tuned.rmse_f_validation < fresh.rmse_f_validation
    assert rows["tuned"][0].rmse_e_validation < rows["fresh"][0].rmse_e_validation


def test_a_run_that_was_initialised_goes_on_bit_for_bit(workspace, trained, tmp_path):
    config = plain(steps=8, checkpoint_every=4)
    whole = train(
        workspace, config, dataset="pairs", out=tmp_path / "a.pth", init=of(trained)
    )
    trained.unlink()  # a run that goes on needs it no more
    half = whole.run_folder / "checkpoint-4.pth"
    assert recognise(half).kind == "dpbench"
    again = train(workspace, None, dataset=None, out=tmp_path / "b.pth", resume=half)
    one, told = load_model(whole.model_path)
    two, told_again = load_model(again.model_path)
    assert one.parameters.flat.equal(two.parameters.flat)
    assert told["init"] == told_again["init"]


def test_type_maps_are_those_of_the_model(workspace, tmp_path):
    """The model's order and its further elements stay; the data have Si and C."""
    cfg = structures.config()
    wide = replace(cfg.descriptor, sel=(60, 60, 60))
    cfg = replace(cfg, type_map=("Si", "O", "C"), descriptor=wide)
    known = structures.statistics()
    three = replace(
        known,
        davg=np.tile(known.davg[:1], (3, 1)),
        dstd=np.tile(known.dstd[:1], (3, 1)),
        energy_bias=np.array([1.0, 2.0, 3.0]),
    )
    save_model(tmp_path / "m.pth", DeepPotential.initialise(cfg, three, 3), {})
    found = session(workspace, plain(steps=2), of(tmp_path / "m.pth"))
    assert found.model.type_map == ("Si", "O", "C")
    shift = found.provenance["init"]["bias_shift"]
    assert shift["O"] == pytest.approx(0.0, abs=1e-12)  # no datum speaks of it
    assert shift["Si"] == pytest.approx(shift["C"])


def test_elements_that_the_model_does_not_know_are_refused(workspace, tmp_path):
    save_model(tmp_path / "m.pth", structures.model(), {})
    with pytest.raises(ModelError, match="knows O H, and pairs-v1 holds C Si too"):
        session(workspace, plain(), of(tmp_path / "m.pth"))


@pytest.mark.parametrize(
    ("stated", "message"),
    [
        ({"descriptor": {"rcut": 5.0}}, r"model\.descriptor\.rcut = 5\.0 is stated"),
        ({"descriptor": {"sel": [9, 9]}}, r"model\.descriptor\.sel"),
        ({"descriptor": {"type": "se_e2_r"}}, r"model\.descriptor\.type"),
        ({"fitting": {"neuron": [9]}}, r"model\.fitting\.neuron"),
        ({"pair_table": {"file": "t", "sw_rmin": 1.0}}, r"model\.pair_table"),
        ({"type_map": ["Si"]}, r"model\.type_map"),
    ],
)
def test_a_configuration_that_says_otherwise_is_refused(
    workspace, trained, stated, message
):
    with pytest.raises(ConfigError, match=message):
        session(workspace, plain(), of(trained, stated=stated))


def test_a_configuration_that_agrees_is_taken(workspace, trained):
    stated = {
        "type_map": ["C", "Si", "Xe"],
        "descriptor": {"rcut": 4.0, "neuron": [4, 8], "sel": "auto", "seed": 9},
        "fitting": {"neuron": [8, 8]},
    }
    found = session(workspace, plain(steps=2), of(trained, stated=stated))
    assert found.model.type_map == load_model(trained)[0].type_map


def test_what_a_caller_changes_is_stated(workspace, trained):
    config = plain()
    other = replace(config.model, descriptor=DescriptorSettings(rcut=5.0))
    with pytest.raises(ConfigError, match="rcut"):
        session(workspace, replace(config, model=other), of(trained))


def test_precision_is_the_models_unless_another_is_stated(workspace, trained):
    import torch

    one = session(workspace, plain(steps=2), of(trained))
    assert one.config.training.precision == "float64"
    two = session(workspace, plain(steps=2), of(trained, precision="float32"))
    assert two.model.dtype == torch.float32


def test_numbers_of_a_frame_need_names(workspace, tmp_path):
    save_model(tmp_path / "m.pth", family.model("frame_numbers"), {})
    with pytest.raises(ModelError, match=r"expected as many facts in model\.fitting"):
        session(workspace, plain(), of(tmp_path / "m.pth"))


@pytest.mark.parametrize(
    "descriptor",
    [
        DescriptorSettings(sel=(8, 8), type_one_side=False),
        SeE2RSettings(sel=(8, 8), set_davg_zero=True),
        SeAttenSettings(type="dpa1", sel=20, tebd_dim=4),
        HybridSettings(list=(DescriptorSettings(sel=(8, 8)), SeAttenSettings(sel=9))),
    ],
)
def test_settings_make_the_configuration_that_they_were_read_from(descriptor):
    settings = ModelSettings(
        type_map=("Si", "C"),
        descriptor=descriptor,
        fitting=FittingSettings(neuron=(4,), fparam=("charge",)),
    )
    parts = descriptor.parts
    sizes = tuple(np.atleast_1d(part.sel).tolist() for part in parts)
    cfg = settings.resolve(
        type_map=("Si", "C"),
        sel=sizes if len(parts) > 1 else tuple(sizes[0]),
        precision="float64",
    )
    again = settings_of(cfg, Path("m.pth"))
    assert again.descriptor.parts[-1].type == parts[-1].type
    assert (
        again.resolve(
            type_map=again.type_map,
            sel=again.choose_sel(structures_counts(len(parts))),
            precision="float64",
        )
        == cfg
    )


def structures_counts(parts: int):
    """Counts that no stated ``sel`` looks at."""
    from types import SimpleNamespace

    return SimpleNamespace(within=[np.zeros(3, np.int64)] * parts)


def run_cli(*arguments: object, code: int = 0) -> str:
    found = CliRunner().invoke(cli, [str(a) for a in arguments])
    assert found.exit_code == code, found.output
    return found.output


@pytest.mark.parametrize("suffix", [".pth", ".dp", ".yaml"])
def test_the_command_takes_any_file(workspace, trained, tmp_path, suffix):
    model, provenance = load_model(trained)
    path = tmp_path / f"given{suffix}"
    if suffix == ".pth":
        save_model(path, model, provenance)
    else:
        write_deepmd(path, model, provenance=provenance)
    (tmp_path / "t.toml").write_text("[model.descriptor]\nrcut = 4.0\n")
    told = json.loads(
        run_cli(
            *("--workspace", workspace.root, "-q", "train", "--dataset", "pairs"),
            *("--config", tmp_path / "t.toml", "--init", path, "--steps", 1),
            *("--out", tmp_path / "tuned.pth", "--json"),
        )
    )
    init = load_model(Path(told["model"]))[1]["init"]
    assert init["model_digest"] == model_digest(model)
    assert (len(init["sha256"]), init["file"]) == (64, str(path))


def test_the_command_refuses_what_contradicts(workspace, trained, tmp_path):
    (tmp_path / "t.toml").write_text("[model.descriptor]\nrcut = 6.0\n")
    train_it = ("--workspace", workspace.root, "train", "--dataset", "pairs")
    said = run_cli(
        *train_it, "--init", trained, "--config", tmp_path / "t.toml", code=1
    )
    assert "rcut = 6.0 is stated" in said
    assert "--trust names a model" in run_cli(*train_it, "--trust", "0" * 64, code=2)
    assert "--init cannot be changed" in run_cli(
        "train", "--resume", "x", "--init", trained, code=2
    )
    assert "cannot be read" in run_cli(*train_it, "--init", "missing.dp", code=1)
