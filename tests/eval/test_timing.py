import numpy as np
import pytest

from dpbench.eval.throughput import timing
from dpbench.eval.timing import Case, measure
from dpbench.metrics.statistics import spread


class FakeClock:
    """Time that passes only when a step says so."""

    def __init__(self) -> None:
        self.now = 0.0
        self.waiting = 0.0

    def __call__(self) -> float:
        return self.now

    def step(self, *, cost: float, first: float = 0.0, late: float = 0.0):
        """A step of ``cost`` s, its first call longer, ``late`` of it on a device."""
        calls = [0]

        def run() -> None:
            calls[0] += 1
            self.now += cost - late + (first if calls[0] == 1 else 0.0)
            self.waiting += late

        return run

    def synchronise(self) -> None:
        self.now += self.waiting
        self.waiting = 0.0


def test_a_slow_first_call_does_not_move_the_median():
    clock = FakeClock()
    case = Case(name="slow start", step=clock.step(cost=0.01, first=10.0))
    (found,) = measure([case], window_s=1.0, repeats=5, clock=clock)
    assert spread(found.samples).median == pytest.approx(0.01, rel=1e-9)
    assert found.first_call_s == pytest.approx(10.01)
    assert found.warmup_s > 10.0


def test_a_planted_sleep_is_recovered_within_two_percent():
    found = []
    for sleep in (0.0, 0.005):
        clock = FakeClock()
        case = Case(name="step", step=clock.step(cost=0.013 + sleep))
        found += measure([case], window_s=0.5, repeats=5, clock=clock)
    plain, slowed = (spread(measurement.samples).median for measurement in found)
    assert slowed - plain == pytest.approx(0.005, rel=0.02)


def test_windows_last_about_as_long_as_asked():
    clock = FakeClock()
    case = Case(name="fast", step=clock.step(cost=1e-4))
    (found,) = measure([case], window_s=1.0, repeats=5, clock=clock)
    assert found.steps_per_window * 1e-4 == pytest.approx(1.0, rel=0.01)
    assert len(found.samples) == 5


def test_a_step_longer_than_the_window_runs_once_a_window():
    clock = FakeClock()
    (found,) = measure(
        [Case(name="huge", step=clock.step(cost=30.0))],
        window_s=1.0,
        repeats=5,
        clock=clock,
    )
    assert found.steps_per_window == 1
    assert found.warmup_steps == 2


def test_work_left_on_the_device_is_waited_for():
    clock = FakeClock()
    case = Case(
        name="device",
        step=clock.step(cost=0.02, late=0.015),
        synchronise=clock.synchronise,
    )
    (found,) = measure([case], window_s=1.0, repeats=3, clock=clock)
    np.testing.assert_allclose(found.samples, 0.02, rtol=1e-9)


def test_cases_take_turns():
    clock, order = FakeClock(), []

    def noting(name):
        step = clock.step(cost=1.0)
        return lambda: (order.append(name), step())

    cases = [Case(name=n, step=noting(n)) for n in "ab"]
    measure(cases, window_s=1.0, repeats=3, clock=clock)
    assert "".join(order[-6:]) == "abbaab"  # another one first each round


def test_units_of_speed_by_hand():
    """2004 atoms at 318.201 steps/s print 637.7 katom-step/s: LAMMPS' manual."""
    clock = FakeClock()
    cost = 1 / 318.201
    (raw,) = measure(
        [Case(name="lj", step=clock.step(cost=cost))],
        window_s=1.0,
        repeats=5,
        clock=clock,
    )
    got = timing(raw, natoms=2004, timestep=2.0)
    assert got.katom_step_per_s == pytest.approx(637.7, abs=0.05)
    assert got.steps_per_s == pytest.approx(318.201)
    assert got.median == pytest.approx(1e3 / 637.675, rel=1e-4)
    assert got.ns_per_day == pytest.approx(2.0 * 318.201 * 86400 * 1e-6)
    assert timing(raw, natoms=2004, timestep=None).ns_per_day is None
