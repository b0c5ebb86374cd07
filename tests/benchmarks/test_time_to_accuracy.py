"""Which runs decide the ratio of times, and which do not."""

import pytest

from benchmarks.time_to_accuracy.collect import summary


def peer(batch, seed, rmse, *, wall=3000.0):
    clocks = {"wall": wall, "cpu": 1100.0}
    run = {"side": "deepmd-tf", "budget_s": 1200, "batch": batch, "steps": 15000}
    return run | {"seed": seed, "force_rmse": rmse, "train": clocks}


def ours(budget, seed, rmse, *, settings="default"):
    clocks = {"wall": budget - 2.0, "cpu": budget - 3.0}
    run = {"side": "dpbench", "settings": settings, "budget_s": budget, "steps": 900}
    return run | {"seed": seed, "force_rmse": rmse, "train": clocks}


PEERS = [peer(b, s, 0.100 + b / 1000 + s / 1e5) for b in (1, 2) for s in (1, 2, 3)]


def test_the_shortest_group_that_is_as_accurate_decides():
    own = [ours(t, s, 0.2 - t / 1000) for t in (60, 120, 240) for s in (1, 2, 3)]
    found = summary(PEERS + own, seeds=3)
    assert found["best_peer"] == "deepmd-tf batch 1 1200 s"
    assert found["target_force_rmse"] == pytest.approx(0.10102)
    assert found["fastest"] == "dpbench default 120 s"
    # The peer's time is its budget: the machine may have been busy.
    assert found["time_ratio"] == pytest.approx(1200 / 118)


def test_a_group_without_all_its_seeds_decides_nothing():
    own = [ours(60, 1, 0.01), *(ours(240, s, 0.05) for s in (1, 2, 3))]
    lucky = [peer(8, 1, 0.001)]
    found = summary(PEERS + lucky + own, seeds=3)
    assert found["best_peer"] == "deepmd-tf batch 1 1200 s"
    assert found["fastest"] == "dpbench default 240 s"
    assert "deepmd-tf batch 8 1200 s" in found["groups"]


def test_the_median_decides_not_the_best_seed():
    own = [ours(60, 1, 0.01), ours(60, 2, 0.2), ours(60, 3, 0.2)]
    found = summary(PEERS + own, seeds=3)
    assert "time_ratio" not in found
    assert "no own group" in found["verdict"]


def test_without_a_whole_peer_there_is_no_verdict():
    found = summary([peer(1, 1, 0.1), ours(60, 1, 0.05)], seeds=3)
    assert "time_ratio" not in found
    assert "no peer" in found["verdict"]
