"""Atoms closer than tables reach: served exactly where that can be, and told."""

import logging

import numpy as np
import pytest
import torch

from dpbench.errors import ModelError
from dpbench.eval.native import NativeEvaluator
from dpbench.frames import concatenate
from dpbench.models.compressed import TableSettings, compress
from dpbench.models.compressed_file import save_compressed
from dpbench.models.files import load_potential
from tests.models.structures import BOX, model, moved, predict, water

LOGGER = "dpbench.eval.native"


def planted():
    """Three frames; two atoms of the second are 0.459 Å apart."""
    frames = [water(seed=seed, box=2 * BOX) for seed in (1, 2, 3)]
    coord = np.array(frames[1].coord)
    coord[5] = coord[2] + [0.459, 0.0, 0.0]
    frames[1] = moved(frames[1], coord=coord)
    return frames


def test_a_plain_model_is_exact_where_its_tables_do_not_reach(caplog):
    frames, potential = planted(), model()
    evaluator = NativeEvaluator(potential)
    with caplog.at_level(logging.WARNING, logger=LOGGER):
        found = evaluator.predict(concatenate(frames))
        evaluator.predict(frames[1])
    exact = [predict(frame, potential) for frame in frames]
    rows = np.split(found.force, 3)
    np.testing.assert_array_equal(rows[1], exact[1].force)
    np.testing.assert_array_equal(found.energy[1], exact[1].energy[0])
    np.testing.assert_array_equal(found.virial[1], exact[1].virial[0])
    for other in (0, 2):
        error = np.abs(rows[other] - exact[other].force.numpy()).max()
        assert 0 < error < 1e-5
    assert [r.message.split(";")[0] for r in caplog.records] == [
        "a frame of 9 atoms has 2 edges shorter than the tables of the model reach"
    ]
    told = evaluator.kernels()["closer_than_tables"]
    assert told == "frames 2, edges 4: exact embedding"


def test_a_compressed_model_says_how_many_pairs_it_continued(caplog):
    frames, compressed = planted(), compress(model())
    evaluator = NativeEvaluator(compressed)
    with caplog.at_level(logging.WARNING, logger=LOGGER):
        found = evaluator.predict(concatenate(frames))
    answer = predict(frames[1], compressed)
    assert answer.extended == 2
    np.testing.assert_allclose(np.split(found.force, 3)[1], answer.force, atol=1e-12)
    assert "it is continued straight" in caplog.text
    told = evaluator.kernels()["closer_than_tables"]
    assert told == "frames 1, edges 2: tables continued straight"


def test_frames_within_reach_are_not_spoken_of(caplog):
    evaluator = NativeEvaluator(model())
    with caplog.at_level(logging.WARNING, logger=LOGGER):
        evaluator.predict(water(box=2 * BOX))
    assert not caplog.records
    assert "closer_than_tables" not in evaluator.kernels()


def test_float32_tables_do_not_pass_for_float64(tmp_path):
    made = compress(model(precision="float32"), TableSettings(intervals=16))
    save_compressed(tmp_path / "c.pth", made, {}, {})
    with pytest.raises(ModelError, match="tables are rounded to float32"):
        load_potential(tmp_path / "c.pth", dtype=torch.float64)
    wide = made.to("cpu", torch.float64, may_widen=True)
    frames = water()
    np.testing.assert_allclose(
        predict(frames, wide).force, predict(frames, made).force, atol=1e-4
    )
