import shutil
from dataclasses import fields

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dpbench.errors import ConfigError, DatasetError
from dpbench.frames import Frames, concatenate
from dpbench.store.dataset import open_dataset
from dpbench.store.segment import layout
from tests.store.synthetic import (
    commit,
    new_workspace,
    random_frames,
    segment_data,
    source_entry,
    trajectories,
)

LENGTHS = [5, 3, 4]


def equal(one: Frames, other: Frames) -> None:
    for field in fields(Frames):
        np.testing.assert_array_equal(
            getattr(one, field.name), getattr(other, field.name)
        )


@pytest.fixture(scope="module")
def version(tmp_path_factory):
    workspace = new_workspace(tmp_path_factory.mktemp("data"))
    segments = [
        segment_data(random_frames(i, range(1, n + 1)), [source_entry(f"s{i}")])
        for i, n in enumerate(LENGTHS)
    ]
    commit(workspace, "mix", *segments)
    return open_dataset(workspace, "mix")


@pytest.fixture(scope="module")
def everything():
    return concatenate(
        [random_frames(i, range(1, n + 1)) for i, n in enumerate(LENGTHS)]
    )


@given(index=st.lists(st.integers(0, sum(LENGTHS) - 1), max_size=20))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_frames_are_read_in_the_order_asked(version, everything, index):
    equal(version.read(index), everything.select(index))


@pytest.mark.parametrize("size", [1, 4, 100])
def test_blocks_cover_the_version_in_order(version, everything, size):
    blocks = list(version.blocks(size))
    np.testing.assert_array_equal(
        np.concatenate([index for index, _ in blocks]), np.arange(sum(LENGTHS))
    )
    equal(concatenate([frames for _, frames in blocks]), everything)


@pytest.mark.parametrize("index", [[-1], [0, 12], [10**12]])
def test_index_out_of_bounds_is_refused(version, index):
    with pytest.raises(DatasetError, match="expected 0 to 11"):
        version.read(index)


def test_facts_of_frames_and_sources(version, everything):
    np.testing.assert_array_equal(version.natoms, everything.natoms)
    assert version.source_of.tolist() == [0] * 5 + [1] * 3 + [2] * 4
    assert [source.path for source in version.sources] == [
        f"runs/s{i}.out" for i in range(3)
    ]
    assert [source.n_frames for source in version.sources] == LENGTHS
    assert version.symbols == everything.symbols
    assert sum(version.compositions.values()) == 12
    assert version.frame_digests.shape == (12, 32)


def test_float32_survives_and_mixes_into_float64(tmp_path):
    workspace = new_workspace(tmp_path)
    single = random_frames(0, [2, 2], dtype=np.float32)
    commit(workspace, "one", segment_data(single, [source_entry("a")]))
    assert open_dataset(workspace, "one").read([1]).coord.dtype == np.float32
    double = segment_data(random_frames(1, [2]), [source_entry("b")])
    commit(workspace, "one", double)
    mixed = open_dataset(workspace, "one").read([0, 2])
    assert mixed.coord.dtype == np.float64
    np.testing.assert_array_equal(mixed.coord[:2], single.coord[:2])


def test_frames_are_read_while_the_arrays_of_others_are_gone(tmp_path):
    workspace = new_workspace(tmp_path)
    trajectories(workspace, "runs", [4, 3])
    version = open_dataset(workspace, "runs")
    shutil.rmtree(version.segments[1].folder / layout.GROUP)
    version = open_dataset(workspace, "runs")
    assert version.read([0, 3]).nframes == 2
    assert len(version.natoms) == version.nframes == 7
    with pytest.raises(DatasetError, match="cannot be read"):
        version.read([4])


def test_newest_and_numbered_versions_are_found(tmp_path):
    workspace = new_workspace(tmp_path)
    trajectories(workspace, "water", [2])
    extra = segment_data(random_frames(9, [4]), [source_entry("extra")])
    commit(workspace, "water", extra)
    assert open_dataset(workspace, "water").label == "water-v2"
    assert open_dataset(workspace, "water-v1").nframes == 2
    with pytest.raises(DatasetError, match="versions 1 to 2"):
        open_dataset(workspace, "water-v3")
    with pytest.raises(DatasetError, match="did you mean 'water'"):
        open_dataset(workspace, "watr")
    with pytest.raises(ConfigError, match="NAME"):
        open_dataset(workspace, "a b")
