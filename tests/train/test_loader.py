import threading
from dataclasses import fields

import numpy as np
import pytest
import torch

from dpbench.errors import TrainingError
from dpbench.frames import Frames, uniform
from dpbench.store.dataset import open_dataset
from dpbench.train.loader import FrameCache, FramesInMemory, prefetch
from dpbench.train.loop import LoopState, _timed
from dpbench.train.resident import BatchMaker, pinned
from tests.store.synthetic import new_workspace, trajectories


@pytest.fixture
def frames() -> Frames:
    generator = np.random.default_rng(0)
    return uniform(
        z=[14] * 4,
        coord=generator.uniform(0, 4, (6, 4, 3)),
        box=np.tile(np.eye(3) * 4.0, (6, 1, 1)),
        energy=np.arange(6.0),
        force=generator.normal(size=(6, 4, 3)),
    )


class Counting:
    """A reader that remembers what was asked of it."""

    def __init__(self, frames: Frames) -> None:
        self.inner, self.asked = FramesInMemory(frames), []

    def read(self, indices: np.ndarray, out: object = None) -> Frames:
        self.asked.append(indices.tolist())
        return self.inner.read(indices)


def cache_of(reader: Counting, indices: list[int], **kwargs: int) -> FrameCache:
    index = np.array(indices, dtype=np.int64)
    natoms = np.full(len(index), 4, dtype=np.int64)
    return FrameCache(reader, index, natoms=natoms, rcut=3.0, **kwargs)


def test_only_frames_of_the_part_are_read(frames):
    reader = Counting(frames)
    cache = cache_of(reader, [5, 1, 3])
    found, _ = cache.read(np.array([0, 2]))
    assert found.energy.tolist() == [5.0, 3.0]
    assert {i for asked in reader.asked for i in asked} <= {5, 1, 3}


def test_batches_are_those_of_the_positions(frames):
    maker = BatchMaker(
        cache_of(Counting(frames), [5, 1, 3]),
        ("Si",),
        device=torch.device("cpu"),
        dtype=torch.float32,
    )
    batch = maker(np.array([1, 0]))
    assert batch.energy.tolist() == [1.0, 5.0]
    assert batch.edge_vec.dtype == torch.float32
    assert not batch.has_virial.any()


def test_prefetch_keeps_the_order():
    assert list(prefetch(lambda step: step * step, 3, 40)) == [
        step * step for step in range(3, 40)
    ]


def test_error_of_the_thread_rises_in_the_consumer():
    def make(step: int) -> int:
        if step == 5:
            raise ValueError("frame 5 is broken")
        return step

    stream = prefetch(make, 0, 10)
    assert [next(stream) for _ in range(5)] == list(range(5))
    with pytest.raises(ValueError, match="frame 5"):
        next(stream)


def test_positions_that_are_no_numbers_name_their_frame(frames):
    frames.coord[5, 1] = np.nan
    cache = cache_of(Counting(frames), [5, 1])
    with pytest.raises(TrainingError, match=r"frame 1 of the dataset.*NaN"):
        cache.read(np.array([1]))


def test_thread_ends_when_the_consumer_stops():
    stream = prefetch(lambda step: step, 0, 10**9)
    assert next(stream) == 0
    stream.close()
    assert not [t for t in threading.enumerate() if t.name == "dpbench-prefetch"]


def test_held_blocks_are_read_once_and_give_the_same_frames(frames):
    reader = Counting(frames)
    indices = [5, 1, 3, 0, 2]
    cache = cache_of(reader, indices, memory_budget=0, block_frames=2)
    cache.hold([0, 2])
    positions = np.array([1, 4, 0, 1])
    found, _ = cache.read(positions)
    assert found.energy.tolist() == [1.0, 2.0, 5.0, 1.0]
    cache.hold([2, 1])
    cache.read(np.array([4, 2]))
    assert reader.asked == [[5, 1], [2], [3, 0]]
    cache.read(np.array([0]))
    assert reader.asked[-1] == [5]


def test_frames_that_are_kept_are_never_read_in_blocks(frames):
    reader = Counting(frames)
    cache = cache_of(reader, [5, 1, 3])
    assert cache.keeps_frames
    cache.hold([0])
    assert reader.asked == []


def test_batches_of_a_dataset_outlive_the_buffer_they_were_read_into(tmp_path):
    workspace = new_workspace(tmp_path)
    trajectories(workspace, "d", [8], natoms=5)
    version = open_dataset(workspace, "d")
    index = np.arange(8)
    cache = FrameCache(version, index, natoms=version.natoms, rcut=3.0, memory_budget=0)
    maker = BatchMaker(
        cache, ("H", "C", "O", "Si"), device=torch.device("cpu"), dtype=torch.float64
    )
    batches = [maker(np.array([i, 7 - i])) for i in range(4)]
    for i, batch in enumerate(batches):
        expected = version.read([i, 7 - i])
        assert batch.energy.tolist() == expected.energy.tolist()
        np.testing.assert_array_equal(batch.force.numpy(), expected.force)
        assert batch.frame_offset.tolist() == expected.atom_offset.tolist()


def test_every_tensor_of_a_batch_is_pinned_for_the_device(frames, monkeypatch):
    batch = BatchMaker(
        cache_of(Counting(frames), [0]),
        ("Si",),
        device=torch.device("cpu"),
        dtype=torch.float64,
    )(np.array([0]))
    asked = []

    def pin(tensor):
        asked.append(tensor)
        return tensor.clone()

    monkeypatch.setattr(torch.Tensor, "pin_memory", pin)
    copy = pinned(batch)
    tensors = [v for f in fields(batch) if torch.is_tensor(v := getattr(batch, f.name))]
    assert [id(t) for t in asked] == [id(t) for t in tensors]
    assert torch.equal(copy.edge_vec, batch.edge_vec)
    assert copy.pair_offset == batch.pair_offset


def test_loop_counts_the_time_that_it_waits(monkeypatch):
    clock = iter([0.0, 3.0, 10.0, 10.5, 20.0, 20.25])
    monkeypatch.setattr("dpbench.train.loop.time.perf_counter", lambda: next(clock))
    state = LoopState()
    assert list(_timed(iter("ab"), state)) == ["a", "b"]
    assert state.waited == 3.75
