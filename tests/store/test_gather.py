import subprocess
import sys
import threading
from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dpbench.errors import DatasetError
from dpbench.frames import Frames, concatenate
from dpbench.store.dataset import open_dataset
from dpbench.store.gather.buffer import FrameBuffer, plain_memory
from dpbench.store.segment import layout
from tests.store.synthetic import (
    commit,
    new_workspace,
    random_frames,
    segment_data,
    source_entry,
    trajectories,
)

DTYPES = [np.float32, np.float32, np.float64]
SIZES = [[3, 1, 7, 2, 5, 9, 4], [11], [2, 6, 3, 8, 1]]


def equal(one: Frames, other: Frames) -> None:
    for field in fields(Frames):
        np.testing.assert_array_equal(
            getattr(one, field.name), getattr(other, field.name)
        )


def blocks():
    return [
        random_frames(i, sizes, dtype=dtype)
        for i, (sizes, dtype) in enumerate(zip(SIZES, DTYPES, strict=True))
    ]


@pytest.fixture(scope="module")
def version(tmp_path_factory):
    """Segments of both precisions, cut into shards that frames reach across."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layout, "CHUNK_ROWS", 2)
        patch.setattr(layout, "SHARD_ROWS", 4)
        workspace = new_workspace(tmp_path_factory.mktemp("gather"))
        segments = [
            segment_data(frames, [source_entry(f"s{i}")])
            for i, frames in enumerate(blocks())
        ]
        commit(workspace, "mix", *segments)
    version = open_dataset(workspace, "mix")
    shards = version.segments[0].arrays["coord"].views
    assert len(shards) == 8
    return version


@pytest.fixture(scope="module")
def everything():
    return concatenate(blocks())


@given(
    index=st.lists(st.integers(0, 12), max_size=40),
    more=st.lists(st.integers(0, 12), min_size=1, max_size=40),
)
@settings(deadline=None)
def test_one_buffer_gives_any_batches_in_the_order_asked(
    version, everything, index, more
):
    buffer = FrameBuffer()
    equal(version.read(index, buffer), everything.select(index))
    equal(version.read(more, out=buffer), everything.select(more))


def test_float32_stays_and_a_wide_segment_widens_the_buffer(version, everything):
    buffer = FrameBuffer()
    assert version.read([0, 3, 7], buffer).coord.dtype == np.float32
    mixed = version.read([0, 12], buffer)
    assert mixed.coord.dtype == mixed.force.dtype == np.float64
    equal(mixed, everything.select([0, 12]))
    equal(version.read([1, 2], buffer), everything.select([1, 2]))


def test_frames_are_views_of_a_buffer_that_does_not_grow_without_need(version):
    taken = []

    def allocate(size):
        taken.append(size)
        return plain_memory(size)

    buffer = FrameBuffer(allocate)
    first = version.read(range(6), buffer)
    count = len(taken)
    assert count == 8
    second = version.read([6, 1], buffer)
    assert len(taken) == count
    assert np.shares_memory(first.coord, second.coord)
    np.testing.assert_array_equal(first.coord[: len(second.coord)], second.coord)


def test_memory_that_a_buffer_cannot_use_is_refused(version):
    with pytest.raises(ValueError, match="aligned array of uint8"):
        version.read([0], FrameBuffer(lambda size: np.empty(size)))
    with pytest.raises(ValueError, match="aligned array of uint8"):
        version.read([0], FrameBuffer(lambda size: plain_memory(size + 1)[1:]))


@pytest.mark.parametrize("index", [[-1], [0, 13], [3, -(2**62)], [2**62]])
def test_index_out_of_bounds_is_refused_and_nothing_is_read(version, index):
    buffer = FrameBuffer()
    before = version.read([4], buffer).coord.copy()
    with pytest.raises(DatasetError, match="expected 0 to 12"):
        version.read(index, buffer)
    np.testing.assert_array_equal(version.read([4], buffer).coord, before)


def test_masked_rows_are_not_gathered(tmp_path):
    workspace = new_workspace(tmp_path)
    frames = random_frames(0, [3, 4, 5])
    commit(workspace, "d", segment_data(frames, [source_entry("a")]))
    both = concatenate([frames.select([1]), random_frames(1, [6])])
    commit(workspace, "d", segment_data(both, [source_entry("b")]))
    version = open_dataset(workspace, "d")
    assert version.nframes == 4
    found = version.read([3, 1], FrameBuffer())
    np.testing.assert_array_equal(found.coord[:6], random_frames(1, [6]).coord)


def test_facts_with_a_negative_size_are_refused(tmp_path):
    workspace = new_workspace(tmp_path)
    trajectories(workspace, "d", [3])
    path = open_dataset(workspace, "d").segments[0].folder / layout.FACTS
    facts = np.load(path)
    facts["natoms"] = [-100, 108, 4]
    np.save(path, facts)
    with pytest.raises(DatasetError, match="damaged"):
        open_dataset(workspace, "d").read([1], FrameBuffer())


def test_file_cut_while_it_is_mapped_is_named(tmp_path):
    workspace = new_workspace(tmp_path)
    trajectories(workspace, "d", [3])
    version = open_dataset(workspace, "d")
    version.read([0], FrameBuffer())
    shard = version.segments[0].folder / layout.GROUP / "atoms/force/c/0/0"
    with shard.open("r+b") as file:
        file.truncate(100)
    version._next_look = 0.0
    with pytest.raises(DatasetError, match="force/c/0/0: has 100 bytes"):
        version.read([0], FrameBuffer())
    shard.unlink()
    version._next_look = 0.0
    with pytest.raises(DatasetError, match="cannot be read"):
        version.read([0])


def test_threads_that_read_one_version_get_their_own_frames(tmp_path):
    workspace = new_workspace(tmp_path)
    trajectories(workspace, "d", [5] * 16)
    expected = open_dataset(workspace, "d").read(range(80))
    open_dataset(workspace, "d").read([0], FrameBuffer())  # compiles
    wrong = []

    def read(version, seed, start):
        rng, buffer = np.random.default_rng(seed), FrameBuffer()
        start.wait()
        try:
            for _ in range(3):
                index = rng.integers(0, 80, size=32)
                equal(version.read(index, buffer), expected.select(index))
        except Exception as error:
            wrong.append(error)

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for trial in range(25):
            fresh, start = open_dataset(workspace, "d"), threading.Barrier(3)
            threads = [
                threading.Thread(target=read, args=(fresh, 3 * trial + i, start))
                for i in range(3)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
    finally:
        sys.setswitchinterval(before)
    assert wrong == []


def test_maps_live_as_long_as_their_addresses(tmp_path):
    workspace = new_workspace(tmp_path)
    trajectories(workspace, "d", [3])
    version = open_dataset(workspace, "d")
    expected = version.read([2, 0]).coord
    version.read([0], FrameBuffer())
    (held,) = version._gather._table._held
    segment = version.segments[0]
    assert {id(array) for array in held} == {id(a) for a in segment.arrays.values()}
    segment._arrays.clear()  # as a second opening would replace them
    np.testing.assert_array_equal(version.read([2, 0], FrameBuffer()).coord, expected)


def test_plain_reading_loads_no_numba(tmp_path):
    workspace = new_workspace(tmp_path)
    trajectories(workspace, "d", [3])
    script = (
        "import sys; from pathlib import Path\n"
        "from dpbench.store.dataset import open_dataset\n"
        "from dpbench.store.workspace import Workspace\n"
        f"version = open_dataset(Workspace.find(Path({str(workspace.root)!r})), 'd')\n"
        "version.read([2, 0]), version.is_mapped\n"
        "assert not {'numba', 'llvmlite', 'zarr', 'torch'} & sys.modules.keys()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
