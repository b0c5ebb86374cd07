"""The strategies of splits, and twins that they must not part."""

import dataclasses
import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpbench.errors import DatasetError
from dpbench.store.dataset import open_dataset
from dpbench.store.splits.dealing import Duration
from dpbench.store.splits.making import make_split
from dpbench.store.splits.units import units
from tests.store.synthetic import (
    commit,
    new_workspace,
    random_frames,
    segment_data,
    source_entry,
    trajectories,
)

SHARES = {"train": 0.8, "validation": 0.1, "test": 0.1}


@pytest.fixture
def version(tmp_path):
    workspace = new_workspace(tmp_path)
    trajectories(workspace, "t", [12, 7, 9, 10, 8, 11])
    return open_dataset(workspace, "t")


def part_of_frames(split):
    return {int(i): name for name, index in split.parts.items() for i in index}


def test_source_strategy_parts_the_one_frame_files_of_a_folder(tmp_path):
    workspace = new_workspace(tmp_path)
    segments = [
        segment_data(
            random_frames(i, [3]),
            [source_entry(f"scf{i}", path=f"folder/scf{i}.out", n_read=1)],
        )
        for i in range(20)
    ]
    commit(workspace, "scf", *segments)
    version = open_dataset(workspace, "scf")
    split = make_split(version, strategy="source")
    assert split.strategy == "source"
    assert split.sizes == {"train": 16, "validation": 2, "test": 2}
    assert make_split(version).strategy == "block"


def test_composition_strategy_gives_whole_compositions_to_a_part(tmp_path):
    workspace = new_workspace(tmp_path)
    segments = [
        segment_data(random_frames(i, [2, 3, 2, 1] * 5), [source_entry(f"{i}")])
        for i in range(3)
    ]
    commit(workspace, "mix", *segments)
    version = open_dataset(workspace, "mix")
    split = make_split(version, strategy="composition")
    part_of = part_of_frames(split)
    seen = {}
    for i, formula in enumerate(version.formulas):
        seen.setdefault(formula, set()).add(part_of[i])
    assert all(len(parts) == 1 for parts in seen.values())
    assert set(part_of.values()) == set(SHARES)


def test_too_few_groups_are_refused_where_the_user_named_the_strategy(tmp_path):
    workspace = new_workspace(tmp_path)
    trajectories(workspace, "t", [20, 20])
    version = open_dataset(workspace, "t")
    with pytest.raises(DatasetError, match="has 2 groups to deal by source"):
        make_split(version, strategy="source")


def test_time_strategy_trains_on_what_comes_first(tmp_path):
    workspace = new_workspace(tmp_path)
    trajectories(workspace, "t", [12, 17, 9, 10, 18, 11])
    version = open_dataset(workspace, "t")
    split = make_split(version, strategy="time", gap=1)
    for source in range(6):
        steps = {
            part: version.step[index[version.source_of[index] == source]]
            for part, index in split.parts.items()
        }
        assert steps["train"].min() == 0
        assert steps["train"].max() + 1 < steps["validation"].min()
        assert steps["validation"].max() + 1 < steps["test"].min()
    assert split.parameters["n_in_gaps"] == 12
    assert split.parameters["gap"] == 1


def test_a_folder_of_one_frame_files_is_cut_by_the_numbers_of_its_files(tmp_path):
    workspace = new_workspace(tmp_path)
    order = (7, 3, 10, 29, *range(11, 29), 0, 1, 2, 4, 5, 6, 8, 9)
    segments = [
        segment_data(
            random_frames(i, [3]),
            [source_entry(f"scf{i}", path=f"folder/scf{i}.out", n_read=1)],
        )
        for i in order
    ]
    commit(workspace, "scf", *segments)
    version = open_dataset(workspace, "scf")
    split = make_split(version, strategy="time", gap=2)

    def numbers(part):
        paths = [version.sources[version.source_of[i]].path for i in split.part(part)]
        return sorted(int(p.removeprefix("folder/scf").split(".")[0]) for p in paths)

    assert numbers("train") == list(range(22))
    assert numbers("validation") == [24, 25]
    assert numbers("test") == [28, 29]


def test_a_trajectory_too_short_for_the_gap_goes_to_one_part(tmp_path):
    workspace = new_workspace(tmp_path)
    trajectories(workspace, "t", [8, 60])
    version = open_dataset(workspace, "t")
    for strategy in ("block", "time"):
        split = make_split(version, strategy=strategy, gap=5)
        short = np.flatnonzero(version.source_of == version.source_of[0])
        if version.sources[0].n_frames != 8:
            short = np.flatnonzero(version.source_of != version.source_of[0])
        assert set(short) <= set(split.part("train"))
        assert split.parameters["n_in_gaps"] == 10


@pytest.mark.parametrize("strategy", ["source", "composition", "random"])
def test_a_gap_is_refused_where_it_means_nothing(version, strategy):
    with pytest.raises(DatasetError, match=r"gap of 3 .* expected a gap"):
        make_split(version, strategy=strategy, gap=3)


def test_random_strategy_measures_how_it_parts_neighbours(version):
    split = make_split(version, strategy="random", seed=2)
    assert split.sizes == {"train": 47, "validation": 5, "test": 5}
    shares = split.parameters["neighbours_in_train"]
    assert set(shares) == {"validation", "test"}
    beside = 0
    train = set(split.part("train").tolist())
    for i in split.part("test").tolist():
        near = [
            j
            for j in (i - 1, i + 1)
            if 0 <= j < version.nframes and version.source_of[j] == version.source_of[i]
        ]
        beside += any(j in train for j in near)
    assert shares["test"] == beside / 5


def test_random_split_does_not_depend_on_the_order_of_ingest(tmp_path):
    digests = set()
    for n, order in enumerate(((0, 1, 2), (2, 1, 0))):
        workspace = new_workspace(tmp_path / str(n))
        for i in order:
            data = segment_data(random_frames(i, [2] * 9), [source_entry(f"{i}")])
            commit(workspace, "t", data)
        split = make_split(open_dataset(workspace, "t"), strategy="random", seed=1)
        digests.add(split.digest)
    assert len(digests) == 1


def test_few_twins_are_set_aside_and_training_gives_way(version):
    split = make_split(version, seed=1)
    train, test = split.part("train"), split.part("test")
    twins = np.array([[train[0], test[3]], [train[5], train[0]], [train[7], train[8]]])
    kept = make_split(version, seed=1, joined=twins)
    assert kept.part("test").tolist() == test.tolist()
    assert set(train.tolist()) - set(kept.part("train").tolist()) == {
        train[0],
        train[5],
    }
    assert kept.parameters["n_set_aside"] == 2
    assert kept.parameters["twins"] == "kept on one side"
    assert split.parameters["twins"] == "not looked for"


def test_groups_that_hold_the_same_structures_are_dealt_as_one(version):
    one, two = (np.flatnonzero(version.source_of == s) for s in (0, 3))
    shorter = min(len(one), len(two))
    twins = np.stack([one[:shorter], two[:shorter]], axis=1)
    for seed in range(6):
        split = make_split(version, seed=seed, joined=twins)
        part_of = part_of_frames(split)
        assert len({part_of[int(i)] for i in (*one, *two)}) == 1
        assert split.parameters["n_groups_less_twins"] == 5
        assert split.parameters["n_set_aside"] == 0


def test_twins_of_held_out_frames_leave_training(version):
    held = {"test": ["*run1.out"]}
    split = make_split(version, hold_out=held, seed=1)
    twins = np.array([[split.part("train")[4], split.part("test")[0]]])
    kept = make_split(version, hold_out=held, seed=1, joined=twins)
    assert len(kept.part("train")) == len(split.part("train")) - 1
    assert kept.part("test").tolist() == split.part("test").tolist()


def test_a_part_emptied_of_twins_is_refused(tmp_path):
    workspace = new_workspace(tmp_path)
    trajectories(workspace, "t", [5, 5])
    version = open_dataset(workspace, "t")
    twins = np.stack([np.zeros(9, np.int64), np.arange(1, 10)], axis=1)
    with pytest.raises(DatasetError, match="twins of frames in later parts"):
        make_split(version, strategy="block", joined=twins)


@given(
    n=st.integers(2, 40),
    pairs=st.lists(st.tuples(st.integers(0, 39), st.integers(0, 39)), max_size=40),
)
def test_units_are_the_connected_sets_of_twins(n, pairs):
    pairs = [(a % n, b % n) for a, b in pairs]
    sets = [{i} for i in range(n)]
    for a, b in pairs:
        one = next(s for s in sets if a in s)
        two = next(s for s in sets if b in s)
        if one is not two:
            sets.remove(two)
            one |= two
    expected = [min(next(s for s in sets if i in s)) for i in range(n)]
    found = units(n, np.array(pairs, dtype=np.int64).reshape(-1, 2))
    assert found.tolist() == expected


def test_a_gap_in_time_is_counted_by_the_time_step_of_each_file(tmp_path):
    workspace = new_workspace(tmp_path)
    segments = []
    for i, (length, time_step, stride) in enumerate(((60, 2.0, 1), (60, 0.5, 10))):
        source = source_entry(f"run{i}", n_read=length, time_step=time_step)
        data = segment_data(random_frames(i, [2] * length), [source])
        segments.append(dataclasses.replace(data, step=data.step * stride))
    commit(workspace, "t", *segments)
    version = open_dataset(workspace, "t")
    split = make_split(version, strategy="time", gap=Duration(fs=9.0))
    assert split.parameters["gap"] == "9 fs"
    for number, source in enumerate(version.sources):
        times = [
            version.step[index[version.source_of[index] == number]] * source.time_step
            for index in split.parts.values()
        ]
        for before, after in itertools.pairwise(times):
            distance = after.min() - before.max()
            assert 9.0 < distance <= 9.0 + 2 * source.time_step * 10


def test_a_gap_in_time_needs_time_steps(version):
    with pytest.raises(DatasetError, match=r"gap of 20 fs: .*run.*tells no time step"):
        make_split(version, strategy="block", gap=Duration(fs=20.0))
    with pytest.raises(DatasetError, match=r"gap of 20 fs with strategy 'random'"):
        make_split(version, strategy="random", gap=Duration(fs=20.0))
