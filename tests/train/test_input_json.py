import copy
import json

import pytest

from dpbench.errors import ConfigError
from dpbench.train.config import (
    DescriptorSettings,
    HybridSettings,
    PairTableSettings,
    SeAttenSettings,
    SeE2RSettings,
)
from dpbench.train.input_json import from_input_json, read_input_json
from dpbench.train.input_json_keys import DESCRIPTOR, LOSS, MODEL, TRAINING, Alias, Only

WATER = {
    "_comment1": "as the examples of DeePMD-kit have it",
    "model": {
        "type_map": ["O", "H"],
        "descriptor": {
            "type": "se_e2_a",
            "sel": [46, 92],
            "rcut_smth": 0.5,
            "rcut": 6.0,
            "neuron": [25, 50, 100],
            "resnet_dt": False,
            "axis_neuron": 16,
            "type_one_side": True,
            "precision": "float64",
            "seed": 1,
        },
        "fitting_net": {"neuron": [240, 240, 240], "resnet_dt": True, "seed": 2},
    },
    "learning_rate": {
        "type": "exp",
        "decay_steps": 5000,
        "start_lr": 0.001,
        "stop_lr": 3.51e-8,
    },
    "loss": {"type": "ener", "start_pref_e": 0.02, "start_pref_f": 1000},
    "training": {
        "training_data": {"systems": ["../data/data_0/"], "batch_size": "auto"},
        "validation_data": {"systems": "../data/data_3", "numb_btch": 3},
        "numb_steps": 1000000,
        "seed": 10,
        "disp_file": "lcurve.out",
        "disp_freq": 100,
    },
}


def changed(path: str, value: object) -> dict:
    data = copy.deepcopy(WATER)
    *sections, key = path.split("/")
    table = data
    for section in sections:
        table = table.setdefault(section, {})
    table[key] = value
    return data


def refusal(path: str, value: object) -> str:
    with pytest.raises(ConfigError) as caught:
        from_input_json(changed(path, value), where="input.json")
    return str(caught.value)


def test_water_example_is_taken_over():
    found = from_input_json(WATER, where="input.json")
    config = found.config
    assert config.model.type_map == ("O", "H")
    assert config.model.descriptor.sel == (46, 92)
    assert config.model.fitting.neuron == (240, 240, 240)
    assert (config.model.descriptor.seed, config.model.fitting.seed) == (1, 2)
    assert config.learning_rate.stop_lr == 3.51e-8
    assert config.training.steps == 1_000_000
    assert config.training.validation_every == 100
    assert config.training.batch_size == "auto"
    assert found.systems == ("../data/data_0/",)
    assert found.validation_systems == ("../data/data_3",)


def test_what_is_left_out_has_the_defaults_of_deepmd_kit():
    data = copy.deepcopy(WATER)
    data["model"]["descriptor"] = {"type": "se_e2_a"}
    data["model"]["fitting_net"] = {}
    del data["loss"]
    config = from_input_json(data, where="input.json").config
    descriptor, fitting, loss = (
        config.model.descriptor,
        config.model.fitting,
        config.loss,
    )
    assert (descriptor.neuron, descriptor.axis_neuron) == ((10, 20, 40), 4)
    assert (descriptor.rcut, descriptor.rcut_smth) == (6.0, 0.5)
    assert descriptor.sel == "auto"
    assert not descriptor.type_one_side
    assert (fitting.neuron, fitting.resnet_dt) == ((120, 120, 120), True)
    assert loss.course == "rate"  # whatever the warm-up, as in DeePMD-kit
    assert (loss.start_pref_e, loss.limit_pref_e) == (0.02, 1.0)
    assert (loss.start_pref_f, loss.limit_pref_f) == (1000.0, 1.0)
    assert (loss.start_pref_v, loss.limit_pref_v) == (0.0, 0.0)
    assert not config.learning_rate.smooth
    assert config.training.keep_checkpoints == 5


def test_options_without_effect_are_listed():
    notes = from_input_json(WATER, where="input.json").notes
    assert [note.partition(":")[0] for note in notes] == [
        "training.disp_file",
        "training.validation_data.numb_btch",
    ]


@pytest.mark.parametrize(
    ("path", "meant"),
    [
        ("model/descriptor/rcut_smoth", "rcut_smth"),
        ("learning_rate/start_rl", "start_lr"),
        ("training/numb_stps", "numb_steps"),
        ("loss/start_pref_ee", "start_pref_e"),
        ("training/training_data/sistems", "systems"),
        ("modell", "model"),
    ],
)
def test_misspelt_key_names_the_nearest(path, meant):
    message = refusal(path, 1)
    assert f"unknown key '{path.split('/')[-1]}' -- did you mean '{meant}'?" in message


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("model/descriptor", {"type": "dpa2", "tebd_dim": 8}),
        ("model/descriptor/trainable", False),
        ("model/fitting_net/numb_fparam", 2),
        ("model/fitting_net/atom_ener", [1.0, 2.0]),
        ("model/type_embedding", {"neuron": [2]}),
        ("model/spin", {"use_spin": [True]}),
        ("learning_rate/type", "wsd"),
        ("learning_rate/decay_rate", 0.95),
        ("loss/start_pref_ae", 1.0),
        ("loss/use_huber", True),
        ("loss/loss_func", "mae"),
        ("optimizer/type", "LKF"),
        ("training/enable_ema", True),
        ("training/mixed_precision", {"output_prec": "float32"}),
        ("training/training_data/batch_size", "max:32"),
        ("training/training_data/batch_size", [1, 2]),
        ("training/training_data/auto_prob", "prob_uniform"),
        ("training/training_data/sys_probs", [0.1, 0.9]),
        ("nvnmd", {"enable": True}),
    ],
)
def test_unsupported_option_is_named(path, value):
    message = refusal(path, value)
    assert "support" in message
    assert path.split("/")[-1] in message or "type = 'dpa2'" in message


STRIP = {"attn_layer": 0, "tebd_input_mode": "strip"}


@pytest.mark.parametrize(
    ("descriptor", "expected"),
    [
        (
            {"type": "se_r", "sel": [4, 8]},
            SeE2RSettings(sel=(4, 8), neuron=(10, 20, 40), type_one_side=False),
        ),
        (
            {"type": "se_atten_v2", "attn_layer": 0, "sel": 60},
            SeAttenSettings(sel=60, neuron=(10, 20, 40), axis_neuron=4),
        ),
        (
            {"type": "dpa1", **STRIP, "tebd_dim": 4, "attn": 64},
            SeAttenSettings(
                type="dpa1",
                neuron=(10, 20, 40),
                axis_neuron=4,
                tebd_dim=4,
                smooth_type_embedding=False,
                set_davg_zero=True,
            ),
        ),
        (
            {"type": "se_atten", "attn_layer": 0, "stripped_type_embedding": True},
            SeAttenSettings(
                type="se_atten",
                neuron=(10, 20, 40),
                axis_neuron=4,
                smooth_type_embedding=False,
                set_davg_zero=True,
            ),
        ),
        (
            {
                "type": "hybrid",
                "list": [
                    {"type": "se_e2_a", "rcut": 4.0},
                    {"type": "se_e2_r", "seed": 3},
                ],
            },
            HybridSettings(
                list=(
                    DescriptorSettings(
                        rcut=4.0,
                        neuron=(10, 20, 40),
                        axis_neuron=4,
                        type_one_side=False,
                    ),
                    SeE2RSettings(neuron=(10, 20, 40), type_one_side=False, seed=3),
                )
            ),
        ),
    ],
)
def test_every_kind_has_the_defaults_of_deepmd_kit(descriptor, expected):
    found = from_input_json(changed("model/descriptor", descriptor), where="i.json")
    assert found.config.model.descriptor == expected


@pytest.mark.parametrize(
    ("descriptor", "words"),
    [
        ({"type": "se_atten_v2"}, "attn_layer = 2"),
        ({"type": "se_atten", "attn_layer": 0}, "tebd_input_mode = 'concat'"),
        ({"type": "dpa1", "attn_layer": 0, "stripped_type_embedding": False}, "concat"),
        ({"type": "dpa1", **STRIP, "use_econf_tebd": True}, "use_econf_tebd"),
        ({"type": "dpa1", **STRIP, "lmax": 2}, "lmax"),
        ({"type": "dpa1", **STRIP, "set_davg_zero": False}, "set_davg_zero = true"),
        ({"type": "se_e2_r", "axis_neuron": 4}, "unknown key 'axis_neuron'"),
        ({"type": "hybrid"}, "expected descriptors"),
        ({"type": "hybrid", "list": []}, "empty"),
        ({"type": "hybrid", "list": [{"type": "hybrid", "list": []}]}, "empty|hybrid"),
        ({"type": "hybrid", "list": [{"sel": [1, 1]}]}, r"list\[0\]: missing key"),
        (
            {
                "type": "hybrid",
                "list": [
                    {"type": "se_e2_a", "precision": "float32"},
                    {"type": "se_e2_a"},
                ],
            },
            "precision",
        ),
    ],
)
def test_what_a_kind_does_not_have_is_named(descriptor, words):
    with pytest.raises(ConfigError, match=words):
        from_input_json(changed("model/descriptor", descriptor), where="input.json")


def test_a_pair_table_is_taken_over():
    data = changed("model/use_srtab", "zbl.txt")
    data["model"] |= {"smin_alpha": 0.2, "sw_rmin": 0.8, "sw_rmax": 1.2}
    found = from_input_json(data, where="input.json").config.model.pair_table
    assert found == PairTableSettings(
        file="zbl.txt", smin_alpha=0.2, sw_rmin=0.8, sw_rmax=1.2
    )
    assert "without use_srtab" in refusal("model/sw_rmin", 0.8)
    assert "sw_rmin" in refusal("model/use_srtab", "zbl.txt")


def test_neutral_values_of_unsupported_options_are_accepted():
    for path, value in (
        ("training/enable_ema", False),
        ("model/fitting_net/atom_ener", []),
        ("training/training_data/batch_size", [4, 4]),
        ("optimizer/type", "Adam"),
        ("loss/start_pref_pf", 0),
    ):
        from_input_json(changed(path, value), where="input.json")


def test_aliases_are_understood_and_not_given_twice():
    data = changed("training/stop_batch", 5)
    del data["training"]["numb_steps"]
    assert from_input_json(data, where="input.json").config.training.steps == 5
    assert "numb_steps is given twice" in refusal("training/stop_batch", 5)


@pytest.mark.parametrize(
    ("section", "key"),
    [
        ("training", "numb_steps"),
        ("learning_rate", "start_lr"),
        ("learning_rate", "stop_lr"),
    ],
)
def test_required_keys_are_required(section, key):
    data = copy.deepcopy(WATER)
    del data[section][key]
    with pytest.raises(ConfigError, match=f"missing key '{key}'"):
        from_input_json(data, where="input.json")


def test_two_precisions_are_refused():
    assert "precision" in refusal("model/fitting_net/precision", "float32")


def test_wrong_types_show_the_value():
    assert "'many'" in refusal("training/numb_steps", "many")


def test_every_alias_leads_to_an_option():
    for table in (MODEL, DESCRIPTOR, LOSS, TRAINING):
        for rule in table.values():
            assert not isinstance(rule, Alias) or rule.of in table
            assert not isinstance(rule, Only) or rule.values


def test_file_that_is_no_json_is_one_clear_error(tmp_path):
    path = tmp_path / "input.json"
    path.write_text("{not json")
    with pytest.raises(ConfigError, match=r"input\.json: is not valid JSON"):
        read_input_json(path)
    with pytest.raises(ConfigError, match="cannot be read"):
        read_input_json(tmp_path / "absent.json")
    path.write_text(json.dumps(WATER))
    assert read_input_json(path).config.training.seed == 10
