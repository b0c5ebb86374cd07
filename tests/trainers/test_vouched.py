"""No configuration opens a program of others, however it is written."""

import copy

import pytest

from dpbench.errors import ConfigError
from dpbench.trainers.deepmd import DeepmdTrainer
from dpbench.trainers.mace import MaceTrainer
from dpbench.trainers.nequip import NequipTrainer
from tests.trainers.test_theirs import deepmd, mace, nequip, plan

FROZEN = {"type": "frozen", "model_file": "theirs.pth"}


@pytest.mark.parametrize(
    "model",
    [
        FROZEN,
        {"type": "linear_ener", "models": [{"type": "pairtab"}, FROZEN]},
        {"descriptor": {}, "modifier": {"model_name": "dipole"}},
        {"descriptor": {"type": "dpa2", "start": "theirs.pt"}},
        {"type": "Frozen"},
    ],
)
def test_deepmd_starts_from_no_model_of_others(model):
    with pytest.raises(ConfigError, match="was not made here"):
        plan(DeepmdTrainer("pytorch"), deepmd() | {"model": model})


def test_a_comment_may_name_a_model():
    theirs = deepmd() | {"_comment": "once began from theirs.pth"}
    assert plan(DeepmdTrainer("pytorch"), theirs).steps == 10


@pytest.mark.parametrize(
    "key",
    ["--foundation_model", "--test_file", "foundation_mod", "test_f", "-h", "found"],
)
def test_mace_takes_full_names_of_options_alone(key):
    with pytest.raises(ConfigError, match="expected its full name without dashes"):
        plan(MaceTrainer(), mace(**{key: "theirs"}), steps=5)


@pytest.mark.parametrize(
    "value", ["--foundation_model=a", ["lr", "--foundation_model", "a"], "-f"]
)
def test_no_value_of_mace_is_an_option(value):
    with pytest.raises(ConfigError, match="taken for an option"):
        plan(MaceTrainer(), mace(wandb_log_hypers=value), steps=5)


def test_negative_numbers_of_mace_pass():
    made = plan(MaceTrainer(), mace(E0s="{12: -29.1}", mean=-1.0, std="-2"), steps=5)
    assert made.used["std"] == "-2"


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("nequip.model.ModelFromCheckpoint", "was not made here"),
        ("nequip.model.saved_models.package.ModelFromPackage", "was not made here"),
        ("torch.load", "was not made here"),
        ("os.system", "expected a class"),
        ("nequip.train.os.system", "expected a class"),
        ("nequip.data.subprocess.Popen", "expected a class"),
        ("lightning.pytorch.torch.Thing", "expected a class"),
        ("theirs.Model", "expected a class"),
        ("${elsewhere}", "expected a class"),
        (["os.system"], "expected a class"),
        (None, "expected a class"),
    ],
)
def test_nequip_runs_classes_of_its_own_world_alone(target, words):
    theirs = nequip()
    theirs["training_module"]["model"]["parts"] = [{"_target_": target}]
    with pytest.raises(ConfigError, match=words):
        plan(NequipTrainer(), theirs, steps=5)


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("ckpt_path", "theirs.ckpt", "was not made here"),
        ("more", "${oc.decode:'{_target_: os.system}'}", "computes by 'oc.decode'"),
        ("more", "${ oc.create :x}", "computes by 'oc.create'"),
        ("more", "${${which}:x}", "computes by"),
    ],
)
def test_nequip_makes_no_tables_on_the_way(key, value, words):
    with pytest.raises(ConfigError, match=words):
        plan(NequipTrainer(), nequip() | {key: value}, steps=5)


def test_what_nequip_documents_passes():
    theirs = copy.deepcopy(nequip())
    theirs["trainer"]["_target_"] = "lightning.Trainer"
    theirs["training_module"]["_target_"] = "nequip.train.EMALightningModule"
    theirs["training_module"]["optimizer"] = {"_target_": "torch.optim.Adam"}
    theirs["training_module"]["model"] |= {
        "_target_": "nequip.model.modify",
        "model": {"_target_": "allegro.model.AllegroModel"},
        "avg_num_neighbors": "${training_data_stats:num_neighbors_mean}",
    }
    assert plan(NequipTrainer(), theirs, steps=5).steps == 7


@pytest.mark.parametrize(
    ("device", "accelerator"), [("cpu", "cpu"), ("cuda", "gpu"), ("cuda:1", "gpu")]
)
def test_nequip_takes_the_device_that_was_asked_for(device, accelerator):
    theirs = nequip()
    theirs["trainer"] |= {"accelerator": "gpu", "devices": 4, "num_nodes": 2}
    used = plan(NequipTrainer(), theirs, steps=5, device=device).used["trainer"]
    assert used["accelerator"] == accelerator
    assert (used["devices"], used["num_nodes"]) == (1, 1)
