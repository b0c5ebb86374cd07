import dataclasses
import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpbench.errors import DatasetError
from dpbench.store import objects
from dpbench.store.dataset import open_dataset
from dpbench.store.masks import to_ranges
from dpbench.store.splits.dealing import by_block, by_group
from dpbench.store.splits.groups import Group
from dpbench.store.splits.making import (
    default_split,
    find_split,
    list_splits,
    make_split,
    named_split,
    save_split,
)
from dpbench.store.splits.parts import open_part
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


def groups_of(lengths):
    edges = np.concatenate([[0], np.cumsum(lengths)])
    return [
        Group(key=str(i), frames=np.arange(a, b))
        for i, (a, b) in enumerate(itertools.pairwise(edges))
    ]


@given(
    lengths=st.lists(st.integers(1, 50), min_size=3, max_size=12),
    seed=st.integers(0, 1000),
)
def test_whole_groups_go_to_parts_and_none_is_empty(lengths, seed):
    groups = groups_of(lengths)
    parts = by_group(groups, SHARES, seed)
    part_of = {int(i): name for name, index in parts.items() for i in index}
    assert len(part_of) == sum(lengths)
    assert set(part_of.values()) == set(SHARES)
    for group in groups:
        assert len({part_of[int(i)] for i in group.frames}) == 1


@given(
    lengths=st.lists(st.integers(1, 300), min_size=1, max_size=4),
    seed=st.integers(0, 1000),
)
def test_blocks_are_contiguous_with_gaps_between(lengths, seed):
    groups = groups_of(lengths)
    parts = by_block(groups, SHARES, seed)
    everything = np.concatenate(list(parts.values()))
    assert len(set(everything.tolist())) == len(everything)
    for group in groups:
        blocks = [np.intersect1d(index, group.frames) for index in parts.values()]
        blocks = sorted((b for b in blocks if len(b)), key=lambda b: b[0])
        assert all((np.diff(block) == 1).all() for block in blocks)
        if len(group.frames) >= 20:
            for one, next_one in itertools.pairwise(blocks):
                assert next_one[0] - one[-1] > 1


def test_one_long_trajectory_is_not_lost_to_a_small_part():
    for seed in range(20):
        parts = by_group(groups_of([1000, 20, 20, 20]), SHARES, seed)
        assert len(parts["train"]) >= 1000


def test_split_is_reproduced_by_its_seed_and_changed_by_another(version):
    assert make_split(version, seed=1).digest == make_split(version, seed=1).digest
    assert len({make_split(version, seed=s).digest for s in range(8)}) > 1


def test_digest_and_parts_do_not_depend_on_the_order_of_ingest(version, tmp_path):
    split = make_split(version, seed=3)
    workspace = new_workspace(tmp_path / "other")
    for i in (4, 0, 5, 2, 1, 3):
        length = [12, 7, 9, 10, 8, 11][i]
        source = source_entry(f"t-run{i}", n_read=length)
        commit(workspace, "t", segment_data(random_frames(i, [4] * length), [source]))
    other = open_dataset(workspace, "t")
    assert other.digest == version.digest
    assert make_split(other, seed=3).digest == split.digest


def test_filed_split_is_carried_over_to_equal_content_in_another_order(tmp_path):
    workspace = new_workspace(tmp_path)
    for name, order in (("one", (0, 1, 2)), ("two", (2, 0, 1))):
        for i in order:
            data = segment_data(
                random_frames(i, [2] * (i + 3)), [source_entry(f"{i}", n_read=i + 3)]
            )
            commit(workspace, name, data)
    one, two = open_dataset(workspace, "one"), open_dataset(workspace, "two")
    split = make_split(one)
    save_split(one, split)
    found = find_split(two)
    assert found.digest == split.digest
    for part, index in split.parts.items():
        np.testing.assert_array_equal(
            np.sort(one.read(index).energy), np.sort(two.read(found.part(part)).energy)
        )


def test_held_out_sources_go_whole_to_their_part(version):
    split = make_split(
        version, hold_out={"test": ["*run1.out"], "ood": ["runs/*run[34].out"]}
    )
    assert set(split.sizes) == {"train", "validation", "test", "ood"}
    source_of = version.source_of
    assert set(source_of[split.part("test")].tolist()) == {1}
    assert set(source_of[split.part("ood")].tolist()) == {3, 4}
    assert sum(split.sizes.values()) == version.nframes
    shares = split.parameters["fractions"]
    assert shares == pytest.approx({"train": 8 / 9, "validation": 1 / 9})


def test_faulty_patterns_are_refused(version):
    with pytest.raises(DatasetError, match="fits no source"):
        make_split(version, hold_out={"test": ["*nothing*"]})
    with pytest.raises(DatasetError, match="in part 'test' already"):
        make_split(version, hold_out={"test": ["*run1*"], "ood": ["*run[12]*"]})


def test_too_few_trajectories_are_cut_into_blocks_and_it_is_said(tmp_path):
    workspace = new_workspace(tmp_path)
    trajectories(workspace, "t", [100, 50])
    split = make_split(open_dataset(workspace, "t"))
    assert split.strategy == "block"
    assert split.parameters["asked"] == (
        "whole trajectories, but 2 trajectories are too few for 3 parts: each was cut "
        "into blocks"
    )
    assert split.parameters["n_in_gaps"] == 4
    assert sum(split.sizes.values()) == 146


def test_too_few_frames_are_refused(tmp_path):
    workspace = new_workspace(tmp_path)
    trajectories(workspace, "t", [2])
    with pytest.raises(DatasetError, match="too few for the parts"):
        make_split(open_dataset(workspace, "t"))


def test_one_frame_files_of_a_folder_stay_together(tmp_path):
    workspace = new_workspace(tmp_path)
    segments = []
    for i in range(12):
        path = f"folder{i % 4}/scf{i}.out"
        source = source_entry(f"scf{i}", path=path, n_read=1)
        segments.append(segment_data(random_frames(i, [3]), [source]))
    commit(workspace, "scf", *segments)
    version = open_dataset(workspace, "scf")
    split = make_split(version)
    assert split.strategy == "trajectory"
    folders = {
        part: {version.sources[i].path.split("/")[0] for i in version.source_of[index]}
        for part, index in split.parts.items()
    }
    assert sum(map(len, folders.values())) == 4


def test_splits_are_filed_and_found(version):
    assert find_split(version) is None
    split = default_split(version)
    assert default_split(version).digest == split.digest
    assert len(list_splits(version)) == 1
    found = find_split(version, split.digest)
    for field in dataclasses.fields(found):
        if field.name != "parts":
            assert getattr(found, field.name) == getattr(split, field.name)
    for part, index in split.parts.items():
        np.testing.assert_array_equal(found.part(part), index)
    assert find_split(version, "dpb1:other") is None
    default_split(version, seed=5)
    with pytest.raises(DatasetError, match="has 2 splits"):
        find_split(version)
    assert len(objects.all_of(version.workspace, "split")) == 2


def test_unknown_part_is_named(version):
    with pytest.raises(DatasetError, match="no part 'tset'; it has train"):
        make_split(version).part("tset")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"strategy": "best"}, "strategy 'best' is unknown"),
        ({"fractions": {"train": 1.5}}, "numbers in 0 to 1"),
        ({"fractions": {}}, "too few for the parts"),
    ],
)
def test_faulty_options_are_refused(version, options, message):
    with pytest.raises(DatasetError, match=message):
        make_split(version, **options)


def test_splits_are_found_by_name_and_by_the_start_of_their_digest(version):
    one = make_split(version, seed=0, name="by-run")
    two = make_split(version, strategy="block")
    for split in (one, two):
        save_split(version, split)
    assert named_split(version, "by-run").digest == one.digest
    assert named_split(version, one.digest[:12]).names == ("by-run",)
    assert named_split(version, two.digest[5:13]).names == ()
    with pytest.raises(DatasetError, match=r"0 splits .* it has .*by-run \(dpb1:"):
        named_split(version, "by-file")
    with pytest.raises(DatasetError, match="2 splits"):
        named_split(version, "dpb1:")
    with pytest.raises(DatasetError, match=r"has 2 splits .*Name the one"):
        find_split(version)


def test_a_name_is_given_once_and_a_split_may_have_two(version):
    split = make_split(version, name="one")
    save_split(version, split)
    save_split(version, split)
    save_split(version, dataclasses.replace(split, names=("two",)))
    (found,) = list_splits(version)
    assert found.names == ("one", "two")
    with pytest.raises(DatasetError, match="is the name of another split"):
        save_split(version, make_split(version, seed=3, name="one"))
    with pytest.raises(DatasetError, match="is no name"):
        save_split(version, make_split(version, name="-no"))


def test_what_was_measured_is_found_whichever_object_has_it(version):
    split = make_split(version)
    save_split(version, split)
    measured = {"test": {"exact": 0}}
    save_split(version, dataclasses.replace(split, leakage=measured))
    assert find_split(version).leakage == measured
    assert len(list_splits(version)) == 1


def test_splits_of_the_first_format_are_read(version):
    split = make_split(version)
    old = {
        "format": 1,
        "digest": split.digest,
        "dataset_digest": version.digest,
        "version": version.object_id,
        "dataset": version.label,
        "strategy": "trajectory",
        "seed": 0,
        "parameters": {"fractions": {"train": 1.0}, "hold_out": {}, "n_in_gaps": 0},
        "sizes": split.sizes,
        "parts": {name: to_ranges(index) for name, index in split.parts.items()},
    }
    objects.put(version.workspace, "split", old)
    found = find_split(version)
    assert (found.digest, found.names, found.leakage) == (split.digest, (), None)
    assert found.part("test").tolist() == split.part("test").tolist()
    objects.put(version.workspace, "split", old | {"format": 99})
    with pytest.raises(DatasetError, match="Update dpbench"):
        find_split(version)


def test_parts_are_opened_as_users_name_them(version):
    workspace = version.workspace
    with pytest.raises(DatasetError, match="has no split yet"):
        open_part(workspace, "t:test")
    save_split(version, make_split(version, name="one"))
    whole = open_part(workspace, "t")
    assert (whole.label, len(whole.frames)) == ("t-v1", version.nframes)
    part = open_part(workspace, "t-v1:test", split="one")
    assert part.label == "t-v1:test"
    assert part.frames.tolist() == part.split.part("test").tolist()
    assert open_part(workspace, "t:all").split is None
    with pytest.raises(DatasetError, match="no part 'tset'"):
        open_part(workspace, "t:tset")


@pytest.mark.parametrize("fractions", [{"train": 0.5, "test": 0.6}, {"train": 0.8}])
def test_fractions_that_do_not_sum_to_one_are_refused(version, fractions):
    with pytest.raises(DatasetError, match=r"sum to .*; expected 1\. Change one"):
        make_split(version, fractions=fractions)
