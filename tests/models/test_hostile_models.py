"""Programs planted as model files are never run, whatever command reads them.

Each file makes a folder, the canary, when it is unpickled or loaded by YAML with tags.
"""

import os
import pickle
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
import yaml
from ase import Atoms
from click.testing import CliRunner

from dpbench.cli.main import cli
from dpbench.errors import DpbenchError
from dpbench.md.ase_calculator import DPCalculator
from dpbench.models.checkpoint import load_model, save_model, sealed_payload
from dpbench.models.deepmd_file import read_deepmd
from dpbench.models.files import load_potential
from dpbench.models.recognise import recognise
from dpbench.store.workspace import Workspace
from dpbench.train.state import load_checkpoint
from tests.models import structures


class Hostile:
    """Its pickle makes the canary."""

    def __init__(self, canary: Path) -> None:
        self.canary = str(canary)

    def __reduce__(self):
        return os.mkdir, (self.canary,)


def plant_pickle(path: Path, canary: Path, protocol: int = 4) -> None:
    path.write_bytes(pickle.dumps(Hostile(canary), protocol))


def plant_torch(path: Path, canary: Path) -> None:
    torch.save({"magic": "dpbench-model", "format": 1, "x": Hostile(canary)}, path)


def plant_old_torch(path: Path, canary: Path) -> None:
    payload = {"magic": "dpbench-model", "format": 1, "x": Hostile(canary)}
    torch.save(payload, path, _use_new_zipfile_serialization=False)


def plant_in_our_model(path: Path, canary: Path) -> None:
    """A whole model of dpbench, with one thing more."""
    payload = sealed_payload(structures.model(), {})
    torch.save(payload | {"training": Hostile(canary)}, path)


def plant_second_pickle(path: Path, canary: Path) -> None:
    """A whole model of dpbench, with a second member of the pickle's name."""
    save_model(path, structures.model(), {})
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(match="Duplicate"):
        archive.writestr("archive/data.pkl", pickle.dumps(Hostile(canary), 2))


def plant_torchscript(path: Path, canary: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("m/data.pkl", pickle.dumps(Hostile(canary), 2))
        archive.writestr("m/constants.pkl", pickle.dumps(Hostile(canary), 2))
        archive.writestr("m/code/__torch__/deepmd/pt.py", "class A(Module): pass")
        archive.writestr("m/version", "3\n")


def plant_npy(path: Path, canary: Path) -> None:
    with path.open("wb") as file:
        np.save(file, np.array([Hostile(canary)], dtype=object), allow_pickle=True)


def plant_yaml(path: Path, canary: Path) -> None:
    call = f"!!python/object/apply:os.mkdir [{canary}]"
    path.write_text(f"model:\n  '@class': Model\n  type: {call}\n")


def plant_yaml_verbatim(path: Path, canary: Path) -> None:
    call = f"!<tag:yaml.org,2002:python/object/apply:os.mkdir> [{canary}]"
    path.write_text(f"model:\n  '@class': Model\n  type: {call}\n")


def plant_hdf5(path: Path, canary: Path) -> None:
    """A portable file with pickles where its JSON and its arrays should be."""
    with h5py.File(path, "w") as file:
        payload = np.void(pickle.dumps(Hostile(canary)))
        file.attrs["json"] = '{"model": {"@variables": {"out_bias": "/x"}}}'
        file["x"] = payload


PLANTS = {
    "pickle-0": lambda path, canary: plant_pickle(path, canary, 0),
    "pickle-4": plant_pickle,
    "torch": plant_torch,
    "torch-old": plant_old_torch,
    "ours-and-more": plant_in_our_model,
    "second-pickle": plant_second_pickle,
    "torchscript": plant_torchscript,
    "npy": plant_npy,
    "yaml": plant_yaml,
    "yaml-verbatim": plant_yaml_verbatim,
    "hdf5": plant_hdf5,
}

COMMANDS = {
    "convert": ("convert", "{}", "out.dp"),
    "convert-to-foreign": ("convert", "{}", "out.pb"),
    "init": ("train", "--dataset", "water", "--init", "{}"),
    "resume": ("train", "--resume", "{}"),
    "evaluate": ("evaluate", "--model", "{}", "--dataset", "water"),
    "md": ("md", "--model", "{}", "--structure", "s.xyz", "--steps", "1"),
    "compress": ("compress", "{}"),
    "model-devi": ("model-devi", *("--model", "{}") * 2, "--frames", "s.xyz"),
    "ipi": ("ipi", "--model", "{}", "--structure", "s.xyz"),
}

LOADERS = {
    "calculator": DPCalculator,
    "load_potential": load_potential,
    "load_model": load_model,
    "load_checkpoint": load_checkpoint,
    "read_deepmd": read_deepmd,
}


@pytest.fixture(params=PLANTS)
def planted(request, tmp_path, monkeypatch) -> Path:
    """A folder with the program under the names of models."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DPBENCH_WORKSPACE", str(tmp_path / "workspace"))
    monkeypatch.setenv("DPBENCH_BACKENDS", str(tmp_path / "backends"))  # none
    Workspace.find(tmp_path / "workspace", create=True)
    Atoms("OH2", positions=np.eye(3), cell=np.eye(3) * 9, pbc=True).write("s.xyz")
    for name in ("m.pth", "m.dp", "m.yaml"):
        PLANTS[request.param](tmp_path / name, tmp_path / "canary")
    return tmp_path


@pytest.mark.parametrize("name", ["m.pth", "m.dp", "m.yaml"])
def test_no_command_runs_it(planted, name):
    for command, words in COMMANDS.items():
        given = [word.format(name) for word in words]
        found = CliRunner().invoke(cli, given)
        assert found.exit_code == 1, (command, found.output)
        assert isinstance(found.exception, SystemExit), (command, found.exception)
        assert name in found.output, command  # it is the model that is refused
        assert not (planted / "canary").exists(), command
    assert recognise(planted / name).kind not in ("dpbench", "dpbench-compressed")


def outcome(load, path: Path) -> str:
    """What a loader says, or that it takes the file."""
    try:
        load(path)
    except DpbenchError as error:
        return str(error)
    return "taken"


def test_no_loader_runs_it(planted, request):
    is_second = "second-pickle" in request.node.name
    for name, load in LOADERS.items():
        said = outcome(load, planted / "m.pth")
        assert "\n" not in said, name
        assert not (planted / "canary").exists(), name
        # Of two members, torch reads the first one, which is a whole model.
        assert said != "taken" or (is_second and name == "load_model")


@pytest.mark.parametrize("kind", ["pickle-0", "pickle-4", "torch", "torch-old", "npy"])
def test_the_programs_would_run_if_they_were_let(tmp_path, kind):
    """The test above can fail: these do make their canary."""
    path, canary = tmp_path / "m", tmp_path / "canary"
    PLANTS[kind](path, canary)
    if kind.startswith("torch"):
        torch.load(path, weights_only=False)
    elif kind == "npy":
        np.load(path, allow_pickle=True)
    else:
        pickle.loads(path.read_bytes())
    assert canary.is_dir()


@pytest.mark.parametrize("kind", ["yaml", "yaml-verbatim"])
def test_the_tags_would_run_if_they_were_let(tmp_path, kind):
    PLANTS[kind](tmp_path / "m", tmp_path / "canary")
    yaml.load((tmp_path / "m").read_text(), Loader=yaml.UnsafeLoader)
    assert (tmp_path / "canary").is_dir()
