import itertools

import numpy as np
import pytest

from dpbench.errors import TrainingError
from dpbench.train.order import BatchOrder, Shuffle, choose_shuffle

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


SMALL = Shuffle(kind="block", block_frames=4, buffer_blocks=3)
MANY = np.full(50, 8, dtype=np.int64)


def block_order(seed: int = 1, size: int = 5) -> BatchOrder:
    return BatchOrder(MANY, counted="frames", size=size, seed=seed, shuffle=SMALL)


def test_block_shuffle_shows_every_frame_once_an_epoch_out_of_few_blocks():
    seen, _ = epoch(block_order(), 0, len(MANY))
    assert sorted(seen) == list(range(len(MANY)))
    order = np.array(block_order()._draw(0).order)
    edges = block_order()._draw(0).edges
    for first, last in itertools.pairwise(edges):
        assert len({position // 4 for position in order[first:last]}) <= 3
    assert not np.array_equal(order[:12], np.sort(order[:12]))


def test_block_shuffle_depends_on_seed_and_step_alone():
    straight = block_order()
    batches = [straight.frames_of(step).tolist() for step in range(40)]
    blocks = [straight.blocks_of(step) for step in range(40)]
    resumed = block_order()
    assert [resumed.frames_of(step).tolist() for step in range(23, 40)] == batches[23:]
    assert [resumed.blocks_of(step) for step in range(23, 40)] == blocks[23:]
    assert [block_order(seed=2).frames_of(s).tolist() for s in range(40)] != batches


@pytest.mark.parametrize("size", [1, 5, 13, 60])
def test_blocks_are_named_before_they_are_needed_and_one_by_one(size):
    order = block_order(size=size)
    held: list[int] = []
    for step in range(120):
        named = order.blocks_of(step)
        needed = {position // 4 for position in order.frames_of(step).tolist()}
        assert needed <= set(named)
        assert len(named) <= 2 * 3 + 3 * (size // 12 + 1)
        if size == 1 and step:
            assert len(set(named) - set(held)) <= 1
        held = named


def test_global_shuffle_needs_no_blocks():
    assert BatchOrder(MANY, counted="frames", size=4, seed=1).blocks_of(7) == []


@pytest.mark.parametrize(
    ("setting", "is_near", "kind"),
    [
        ("auto", True, "global"),
        ("auto", False, "block"),
        ("global", False, "global"),
        ("block", True, "block"),
    ],
)
def test_blocks_are_shuffled_where_frames_are_far_or_it_is_asked_for(
    setting, is_near, kind
):
    shuffle = choose_shuffle(setting, is_near=is_near)
    assert shuffle.kind == kind
    assert (shuffle.block_frames, shuffle.buffer_blocks) == (256, 16)


@pytest.mark.parametrize("counted", ["frames", "atoms"])
@pytest.mark.parametrize("size", [1, 3, 12, 13, 500])
@pytest.mark.parametrize("least", [1, 2, 4])
def test_frames_of_one_size_are_cut_as_others_are(counted, size, least, monkeypatch):
    natoms = np.full(29, 6)
    options = {"counted": counted, "size": size, "seed": 3, "least_frames": least}
    quick = BatchOrder(natoms, **options)
    slow = BatchOrder(natoms, **options)
    monkeypatch.setattr(slow, "_uniform_edges", lambda count: [0])
    for step in range(60):
        found = quick.frames_of(step)
        assert np.array_equal(found, slow.frames_of(step))
        assert len(found) >= least


def test_no_batch_has_fewer_frames_than_ranks():
    natoms = np.array([200, 3, 3, 200, 3, 3, 3, 200, 3])
    order = BatchOrder(natoms, counted="atoms", size=64, seed=1, least_frames=3)
    assert not order.is_single
    assert min(len(order.frames_of(step)) for step in range(30)) >= 3
