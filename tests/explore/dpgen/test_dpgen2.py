"""Inputs of dpgen2 become configurations that load."""

import json

import pytest
from ase.build import bulk
from ase.io import write
from click.testing import CliRunner

from dpbench.cli.main import cli
from dpbench.errors import ConfigError
from dpbench.explore.config import read_config
from dpbench.explore.dpgen.dpgen2_input import translate_dpgen2
from dpbench.explore.dpgen.translate import write_translation
from tests.explore.dpgen.inputs import TRAINING, write_machine, write_run

GROUP = {
    "type": "lmp-md",
    "ens": "npt",
    "nsteps": 200,
    "Ts": [300],
    "Ps": [1e4],
    "t_freq": 20,
    "conf_idx": [0],
    "n_sample": 3,
}
FIXED = {
    "type": "fixed-levels",
    "level_f_lo": 0.05,
    "level_f_hi": 0.5,
    "conv_accuracy": 0.9,
}


def write_input(folder, *, fp=None, inputs=None, train=None, **explore):
    """Write ``input.json`` and what it names; ``explore`` are keys of that section."""
    folder.mkdir(exist_ok=True)
    (folder / "template.json").write_text(json.dumps(TRAINING))
    (folder / "confs").mkdir(exist_ok=True)
    atoms = bulk("Al", "fcc", a=4.0, cubic=True)
    write(folder / "confs" / "POSCAR", atoms, format="vasp")
    alloy = {
        "type": "alloy",
        "lattice": ["fcc", 4.1],
        "replicate": [2, 1, 1],
        "numb_confs": 5,
        "concentration": [[1.0, 0.0], [0.5, 0.5]],
        "atom_pert_dist": 0.1,
    }
    content = {
        "bohrium_config": {"username": "someone"},
        "inputs": {"type_map": ["Al", "Mg"], "init_data_sys": "init"} | (inputs or {}),
        "train": {
            "type": "dp",
            "numb_models": 3,
            "config": {"init_model_policy": "yes", "init_model_numb_steps": 50},
            "template_script": "template.json",
        }
        | (train or {}),
        "explore": {
            "type": "lmp",
            "convergence": FIXED,
            "max_numb_iter": 4,
            "configurations": [
                alloy,
                {"type": "file", "files": ["confs/*"], "fmt": "vasp/poscar"},
            ],
            "stages": [[GROUP], [GROUP | {"conf_idx": [0, 1], "ens": "nvt"}]],
        }
        | explore,
        "fp": fp
        or {
            "type": "vasp",
            "task_max": 7,
            "inputs_config": {
                "incar": "INCAR",
                "kspacing": 0.3,
                "pp_files": {"Al": "POTCAR.Al", "Mg": "POTCAR.Mg"},
            },
            "run_config": {"command": "source env.sh && mpirun -n 4 vasp_std"},
        },
    }
    path = folder / "input.json"
    path.write_text(json.dumps(content))
    return path


def done(folder, **keys):
    """Translate an input, and write and read it."""
    found = translate_dpgen2(write_input(folder, **keys), out=folder / "out")
    return found, read_config(write_translation(found, folder / "out"))


def test_configurations_and_stages_go_over(tmp_path):
    _, config = done(tmp_path)
    alloy, files = config.explore.structures
    assert (alloy.kind, alloy.prototype, alloy.lattice) == ("prototype", "fcc", 4.1)
    assert (alloy.count, alloy.repeat, alloy.rattle) == (5, (2, 1, 1), 0.1)
    assert alloy.substitute.composition(1) == (0.5, 0.5)
    assert (tmp_path / "out" / files.files[0]).is_file()
    first, second = config.explore.stages
    assert (first.temperatures, first.pressures) == ((300,), (1.0,))
    assert (first.steps, first.every, first.timestep) == (200, 20, 1.0)
    assert (first.tdamp, first.pdamp) == (50.0, 500.0)
    assert second.structures == ("conf000", "conf001")


def test_training_and_labels_go_over(tmp_path):
    found, config = done(tmp_path)
    assert (config.train.models, config.train.steps) == (3, 3000)
    assert (config.train.reuse, config.train.reuse_steps) == (True, 50)
    assert config.label.options.command == "mpirun -n 4 vasp_std"
    assert config.label.options.kspacing == 0.3
    told = {remark.key for remark in found.remarks if remark.kind == "missing"}
    assert "fp.run_config.command" in told
    assert "bohrium_config" in {r.key for r in found.remarks}


def test_fixed_levels_go_over(tmp_path):
    _, config = done(tmp_path)
    assert (config.select.force, config.select.first) == ((0.05, 0.5), "failed")
    assert (config.select.most, config.select.pick) == (7, "random")
    assert (config.stop.accurate, config.stop.stage_iterations) == (0.9, 4)


def test_adaptive_levels_go_over(tmp_path):
    adaptive = {
        "type": "adaptive-lower",
        "level_f_hi": 0.6,
        "rate_candi_f": 0.15,
        "conv_tolerance": 0.005,
        "n_checked_steps": 8,
        "candi_sel_prob": "inv_pop_f",
    }
    _, config = done(tmp_path, convergence=adaptive)
    select, stop = config.select, config.stop
    assert (select.rule, select.force) == ("adaptive", (0.0, 0.6))
    assert (select.adaptive_force, select.adaptive_force_percent) == (200, 15.0)
    assert (select.pick, stop.level_change, stop.levels_checked) == ("even", 0.005, 8)
    assert stop.accurate is False


def test_candidates_by_a_virial_without_levels_are_none_as_in_dpgen2(tmp_path):
    adaptive = {"type": "adaptive-lower", "level_f_hi": 0.6, "numb_candi_v": 9}
    _, config = done(tmp_path, convergence=adaptive)
    assert (config.select.virial, config.select.adaptive_virial) == (None, 0)


@pytest.mark.parametrize(
    ("fp", "driver"),
    [
        (
            {
                "type": "fpop_abacus",
                "inputs_config": {"input_file": "INPUT", "pp_files": {"Al": "Al.upf"}},
            },
            "abacus",
        ),
        ({"type": "fpop_cp2k", "inputs_config": {"inp_file": "a.inp"}}, "cp2k"),
        ({"type": "gaussian"}, "command"),
        ({"type": "deepmd"}, "command"),
    ],
)
def test_every_labeller_gives_a_configuration_that_loads(tmp_path, fp, driver):
    _, config = done(tmp_path, fp=fp)
    assert config.label.driver == driver


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"type": "calypso"}, "type = 'calypso'"),
        ({"stages": [[{"type": "lmp-template", "lmp": "gone"}]]}, "cannot be read"),
        ({"stages": [[GROUP | {"conf_idx": [9]}]]}, r"conf_idx = \[9\]"),
        ({"fp": {"type": "orca"}}, "type = 'orca'"),
    ],
)
def test_what_cannot_be_translated_is_refused_in_one_line(tmp_path, keys, message):
    path = write_input(tmp_path, **keys)
    with pytest.raises(ConfigError, match=message) as caught:
        translate_dpgen2(path, out=tmp_path / "out")
    assert "\n" not in str(caught.value)


def test_commands_write_configurations(in_tmp):
    write_input(in_tmp / "two")
    arguments = ["explore", "--from-dpgen2", "two/input.json", "--out", "two/out"]
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 0, result.output
    assert "dpbench explore two/out/explore.toml --dry-run" in result.output
    (in_tmp / "one").mkdir()
    files = [str(write_run(in_tmp / "one")), str(write_machine(in_tmp / "one"))]
    arguments = ["explore", "--from-dpgen", *files, "--out", "one/out", "--json"]
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 0, result.output
    assert "explore.toml" in json.loads(result.output)["files"]
    again = CliRunner().invoke(cli, arguments)
    assert again.exit_code != 0
