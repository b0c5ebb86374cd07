"""Frames that stay ready for the model, and those that are made again."""

import os
from dataclasses import fields

import numpy as np
import pytest
import torch

from dpbench.errors import ConfigError, ModelError, TrainingError
from dpbench.frames import concatenate
from dpbench.models.batching import make_batch
from dpbench.train.config import RunSettings, parse_budget
from dpbench.train.loader import FrameCache, FramesInMemory
from dpbench.train.memory import MemoryBudget, free_memory, make_budget
from dpbench.train.resident import BatchMaker, limited_neighbours
from tests.models.structures import config, neighbours_of, water

TYPES = ("O", "H")
FRAMES = concatenate([water(seed, natoms=5 + seed) for seed in range(6)])
CPU = torch.device("cpu")


class Counting:
    """A reader that remembers what was asked of it."""

    def __init__(self) -> None:
        self.inner, self.asked = FramesInMemory(FRAMES), []

    def read(self, indices, out=None):
        self.asked += indices.tolist()
        return self.inner.read(indices)


def maker_of(
    budget: int | None = None, dtype=torch.float64, reader: Counting | None = None
) -> BatchMaker:
    cache = FrameCache(
        reader or Counting(),
        np.arange(6),
        natoms=FRAMES.natoms,
        rcut=4.0,
        memory_budget=0,
    )
    found = None if budget is None else MemoryBudget(budget)
    return BatchMaker(cache, TYPES, device=CPU, dtype=dtype, budget=found)


def assert_same(one, two) -> None:
    for field in fields(one):
        a, b = getattr(one, field.name), getattr(two, field.name)
        if torch.is_tensor(a):
            assert torch.equal(a, b), field.name
        else:
            assert a == b, field.name


def test_a_resident_frame_is_the_very_same_batch():
    reader = Counting()
    maker = maker_of(10**9, reader=reader)
    first = maker(np.array([3]))
    assert maker(np.array([3])) is first
    assert reader.asked == [3]
    assert maker.resident_share == pytest.approx(1 / 6)


def test_without_budget_the_same_comes_out_anew():
    rich, poor = maker_of(10**9), maker_of()
    for positions in ([2], [4, 0, 5], [1, 1]):
        index = np.array(positions)
        rich(index)
        assert_same(rich(index), poor(index))
        assert_same(poor(index), poor(index))
    assert poor(np.array([2])) is not poor(np.array([2]))
    assert poor.resident_share == 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_batch_of_many_is_that_made_at_once(dtype):
    positions = [4, 0, 3]
    found = maker_of(10**9, dtype)(np.array(positions))
    frames = FRAMES.select(positions)
    whole = make_batch(frames, neighbours_of(frames, 4.0), TYPES, dtype=dtype)
    for field in fields(whole):
        a, b = getattr(found, field.name), getattr(whole, field.name)
        if field.name == "edge_vec":
            assert a.dtype == b.dtype
            torch.testing.assert_close(a, b)
        elif torch.is_tensor(a):
            assert torch.equal(a, b), field.name
        else:
            assert a == b, field.name


def test_the_budget_is_never_exceeded_and_says_what_it_holds():
    budget = MemoryBudget(35_000)
    cache = FrameCache(Counting(), np.arange(6), natoms=FRAMES.natoms, rcut=4.0)
    maker = BatchMaker(cache, TYPES, device=CPU, dtype=torch.float64, budget=budget)
    maker(np.arange(6))
    assert 0 < maker.resident_share < 1
    assert not maker.is_resident
    assert 0 < budget.taken <= budget.total
    before = maker.resident_share
    maker(np.arange(6))
    assert maker.resident_share == before


def test_frames_that_were_measured_need_no_second_search(monkeypatch):
    reader = Counting()
    maker = maker_of(10**9, reader=reader)
    positions = np.arange(6)
    maker.keep(positions, FRAMES, tuple(neighbours_of(FRAMES, 4.0)))
    assert maker.is_resident
    monkeypatch.setattr("dpbench.train.loader.find_neighbours", None)
    assert maker(positions).nframes == 6
    assert reader.asked == []


def test_a_batch_without_frames_is_refused():
    with pytest.raises(TrainingError, match="without frames"):
        maker_of()(np.zeros(0, dtype=np.int64))


def test_a_frame_with_more_neighbours_than_sel_is_named():
    maker = maker_of(10**9)
    maker.limit(config(sel=(1, 1)), "error")
    with pytest.raises(ModelError, match="frame 4 of the dataset, atom"):
        maker(np.array([4]))


def test_frames_that_are_kept_are_cut_to_sel_afterwards():
    maker, few = maker_of(10**9), config(sel=(3, 4))
    before = maker(np.array([5]))
    maker.limit(few, "deepmd")
    after = maker(np.array([5]))
    assert len(after.edge_i) < len(before.edge_i)
    fresh = maker_of()
    fresh.limit(few, "deepmd")
    assert_same(after, fresh(np.array([5])))


def test_statistics_see_the_neighbours_that_the_model_sees():
    few = config(sel=(3, 4))
    found = tuple(neighbours_of(FRAMES, 4.0))
    assert limited_neighbours(FRAMES, found, few, "error") is found
    cut = limited_neighbours(FRAMES, found, few, "deepmd")
    maker = maker_of()
    maker.limit(few, "deepmd")
    assert sum(len(n.edge_i) for n in cut) == len(maker(np.arange(6)).edge_i)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("auto", None),
        ("0", 0),
        ("800MB", 800_000_000),
        ("1.5 GB", 1_500_000_000),
        ("2GiB", 2 * 1024**3),
        ("3k", 3000),
        ("17", 17),
    ],
)
def test_a_budget_is_read_as_people_write_it(text, size):
    assert parse_budget(text) == size


@pytest.mark.parametrize("text", ["", "much", "4 parsecs", "-1GB", "GB"])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(ConfigError, match="memory_budget"):
        RunSettings(memory_budget=text)


def test_the_default_budget_is_half_of_what_is_free_and_shared(monkeypatch):
    monkeypatch.setattr("dpbench.train.memory.free_memory", lambda: 1000)
    assert make_budget("auto", CPU).total == 500
    assert make_budget("auto", CPU, sharers=4).total == 125
    assert make_budget("7kB", CPU, sharers=4).total == 7000


def test_free_memory_is_less_than_the_machine_has():
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert 0 < free_memory() <= total


def test_a_control_group_bounds_the_free_memory(tmp_path, monkeypatch):
    (tmp_path / "limit").write_text("5000\n")
    (tmp_path / "used").write_text("2000\n")
    files = ((str(tmp_path / "limit"), str(tmp_path / "used")),)
    monkeypatch.setattr("dpbench.train.memory._CGROUPS", files)
    assert free_memory() == 3000
    (tmp_path / "limit").write_text("max\n")
    assert free_memory() > 5000
