"""The tasks of speed on a small model, and what they say where something is missing."""

import gzip
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dpbench.errors import EvaluationError
from dpbench.eval.native import NativeEvaluator
from dpbench.eval.parts import parts_to_evaluate
from dpbench.eval.tasks import data_loading, dft_speedup, scaling, training_time
from dpbench.eval.tasks.kept import Kept, keep_answers, load_answers
from dpbench.eval.tasks.task import Job
from dpbench.io.wall_time import dft_wall_time
from dpbench.metrics.scaling import time_exponent
from dpbench.models.files import load_potential
from dpbench.train.history import CURVE_FILE

QE = """\
     Parallel version (MPI), running on     4 processors
     Threads/MPI process:  2
     PWSCF        :     46.55s CPU   1m52.07s WALL
   JOB DONE.
"""
VASP = """\
 running on   16 total cores
                         Elapsed time (sec):       50.687
"""
CP2K = """\
 GLOBAL| Total number of message passing processes                            2
 GLOBAL| Number of threads for this process                                   3
 CP2K                                 1  1.0    0.014    0.014  832.600  832.624
"""


@pytest.fixture
def job(trained):
    model, told = load_potential(trained.model)
    part = parts_to_evaluate(trained.workspace, None, "pairs-v1:test")[0]
    task = dft_speedup.TASK
    return model, Job(
        workspace=trained.workspace,
        part=part,
        settings=task.modes["smoke"],
        provenance=told,
    )


@pytest.mark.parametrize(
    ("text", "seconds", "cores"),
    [(QE, 112.07, 8), (VASP, 50.687, 16), (CP2K, 832.624, 6)],
)
def test_codes_tell_their_wall_time(tmp_path, text, seconds, cores):
    path = tmp_path / "out"
    path.write_text(text)
    found = dft_wall_time(path)
    assert found.seconds == pytest.approx(seconds)
    assert found.cores == cores


@pytest.mark.parametrize("total", ["5.10s", "38m11.20s", "1h 2m", "1d 2h 3m"])
def test_every_form_of_qes_clock_is_read(tmp_path, total):
    path = tmp_path / "out"
    path.write_text(f"     PWSCF        :  1h1m CPU  {total} WALL\n")
    expected = {"5.10s": 5.1, "38m11.20s": 2291.2, "1h 2m": 3720, "1d 2h 3m": 93780}
    assert dft_wall_time(path).seconds == pytest.approx(expected[total])


def test_a_packed_output_tells_its_wall_time(tmp_path):
    path = tmp_path / "out.gz"
    text = QE.splitlines(keepends=True)
    long = "".join([*text[:2], " a line\n" * 200_000, *text[2:]])
    path.write_bytes(gzip.compress(long.encode()))
    found = dft_wall_time(path)
    assert found.seconds == pytest.approx(112.07)
    assert found.cores == 8
    path.write_bytes(path.read_bytes()[:-20])
    assert dft_wall_time(path) is None


def test_an_output_without_its_end_tells_nothing(tmp_path):
    path = tmp_path / "out"
    path.write_bytes(gzip.compress(QE.encode()))
    assert dft_wall_time(path) is None
    path.write_text("     Program PWSCF v.6.7MaX starts\n")
    assert dft_wall_time(path) is None
    assert dft_wall_time(tmp_path / "gone") is None


def test_without_a_wall_time_the_speedup_is_null(job):
    model, asked = job
    kept = dft_speedup.predict(NativeEvaluator(model), asked)
    found = dft_speedup.score(kept, asked)
    assert found.status == "no_reference"
    assert found.metrics[0].value is None


def test_the_speedup_divides_dfts_time_by_the_models(job):
    asked = job[1]
    frames = [
        {"dft_s": 10.0, "dft_cores": 1, "model_s": [0.01, 0.01, 0.01], "natoms": 8},
        {"dft_s": 30.0, "dft_cores": 1, "model_s": [0.01, 0.01, 0.01], "natoms": 8},
    ]
    kept = Kept(arrays={}, facts={"frames": frames, "asked": 2})
    (metric,) = dft_speedup.score(kept, asked).metrics
    assert metric.value == pytest.approx(2000)


def test_dft_time_is_shared_by_the_frames_of_its_source(job, monkeypatch):
    model, asked = job
    wall = dft_speedup.WallTime(seconds=60.0, cores=2)
    monkeypatch.setattr(dft_speedup, "dft_wall_time", lambda _: wall)
    source = asked.part.version.sources[0]
    monkeypatch.setattr(dft_speedup, "sha256_of_file", lambda _: source.sha256)
    one = replace(asked.part, indices=np.array([0]))
    kept = dft_speedup.predict(NativeEvaluator(model), replace(asked, part=one))
    assert kept.facts["frames"][0]["dft_s"] == pytest.approx(60.0 / source.n_read)
    assert kept.facts["frames"][0]["dft_cores"] == 2
    assert dft_speedup.score(kept, asked).metrics[0].value > 0


def test_a_file_that_is_not_the_ingested_one_tells_nothing(job, monkeypatch):
    model, asked = job
    wall = dft_speedup.WallTime(seconds=60.0, cores=2)
    monkeypatch.setattr(dft_speedup, "dft_wall_time", lambda _: wall)
    monkeypatch.setattr(dft_speedup, "sha256_of_file", lambda _: "another")
    kept = dft_speedup.predict(NativeEvaluator(model), asked)
    assert kept.facts["frames"] == []


def test_loading_is_counted_in_frames_a_second(job):
    model, asked = job
    settings = data_loading.TASK.modes["smoke"]
    asked = replace(asked, settings=settings)
    kept = data_loading.predict(NativeEvaluator(model), asked)
    file = keep_answers(asked.workspace, kept)
    again = data_loading.score(load_answers(asked.workspace, file), asked)
    expected = settings.batch / np.median(kept.arrays["seconds"])
    assert again.metrics[0].value == pytest.approx(expected, rel=0.5)
    assert len(again.samples["frames_per_s"]) == settings.windows


def test_training_time_is_read_from_the_curve_of_the_run(job):
    model, asked = job
    run = asked.workspace.root / "runs" / str(asked.provenance["run_id"])
    assert (run / CURVE_FILE).exists()
    evaluator = NativeEvaluator(model)
    settings = training_time.TrainingTimeSettings
    kept = training_time.predict(evaluator, asked)
    rows = kept.facts["rows"]
    easy = replace(asked, settings=settings(target=1e3))
    time_s, steps = training_time.score(kept, easy).metrics
    assert (time_s.value, steps.value) == (rows[0]["seconds"], rows[0]["step"])
    hard = training_time.score(kept, replace(asked, settings=settings(target=1e-9)))
    assert [metric.value for metric in hard.metrics] == [None, None]
    assert "not reached" in hard.reason


@pytest.mark.parametrize("run", ["", "gone", "../../etc"])
def test_without_a_curve_the_training_time_is_null(job, run):
    model, asked = job
    asked = replace(
        asked,
        provenance={"run_id": run},
        settings=training_time.TrainingTimeSettings(),
    )
    kept = training_time.predict(NativeEvaluator(model), asked)
    found = training_time.score(kept, asked)
    assert found.status == "no_reference"
    assert {metric.value for metric in found.metrics} == {None}


def test_tasks_that_need_frames_say_so(job):
    model, asked = job
    without = replace(asked, part=None)
    for task in (dft_speedup, data_loading):
        with pytest.raises(EvaluationError, match="expected a part of a dataset"):
            task.predict(NativeEvaluator(model), without)


def test_a_planted_exponent_is_found_within_its_interval():
    rng = np.random.default_rng(0)
    sizes = [4096 * 2**k for k in range(5)]
    samples = [
        (20 * (n / 4096) ** 0.1 * rng.normal(1, 0.01, 5)).tolist() for n in sizes
    ]
    fit = time_exponent(sizes, samples, above=4096)
    assert fit.value == pytest.approx(1.1, abs=0.02)
    assert fit.ci_low < 1.1 < fit.ci_high


@pytest.mark.parametrize(
    ("sizes", "words"),
    [((64, 128, 8192), "1 sizes of 4096"), ((5000, 6000, 7000), "factor")],
)
def test_a_range_that_is_too_small_gives_no_exponent_and_says_so(sizes, words):
    fit = time_exponent(sizes, [[1.0, 1.1]] * 3, above=4096)
    assert fit.value is None
    assert words in fit.reason


def test_smoke_stays_below_the_bound_so_that_it_gives_no_exponent():
    settings = scaling.TASK.modes["smoke"]
    assert max(settings.sizes) < settings.above


def test_paths_of_sources_are_hints_alone(tmp_path):
    assert dft_wall_time(Path(tmp_path)) is None
