"""Which variant of a kernel runs, and what happens to one that is wrong."""

import sys
import types

import pytest
import torch

from dpbench.errors import ConfigError
from dpbench.kernels import choice
from dpbench.kernels.choice import FAMILIES, VARIABLE, Variant, choose, kernels_in_use


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    choice._choose.cache_clear()
    monkeypatch.setattr(choice, "_in_use", {})
    yield
    choice._choose.cache_clear()


def planted(monkeypatch, error: float):
    """Put a variant in front of the passes that reports ``error``."""
    module = types.ModuleType("planted_kernel")
    module.check = lambda dtype: error
    monkeypatch.setitem(sys.modules, "planted_kernel", module)
    variant = Variant(name="planted", module="planted_kernel", devices=("cpu",))
    families = FAMILIES | {"passes": (variant, *FAMILIES["passes"])}
    monkeypatch.setattr(choice, "FAMILIES", families)
    return module


def test_the_fastest_variant_of_the_device_is_taken_and_named():
    assert choose("passes", "cpu").__name__.endswith("compiled")
    assert kernels_in_use() == {"passes": "numba"}


def test_the_environment_variable_overrides_the_choice(monkeypatch):
    monkeypatch.setenv(VARIABLE, "reference")
    assert choose("passes", "cpu").__name__.endswith("reference")
    monkeypatch.setenv(VARIABLE, "fitting=reference, passes=numba")
    assert choose("passes", "cpu").__name__.endswith("compiled")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("fast", "'fast' is unknown; expected auto"),
        ("passing=numba", "'passing' is unknown; expected .*passes"),
        ("passes=mkl", "'mkl' is unknown; expected auto, .*reference"),
    ],
)
def test_an_unknown_wish_is_an_error_that_names_what_there_is(monkeypatch, text, told):
    monkeypatch.setenv(VARIABLE, text)
    with pytest.raises(ConfigError, match=told):
        choose("passes", "cpu")


def test_a_wish_that_the_device_cannot_serve_is_an_error(monkeypatch):
    monkeypatch.setenv(VARIABLE, "passes=numba")
    with pytest.raises(ConfigError, match=r"does not serve here; on cuda there are"):
        choose("passes", "cuda")


@pytest.mark.parametrize("error", [1e-3, float("nan")])
def test_a_variant_that_disagrees_is_not_used_and_said_once(monkeypatch, caplog, error):
    planted(monkeypatch, error)
    for _ in range(2):
        assert choose("passes", "cpu").__name__.endswith("compiled")
    assert len([r for r in caplog.records if "planted" in r.getMessage()]) == 1
    assert kernels_in_use()["passes"] == "numba"
    assert "planted" in kernels_in_use()["passes rejected"]


def test_a_variant_that_agrees_is_used(monkeypatch):
    module = planted(monkeypatch, 1e-13)
    assert choose("passes", "cpu") is module


def test_a_variant_that_cannot_be_imported_leaves_its_place_to_the_next(
    monkeypatch, caplog
):
    variant = Variant(name="gone", module="no_such_kernel", devices=("cpu",))
    families = FAMILIES | {"passes": (variant, *FAMILIES["passes"])}
    monkeypatch.setattr(choice, "FAMILIES", families)
    assert choose("passes", "cpu").__name__.endswith("compiled")
    assert "not at hand" in caplog.text


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_every_compiled_variant_passes_its_own_check(family, dtype):
    for variant in FAMILIES[family]:
        if "cpu" in variant.devices and variant.name == "numba":
            assert choice._load(family, variant, dtype) is not None
