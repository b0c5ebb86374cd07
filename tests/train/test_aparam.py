"""Models that take numbers of each atom (aparam), from data to use."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from numpy.testing import assert_allclose

from dpbench.config import from_mapping, read_toml
from dpbench.errors import ModelError
from dpbench.eval import native
from dpbench.eval.native import NativeEvaluator
from dpbench.eval.structures import displaced, from_atoms, supercell, to_atoms
from dpbench.io.ingest import IngestOptions, ingest
from dpbench.md.ase_calculator import DPCalculator
from dpbench.models.checkpoint import load_model
from dpbench.models.deepmd_file import read_deepmd, write_deepmd
from dpbench.models.descriptors import no_fast_path
from dpbench.store.dataset import DatasetVersion, open_dataset
from dpbench.store.splits.making import make_split, save_split
from dpbench.store.workspace import Workspace
from dpbench.train import run as front
from dpbench.train.config import TrainConfig
from dpbench.train.engine import Prefactors, choose_engine, losses_and_gradients
from dpbench.train.history import read_curve
from dpbench.train.init_model import Init
from dpbench.train.input_json import from_input_json
from dpbench.train.run import train
from dpbench.train.session import begin
from tests.train.small_runs import small_config, write_system

SHIFT = 1.5
"""eV; what a number of one adds to the energy of its atom."""

TOML = "[model.fitting]\nneuron = [8, 8]\nnumb_aparam = 2\n"


@pytest.fixture(autouse=True)
def undrawn(monkeypatch) -> None:
    """Drawing takes longer than such a training."""
    monkeypatch.setattr(front, "draw_curve", lambda *_, **__: None)


def add_numbers(folder: Path, *, seed: int, width: int = 2) -> None:
    """Give the atoms numbers; the first shifts the energy."""
    files = folder / "set.000"
    values = np.random.default_rng(seed).normal(3, 1, (12, 4, width))
    energy = np.load(files / "energy.npy") + SHIFT * values[:, :, 0].sum(1)[:, None]
    np.save(files / "energy.npy", energy)
    np.save(files / "aparam.npy", values.reshape(12, -1))


def make(root: Path, name: str, systems: dict[str, int]) -> None:
    """Make a dataset of systems with so many numbers an atom; the last validates."""
    for seed, (system, width) in enumerate(systems.items()):
        write_system(root / name / system, seed=seed + 1)
        if width:
            add_numbers(root / name / system, seed=seed + 10, width=width)
    workspace = Workspace.find(root / "workspace", create=True)
    options = IngestOptions(workers=0, bundle_bytes=0)
    ingest(workspace, "deepmd", [root / name], dataset=name, options=options)
    version = open_dataset(workspace, name)
    held = {"validation": [f"*{list(systems)[-1]}"]}
    save_split(version, make_split(version, fractions={"train": 1.0}, hold_out=held))


@pytest.fixture(scope="module")
def workspace(tmp_path_factory) -> Workspace:
    """Datasets: all frames have two numbers an atom; some none; some one."""
    root = tmp_path_factory.mktemp("aparam")
    make(root, "spins", {"a": 2, "b": 2, "c": 2})
    make(root, "lacking", {"a": 2, "b": 0, "c": 2})
    make(root, "fewer", {"a": 2, "b": 1, "c": 2})
    return Workspace.find(root / "workspace")


@pytest.fixture
def version(workspace) -> DatasetVersion:
    return open_dataset(workspace, "spins")


def configuration(text: str, folder: Path, **training) -> TrainConfig:
    (folder / "train.toml").write_text(text)
    read = from_mapping(TrainConfig, read_toml(folder / "train.toml"), where="t")
    plain = small_config(**({"steps": 2} | training))
    return replace(plain, model=replace(plain.model, fitting=read.model.fitting))


@pytest.fixture(scope="module")
def trained(workspace, tmp_path_factory):
    """A run on the energies; its report."""
    folder = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(front, "draw_curve", lambda *_, **__: None)
        config = configuration(
            TOML, folder, steps=400, validation_every=100, checkpoint_every=200
        )
        report = train(workspace, config, dataset="spins", out=folder)
    return report, folder


def test_training_learns_what_the_numbers_tell(trained, workspace, tmp_path):
    report, _ = trained
    curve = list(read_curve(report.run_folder / "curve.csv"))
    plain = replace(small_config(steps=400, validation_every=100))
    blind = train(workspace, plain, dataset="spins", out=tmp_path)
    without = list(read_curve(blind.run_folder / "curve.csv"))
    assert curve[-1].rmse_e_train < 0.5 * curve[0].rmse_e_train
    assert curve[-1].rmse_e_train < 0.5 * without[-1].rmse_e_train


def test_it_goes_on_to_the_same_model(trained, workspace, tmp_path):
    report, _ = trained
    half = report.run_folder / "checkpoint-200.pth"
    again = train(workspace, None, dataset=None, out=tmp_path, resume=half)
    one, other = (load_model(path)[0] for path in (report.model_path, again.model_path))
    assert one.parameters.flat.equal(other.parameters.flat)


def test_mean_and_deviation_are_those_of_all_training_atoms(trained, version):
    model, _ = load_model(trained[0].model_path)
    values = version.read(np.arange(24)).aparam
    expected = np.stack([values.mean(axis=0), values.std(axis=0)])
    assert_allclose(model.statistics.aparam, expected, 1e-12)


def test_evaluation_the_calculator_and_files_give_one_answer(
    trained, version, tmp_path
):
    model, _ = load_model(trained[0].model_path)
    frames = version.read(np.arange(20, 30))
    found = NativeEvaluator(model).predict(frames)
    write_deepmd(tmp_path / "m.dp", model)
    back = NativeEvaluator(read_deepmd(tmp_path / "m.dp")).predict(frames)
    assert_allclose(back.energy, found.energy, 1e-12)
    assert_allclose(back.force, found.force, 0, 1e-12)
    images = []
    for i in range(2):
        rows = frames.atoms_of(i)
        atoms = Atoms(frames.z[rows], frames.coord[rows], cell=frames.box[i], pbc=True)
        atoms.set_array("aparam", frames.aparam[rows])
        images.append(atoms)
    calculator = DPCalculator(model)
    many = calculator.evaluate_many(images)
    for i, atoms in enumerate(images):
        atoms.calc = calculator
        assert atoms.get_potential_energy() == pytest.approx(found.energy[i], abs=1e-9)
        assert_allclose(atoms.get_forces(), found.force[frames.atoms_of(i)], 0, 1e-9)
        assert many[i]["energy"] == pytest.approx(found.energy[i], abs=1e-9)


def test_the_calculator_sees_that_numbers_changed_and_says_what_it_lacks(
    trained, version
):
    model, _ = load_model(trained[0].model_path)
    frames = version.read([0])
    atoms = Atoms(frames.z, frames.coord, cell=frames.box[0], pbc=True)
    atoms.calc = DPCalculator(model)
    with pytest.raises(ModelError, match=r"atoms\.arrays\['aparam'\].*dynamics"):
        atoms.get_potential_energy()
    atoms.set_array("aparam", frames.aparam)
    before = atoms.get_potential_energy()
    atoms.arrays["aparam"][0, 0] += 1
    assert abs(atoms.get_potential_energy() - before) > 0.1
    bare = Atoms(frames.z, frames.coord, cell=frames.box[0], pbc=True)
    with pytest.raises(ModelError, match="structure 1: has 0 numbers"):
        atoms.calc.evaluate_many([atoms, bare])
    atoms.arrays["aparam"][2, 1] = np.nan
    with pytest.raises(ModelError, match=r"aparam of atom 2 is \[.*nan\]; expected"):
        atoms.get_potential_energy()


def test_the_engine_of_a_run_gives_the_gradient_of_autograd(workspace, tmp_path):
    session = begin(
        workspace,
        configuration(TOML, tmp_path, batch_size=3),
        dataset="spins",
        device=torch.device("cpu"),
        command=(),
    )
    assert no_fast_path(session.model.config) is None
    model = session.model.to("cpu", torch.float64)
    batch = session.make_batch(0).to("cpu", torch.float64)
    weights = Prefactors(energy=1.0, force=2.0, virial=0.5)
    engine = choose_engine(model.config)
    assert engine.name == "table"
    ours = engine.losses_and_gradients(model, batch, weights)
    reference = losses_and_gradients(model, batch, weights)
    scale = float(reference.gradient.abs().max())
    assert_allclose(ours.gradient, reference.gradient, 0, 1e-5 * scale)
    other = replace(batch, aparam=batch.aparam + 0.1)
    changed = losses_and_gradients(model, other, weights)
    assert abs(float(changed.loss - reference.loss)) > 1e-6


def test_input_json_asks_for_them_by_deepmd_kits_name(workspace, tmp_path):
    data = {
        "model": {
            "type_map": ["C", "Si"],
            "descriptor": {"type": "se_e2_a", "rcut": 4.0, "neuron": [4, 8]},
            "fitting_net": {"neuron": [8, 8], "numb_aparam": 2},
        },
        "learning_rate": {"start_lr": 5e-3, "stop_lr": 1e-4},
        "loss": {},
        "training": {"training_data": {"systems": []}, "numb_steps": 3},
    }
    config = from_input_json(data, where="input.json").config
    report = train(workspace, config, dataset="spins", out=tmp_path)
    model, _ = load_model(report.model_path)
    assert model.config.fitting.numb_aparam == 2


def test_a_model_trains_on(trained, workspace, tmp_path):
    model, provenance = load_model(trained[0].model_path)
    init = Init(path=trained[0].model_path, model=model, provenance=provenance)
    report = train(
        workspace, small_config(steps=2), dataset="spins", out=tmp_path, init=init
    )
    again, _ = load_model(report.model_path)
    assert again.config.fitting.numb_aparam == 2
    assert_allclose(again.statistics.aparam, model.statistics.aparam)
    with pytest.raises(ModelError, match="frames have not the 2 numbers"):
        train(
            workspace,
            small_config(steps=2),
            dataset="lacking",
            out=tmp_path,
            init=init,
        )


@pytest.mark.parametrize(
    ("dataset", "words"),
    [
        (
            "lacking",
            r"12 of 24 frames have not the 2 .* step 0 of .*b, which has 0",
        ),
        ("fewer", r"12 of 24 frames have not the 2 .* step 0 of .*b, which has 1"),
        ("pairs", r"24 of 24 frames have not"),
    ],
)
def test_frames_without_them_are_named(workspace, tmp_path, dataset, words):
    if dataset == "pairs":
        make(tmp_path, "pairs", {"a": 0, "b": 0, "c": 0})
        workspace = Workspace.find(tmp_path / "workspace")
    with pytest.raises(ModelError, match=words):
        train(workspace, configuration(TOML, tmp_path), dataset=dataset, out=tmp_path)


def test_more_numbers_than_the_model_takes_are_refused(workspace, tmp_path):
    text = TOML.replace("numb_aparam = 2", "numb_aparam = 1")
    with pytest.raises(ModelError, match=r"24 of 24 frames .* which has 2"):
        train(workspace, configuration(text, tmp_path), dataset="spins", out=tmp_path)


def test_an_evaluation_names_the_frame_that_lacks_them(trained, workspace, monkeypatch):
    monkeypatch.setattr(native, "ATOMS_PER_BATCH", 20)
    model, _ = load_model(trained[0].model_path)
    frames = open_dataset(workspace, "lacking").read(np.arange(36))
    with pytest.raises(ModelError, match=r"frame 12: has 0 numbers of each atom"):
        NativeEvaluator(model).predict(frames)


def test_start_structures_of_dynamic_tasks_keep_the_numbers(trained, version):
    model, _ = load_model(trained[0].model_path)
    frame = version.read([0])
    evaluator = NativeEvaluator(model)
    (energy,) = evaluator.predict(frame).energy
    big = supercell(frame, (1, 1, 2))
    assert evaluator.predict(big).energy == pytest.approx(2 * energy, abs=1e-9)
    atoms = to_atoms(displaced(big, amplitude=0.0, seed=0))
    atoms.calc = evaluator.calculator()
    assert atoms.get_potential_energy() == pytest.approx(2 * energy, abs=1e-9)
    back = evaluator.predict(from_atoms(atoms)).energy
    assert back == pytest.approx(2 * energy, abs=1e-9)
    evaluator.forward(big)
