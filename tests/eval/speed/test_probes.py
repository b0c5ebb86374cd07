"""One process of a measurement, on real clocks and on fake ones."""

import math
import time
from dataclasses import replace

import numpy as np
import pytest

from dpbench.eval.speed import probe as probing
from dpbench.eval.speed.configurations import (
    Configuration,
    ProbeJob,
    read_job,
    write_job,
)
from dpbench.eval.speed.probe import is_told_out_of_memory, probe
from dpbench.eval.speed.processes import run_probe
from dpbench.eval.speed.settings import LEVELS
from dpbench.eval.timing import Case, measure
from dpbench.metrics.statistics import spread
from dpbench.metrics.verdicts import compare_timings

MD = LEVELS[2]


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    """A small model of Al and Mg with random weights."""
    from dpbench.models.checkpoint import save_model
    from dpbench.models.config import EnergyFittingConfig, ModelConfig, SeE2AConfig
    from dpbench.models.potential import DeepPotential
    from dpbench.models.statistics import ModelStatistics

    config = ModelConfig(
        type_map=("Al", "Mg"),
        descriptor=SeE2AConfig(
            rcut=4.0, rcut_smth=1.0, sel=(40, 40), neuron=(4, 8), axis_neuron=2
        ),
        fitting=EnergyFittingConfig(neuron=(8, 8)),
        precision="float64",
    )
    zero, one = np.zeros((2, 4)), np.ones((2, 4))
    statistics = ModelStatistics(davg=zero, dstd=one, energy_bias=np.zeros(2))
    path = tmp_path_factory.mktemp("speed") / "m.pth"
    save_model(path, DeepPotential.initialise(config, statistics, 1), {})
    return path


def job_of(model, **changes):
    job = ProbeJob(
        configuration=Configuration(
            label="small",
            backend="dpbench",
            path=str(model),
            type_map=("Al", "Mg"),
            rcut=4.0,
            engine="dpbench",
        ),
        family="dense",
        elements=("Al", "Mg"),
        natoms=32,
        levels=LEVELS,
        windows=3,
        window_s=0.02,
        threads=1,
        temperature=300.0,
        tdamp=100.0,
        timestep=1.0,
        skin=1.0,
        seed=0,
        memory=4 * 2**30,
        timeout_s=100.0,
    )
    return replace(job, **changes)


def test_three_levels_are_timed_and_atoms_move(model):
    found = probe(job_of(model))
    assert found["status"] == "ok"
    assert set(found["levels"]) == set(LEVELS)
    assert found["natoms"] == 32
    assert found["mean_neighbours"] > 10
    for level in found["levels"].values():
        assert len(level["seconds"]) == 3
        assert min(level["seconds"]) > 0
    assert found["levels"][MD]["list_rebuilds"] >= 1


def test_a_job_comes_back_from_its_file(model, tmp_path):
    job = job_of(model)
    write_job(tmp_path / "job.json", job)
    assert read_job(tmp_path / "job.json") == job


class Clockwork:
    """Time that passes by so much at each look."""

    def __init__(self, tick):
        self.now, self.tick = 0.0, tick

    def __call__(self):
        self.now += self.tick
        return self.now


def test_planted_five_milliseconds_are_recovered_on_a_fake_clock(model, monkeypatch):
    """T2: the busy wait of every step is found within 2 %."""
    clock = Clockwork(tick=1e-5)
    monkeypatch.setattr(probing, "moving", still)
    jobs = [job_of(model, levels=(MD,), window_s=0.5, busy_ms=ms) for ms in (1.0, 6.0)]
    plain, slowed = (
        spread(probe(job, clock=clock)["levels"][MD]["seconds"]).median for job in jobs
    )
    assert slowed - plain == pytest.approx(0.005, rel=0.02)


class still:  # noqa: N801 -- stands for a context manager
    """Dynamics that take no time."""

    def __init__(self, *_):
        pass

    def __enter__(self):
        return probing.Mover(step=lambda: None)

    def __exit__(self, *_):
        pass


def test_planted_five_milliseconds_are_recovered_for_real(model, monkeypatch):
    """T2: the same on the processor's clock; the wait is far longer than the step."""
    monkeypatch.setattr(probing, "moving", still)
    job = job_of(model, levels=(MD,), window_s=0.1, windows=5, busy_ms=5.0)
    # The fastest window: what else the machine does only adds.
    found = min(probe(job, clock=time.process_time)["levels"][MD]["seconds"])
    assert found == pytest.approx(0.005, rel=0.02)


def test_a_ten_second_first_call_changes_nothing_but_the_warm_up(model, monkeypatch):
    """T3: compilation is told apart and does not move the median."""
    monkeypatch.setattr(probing, "moving", still)
    found = []
    for first in (0.0, 10.0):
        job = job_of(model, levels=(MD,), window_s=0.5, busy_ms=1.0, slow_first_s=first)
        found.append(probe(job, clock=Clockwork(tick=1e-5))["levels"][MD])
    plain, late = found
    assert spread(late["seconds"]).median == pytest.approx(
        spread(plain["seconds"]).median, rel=0.02
    )
    assert late["first_call_s"] - plain["first_call_s"] == pytest.approx(10, rel=1e-3)
    assert late["warmup_s"] > 10


def test_a_model_that_lacks_slots_failed_and_says_why(model):
    crowded = job_of(model, configuration=replace(job_of(model).configuration))
    crowded = replace(crowded, elements=("Cu",))
    found = probe(crowded)
    assert found["status"] == "failed"
    assert "Cu" in found["reason"]


@pytest.mark.parametrize("words", ["RESOURCE_EXHAUSTED: OOM", "std::bad_alloc"])
def test_foreign_words_for_a_lack_of_memory_are_known(words):
    assert is_told_out_of_memory(words)
    assert not is_told_out_of_memory("ValueError: box")


@pytest.mark.slow
def test_a_process_beyond_its_memory_is_a_row(model):
    """T5: the limit is real, and the caller goes on."""
    found = run_probe(job_of(model, memory=60 * 2**20))
    assert found.status == "out_of_memory"
    assert "memory" in found.reason


@pytest.mark.slow
def test_the_same_against_itself_is_called_level_on_a_real_clock():
    """T4, A/A: of forty comparisons of one thing with itself two at most are called.

    Other work on the machine may spoil one series: a bias would spoil two.
    """
    assert min(called_of_forty() for _ in range(2)) <= 2


def called_of_forty() -> int:
    numbers = np.linspace(0.1, 1.0, 2000)

    def step() -> float:
        return float(np.sin(numbers).sum())

    called = 0
    for _ in range(40):
        cases = [Case(name=name, step=step) for name in ("a", "b")]
        a, b = measure(cases, window_s=0.003, repeats=12, clock=time.process_time)
        assert all(math.isfinite(value) for value in a.samples)
        called += compare_timings(a.samples, b.samples).outcome != "level"
    return called
