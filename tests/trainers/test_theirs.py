"""Rewriting the configurations of foreign trainers: all said, nothing guessed."""

import json
import math
from dataclasses import replace

import pytest
import yaml

from dpbench.errors import ConfigError
from dpbench.trainers.deepmd import DeepmdTrainer
from dpbench.trainers.export import Exported
from dpbench.trainers.foreign import Job
from dpbench.trainers.mace import MaceTrainer
from dpbench.trainers.nequip import NequipTrainer
from dpbench.trainers.process import last_words

DATA = Exported(
    label="almg-v1",
    elements=("Mg", "Al"),
    trained=("Mg", "Al"),
    train=("data/train/Al4", "data/train/Mg4"),
    validation=("data/validation/Al4",),
    sizes={"train": 65, "validation": 10},
    has_virial=True,
)


def deepmd(**training):
    return {
        "model": {"descriptor": {}, "fitting_net": {}},
        "training": {"numb_steps": 10, "training_data": {}} | training,
    }


def plan(trainer, theirs, *, data=DATA, **options):
    job = {"where": "theirs.json", "source": None, "suffix": trainer.suffixes[0]}
    return trainer.plan(Job(theirs=theirs, data=data, **(job | options)))


def test_deepmd_keeps_all_that_is_not_data_seed_elements_or_length():
    theirs = deepmd(disp_freq=7, training_data={"batch_size": "auto:32"})
    theirs["loss"] = {"start_pref_e": 0.5}
    used = plan(DeepmdTrainer("pytorch"), theirs).used
    assert used["loss"] == theirs["loss"]
    assert used["training"]["disp_freq"] == 7
    assert used["training"]["training_data"] == {
        "batch_size": "auto:32",
        "systems": ["data/train/Al4", "data/train/Mg4"],
    }
    assert used["model"]["type_map"] == ["Mg", "Al"]


def test_their_configuration_itself_is_not_touched():
    theirs = deepmd(training_data={"systems": ["a"]})
    before = json.dumps(theirs)
    plan(DeepmdTrainer("pytorch"), theirs, steps=3, seed=4)
    assert json.dumps(theirs) == before


def test_the_tensorflow_backend_is_named_in_every_stage():
    made = plan(DeepmdTrainer("tensorflow"), deepmd(), suffix=".pb")
    assert [stage.arguments[0] for stage in made.stages] == ["--tf", "--tf"]
    assert made.outputs == ("frozen.pb",)


def test_a_longer_type_map_of_theirs_stays():
    theirs = deepmd()
    theirs["model"]["type_map"] = ["H", "Al", "Mg"]
    assert plan(DeepmdTrainer("pytorch"), theirs).type_map == ("H", "Al", "Mg")


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("model.type_map", ["Al"], "expected a list with all elements"),
        ("model.type_map", "AlMg", "expected a list with all elements"),
        ("model.model_dict", {"a": {}}, "several tasks"),
        ("model.fitting_net.numb_fparam", 2, "gives no foreign"),
        ("model.fitting_net.type", "dipole", "expected 'ener'"),
        ("training.systems", ["a"], "version 1"),
        ("training.training_data.batch_size", [1, 2], "expected one for all"),
        ("training.training_data.remote", "x", "is not known here"),
        ("training.validation_data", ["a"], "expected a table"),
        ("training.numb_steps", 0, "Give --steps"),
        ("training.numb_steps", None, "Give --steps"),
    ],
)
def test_deepmd_refuses_what_no_split_can_serve(path, value, words):
    theirs = deepmd()
    *folders, last = path.split(".")
    node = theirs
    for key in folders:
        node = node.setdefault(key, {})
    node[last] = value
    with pytest.raises(ConfigError, match=words) as caught:
        plan(DeepmdTrainer("pytorch"), theirs)
    assert str(caught.value).startswith("theirs.json: ")


def test_what_counts_other_systems_is_left_out_and_said():
    theirs = deepmd(
        stat_file="stat.hdf5",
        training_data={"auto_prob": "prob_sys_size;0:2:0.5", "sys_probs": [1, 0]},
    )
    made = plan(DeepmdTrainer("pytorch"), theirs)
    assert set(made.used["training"]["training_data"]) == {"systems"}
    said = "\n".join(made.notes)
    for key in ("stat_file", "auto_prob", "sys_probs"):
        assert f"{key} = " in said


def test_without_validation_frames_there_is_no_validation_section():
    data = replace(DATA, validation=(), sizes={"train": 65, "validation": 0})
    theirs = deepmd(validation_data={"systems": ["x"]})
    made = plan(DeepmdTrainer("pytorch"), theirs, data=data)
    assert "validation_data" not in made.used["training"]
    assert any("has no validation frames" in note for note in made.notes)


def test_seeds_of_every_net_are_set():
    theirs = deepmd()
    theirs["model"]["descriptor"] = {"type": "hybrid", "list": [{"seed": 1}, {}]}
    used = plan(DeepmdTrainer("pytorch"), theirs, seed=9).used
    assert [part["seed"] for part in used["model"]["descriptor"]["list"]] == [9, 9]
    assert used["training"]["seed"] == used["model"]["fitting_net"]["seed"] == 9


def test_without_a_seed_theirs_is_recorded():
    assert plan(DeepmdTrainer("pytorch"), deepmd(seed=33)).seed == 33
    assert plan(DeepmdTrainer("pytorch"), deepmd()).seed is None


def test_deepmd_reads_json_and_yaml(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps(deepmd()))
    (tmp_path / "a.yaml").write_text(yaml.safe_dump(deepmd()))
    trainer = DeepmdTrainer("pytorch")
    assert trainer.read(tmp_path / "a.json") == trainer.read(tmp_path / "a.yaml")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.json", "{"),
        ("a.json", "[1]"),
        ("a.json", '{"model": {}}'),
        ("a.yaml", "a: [1"),
        ("a.yaml", "!!python/object/apply:os.system ['true']"),
        ("a.yaml", "just words"),
    ],
)
def test_files_that_are_no_configuration_are_one_line(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    with pytest.raises(ConfigError) as caught:
        DeepmdTrainer("pytorch").read(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_lcurve_is_read_by_its_header_and_only_as_far_as_it_is_whole(tmp_path):
    path = tmp_path / "lcurve.out"
    path.write_text(
        "# step rmse_trn rmse_f_trn lr\n0 1.0 2.0 0.1\n5 1.0 3.0 0.1\n10 1."
    )
    seen = DeepmdTrainer("pytorch").look(tmp_path)
    assert [row.rmse_f_train for row in seen.rows] == [2.0, 3.0]
    assert seen.steps == 5
    assert not seen.is_nan
    assert math.isnan(seen.rows[0].rmse_e_train)
    assert math.isnan(seen.rows[0].rmse_f_validation)


def test_a_run_that_has_not_begun_has_no_curve(tmp_path):
    for trainer in (DeepmdTrainer("pytorch"), MaceTrainer()):
        seen = trainer.look(tmp_path)
        assert (seen.steps, seen.rows, seen.is_nan) == (0, (), False)


def mace(**more):
    return {"model": "MACE", "r_max": 4.5, "batch_size": 10} | more


def test_mace_turns_steps_into_whole_epochs():
    made = plan(MaceTrainer(), mace(), steps=20)
    assert made.used["max_num_epochs"] == 4  # of six batches each
    assert made.steps == 24
    assert any("--steps 20, at 6 steps an epoch" in note for note in made.notes)


def test_mace_is_given_the_parts_and_the_names_of_labels():
    used = plan(MaceTrainer(), mace(train_file="theirs.xyz"), steps=5).used
    assert used["train_file"] == DATA.train[0]
    assert used["valid_file"] == DATA.validation[0]
    assert (used["energy_key"], used["virials_key"]) == ("energy", "virial")


@pytest.mark.parametrize("key", ["test_file", "valid_fraction", "statistics_file"])
def test_mace_loses_every_other_source_of_data_and_it_is_said(key):
    made = plan(MaceTrainer(), mace(**{key: "x"}), steps=5)
    assert key not in made.used
    assert any(note.startswith(f"{key} = ") for note in made.notes)


@pytest.mark.parametrize("given", [{}, {"E0s": "isolated"}, {"E0s": "Foundation"}])
def test_without_isolated_atoms_their_energies_are_fitted(given):
    made = plan(MaceTrainer(), mace(**given), steps=5)
    assert made.used["E0s"] == "average"
    assert any("no frames of isolated atoms" in note for note in made.notes)


def test_energies_of_atoms_that_are_stated_stay():
    stated = "{12: -29.1, 13: -56.8}"
    assert plan(MaceTrainer(), mace(E0s=stated), steps=5).used["E0s"] == stated


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"foundation_model": "medium"}, "was not made here"),
        ({"batch_size": 66}, "drops a batch"),
        ({"batch_size": "many"}, "drops a batch"),
        ({"max_num_epochs": 0}, "max_num_epochs"),
        ({"seed": "one"}, "expected a number"),
        ({"E0s": "atoms.json"}, "is a file"),
    ],
)
def test_mace_refuses_what_it_cannot_do_here(given, words):
    with pytest.raises(ConfigError, match=words):
        plan(MaceTrainer(), mace(**given))


def test_mace_writes_its_second_model_where_it_has_a_second_stage():
    made = plan(MaceTrainer(), mace(swa=True, start_swa=1), steps=20)
    assert made.outputs == ("m_stagetwo.model",)
    made = plan(MaceTrainer(), mace(swa=True, start_swa=100), steps=20)
    assert made.outputs == ("m.model",)
    assert any("begin after the last" in note for note in made.notes)


def test_the_results_of_mace_become_a_curve(tmp_path):
    (tmp_path / "results").mkdir()
    lines = [
        {"mode": "eval", "epoch": None, "loss": 9.0, "rmse_f": 1.0},
        {"mode": "opt", "loss": 2.0},
        {"mode": "opt", "loss": 1.0},
        {"mode": "eval", "epoch": 0, "rmse_e_per_atom": 0.02, "rmse_f": 0.3},
    ]
    text = "\n".join(map(json.dumps, lines)) + '\n{"mode": "opt", "lo'
    (tmp_path / "results" / "m_run-1_train.txt").write_text(text)
    seen = MaceTrainer().look(tmp_path)
    assert (seen.steps, seen.loss) == (2, 1.0)
    (row,) = seen.rows
    assert (row.step, row.rmse_e_validation, row.rmse_f_validation) == (2, 0.02, 0.3)
    assert math.isnan(row.rmse_v_validation)


def nequip(**data):
    return {
        "data": {
            "_target_": "nequip.data.datamodule.ASEDataModule",
            "train_dataloader": {"batch_size": 10},
        }
        | data,
        "trainer": {
            "callbacks": [{"_target_": "lightning.pytorch.callbacks.EarlyStopping"}]
        },
        "training_module": {"model": {"type_names": "${names}", "seed": "${seed}"}},
    }


def test_nequip_follows_its_own_references_between_keys():
    made = plan(NequipTrainer(), nequip(), steps=20, seed=4)
    assert made.used["names"] == ["Mg", "Al"]
    assert made.used["training_module"]["model"] == {
        "type_names": "${names}",
        "seed": "${seed}",
    }
    assert made.used["seed"] == made.used["data"]["seed"] == 4
    assert made.used["trainer"]["max_epochs"] == 3  # of seven batches each
    assert made.steps == 21
    first, second = made.used["trainer"]["callbacks"]
    assert first == {"_target_": "lightning.pytorch.callbacks.EarlyStopping"}
    assert second["dirpath"] == "checkpoints"
    assert yaml.safe_load(made.files["nequip.yaml"]) == made.used


def test_nequip_is_never_given_test_frames():
    theirs = nequip(test_file_path="test.xyz", split_dataset={"train": 0.5})
    theirs["run"] = ["train", "test"]
    made = plan(NequipTrainer(), theirs, steps=5)
    assert made.used["run"] == ["train"]
    assert not {"test_file_path", "split_dataset"} & set(made.used["data"])
    said = "\n".join(made.notes)
    assert "data.test_file_path = " in said
    assert "the test part is not handed out" in said


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"_target_": "nequip.data.datamodule.Other"}, "which reads the exported"),
        ({"remote": "x"}, "is not known here"),
        ({"train_dataloader": {"batch_size": "all"}}, "expected a number"),
    ],
)
def test_nequip_refuses_other_sources_of_data(given, words):
    with pytest.raises(ConfigError, match=words):
        plan(NequipTrainer(), nequip(**given), steps=5)


def test_nequip_needs_a_length():
    with pytest.raises(ConfigError, match="Give --steps"):
        plan(NequipTrainer(), nequip())


def test_the_metrics_of_nequip_become_a_curve_of_whole_epochs(tmp_path):
    path = tmp_path / "log" / "csv" / "metrics.csv"
    path.parent.mkdir(parents=True)
    val, train = "val0_epoch/forces_rmse", "train_metric_epoch/forces_rmse"
    head = f"epoch,step,train_loss_epoch/weighted_sum,{train},{val}\n"
    path.write_text(f"{head}0,64,,,0.4\n0,64,9.0,0.3,\n1,129,,,0.2\n1,129,8")
    seen = NequipTrainer().look(tmp_path)
    (row,) = seen.rows  # the second epoch is being written
    assert (row.step, row.rmse_f_train, row.rmse_f_validation) == (65, 0.3, 0.4)
    assert seen.steps == 130
    assert not seen.is_nan
    assert math.isnan(row.rmse_e_validation)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "step 1\nTraceback (most recent call last):\n  File x\n"
            "a.b.DeepError: the well\nterminate called\n",
            "a.b.DeepError: the well",
        ),
        ("one\n\x1b[31mtwo\t three\n\n", "[31mtwo three"),
        ("--- train ---\n", "nothing"),
        ("x" * 1000, "..." + "x" * 297),
    ],
)
def test_last_words_are_one_bounded_line(tmp_path, text, words):
    (tmp_path / "log.txt").write_text(text)
    assert last_words(tmp_path / "log.txt") == words
