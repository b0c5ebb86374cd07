"""DeePMD-kit's portable file, as far as it can be tested without DeePMD-kit."""

import json

import h5py
import numpy as np
import pytest
import torch

from dpbench.errors import ModelError
from dpbench.models.deepmd_dict import model_from_dict, model_to_dict
from dpbench.models.deepmd_file import read_deepmd, write_deepmd
from tests.models import family, structures
from tests.models.conftest import KINDS


@pytest.fixture(params=[*KINDS, *family.FAMILY])
def potential(request):
    """A model of every kind."""
    if request.param in KINDS:
        return structures.model(**KINDS[request.param])
    return family.model(request.param)


def test_round_trip_keeps_every_bit(tmp_path, potential):
    write_deepmd(tmp_path / "m.dp", potential, min_distance=0.9)
    loaded = read_deepmd(tmp_path / "m.dp")
    assert torch.equal(loaded.parameters.flat, potential.parameters.flat)
    assert loaded.config == potential.config
    np.testing.assert_array_equal(loaded.statistics.davg, potential.statistics.davg)


def test_arrays_are_datasets_named_by_the_json(tmp_path):
    write_deepmd(tmp_path / "m.dp", structures.model(), min_distance=0.9)
    with h5py.File(tmp_path / "m.dp") as file:
        data = json.loads(file.attrs["json"])
        descriptor = data["model"]["descriptor"]
        davg = file[descriptor["@variables"]["davg"]][()]
        assert file[data["@variables"]["min_nbor_dist"]][()] == 0.9
    assert davg.shape == (2, 32, 4)
    assert descriptor["embeddings"]["networks"][0]["layers"][0]["@version"] == 1


def test_bias_of_the_fitting_net_is_added():
    """From 3.1.3 on DeePMD-kit adds bias_atom_e and out_bias."""
    data = model_to_dict(structures.model())
    data["model"]["fitting"]["@variables"]["bias_atom_e"] = np.array([[0.5], [0.25]])
    loaded = model_from_dict(data, where="m.dp")
    assert loaded.statistics.energy_bias.tolist() == [-2.5, -0.75]


@pytest.mark.parametrize("precision", ["float64", "float32"])
def test_default_precision_is_that_of_the_arrays(precision):
    """An input.json that names none leaves 'default' in the file of DeePMD-kit."""
    potential = structures.model(precision=precision)
    data = model_to_dict(potential)
    data["model"]["fitting"]["precision"] = "default"
    assert model_from_dict(data, where="m.dp").config == potential.config
    data["model"]["descriptor"]["precision"] = "default"
    assert model_from_dict(data, where="m.dp").config == potential.config


@pytest.mark.parametrize(
    ("part", "key", "value", "message"),
    [
        ("descriptor", "type", "dpa2", "of type 'dpa2'"),
        ("descriptor", "lmax", 2, "lmax"),
        ("fitting", "type", "dipole", "of type 'dipole'"),
        ("fitting", "numb_fparam", 2, "damaged"),
        ("fitting", "dim_case_embd", 2, "dim_case_embd"),
        ("descriptor", "compress", {}, "compressed"),
        ("fitting", "atom_ener", [1.0, 2.0], "atom_ener"),
        ("descriptor", "sel", [1], "one per type"),
        ("descriptor", "embeddings", {"networks": []}, "damaged"),
    ],
)
def test_what_dpbench_does_not_have_is_named(part, key, value, message):
    data = model_to_dict(structures.model())
    data["model"][part][key] = value
    with pytest.raises(ModelError, match=message):
        model_from_dict(data, where="m.dp")


def test_excluded_pairs_of_the_model_are_named():
    data = model_to_dict(structures.model())
    data["model"]["pair_exclude_types"] = [[0, 1]]
    with pytest.raises(ModelError, match="pair_exclude_types"):
        model_from_dict(data, where="m.dp")


def test_statistics_that_differ_by_slot_are_refused():
    data = model_to_dict(structures.model())
    data["model"]["descriptor"]["@variables"]["davg"][0, 3, 0] += 1
    with pytest.raises(ModelError, match="between the slots"):
        model_from_dict(data, where="m.dp")


@pytest.mark.parametrize("content", [b"", b"no HDF5 at all", b"\x89HDF\r\n\x1a\n junk"])
def test_a_damaged_file_is_one_clear_line(tmp_path, content):
    (tmp_path / "m.dp").write_bytes(content)
    with pytest.raises(ModelError, match=r"m\.dp: is no \.dp file") as caught:
        read_deepmd(tmp_path / "m.dp")
    assert "\n" not in str(caught.value)
