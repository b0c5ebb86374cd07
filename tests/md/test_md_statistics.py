"""Means, errors and drifts that are gathered without keeping the samples."""

import math

import numpy as np
import pytest

from dpbench.errors import ConfigError
from dpbench.md.observables import Blocking, Digest, Line, Sample
from dpbench.md.settings import Baths, MDConfig, default_limit


def correlated(count, rho, seed):
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=count) * math.sqrt(1 - rho**2)
    values = np.empty(count)
    value = rng.normal()
    for index in range(count):
        value = rho * value + noise[index]
        values[index] = value
    return values


@pytest.mark.parametrize("rho", [0.0, 0.9, 0.98])
def test_blocking_finds_the_error_of_a_correlated_mean(rho):
    """The error of an AR(1) mean is sqrt((1 + rho)/(1 - rho)/n)."""
    count = 4096
    expected = math.sqrt((1 + rho) / (1 - rho) / count)
    errors = []
    for seed in range(12):
        blocking = Blocking()
        for value in correlated(count, rho, seed):
            blocking.add(value)
        errors.append(blocking.error)
    assert np.mean(errors) == pytest.approx(expected, rel=0.25)


def test_blocking_has_mean_and_deviation_of_its_samples():
    values = np.random.default_rng(1).normal(5, 2, 777)
    blocking = Blocking()
    for value in values:
        blocking.add(value)
    assert blocking.count == 777
    assert blocking.mean == pytest.approx(values.mean(), rel=1e-12)
    assert blocking.deviation == pytest.approx(values.std(ddof=1), rel=1e-12)


def test_few_samples_have_no_error():
    blocking = Blocking()
    assert math.isnan(blocking.mean)
    for value in range(15):
        blocking.add(float(value))
    assert math.isnan(blocking.error)
    blocking.add(15.0)
    assert blocking.error > 0


def test_a_line_is_that_of_least_squares():
    rng = np.random.default_rng(2)
    t, e = rng.random(50), rng.random(50) + 1e6
    line = Line()
    for x, y in zip(t, e, strict=True):
        line.add(x, y)
    assert line.slope == pytest.approx(np.polyfit(t, e - 1e6, 1)[0], rel=1e-6)
    assert math.isnan(Line().slope)


def sample(step, rng):
    names = ("potential", "kinetic", "temperature", "pressure", "volume", "conserved")
    return Sample(
        step=step, time=step * 0.1, values={n: rng.normal(size=2) for n in names}
    )


def test_a_digest_goes_on_from_its_arrays():
    whole, first = Digest(nreplicas=2, first=3), Digest(nreplicas=2, first=3)
    rng, same = np.random.default_rng(3), np.random.default_rng(3)
    for step in range(40):
        whole.add(sample(step, rng))
    for step in range(17):
        first.add(sample(step, same))
    second = Digest(nreplicas=2, first=3)
    second.restore(first.arrays())
    for step in range(17, 40):
        second.add(sample(step, same))
    assert whole.summary(5) == second.summary(5)
    assert whole.summary(5)["temperature"]["samples"] == 37


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"timestep": 0.0}, "timestep"),
        ({"timestep": math.nan}, "timestep"),
        ({"ensemble": "nvt", "temperature": 0.0}, "temperature"),
        ({"ensemble": "npt", "thermostat": "nhc"}, "does not serve"),
        ({"ensemble": "nve", "thermostat": "bussi"}, "does not serve"),
        ({"ensemble": "npt", "pdamp": -1.0}, "pdamp"),
    ],
)
def test_baths_that_cannot_be_are_refused(options, words):
    with pytest.raises(ConfigError, match=words):
        Baths(**options)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"steps": 0}, "steps"),
        ({"repeat": (1, 0, 1)}, "repeat"),
        ({"skin": -0.1}, "skin"),
        ({"traj_fields": ("charge",)}, "unknown 'charge'"),
        ({"seed": -1}, "negative"),
    ],
)
def test_runs_that_cannot_be_are_refused(options, words):
    with pytest.raises(ConfigError, match=words):
        MDConfig(**({"model": "m", "structure": "s", "steps": 1} | options))


def test_the_limit_grows_with_the_temperature():
    assert default_limit(100.0) == 5000.0
    assert default_limit(3000.0) == 60_000.0
