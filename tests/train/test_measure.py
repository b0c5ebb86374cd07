"""Statistics over shards, and the length of a run."""

import numpy as np
import pytest

from dpbench.store.splits.making import find_split
from dpbench.train import measure as module
from dpbench.train.budget import Costs, choose_length, make_plan
from dpbench.train.config import ModelSettings, RunSettings
from dpbench.train.loader import FrameCache
from dpbench.train.measure import Measured, measure, measure_positions

TYPES = ("C", "Si")
SETTINGS = ModelSettings()


@pytest.fixture
def cache(version) -> FrameCache:
    index = find_split(version).part("train")
    natoms = version.natoms[index]
    return FrameCache(version, index, natoms=natoms, rcut=SETTINGS.descriptor.rcut)


def same(one: Measured, two: Measured) -> None:
    sel = SETTINGS.choose_sel(one.neighbours)
    assert sel == SETTINGS.choose_sel(two.neighbours)
    config = SETTINGS.resolve(type_map=TYPES, sel=sel, precision="float64")
    first, second = one.finish(config), two.finish(config)
    for name in ("davg", "dstd", "energy_bias"):
        np.testing.assert_allclose(
            getattr(first, name), getattr(second, name), rtol=1e-12, atol=1e-12
        )


def test_shards_add_up_to_the_whole(cache):
    positions = np.arange(len(cache))
    whole = measure_positions(cache, SETTINGS, TYPES, positions)
    parts = [
        measure_positions(cache, SETTINGS, TYPES, part)
        for part in np.array_split(positions, 5)
    ]
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    same(whole, total)
    assert whole.labelled.tolist() == [24, 24, 24]


@pytest.mark.slow
def test_worker_processes_measure_the_same(cache, workspace, version, monkeypatch):
    index = find_split(version).part("train")
    arguments = {"workspace": workspace, "label": "pairs-v1", "indices": index}
    here = measure(cache, SETTINGS, TYPES, **arguments)
    monkeypatch.setattr(module, "ATOMS_IN_PROCESS", 0)
    monkeypatch.setattr(module, "ATOMS_PER_TASK", 40)
    same(here, measure(cache, SETTINGS, TYPES, **arguments))


def test_sel_is_the_most_neighbours_with_a_margin_in_fours(cache):
    found = measure_positions(cache, SETTINGS, TYPES, np.arange(len(cache)))
    for chosen, most in zip(
        SETTINGS.choose_sel(found.neighbours), found.neighbours.most, strict=True
    ):
        assert chosen % 4 == 0
        assert 1.1 * most <= chosen < 1.1 * most + 4


def no_costs() -> Costs:
    raise AssertionError("nothing had to be timed")


def test_stated_steps_and_epochs_need_no_timing():
    steps = RunSettings(steps=7)
    assert choose_length(steps, steps_per_epoch=5, costs=no_costs).steps == 7
    epochs = RunSettings(epochs=2.5)
    assert choose_length(epochs, steps_per_epoch=5, costs=no_costs).steps == 13


def test_time_budget_is_steps_and_validations_that_fit():
    costs = Costs(step=0.01, validation=0.1)
    length = choose_length(
        RunSettings(time_budget="100s"), steps_per_epoch=1, costs=lambda: costs
    )
    assert length.rows == 50
    assert length.steps == 9500
    slow = Costs(step=0.01, validation=5.0)
    length = choose_length(
        RunSettings(time_budget="100s"), steps_per_epoch=1, costs=lambda: slow
    )
    assert length.rows == 2
    assert length.steps == 9000


def test_default_length_is_bounded_by_the_data():
    costs = Costs(step=0.001, validation=0.001)
    small = choose_length(RunSettings(), steps_per_epoch=3, costs=lambda: costs)
    assert small.steps < 100_000
    assert "passes" in small.reason
    large = choose_length(RunSettings(), steps_per_epoch=10**6, costs=lambda: costs)
    assert large.steps == 590_000
    assert large.reason.startswith("default time budget 10m")


def test_default_length_does_not_depend_on_what_else_the_machine_does():
    quiet = Costs(step=0.01, validation=0.001, busy=0.01)
    loaded = Costs(step=0.05, validation=0.001, busy=0.01)
    many = 10**6
    alone, beside = (
        choose_length(RunSettings(), steps_per_epoch=many, costs=lambda c=c: c)
        for c in (quiet, loaded)
    )
    assert alone.steps == beside.steps == 59_000
    stated = RunSettings(time_budget="10m")  # is kept by the clock
    assert choose_length(stated, steps_per_epoch=many, costs=lambda: loaded).steps < (
        0.25 * alone.steps
    )


def test_small_data_are_passed_over_a_hundred_times_or_for_20000_steps():
    costs = Costs(step=0.001, validation=0.001)
    for batches, expected in ((3, 20_000), (200, 20_000), (205, 20_500)):
        length = choose_length(
            RunSettings(), steps_per_epoch=batches, costs=lambda: costs
        )
        assert length.steps == expected


def test_intervals_are_those_stated_or_shares_of_the_run():
    length = choose_length(RunSettings(steps=1000), steps_per_epoch=1, costs=no_costs)
    plan = make_plan(RunSettings(), length)
    assert (plan.validation_every, plan.checkpoint_every) == (20, 100)
    plan = make_plan(RunSettings(validation_every=7, checkpoint_every=9), length)
    assert (plan.validation_every, plan.checkpoint_every) == (7, 9)
