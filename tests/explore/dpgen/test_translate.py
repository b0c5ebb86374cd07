"""Inputs of DP-GEN become configurations that load, and every key is accounted for."""

import copy
import json
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk
from ase.io import read, write

from dpbench.config import read_toml
from dpbench.errors import ConfigError
from dpbench.explore.config import read_config
from dpbench.explore.dpgen.labelling import STYLES
from dpbench.explore.dpgen.translate import translate, write_translation
from dpbench.explore.labels.qe_input import mesh_of
from dpbench.explore.training_settings import ensemble_config
from dpbench.frames import uniform
from dpbench.io.readers import reader_of
from dpbench.io.theory_file import read_theory_file
from tests.explore.dpgen.inputs import JOBS, PWSCF, TRAINING, write_machine, write_run


def done(folder: Path, machine: bool = False, **more):
    """Translate a run of the given keys, and write and read it."""
    found = translate(
        write_run(folder, **more),
        write_machine(folder) if machine else None,
        out=folder / "out",
    )
    return found, read_config(write_translation(found, folder / "out"))


def remarks(found, kind):
    """Keys of one kind of remark."""
    return {remark.key for remark in found.remarks if remark.kind == kind}


@pytest.mark.parametrize("style", STYLES)
def test_every_style_gives_a_configuration_that_loads(tmp_path, style):
    _, config = done(tmp_path, machine=True, fp_style=style)
    assert config.label.driver in ("vasp", "qe", "abacus", "cp2k", "command")
    assert config.label.options is not None


@pytest.mark.parametrize("style", STYLES)
def test_output_of_every_style_has_a_reader(tmp_path, style):
    _, config = done(tmp_path, fp_style=style)
    if config.label.driver == "command" and style != "custom":
        code = config.label.options.code
        assert reader_of(code if ":" in code else f"{code}/npy")


def test_stages_are_the_jobs_in_our_units(tmp_path):
    _, config = done(tmp_path)
    first, second = config.explore.stages
    assert first.structures == ("sys000",)
    assert first.temperatures == (300, 600)
    assert first.pressures == pytest.approx((1e-4, 1.0))  # GPa of 1 and 10 000 bar
    assert (first.steps, first.every) == (1000, 10)
    assert (first.timestep, first.pdamp, first.couple) == (2.0, 500.0, "iso")
    assert second.structures == ("sys000", "sys001")  # "0-2": its end does not count
    assert (second.pressures, second.thermostat) == ((), "nhc")
    assert (config.stop.iterations, config.stop.stage_iterations) == (2, 1)
    assert config.stop.accurate is False  # the last job is labelled, too


@pytest.mark.parametrize(
    ("ensemble", "couple"),
    [("npt-iso", "iso"), ("npt-a", "aniso"), ("npt-tri", "aniso")],
)
def test_barostats_go_over(tmp_path, ensemble, couple):
    found, config = done(tmp_path, model_devi_jobs=[JOBS[0] | {"ensemble": ensemble}])
    assert config.explore.stages[0].couple == couple
    is_told = "model_devi_jobs[0].ensemble" in remarks(found, "changed")
    assert is_told == (ensemble == "npt-tri")


LAMMPS = """\
variable NSTEPS equal V_NSTEPS
variable TEMP equal V_TEMP
velocity all create ${TEMP} 1
fix 1 all npt temp ${TEMP} ${TEMP} 0.1 aniso V_PRES V_PRES 0.5
fix dpgen_plm all plumed plumedfile input.plumed
timestep 0.0005
run ${NSTEPS}
"""


def test_job_by_a_template_is_read_out_of_it_and_told(tmp_path):
    (tmp_path / "in.lammps").write_text(LAMMPS)
    values = {"V_NSTEPS": [400], "V_TEMP": [50, 100], "V_PRES": [1e4]}
    job = {
        "template": {"lmp": "in.lammps"},
        "rev_mat": {"lmp": values},
        "sys_idx": [0],
        "trj_freq": 20,
    }
    found, config = done(tmp_path, model_devi_jobs=[job])
    (stage,) = config.explore.stages
    assert (stage.temperatures, stage.pressures) == ((50, 100), (1.0,))
    assert (stage.steps, stage.every, stage.couple) == (400, 20, "aniso")
    (reason,) = [
        r.reason for r in found.remarks if r.key == "model_devi_jobs[0].template"
    ]
    assert "lost: fix plumed" in reason


@pytest.mark.parametrize("text", [None, "run 100\n", "fix 1 all nvt temp v_T 1 1\n"])
def test_job_by_a_template_that_does_not_tell_is_left_out(tmp_path, text):
    if text is not None:
        (tmp_path / "in.lammps").write_text(text)
    job = {"template": {"lmp": "in.lammps"}, "sys_idx": [0], "trj_freq": 5}
    found, config = done(tmp_path, model_devi_jobs=[job, JOBS[1]])
    assert len(config.explore.stages) == 1
    assert "model_devi_jobs[0].template" in remarks(found, "left out")


def test_old_names_of_jobs_are_read(tmp_path):
    old = {
        "sys_idx": [0],
        "Ts": [50],
        "Ps": [1],
        "t_freq": 5,
        "nsteps": 50,
        "ens": "npt",
    }
    _, config = done(tmp_path, model_devi_jobs=[old])
    (stage,) = config.explore.stages
    assert (stage.temperatures, stage.every) == ((50,), 5)


def test_budgets_and_levels_are_those_of_dpgen(tmp_path):
    _, config = done(
        tmp_path,
        fp_accurate_threshold=0.99,
        fp_accurate_soft_threshold=0.9,
        model_devi_skip=100,
        model_devi_v_trust_lo=1e10,
        model_devi_v_trust_hi=1e10,
    )
    select = config.select
    assert (select.rule, select.force, select.virial) == ("fixed", (0.05, 0.2), None)
    assert (select.most_of_structure, select.most, select.least) == (20, 40, 5)
    assert (select.thin_from, select.thin_to, select.skip) == (0.9, 0.99, 100)
    assert (select.pick, select.first) == ("random", "candidate")


@pytest.mark.parametrize(
    ("low", "high"),
    [([0.1, 0.2], [0.3, 0.4]), ({"0": 0.1, "1": 0.2}, {"0": 0.3, "1": 0.4})],
    ids=["list", "table"],
)
def test_levels_of_single_systems_go_over(tmp_path, low, high):
    _, config = done(tmp_path, model_devi_f_trust_lo=low, model_devi_f_trust_hi=high)
    assert config.select.levels_of("sys000").force == (0.1, 0.3)
    assert config.select.levels_of("sys001").force == (0.2, 0.4)


def test_adaptive_and_relative_rules_go_over(tmp_path):
    _, config = done(
        tmp_path,
        model_devi_adapt_trust_lo=True,
        model_devi_numb_candi_f=30,
        model_devi_perc_candi_f=1.5,
        model_devi_numb_candi_v=4,
        model_devi_f_avg_relative=True,
    )
    select = config.select
    assert (select.rule, select.relative_to_walk) == ("adaptive", True)
    assert (select.adaptive_force, select.adaptive_force_percent) == (30, 1.5)
    assert (select.adaptive_virial, select.virial) == (4, (0.0, 1e10))
    assert config.stop.accurate is False
    _, config = done(tmp_path / "b", use_relative=True, epsilon=1.5)
    assert config.select.relative == 1.5


def test_training_is_the_input_of_deepmd_kit(tmp_path):
    training = copy.deepcopy(TRAINING)
    training["training"]["training_data"] = {"systems": ["x"], "batch_size": 2}
    found, config = done(
        tmp_path,
        default_training_param=training,
        training_reuse_iter=2,
        training_reuse_numb_steps=500,
        training_reuse_start_lr=1e-4,
    )
    train = config.train
    assert (train.models, train.steps, train.config) == (4, 3000, "train.json")
    assert (train.reuse, train.reuse_steps, train.reuse_start_lr) == (True, 500, 1e-4)
    assert "training_reuse_iter" in remarks(found, "changed")
    shared = ensemble_config(train, base=tmp_path / "out")
    assert shared.model.type_map == ("Al", "Mg")
    assert "systems" not in (tmp_path / "out" / "train.json").read_text()


def test_training_that_is_refused_is_told_and_written_all_the_same(tmp_path):
    training = copy.deepcopy(TRAINING)
    training["model"]["descriptor"]["type"] = "no_such_descriptor"
    found, config = done(tmp_path, default_training_param=training)
    assert config.train.config is None
    (reason,) = [r.reason for r in found.remarks if r.key == "default_training_param"]
    assert "no_such_descriptor" in reason
    assert (tmp_path / "out" / "train.json").is_file()


def test_models_start_anew_where_dpgen_trains_anew(tmp_path):
    _, config = done(tmp_path)
    assert not config.train.reuse
    _, config = done(tmp_path / "b", training_init_model=True)
    assert config.train.reuse


def test_paths_lead_from_the_configuration_to_the_files(tmp_path):
    _, config = done(tmp_path)
    out = tmp_path / "out"
    for structure in config.explore.structures:
        assert len(structure.files) == 2
        for name in structure.files:
            assert (out / name).is_file()
    (start,) = config.start.files
    assert (out / start).resolve() == tmp_path / "init" / "a"
    resolved = config.label.resolved(out)
    assert resolved.options.pseudo_dir == tmp_path / "pp"


def test_structures_of_other_formats_are_converted(tmp_path):
    atoms = bulk("Al", "fcc", a=4.0, cubic=True)
    (tmp_path / "confs").mkdir()
    write(tmp_path / "confs" / "a.lmp", atoms, format="lammps-data")
    _, config = done(
        tmp_path,
        sys_format="lammps/lmp",
        sys_configs=[["a.lmp"]],
        model_devi_jobs=[JOBS[0]],
    )
    (name,) = config.explore.structures[0].files
    converted = read(tmp_path / "out" / name)
    assert converted.get_chemical_formula() == "Al4"
    assert converted.cell.lengths() == pytest.approx([4.0] * 3)


def test_poscar_of_another_name_is_converted(tmp_path):
    (tmp_path / "confs").mkdir()
    write(tmp_path / "confs" / "cell.dat", bulk("Mg"), format="vasp")
    _, config = done(tmp_path, sys_configs=[["cell.dat"]], model_devi_jobs=[JOBS[0]])
    (name,) = config.explore.structures[0].files
    assert read(tmp_path / "out" / name).get_chemical_formula() == "Mg2"


def test_what_is_not_there_is_to_be_done(tmp_path):
    found, _ = done(
        tmp_path,
        sys_configs=[["nowhere/*/POSCAR"], ["sys1/*/POSCAR"]],
        init_data_sys=["gone"],
        fp_pp_files=["Al.upf", "gone.upf"],
    )
    assert remarks(found, "missing") == {
        "sys_configs[0]",
        "init_data_sys",
        "fp_pp_path",
    }


def test_run_without_init_data_labels_structures_first(tmp_path):
    _, config = done(tmp_path, init_data_sys=[])
    assert config.start.structures == ("sys000",)
    assert config.start.files == ()


def test_init_data_are_declared_to_be_of_the_theory_of_the_labels(tmp_path):
    found, config = done(tmp_path)
    assert config.start.theory == "theory.toml"
    declared = read_theory_file(tmp_path / "out" / "theory.toml")
    assert declared == {"code": "qe", "functional": "PBE", "dispersion": "none"}
    assert "init_data_sys" in remarks(found, "changed")


def test_theory_that_inputs_do_not_tell_is_asked_for(tmp_path):
    found, _ = done(tmp_path, fp_style="gaussian")
    assert "init_data_sys" in remarks(found, "missing")
    with pytest.raises(ConfigError, match="missing key 'functional'"):
        read_theory_file(tmp_path / "out" / "theory.toml")


def test_functional_of_a_template_that_is_still_to_be_written_is_told(tmp_path):
    done(tmp_path, fp_style="cp2k", user_fp_params={}, fp_pp_files=None)
    declared = read_theory_file(tmp_path / "out" / "theory.toml")
    assert (declared["code"], declared["functional"]) == ("cp2k", "PBE")


@pytest.mark.parametrize(
    ("title", "incar", "functional"),
    [
        ("PAW_PBE {} 04Jan2001", "ENCUT = 500\n", "PBE"),
        ("PAW_PBE {} 04Jan2001", "METAGGA = SCAN\n", "SCAN"),
        ("PAW {} 01Jan2000", "ENCUT = 500\n", "LDA-PZ"),
    ],
)
def test_functional_of_potcars_is_that_of_the_labels(
    tmp_path, title, incar, functional
):
    (tmp_path / "INCAR").write_text(incar + "KSPACING = 0.3\nKGAMMA = T\n")
    (tmp_path / "pp").mkdir()
    for element in ("Al", "Mg"):
        name = title.format(element)
        text = f"  {name}\n 3.0\n   TITEL  = {name}\n"
        (tmp_path / "pp" / f"POTCAR.{element}").write_text(text)
    done(
        tmp_path,
        fp_style="vasp",
        fp_incar="INCAR",
        fp_pp_files=["POTCAR.Al", "POTCAR.Mg"],
        user_fp_params=None,
    )
    declared = read_toml(tmp_path / "out" / "theory.toml")
    assert declared.get("functional") == functional


def test_every_key_is_accounted_for(tmp_path):
    found, _ = done(
        tmp_path,
        machine=True,
        shuffle_poscar=True,
        my_own_key=3,
        _comment="nothing",
        training_reuse_old_ratio="auto",
    )
    given = json.loads((tmp_path / "param.json").read_text())
    told = {remark.key.split(".")[0].split("[")[0] for remark in found.remarks}
    keys = {key for key in given if not key.startswith("_")}
    assert keys <= told | set(found.taken)
    (reason,) = [r.reason for r in found.remarks if r.key == "my_own_key"]
    assert "no key of DP-GEN" in reason
    assert "shuffle_poscar" in remarks(found, "left out")


def test_pwscf_keeps_the_namelists_and_drops_what_belongs_to_the_run(tmp_path):
    _, config = done(tmp_path, machine=True)
    options = config.label.options
    assert options.control == {"max_seconds": 100}
    assert options.system == PWSCF["user_fp_params"]["system"]
    assert options.pseudopotentials == {"Al": "Al.upf", "Mg": "Mg.upf"}
    assert options.kspacing == 0.3
    assert options.command == "mpirun -n 4 pw.x"
    assert config.label.processes == 4
    assert config.label.ratio_failed == 0.05


@pytest.mark.parametrize(
    ("cell", "card"),
    [((4.0, 5.0, 8.0), "6 5 3 1 0 0"), ((4.0, 4.0, 40.0), "6 6 1 1 1 0")],
)
def test_meshes_of_pwscf_are_those_that_dpgen_writes(tmp_path, cell, card):
    # the card is what make_pwscf_input of DP-GEN 0.13 writes at kspacing = 0.3
    _, config = done(tmp_path)
    options = config.label.options
    frame = uniform(z=[13], coord=np.zeros((1, 1, 3)), box=np.diag(cell)[None])
    _, rows = mesh_of(frame, options.kspacing, shift=options.shift_of)
    assert rows == (card,)


def test_old_parameters_of_pwscf_become_the_namelists_that_dpgen_wrote(tmp_path):
    old = {
        "ecut": 110,
        "ediff": 1e-8,
        "smearing": "mp:2",
        "sigma": 0.1,
        "kspacing": 0.6,
    }
    _, config = done(tmp_path, user_fp_params=None, fp_params=old)
    assert config.label.options.system == {
        "vdw_corr": "TS",
        "nosym": True,
        "ecutwfc": 110,
        "ts_vdw_econv_thr": 1e-8,
        "smearing": "mp",
        "degauss": 0.1,
    }


def test_tables_of_cp2k_become_a_template(tmp_path):
    kind = {"_": ["Al", "Mg"], "BASIS_SET": ["b1", "b2"], "POTENTIAL": ["p1", "p2"]}
    given = {
        "FORCE_EVAL": {"DFT": {"MGRID": {"CUTOFF": 600}}, "SUBSYS": {"KIND": kind}}
    }
    done(tmp_path, fp_style="cp2k", user_fp_params=given, fp_pp_files=None)
    text = (tmp_path / "out" / "cp2k.inp").read_text()
    assert "CUTOFF 600" in text
    assert "REL_CUTOFF 50" in text  # DP-GEN's default stays
    assert text.count("&KIND ") == 2
    assert "&KIND Mg\n        POTENTIAL" not in text  # order of the user's keys
    block = text[text.index("&KIND Mg") :].split("&END")[0].split()
    assert block == ["&KIND", "Mg", "BASIS_SET", "b2", "POTENTIAL", "p2"] or block == [
        "&KIND",
        "Mg",
        "POTENTIAL",
        "p2",
        "BASIS_SET",
        "b2",
    ]
    assert text.count("&END") == text.count("&") / 2
    assert "COORD" not in text


def test_batch_systems_are_pointed_to_dask(tmp_path):
    found, _ = done(tmp_path, machine=True)
    reasons = {remark.key: remark.reason for remark in found.remarks}
    assert "resources.scheduler" in reasons["train"]
    assert "source_list" in reasons["fp.resources"]


@pytest.mark.parametrize(
    ("command", "plain"),
    [
        ("mpirun -n 4 pw.x -npool 2 < input > output", "mpirun -n 4 pw.x -npool 2"),
        ("pw.x -input input > output 2> err", "pw.x"),
        ("cp2k.psmp -i input.inp -o output", "cp2k.psmp"),
        ("vasp_std 1>log 2>&1", "vasp_std"),
        ("vasp_std >& log", "vasp_std"),
        ("vasp_std &>> log", "vasp_std"),
        ("pw.x < input >& output", "pw.x"),
        ("mpirun -np 16 cp2k.popt input.inp >& output", "mpirun -np 16 cp2k.popt"),
        ("pw.x -npool 2 input > output", "pw.x -npool 2"),
        ("mpirun -n 16 vasp_std || :", "mpirun -n 16 vasp_std"),
    ],
)
def test_command_names_no_files(tmp_path, command, plain):
    path = write_machine(tmp_path, fp={"command": command})
    found = translate(write_run(tmp_path), path, out=tmp_path / "out")
    assert found.config["label"]["qe"]["command"] == plain


def test_older_machine_files_are_read(tmp_path):
    path = tmp_path / "machine.json"
    path.write_text(
        json.dumps({"fp_command": "pw.x", "fp_machine": {"machine_type": "slurm"}})
    )
    found = translate(write_run(tmp_path), path, out=tmp_path / "out")
    assert found.config["label"]["qe"]["command"] == "pw.x"


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"model_devi_engine": "calypso"}, "model_devi_engine = 'calypso'"),
        ({"model_devi_engine": "amber"}, "QM/MM"),
        ({"model_devi_jobs": []}, "dpbench simplify"),
        ({"fp_style": "abinit"}, "fp_style = 'abinit'"),
        ({"numb_models": "four"}, "numb_models = 'four'; expected a number"),
        (
            {"model_devi_jobs": [JOBS[0] | {"sys_idx": [7]}]},
            "sys_configs has 2 entries",
        ),
        ({"model_devi_jobs": [JOBS[0] | {"temps": "hot"}]}, r"\[0\].temps = 'hot'"),
        ({"model_devi_jobs": [{"template": {"lmp": "x"}}]}, "x cannot be read"),
    ],
)
def test_what_cannot_be_translated_is_refused_in_one_line(tmp_path, keys, message):
    path = write_run(tmp_path, **keys)
    with pytest.raises(ConfigError, match=message) as caught:
        translate(path, None, out=tmp_path / "out")
    assert "\n" not in str(caught.value)


def test_nothing_is_written_over(tmp_path):
    found, _ = done(tmp_path)
    with pytest.raises(ConfigError, match="is there already"):
        write_translation(found, tmp_path / "out")


def test_report_tells_what_to_do(tmp_path):
    found, _ = done(tmp_path, machine=True)
    text = (tmp_path / "out" / "from-dpgen.txt").read_text()
    assert text.strip() == found.summary()
    assert "To do before it runs" in text
    assert "Left out" in text
    assert read_toml(tmp_path / "out" / "explore.toml")["dataset"]
