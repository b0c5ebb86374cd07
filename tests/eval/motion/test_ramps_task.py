"""Task ``ramps`` on potentials that hold, and on such that fail as planted (E4)."""

from dataclasses import replace

import numpy as np
import pytest
from ase.calculators.emt import EMT

from dpbench.errors import ConfigError
from dpbench.eval.motion.watching import Limits
from dpbench.eval.tasks.ramps import MODES, TASK, RampSettings, plan_of
from tests.eval.motion.planted import ByCalculator, FreeAtoms, no_number_after

SETTINGS = RampSettings(duration_ps=0.2, nstructures=2, min_natoms=4)


def done(job, evaluator, settings):
    job = replace(job, settings=settings)
    kept = TASK.predict(evaluator, job)
    return TASK.score(kept, job), kept


def value(result, name):
    return next(metric.value for metric in result.metrics if metric.name == name)


def test_a_model_that_holds_has_the_whole_area(cells):
    """E4: curve and all systems are kept; the runs follow the temperature."""
    settings = replace(
        SETTINGS,
        ramps=("heating",),
        duration_ps=0.4,
        nstructures=1,
        min_natoms=100,
        limits=Limits(min_distance_ang=1e-3),  # free atoms meet
    )
    result, kept = done(cells, FreeAtoms(["Al"]), settings)
    assert result.status == "ok"
    assert value(result, "heating_survival_auc") == 1
    assert value(result, "heating_survivors_percent") == 100
    heating = result.samples["heating"]
    assert heating["alive"] == [1.0] * 101
    assert len(heating["systems"][0]["runs"]) == 3
    hot = kept.arrays["temperature_heating_0"].mean(axis=0)
    assert hot[0] == pytest.approx(300, abs=1)
    expected = 300 + 2700 * kept.arrays["step_heating_0"] / 200
    late = slice(10, None)  # the bath of 25 fs lags behind
    assert (hot / expected)[late].mean() == pytest.approx(0.95, abs=0.1)


def test_a_compression_reaches_its_pressure(cells):
    settings = replace(
        SETTINGS,
        ramps=("compression",),
        nstructures=1,
        duration_ps=0.25,
        pressures_gpa=(0.0, 50.0),
        temperatures=(300.0, 300.0),
        seeds=(0,),
    )
    result, kept = done(cells, ByCalculator(EMT(), ["Al"]), settings)
    assert value(result, "compression_survivors_percent") == 100
    volume = kept.arrays["volume_compression_0"]
    assert (volume[:, -1] < 0.9 * volume[:, 0]).all()
    pressure = kept.arrays["pressure_compression_0"]
    # It lags behind 45 GPa by the pace, 0.2 GPa/fs, times some 100 fs.
    assert 15 < pressure[:, -10:].mean() < 45


def test_failed_runs_are_in_the_curve_with_step_and_reason(cells):
    """E4: all runs fail half way, so the area is a half, whatever the others do."""
    settings = replace(SETTINGS, ramps=("heating",), nstructures=1)
    result, _ = done(cells, FreeAtoms(["Al"], no_number_after(51)), settings)
    assert result.status == "failed"
    assert value(result, "heating_survival_auc") < 1
    runs = result.samples["heating"]["systems"][0]["runs"]
    failed = [run for run in runs if run["failure_step"] is not None]
    assert failed
    assert all("number" in run["reason"] for run in failed)
    parts = [(run["failure_step"] or 100) / 100 for run in runs]
    assert value(result, "heating_survival_auc") == pytest.approx(np.mean(parts))
    alive = result.samples["heating"]["alive"]
    assert alive[0] == 1
    assert alive[-1] == (len(runs) - len(failed)) / len(runs)
    assert alive == sorted(alive, reverse=True)


def test_a_failed_ramp_lowers_the_area_and_no_system_is_dropped(cells):
    """E4."""

    def second_system(call, frames, answer):
        if call > 120:  # the first takes 101 calls
            answer.energy[:] = np.nan
        return answer

    settings = replace(SETTINGS, ramps=("heating",))
    result, _ = done(cells, FreeAtoms(["Al"], second_system), settings)
    assert result.status == "ok"
    assert value(result, "heating_survivors_percent") == 50
    systems = result.samples["heating"]["systems"]
    assert len(systems) == 2
    steps = [run["failure_step"] for run in systems[1]["runs"]]
    assert steps == [20, 20, 20]
    assert value(result, "heating_survival_auc") == pytest.approx((1 + 0.2) / 2)


def test_without_a_virial_there_is_no_compression_and_its_metrics_are_null(cells):
    def no_virial(call, frames, answer):
        return replace(answer, no_virial=np.ones(frames.nframes, bool))

    settings = replace(SETTINGS, nstructures=1, duration_ps=0.05)
    result, _ = done(cells, FreeAtoms(["Al"], no_virial), settings)
    assert value(result, "compression_survival_auc") is None
    assert value(result, "heating_survival_auc") == 1
    assert result.protocol["skipped"] == {"compression": "the backend gives no virial"}


def test_targets_go_in_a_straight_line_from_end_to_end():
    plan = plan_of(RampSettings(), "compression", timestep=2.0)
    assert plan.steps == 5000
    half, last = plan.targets(2500), plan.targets(5000)
    assert (half.temperature, half.pressure) == (1650, 2.5e6)
    assert (last.temperature, last.pressure) == (3000, 5e6)  # K, bar
    assert (last.tdamp, last.pdamp) == (25, 75)


def test_modes_ask_for_at_least_three_seeds():
    """E4: seeds >= 3."""
    assert all(len(settings.seeds) >= 3 for settings in MODES.values())
    assert TASK.cost(MODES["full"]) == 2 * 9 * 3 * 5000 * 64
    with pytest.raises(ConfigError, match="positive"):
        RampSettings(duration_ps=0)
