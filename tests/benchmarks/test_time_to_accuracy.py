"""Which runs decide the ratio of times, and which do not."""

import argparse

import pytest

from benchmarks.time_to_accuracy.collect import NOMINAL, summary, words
from benchmarks.time_to_accuracy.ours import divisor


def peer(batch, seed, rmse, *, wall=3000.0):
    clocks = {"wall": wall, "cpu": 1100.0}
    run = {"side": "deepmd-tf", "budget_s": 1200, "batch": batch, "steps": 15000}
    return run | {"seed": seed, "force_rmse": rmse, "train": clocks}


def ours(budget, seed, rmse, *, settings="default"):
    clocks = {"wall": budget - 2.0, "cpu": budget - 3.0}
    run = {"side": "dpbench", "settings": settings, "budget_s": budget, "steps": 900}
    return run | {"seed": seed, "force_rmse": rmse, "train": clocks}


PEERS = [peer(b, s, 0.100 + b / 1000 + s / 1e5) for b in (1, 2) for s in (1, 2, 3)]
SEEDS = (1, 2, 3)


def test_the_longest_group_counts_though_a_shorter_one_is_as_accurate():
    own = [ours(t, s, 0.2 - t / 1000) for t in (60, 120, 240) for s in SEEDS]
    found = summary(PEERS + own, seeds=3)
    assert found["best_peer"] == "deepmd-tf batch 1 1200 s"
    assert found["target_force_rmse"] == pytest.approx(0.10102)
    assert (found["ours"], found["ours_chosen_by"]) == (
        "dpbench default 240 s",
        "length",
    )
    assert found["time_ratio"] == pytest.approx(1100 / 237)
    told = found["ours_by_length"]
    assert list(told) == [f"dpbench default {t} s" for t in (60, 120, 240)]
    assert [g["is_as_accurate"] for g in told.values()] == [False, True, True]
    assert [g["force_rmse_median"] for g in told.values()] == pytest.approx(
        [0.14, 0.08, -0.04]
    )


def test_a_named_group_counts_whatever_it_scored():
    own = [ours(t, s, 0.2 - t / 1000) for t in (60, 120, 240) for s in SEEDS]
    good = summary(PEERS + own, seeds=3, ours="dpbench default 120 s")
    assert good["time_ratio"] == pytest.approx(1100 / 117)
    bad = summary(PEERS + own, seeds=3, ours="dpbench default 60 s")
    assert "time_ratio" not in bad
    assert "0.1400 eV/Å, above" in bad["verdict"]
    unknown = summary(PEERS + own, seeds=3, ours="dpbench default")
    assert "there is no group" in unknown["verdict"]


def test_of_several_settings_one_must_be_named():
    own = [ours(60, s, 0.05, settings=name) for name in ("a", "b") for s in SEEDS]
    assert "must be named" in summary(PEERS + own, seeds=3)["verdict"]
    named = summary(PEERS + own, seeds=3, ours="dpbench b 60 s")
    assert named["time_ratio"] == pytest.approx(1100 / 57)


def test_the_smallest_ratio_of_like_clocks_is_the_result():
    own = [ours(60, s, 0.05) for s in SEEDS]
    found = summary(PEERS + own, seeds=3)
    ratios = found["ours_by_length"]["dpbench default 60 s"]["time_ratios"]
    assert ratios == pytest.approx({"wall": 3000 / 58, "cpu": 1100 / 57, "nominal": 20})
    assert (found["peer_seconds_are"], found["time_ratio_of"]) == ("wall", "cpu")
    slow = [run | {"train": {"wall": 300.0, "cpu": 57.0}} for run in own]
    found = summary(PEERS + slow, seeds=3)
    assert (found["time_ratio_of"], found["time_ratio"]) == ("wall", 10.0)


def test_a_nominal_budget_is_never_held_against_a_wall_time():
    nominal = [run | {"seconds": NOMINAL} for run in PEERS]
    busy = [ours(60, s, 0.05) for s in SEEDS]
    busy = [run | {"train": {"wall": 600.0, "cpu": 50.0}} for run in busy]
    found = summary(nominal + busy, seeds=3)
    assert found["peer_seconds_are"] == NOMINAL
    assert (found["time_ratio_of"], found["time_ratio"]) == ("nominal", 20.0)
    assert NOMINAL in found["verdict"]


def test_a_group_without_all_its_seeds_decides_nothing_but_is_told():
    own = [ours(60, s, 0.05) for s in SEEDS]
    lucky = [peer(8, 1, 0.001)]
    found = summary(PEERS + lucky + own, seeds=3)
    assert found["best_peer"] == "deepmd-tf batch 1 1200 s"
    assert found["better_peers_of_fewer_seeds"] == {"deepmd-tf batch 8 1200 s": 1}
    assert "batch 8 1200 s was better, but has 1 seeds only" in words(found)
    few = summary(PEERS + own + [ours(240, 1, 0.01)], seeds=3)
    assert "240 s has 1 of 3 seeds" in few["verdict"]
    assert "time_ratio" not in few


def test_the_median_decides_not_the_best_seed():
    own = [ours(60, 1, 0.01), ours(60, 2, 0.2), ours(60, 3, 0.2)]
    found = summary(PEERS + own, seeds=3)
    assert "time_ratio" not in found
    assert "0.2000 eV/Å, above" in found["verdict"]


def test_without_a_whole_peer_there_is_no_verdict():
    found = summary([peer(1, 1, 0.1), ours(60, 1, 0.05)], seeds=3)
    assert "time_ratio" not in found
    assert "no peer" in found["verdict"]


def test_a_part_of_the_budget_is_given_as_its_divisor():
    assert divisor("20") == 20
    for text in ("0.05", "0", "-3", "nan", "inf"):
        with pytest.raises(argparse.ArgumentTypeError, match="a twentieth"):
            divisor(text)
