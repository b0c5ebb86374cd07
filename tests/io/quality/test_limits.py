"""Where the checks of quality stop, and what they say of it."""

import tracemalloc
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from dpbench.io.quality import duplicates
from dpbench.io.quality.exclude import exclude
from dpbench.io.quality.groups import groups
from dpbench.io.quality.steps import SHIFTS, Steps
from dpbench.io.quality.thresholds import Thresholds
from dpbench.io.quality.trajectories import judge_trajectory
from dpbench.io.quality.volumes import VolumeData, judge_volumes
from tests.io.quality.faulty_sets import FCC, appended, judged, labelled
from tests.io.quality.twin_makers import npy_runs, one_frame, small_steps, twin_of


@pytest.fixture(scope="module")
def silicon(shared_data):
    """Three runs of silicon, 60 frames each."""
    names = ("si8_a540_300K", "si8_a540_900K", "si8_a540_1500K")
    runs = dict(npy_runs(shared_data, "si8_qe_lda"))
    return {name: runs[name].select(np.arange(60)) for name in names}


def test_steps_of_one_file_are_no_twins_but_its_copies_are(tmp_path, silicon):
    start = one_frame(silicon["si8_a540_300K"], 0)
    creep = small_steps(start, 6, 1e-5)
    rng = np.random.default_rng(1)
    wrapped = replace(start, coord=start.coord + start.box[0, 0])
    run = appended(creep, start, wrapped, twin_of(start, rng))
    run = replace(run, energy=run.energy + 1e-3 * np.arange(9))
    _, quality = judged(tmp_path, {"run": run})
    of = quality.values["duplicate_of"]
    assert of.tolist() == [-1] * 6 + [0, 0, 0]
    assert quality.of("duplicate_exact").tolist() == [6]
    assert quality.of("duplicate_invariant").tolist() == [7, 8]


def test_steps_of_one_file_do_not_use_up_the_confirmations(
    tmp_path, silicon, monkeypatch
):
    monkeypatch.setattr(duplicates, "MOST_CONFIRMED", 1)
    creep = small_steps(one_frame(silicon["si8_a540_300K"], 0), 6, 1e-5)
    _, quality = judged(tmp_path, {"run": creep})
    assert quality.counts["duplicate_invariant"] == 0
    assert quality.checks["twins"]["steps"] == quality.checks["twins"]["proposed"] > 1


def test_excluding_twins_tests_those_that_were_not_confirmed(
    tmp_path, silicon, monkeypatch, caplog
):
    monkeypatch.setattr(duplicates, "MOST_CONFIRMED", 0)
    run = silicon["si8_a540_300K"]
    twins = [twin_of(one_frame(run, i), np.random.default_rng(i)) for i in range(2)]
    version, quality = judged(tmp_path, {"run": run, "twins": appended(*twins)})
    assert quality.checks["twins"]["unconfirmed_frames"] == [60, 61]
    # As if the second had been another structure with such a fingerprint.
    quality.values["duplicate_of"][61] = 5
    options = {"created_at": "2026-01-02T00:00:00+00:00"}
    made = exclude(version, quality, ["duplicate_invariant"], **options)
    assert made.nframes == 61
    assert "of 2 unconfirmed twins 1 are other structures" in caplog.text


def test_the_most_frequent_stride_is_compared(tmp_path, silicon):
    run = silicon["si8_a540_300K"]
    # Two strides, of 1 and of 2, as often: their median is no stride at all.
    kept = np.concatenate([np.arange(0, 11), np.arange(12, 32, 2)])
    steps = Steps(
        work=np.ones((len(kept), len(SHIFTS))),
        moved=np.append(np.full(len(kept) - 1, 0.01), np.nan),
        strained=np.zeros(len(kept), dtype=np.bool_),
    )
    verdict = judge_trajectory(
        run.energy[kept], kept, steps, thresholds=Thresholds(), natoms=8
    )
    assert verdict.cause != "no atom moves"
    assert verdict.n_steps > 0


def test_a_set_of_structures_is_called_no_trajectory(tmp_path):
    rng = np.random.default_rng(2)
    coords = np.stack([rng.permutation(FCC) * 3.7 for _ in range(20)])
    coords += rng.normal(0, 0.05, coords.shape)
    _, quality = judged(tmp_path, {"set": labelled(coords, [3.7 * np.eye(3)] * 20)})
    (entry,) = [s for s in quality.checks["skipped"] if s["check"] == "trajectory"]
    assert entry["reason"].startswith("not a trajectory")


def test_shapes_beyond_the_most_are_said():
    shapes = np.repeat(np.linspace(0.8, 1.6, 40), 5)
    data = VolumeData(
        energy=np.full(200, -5.0),
        volume=np.tile(np.linspace(95, 105, 5), 40),
        pressure=np.full(200, 30.0),
        force_rms=np.zeros(200),
        shape=shapes[:, None] * [1, 1, 1],
    )
    found = judge_volumes(data, Thresholds(), natoms=4)
    assert sum(len(rows) for rows, _ in found) == 200
    assert found[-1][1].cause == "more than 20 shapes of cells"
    assert found[-1][1].n_frames == len(found[-1][0]) == 100


def test_groups_of_many_frames_take_little_memory():
    version = SimpleNamespace(
        nframes=20_000,
        charge=np.full(20_000, np.nan),
        multiplicity=np.full(20_000, -1),
        source_of=np.zeros(20_000, dtype=np.int64),
        sources=[SimpleNamespace(theory_id="a" * 64, theory={"code": "vasp"})],
        formulas=("Al64Mg36", "Al63Mg37") * 10_000,
    )
    tracemalloc.start()
    found = dict(groups(version, by_formula=True))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [group.formula for group in found] == ["Al63Mg37", "Al64Mg36"]
    assert [len(members) for members in found.values()] == [10_000, 10_000]
    assert peak / 20_000 < 120  # bytes a frame
