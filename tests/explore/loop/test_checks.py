"""What would end an exploration later is refused before it begins, by both ways."""

import os

import pytest

from dpbench.errors import BackendError, ConfigError, DatasetError, SourceError
from dpbench.explore.changes import remember
from dpbench.explore.journal import exploration_folder, read_record
from dpbench.explore.labels.job import check_program
from dpbench.explore.loop import run
from dpbench.explore.plan import plan
from dpbench.explore.stages.start import start
from dpbench.store.workspace import Workspace
from tests.explore.loop.small import LOG, labels_paid, session_of, small_config

ALLOY = {
    "name": "alloy",
    "kind": "prototype",
    "prototype": "fcc",
    "elements": ["Ni"],
    "lattice": 3.5,
}

VASP = {
    "driver": "vasp",
    "ase": None,
    "vasp": {
        "incar": "INCAR",
        "potcar": {"Cu": "POTCAR"},
        "kspacing": 0.5,
        "command": "mpirun -np 4 vasp_not_there",
    },
}

FAULTS = {
    "train file missing": (
        {"train": {"config": "trian.toml"}},
        ConfigError,
        r"trian\.toml",
    ),
    "key of the train file misspelt": (
        {"train": {"config": "misspelt.toml"}},
        ConfigError,
        "descripter",
    ),
    "element that the model does not know": (
        {"train": {"config": "gold.toml"}},
        ConfigError,
        r"gold\.toml: model\.type_map = \['Au'\]: lacks Cu",
    ),
    "files of the start": (
        {"start": {"files": ["gone/OUTCAR"], "structures": []}},
        SourceError,
        "gone/OUTCAR: does not exist",
    ),
    "theory of the start": (
        {
            "start": {
                "files": ["train.toml"],
                "structures": [],
                "format": "dpdata:vasp/outcar",
                "theory": "gone.toml",
            }
        },
        ConfigError,
        r"gone\.toml",
    ),
    "dataset of the start": (
        {"start": {"dataset": "gone-v1", "structures": []}},
        DatasetError,
        "gone",
    ),
    "calculator of the walks": (
        {"explore": {"engine": "ase", "ase": {"calculator": "not_there:Yet"}}},
        ConfigError,
        r"explore\.ase\.calculator = 'not_there:Yet'",
    ),
    "arguments of the calculator": (
        {
            "explore": {
                "engine": "ase",
                "ase": {
                    "calculator": "tests.explore.loop.test_checks:Picky",
                    "arguments": {"colour": 1},
                },
            }
        },
        ConfigError,
        r"explore\.ase\.arguments: .*Picky refuses them",
    ),
    "environment of LAMMPS": (
        {"explore": {"engine": "lammps"}},
        BackendError,
        "lammps: is not installed",
    ),
    "program behind mpirun": (
        {"label": VASP},
        ConfigError,
        r"label\.vasp\.command = .*no program 'vasp_not_there' here, for mpirun",
    ),
    "element that the driver does not know": (
        {
            "label": {**VASP, "vasp": {**VASP["vasp"], "command": "env true"}},
            "explore": {
                "structures": [ALLOY],
                "stages": [{"structures": ["alloy"], "temperatures": [300]}],
            },
            "start": {"structures": ["alloy"]},
        },
        ConfigError,
        r"label\.vasp\.potcar: none of Ni",
    ),
}


class Picky:
    """A calculator without arguments."""


@pytest.fixture
def base(tmp_path, monkeypatch):
    """A folder with all files that a fault may name."""
    monkeypatch.setenv(LOG, str(tmp_path / "labels.log"))
    monkeypatch.setenv("DPBENCH_BACKENDS", str(tmp_path / "none"))
    (tmp_path / "misspelt.toml").write_text("[model.descripter]\nrcut = 4.0\n")
    (tmp_path / "gold.toml").write_text('[model]\ntype_map = ["Au"]\n')
    (tmp_path / "INCAR").write_text("ENCUT = 300\n")
    (tmp_path / "POTCAR").write_text("PAW_PBE Cu 22Jun2005\n")
    launcher = tmp_path / "bin" / "mpirun"
    launcher.parent.mkdir()
    launcher.write_text("#!/bin/sh\n")
    launcher.chmod(0o755)
    monkeypatch.setenv("PATH", str(launcher.parent), prepend=os.pathsep)
    return tmp_path


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_told_by_the_plan_and_before_a_label_is_paid(base, name):
    changes, error, words = FAULTS[name]
    workspace = Workspace.find(base / "workspace", create=True)
    config = small_config(base, **changes)
    for call in (plan, run):
        with pytest.raises(error, match=words):
            call(workspace, config, base=base)
    assert labels_paid(base / "labels.log") == 0
    assert not read_record(exploration_folder(workspace, config.dataset))


def test_an_element_of_a_later_stage_that_cannot_be_labelled_is_told(base):
    stages = [
        {"structures": [name], "temperatures": [300]} for name in ("fcc", "alloy")
    ]
    label = {**VASP, "vasp": {**VASP["vasp"], "command": "env true"}}
    structures = [
        {"name": "fcc", "kind": "prototype", "elements": ["Cu"], "lattice": 3.6},
        ALLOY,
    ]
    config = small_config(
        base, label=label, explore={"structures": structures, "stages": stages}
    )
    with pytest.raises(ConfigError, match="none of Ni"):
        plan(Workspace.find(base / "workspace", create=True), config, base=base)


def test_a_name_that_is_taken_is_told_by_the_plan(base):
    with session_of(base) as session:
        start(session)
    config = small_config(base)
    with pytest.raises(DatasetError, match="there is one of that name, cu-v1"):
        plan(session.workspace, config, base=base)


def test_a_changed_seed_is_told_by_the_plan(base):
    workspace = Workspace.find(base / "workspace", create=True)
    root = exploration_folder(workspace, "cu")
    remember(root, small_config(base), base=base)
    with pytest.raises(ConfigError, match="begun with another start: seed was 3"):
        plan(workspace, small_config(base, seed=4), base=base)
    assert plan(workspace, small_config(base), base=base).begun == 0


def test_dry_run_of_a_sound_configuration_leaves_nothing(base):
    config = small_config(base)
    workspace = Workspace.find(base / "workspace", create=True)
    found = plan(workspace, config, base=base)
    assert found.start == {"fcc": 4}
    assert not exploration_folder(workspace, "cu").exists()


@pytest.mark.parametrize(
    "command", ["env true", "mpirun -np 2 --bind-to core true", "true anything"]
)
def test_programs_that_are_there_pass(base, command):
    check_program(command, where="label.vasp.command")


def test_a_launcher_without_a_program_is_told(base):
    with pytest.raises(ConfigError, match="there is no program named here, for mpirun"):
        check_program("mpirun -np 4", where="label.vasp.command")
