"""Which variant of a kernel runs, and what happens to one that is wrong."""

import sys
import types
from dataclasses import replace

import pytest
import torch

from dpbench.errors import ConfigError
from dpbench.kernels import choice, families
from dpbench.kernels.choice import choose, kernels_in_use
from dpbench.kernels.families import FAMILIES, VARIABLE, Variant
from dpbench.kernels.passes import compiled as compiled_passes
from dpbench.kernels.passes import reference
from dpbench.kernels.passes.trial import make_trial, run_trial


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    seen: dict[str, str] = {}
    choice._choose.cache_clear()
    for module in (choice, families):
        monkeypatch.setattr(module, "IN_USE", seen)
    yield
    choice._choose.cache_clear()


def planted(monkeypatch, error: float):
    """Put a variant in front of the passes that reports ``error``."""
    module = types.ModuleType("planted_kernel")
    module.check = lambda dtype: error
    monkeypatch.setitem(sys.modules, "planted_kernel", module)
    variant = Variant(name="planted", module="planted_kernel", devices=("cpu",))
    more = FAMILIES | {"passes": (variant, *FAMILIES["passes"])}
    monkeypatch.setattr(choice, "FAMILIES", more)
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
    more = FAMILIES | {"passes": (variant, *FAMILIES["passes"])}
    monkeypatch.setattr(choice, "FAMILIES", more)
    assert choose("passes", "cpu").__name__.endswith("compiled")
    assert "not at hand" in caplog.text


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_every_compiled_variant_passes_its_own_check(family, dtype):
    for variant in FAMILIES[family]:
        if "cpu" in variant.devices and variant.name == "numba":
            assert choice._load(family, variant, dtype) is not None


def test_the_neighbour_search_is_checked_and_can_be_overridden(monkeypatch):
    from dpbench.kernels.neighbours import compiled, search

    search._engine.cache_clear()
    assert search._engine("auto") is compiled.find
    assert search._engine("neighbours=reference") is search.brute_force
    monkeypatch.setattr(compiled, "check", lambda: 0.1)
    search._engine.cache_clear()
    assert search._engine("auto") is search.brute_force
    search._engine.cache_clear()


def test_a_search_that_loses_an_edge_fails_its_check(monkeypatch):
    from dpbench.kernels.neighbours import compiled
    from dpbench.kernels.neighbours.cell import Neighbours

    real = compiled.cell_list

    def lossy(lattice, rcut):
        found = real(lattice, rcut)
        return Neighbours(
            edge_i=found.edge_i[1:], edge_j=found.edge_j[1:], shift=found.shift[1:]
        )

    assert compiled.check() == 0.0
    monkeypatch.setattr(compiled, "cell_list", lossy)
    assert compiled.check() > 0.0


def test_whatever_a_variant_raises_the_next_one_serves(monkeypatch, caplog):
    module = planted(monkeypatch, 0.0)

    def broken(dtype):
        raise RuntimeError("no locator available for the cache")

    module.check = broken
    assert choose("passes", "cpu").__name__.endswith("compiled")
    assert "no locator available" in caplog.text


def test_a_layout_of_other_nets_keeps_no_old_arrays():
    trial = make_trial(torch.float64)
    first = run_trial(compiled_passes, trial)
    layout = replace(trial.layout, net=trial.layout.net.flip(1))
    other = trial._replace(layout=layout)
    found, expected = (run_trial(m, other) for m in (compiled_passes, reference))
    torch.testing.assert_close(found["edge_gradient"], expected["edge_gradient"])
    assert not torch.equal(found["edge_gradient"], first["edge_gradient"])
