"""Errors kept in a record: the metric comes back from them, and nothing else pairs."""

from dataclasses import replace

import numpy as np
import pytest

from dpbench.config import from_mapping, to_mapping
from dpbench.errors import ConfigError
from dpbench.eval.error_series import PAIRED, in_order_of_time, metric_series
from dpbench.eval.task_results import ErrorSeries
from dpbench.metrics.blocks import estimate
from dpbench.metrics.frame_errors import frame_errors
from dpbench.metrics.rows import MOST_ROWS
from tests.metrics.frames_for_metrics import random_frames, random_predictions

FLOAT32 = 1e-6
"""Relative: what the kept numbers are good for."""


def kept(nframes=60, *, seed=1, trajectory=None, position=None, unlabelled=0):
    frames = random_frames(nframes=nframes)
    predictions = random_predictions(frames, seed=seed)
    if unlabelled:
        energy = frames.energy.copy()
        energy[:unlabelled] = np.nan
        frames = replace(frames, energy=energy)
    errors = frame_errors(frames, predictions, elements=("H", "O"))
    trajectory = np.arange(nframes) // 20 if trajectory is None else trajectory
    position = np.arange(nframes) if position is None else position
    digests = np.arange(nframes * 32).reshape(nframes, 32).astype(np.uint8)
    in_time = in_order_of_time(errors, trajectory, position)
    return in_time, in_time.series(digests)


@pytest.mark.parametrize("unlabelled", [0, 7])
@pytest.mark.parametrize("nframes", [60, 3 * MOST_ROWS])
def test_metric_and_interval_come_back_from_the_kept_errors(nframes, unlabelled):
    in_time, series = kept(nframes, unlabelled=unlabelled)
    metrics = {metric.name: metric for metric in in_time.metrics()}
    for name in PAIRED:
        found = metric_series(series, name)
        assert found.value() == pytest.approx(metrics[name].value, rel=FLOAT32)
        again = estimate([found])
        assert again.nblocks == metrics[name].nblocks
        assert again.low == pytest.approx(metrics[name].ci_low, rel=1e-4)


def test_a_series_survives_a_record():
    _, series = kept()
    assert from_mapping(ErrorSeries, to_mapping(series), where="errors") == series


def test_however_many_frames_there_are_the_series_stays_small():
    _, series = kept(5 * MOST_ROWS)
    assert sum(map(len, series.columns.values())) < 100_000
    _, single = kept(3 * MOST_ROWS, trajectory=np.arange(3 * MOST_ROWS))
    assert len(single.lengths) <= MOST_ROWS


def test_frames_are_put_in_the_order_of_time_whatever_their_order_was():
    """Two models scored in another order of the same frames still pair."""
    nframes = 60
    frames = random_frames(nframes=nframes)
    errors = frame_errors(frames, random_predictions(frames), elements=("H", "O"))
    trajectory, position = np.arange(nframes) // 20, np.arange(nframes)
    digests = np.arange(nframes * 32).reshape(nframes, 32).astype(np.uint8)
    order = np.random.default_rng(0).permutation(nframes)
    plain = in_order_of_time(errors, trajectory, position).series(digests)
    shuffled = in_order_of_time(
        errors.select(order), trajectory[order], position[order]
    ).series(digests[order])
    assert plain == shuffled


def test_other_frames_have_another_digest():
    in_time, series = kept()
    others = in_time.series(np.zeros((60, 32), np.uint8))
    assert others.frames != series.frames
    assert others.columns == series.columns


def test_what_a_record_does_not_keep_is_none():
    _, series = kept()
    assert metric_series(None, "force_rmse_component_mev_per_ang") is None
    assert metric_series(series, "nve_drift_mev_per_atom_ps") is None
    bare = replace(series, columns={})
    assert metric_series(bare, "force_rmse_component_mev_per_ang") is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("????", "bytes"),
        ("AAAA", "bytes"),
        ("AADAfw==", "numbers that are none"),
        ("AACAvw==", "negative"),
    ],
)
def test_a_damaged_column_is_refused_when_the_record_is_read(text, words):
    """A record from elsewhere fails by itself, not the leaderboard that it is in."""
    payload = to_mapping(kept()[1])
    payload["columns"]["force_square"] = text
    with pytest.raises(ConfigError, match=words):
        from_mapping(ErrorSeries, payload, where="errors")


@pytest.mark.parametrize(
    "change",
    [
        {"stride": 0},
        {"lengths": (5, 0)},
        {"lengths": (10**9,)},
        {"lengths": (-3,)},
        {"columns": dict.fromkeys(map(str, range(99)), "AACAPw==")},
    ],
)
def test_a_layout_that_cannot_be_is_refused_before_it_is_made(change):
    _, series = kept()
    with pytest.raises(ConfigError, match="errors"):
        replace(series, **change)
