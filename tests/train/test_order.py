import numpy as np
import pytest

from dpbench.errors import TrainingError
from dpbench.train.order import BatchOrder

MIXED = np.array([2, 8, 192, 3, 24, 24, 5, 8, 8], dtype=np.int64)


def epoch(order: BatchOrder, first: int, nframes: int) -> tuple[np.ndarray, int]:
    """Frames of an epoch that begins at step ``first``, and the step after it."""
    seen, step = [], first
    while len(seen) < nframes:
        seen.extend(order.frames_of(step).tolist())
        step += 1
    return np.array(seen), step


@pytest.mark.parametrize(("counted", "size"), [("frames", 2), ("atoms", 32)])
def test_every_frame_occurs_once_an_epoch(counted, size):
    order = BatchOrder(MIXED, counted=counted, size=size, seed=1)
    first, step = epoch(order, 0, len(MIXED))
    second, _ = epoch(order, step, len(MIXED))
    assert sorted(first) == sorted(second) == list(range(len(MIXED)))
    assert first.tolist() != second.tolist()
    assert step == order.steps_per_epoch()


def test_order_depends_on_seed_and_step_alone():
    straight = BatchOrder(MIXED, counted="atoms", size=16, seed=3)
    batches = [straight.frames_of(step).tolist() for step in range(40)]
    resumed = BatchOrder(MIXED, counted="atoms", size=16, seed=3)
    assert [resumed.frames_of(step).tolist() for step in range(25, 40)] == batches[25:]
    assert straight.frames_of(7).tolist() == batches[7]
    other = BatchOrder(MIXED, counted="atoms", size=16, seed=4)
    assert [other.frames_of(step).tolist() for step in range(40)] != batches


def test_batches_hold_at_least_the_atoms_asked_for():
    order = BatchOrder(np.full(20, 8, dtype=np.int64), counted="atoms", size=32, seed=1)
    assert [len(order.frames_of(step)) for step in range(5)] == [4] * 5


def test_a_small_rest_joins_the_batch_before_it():
    order = BatchOrder(np.full(9, 8, dtype=np.int64), counted="frames", size=4, seed=1)
    assert [len(order.frames_of(step)) for step in range(4)] == [4, 5, 4, 5]
    order = BatchOrder(np.full(10, 8, dtype=np.int64), counted="frames", size=4, seed=1)
    assert [len(order.frames_of(step)) for step in range(3)] == [4, 4, 2]


def test_fewer_frames_than_a_batch_are_one_batch():
    order = BatchOrder(np.full(3, 8, dtype=np.int64), counted="frames", size=8, seed=1)
    assert sorted(order.frames_of(5)) == [0, 1, 2]


def test_no_training_frame_is_an_error():
    with pytest.raises(TrainingError, match="no training frame"):
        BatchOrder(np.zeros(0, dtype=np.int64), counted="frames", size=1, seed=1)
