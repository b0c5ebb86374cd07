"""Task ``nvt`` against references made by known models, with planted faults (E3)."""

from dataclasses import replace

import numpy as np
import pytest

from dpbench.errors import ConfigError, EvaluationError
from dpbench.eval.motion.andersen import collisions
from dpbench.eval.motion.references import longest_run
from dpbench.eval.motion.running import Plan, make_runs
from dpbench.eval.motion.watching import Limits
from dpbench.eval.tasks.kept import keep_answers, load_answers
from dpbench.eval.tasks.nvt import MODES, TASK, NvtSettings
from dpbench.eval.tasks.nvt_settings import chosen_references, clock_of, plan_of
from dpbench.frames import uniform
from dpbench.md.settings import Baths
from tests.eval.motion.conftest import SITES, A, make_job, write_frames
from tests.eval.motion.planted import FreeAtoms, Springs, no_number_after

INTERVAL = 4.0  # fs
SETTINGS = NvtSettings(
    interval=INTERVAL,
    temperature=300.0,
    timestep=2.0,
    equilibration=100.0,
    seeds=(0, 1, 2),
    r_max=3.5,
)
CELL = (SITES[None] + np.array([[[0, 0, 0]], [[0, 0, A]]])).reshape(-1, 3)
BOX = np.diag([A, A, 2 * A])


def simulated(model, *, nframes, seed=0):
    """Frames of a run of a model at 300 K, with their virials."""
    start = uniform(z=np.full(len(CELL), 13), coord=CELL[None], box=BOX[None])
    plan = Plan(
        baths=Baths(ensemble="nvt", thermostat="bussi", timestep=2.0),
        steps=2 * (nframes + 50),
        seeds=(seed,),
        sample_every=2,
        limits=Limits(),
        keeps_coord=True,
    )
    coord = make_runs(model, start, plan).values["coord"][0, 51:]
    frames = uniform(
        z=start.z, coord=coord, box=np.repeat(BOX[None], len(coord), axis=0)
    )
    return coord, model.answer(frames).virial


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    root = tmp_path_factory.mktemp("references")
    coord, virial = simulated(Springs(CELL, ["Al"]), nframes=160)
    wrapped = coord - np.floor(coord @ np.linalg.inv(BOX)) @ BOX
    write_frames(root / "systems" / "run", wrapped, BOX, virial=virial)
    return make_job(root, SETTINGS)


def done(job, evaluator, **changes):
    job = replace(job, settings=replace(job.settings, **changes))
    kept = TASK.predict(evaluator, job)
    return TASK.score(kept, job), kept, job


def value(result, name):
    return next(metric.value for metric in result.metrics if metric.name == name)


def test_the_same_model_agrees_with_its_own_trajectory(job):
    """E3: what is left is what the reference's length leaves open."""
    result, kept, job = done(job, Springs(CELL, ["Al"]))
    assert result.status == "ok"
    assert value(result, "rdf_error_percent") < 15
    assert value(result, "adf_error_percent") < 5
    assert value(result, "vdos_error_percent") < 10
    assert value(result, "pressure_error_percent") < 40
    assert value(result, "diffusion_error_percent") is None  # a solid
    assert value(result, "nvt_survived_percent") == 100
    system = result.samples["systems"][0]
    told = system["reference"]
    assert told["nframes"] == 128
    assert told["duration_ps"] == pytest.approx(127 * INTERVAL / 1000)
    assert told["equipartition_temperature_k"] == pytest.approx(300, rel=0.3)
    off = abs(system["model"]["pressure_gpa"] - told["pressure_gpa"])
    both = np.hypot(told["pressure_error_gpa"], system["model"]["pressure_error_gpa"])
    assert off < 5 * both
    assert value(result, "pressure_mae_gpa") == pytest.approx(off)
    assert not told["is_diffusive"]
    assert system["reference_halves_errors"]["rdf_error_percent"] > 0
    again = load_answers(job.workspace, keep_answers(job.workspace, kept))
    assert TASK.score(again, job) == result


def test_softer_springs_have_a_softer_spectrum(job):
    """Frequencies that are 0.8 of the true ones move the whole band down."""
    same, _, _ = done(job, Springs(CELL, ["Al"]))
    soft, _, _ = done(job, Springs(CELL, ["Al"], k=5.0 * 0.64))
    system = soft.samples["systems"][0]["curves"]["vdos"]
    x, ours, theirs = (np.array(system[key]) for key in ("x", "reference", "model"))
    shift = (x @ theirs / theirs.sum()) / (x @ ours / ours.sum())
    assert shift == pytest.approx(0.8, abs=0.05)
    for name in ("vdos_error_percent", "rdf_error_percent"):
        assert value(soft, name) > 2 * value(same, name)


def test_an_ideal_gas_is_far_off(job):
    gas, _, _ = done(job, FreeAtoms(["Al"]), limits=Limits(min_distance_ang=1e-3))
    assert value(gas, "rdf_error_percent") > 60
    assert value(gas, "vdos_error_percent") > 60
    assert value(gas, "adf_error_percent") > 20


def test_runs_that_fail_count_as_all_wrong_and_stay_in_the_table(job):
    """E4: never dropped; a pressure of the survivors alone would flatter."""
    result, _, _ = done(job, Springs(CELL, ["Al"], fault=no_number_after(200)))
    assert result.status == "failed"
    assert value(result, "rdf_error_percent") == 100
    assert value(result, "vdos_error_percent") == 100
    assert value(result, "pressure_mae_gpa") is None
    assert 0 < value(result, "nvt_survived_percent") < 100

    def one_of_three(call, frames, answer):
        if call >= 200 and frames.nframes == 3:
            answer.force[0] = np.nan
        return answer

    same, _, _ = done(job, Springs(CELL, ["Al"]))
    part, _, _ = done(job, Springs(CELL, ["Al"], fault=one_of_three))
    assert part.status == "ok"
    assert value(part, "adf_error_percent") == pytest.approx(
        (2 * value(same, "adf_error_percent") + 100) / 3, abs=5
    )
    reasons = [run["reason"] for run in part.samples["systems"][0]["runs"]]
    assert sum(reason is not None for reason in reasons) == 1


@pytest.mark.parametrize("factor", [0.5, 2.0, 10.0])
def test_a_wrong_time_between_saved_frames_is_caught(job, factor):
    """Planted: no dynamics are compared on a wrong clock."""
    settings = replace(SETTINGS, interval=factor * INTERVAL)
    (reference,), _ = chosen_references(replace(job, settings=settings))
    assert reference.interval is None
    assert "the interval is wrong" in reference.remarks[0]


def test_without_a_clock_structure_is_compared_and_dynamics_are_null(job):
    result, _, _ = done(job, Springs(CELL, ["Al"]), interval=None)
    assert value(result, "vdos_error_percent") is None
    assert value(result, "diffusion_error_percent") is None
    assert value(result, "adf_error_percent") < 10


def test_without_a_temperature_there_is_no_reference(job):
    result, _, _ = done(job, Springs(CELL, ["Al"]), interval=None, temperature=None)
    assert result.status == "no_reference"
    assert "temperature" in result.reason
    assert all(metric.value is None for metric in result.metrics)
    with pytest.raises(EvaluationError, match="no frames"):
        done(replace(job, part=None), Springs(CELL, ["Al"]))


def test_runs_meet_the_frames_of_their_reference(job):
    """Steps divide the time between frames, so both are sampled alike."""
    (reference,), _ = chosen_references(job)
    clock = clock_of(reference, replace(SETTINGS, timestep=1.5))
    assert (clock.every, clock.timestep) == (3, pytest.approx(4 / 3))
    assert clock.interval == pytest.approx(INTERVAL)
    assert clock.equilibration == 25


def test_references_are_followed_across_faces_and_their_start_is_dropped(job):
    (reference,), _ = chosen_references(job)
    assert reference.nframes == 128
    steps = np.linalg.norm(np.diff(reference.coord, axis=0), axis=2)
    assert steps.max() < 1.0


def test_gaps_end_a_trajectory():
    run, stride = longest_run(np.array([0, 1, 2, 5, 6, 7, 8, 20]))
    assert (run, stride) == (slice(3, 7), 1)
    run, stride = longest_run(np.array([3, 13, 23, 33]))
    assert (run, stride) == (slice(0, 4), 10)
    assert longest_run(np.array([4])) == (slice(0, 1), 1)


def test_andersens_runs_are_kept_from_the_thermostats_of_the_engine(job):
    (reference,), _ = chosen_references(job)
    settings = replace(SETTINGS, thermostat="andersen", tdamp=40.0)
    plan = plan_of(reference, settings)
    assert plan.baths.bath == "none"
    assert plan.after_step is not None
    assert plan_of(reference, SETTINGS).after_step is None


def test_modes_ask_for_at_least_three_seeds():
    assert all(len(settings.seeds) >= 3 for settings in MODES.values())
    with pytest.raises(ConfigError, match="discard"):
        NvtSettings(discard=1.0)


def test_andersens_bath_gives_the_atoms_the_temperature_that_is_asked_for():
    """Taking the momentum out after each collision cools eight atoms by a ninth."""
    start = uniform(z=np.full(len(CELL), 13), coord=CELL[None], box=BOX[None])
    seeds = tuple(range(24))
    plan = Plan(
        baths=Baths(temperature=400.0, timestep=2.0),
        steps=400,
        seeds=seeds,
        sample_every=5,
        limits=Limits(),
        after_step=collisions(temperature=400.0, timestep=2.0, time=20.0, seed=1),
    )
    runs = make_runs(Springs(CELL, ["Al"]), start, plan)
    assert runs.values["temperature"][:, 20:].mean() == pytest.approx(400, rel=0.05)
