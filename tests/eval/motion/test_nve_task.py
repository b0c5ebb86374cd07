"""Task ``nve`` on potentials whose drift and failures are planted (E3, E4)."""

from dataclasses import replace

import numpy as np
import pytest
from ase import units
from ase.calculators.emt import EMT
from ase.md.verlet import VelocityVerlet

from dpbench.errors import BackendCrashed, ConfigError, EvaluationError, ModelError
from dpbench.eval.motion.running import Plan, make_runs
from dpbench.eval.motion.starts import starts_of
from dpbench.eval.motion.watching import Limits
from dpbench.eval.structures import to_atoms
from dpbench.eval.tasks import nve
from dpbench.eval.tasks.kept import keep_answers, load_answers
from dpbench.eval.tasks.nve import MODES, TASK, NveSettings
from dpbench.frames import uniform
from dpbench.md.settings import Baths
from tests.eval.motion.planted import (
    ByCalculator,
    Springs,
    curls,
    explodes_after,
    gains_energy,
    lets_go_after,
    no_number_after,
)

SETTINGS = NveSettings(steps=400, nstructures=2, sample_every=4, min_natoms=16)


def done(job, fault=None, settings=SETTINGS, k=5.0):
    """Do the task with atoms on springs to the places they start from."""
    job = replace(job, settings=settings)
    start = starts_of(job.part, task="nve", most=1, min_natoms=settings.min_natoms)[0]
    evaluator = Springs(start.structure.coord, ["Al"], k=k, fault=fault)
    job = replace(job, settings=replace(settings, nstructures=1))
    kept = TASK.predict(evaluator, job)
    return TASK.score(kept, job), kept, job


def value(result, name):
    return next(metric.value for metric in result.metrics if metric.name == name)


def test_a_conservative_model_has_no_drift_and_survives(cells):
    result, _, _ = done(cells)
    assert result.status == "ok"
    assert value(result, "nve_drift_mev_per_atom_ps") < 0.05
    assert value(result, "nve_instability") == 0
    assert value(result, "nve_survived_percent") == 100
    assert value(result, "nve_drift_over_fluctuation") < 0.1
    runs = result.samples["systems"][0]["runs"]
    assert [run["seed"] for run in runs] == [0, 1, 2]
    assert all(run["status"] == "completed" for run in runs)
    assert len({run["temperature_k"][-1] for run in runs}) == 3
    assert runs[0]["temperature_k"][0] == pytest.approx(300, abs=0.1)


@pytest.mark.parametrize("planted", [0.02, -0.5])
def test_a_planted_slope_is_recovered_within_one_percent(cells, planted):
    """E3: eV/atom/ps in, meV/atom/ps out, through the whole task."""
    limits = Limits(energy_ev_per_atom=5)
    result, _, _ = done(
        cells, gains_energy(planted, 1.0), replace(SETTINGS, steps=1200, limits=limits)
    )
    drift = value(result, "nve_drift_mev_per_atom_ps")
    assert drift == pytest.approx(1000 * abs(planted), rel=0.01)
    slope = result.samples["systems"][0]["runs"][0]["drift_mev_per_atom_ps"]
    assert slope * planted > 0
    expected = np.log10(1000 * abs(planted) / 0.5)
    assert value(result, "nve_instability") == pytest.approx(expected, abs=0.01)


def test_the_wrong_unit_of_time_would_not_pass(cells, monkeypatch):
    """Planted into the task: ASE's unit for 1 fs; the recovery test catches it."""
    true = nve.energy_drift

    def faulty(time, energy, **options):
        return true(time * units.fs, energy, **options)

    monkeypatch.setattr(nve, "energy_drift", faulty)
    result, _, _ = done(cells, gains_energy(0.02, 1.0))
    assert value(result, "nve_drift_mev_per_atom_ps") > 150


def test_a_model_whose_forces_have_a_curl_gains_energy(cells):
    result, _, _ = done(cells, curls(0.05), replace(SETTINGS, steps=800))
    assert value(result, "nve_drift_mev_per_atom_ps") > 1
    assert value(result, "nve_instability") > 0


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (no_number_after(50), "number"),
        (explodes_after(50), "eV/atom off|moved by|apart|K"),
        (gains_energy(50.0, 1.0), "total energy"),
    ],
    ids=["no number", "explosion", "energy"],
)
def test_failed_runs_are_kept_with_step_and_reason_and_lower_the_score(
    cells, fault, words
):
    """E4."""
    result, _, _ = done(cells, fault)
    assert result.status == "failed"
    assert "all 3 runs failed" in result.reason
    assert value(result, "nve_drift_mev_per_atom_ps") is None
    assert value(result, "nve_instability") == 5
    survived = value(result, "nve_survived_percent")
    assert 0 < survived < 50
    runs = result.samples["systems"][0]["runs"]
    assert len(runs) == 3
    for run in runs:
        assert run["status"] == "exploded"
        assert 0 < run["failure_step"] < 200
        assert any(word in run["reason"] for word in words.split("|"))
        assert run["energy_mev_per_atom"][-1] is None
        assert run["stability_score"] < 0.5


def test_an_atom_that_is_let_go_is_seen():
    """E4: the generalised loss of an atom, told from an explosion."""
    sites = np.array([[0, 0, 0], [1.0, 0, 0], [0, 1.0, 0], [0, 0, 1.0]])
    start = uniform(z=[8, 1, 1, 6], coord=sites[None], box=np.eye(3)[None] * 30)
    plan = Plan(
        baths=Baths(temperature=50.0, zero_every=0),
        steps=400,
        seeds=(0, 1, 2),
        sample_every=5,
        limits=Limits(energy_ev_per_atom=1e9, partner_ang=2.5),
    )
    let_go = lets_go_after(30, atom=3, natoms=4, force=0.2)
    for fault, words in (
        (let_go, "no neighbour within 2.50 Å"),
        (lets_go_after(30, atom=1, natoms=4, force=0.2), "was bonded to"),
    ):
        model = Springs(sites, ["H", "C", "O"], fault=fault)
        for end in make_runs(model, start, plan).endings:
            assert end["status"] == "detached"
            assert 30 < end["failure_step"] < 400
            assert words in end["reason"]
    settings = Limits(energy_ev_per_atom=1e9, detached_factor=0.0)
    late = make_runs(
        Springs(sites, ["H", "C", "O"], fault=let_go),
        start,
        replace(plan, limits=settings),
    )
    assert all(end["status"] != "detached" for end in late.endings)


def test_one_failing_seed_of_three_leaves_the_others_as_they_are(cells):
    """E4: the failed run stays in the table and is counted; the others go on."""

    def only_second(call, frames, answer):
        if call >= 100 and frames.nframes == 3:
            answer.force[16:32] = np.nan
        return answer

    whole, kept, _ = done(cells)
    result, broken, _ = done(cells, only_second)
    assert result.status == "ok"
    runs = result.samples["systems"][0]["runs"]
    assert [run["status"] for run in runs] == ["completed", "exploded", "completed"]
    assert value(result, "nve_drift_mev_per_atom_ps") is None
    assert value(result, "nve_instability") == pytest.approx(5 / 3)
    parts = [100, 100 * runs[1]["failure_step"] / 400, 100]
    assert value(result, "nve_survived_percent") == pytest.approx(np.mean(parts))
    for name in ("energy_0", "temperature_0"):
        np.testing.assert_allclose(
            broken.arrays[name][[0, 2]], kept.arrays[name][[0, 2]], rtol=1e-9
        )
    assert value(whole, "nve_survived_percent") == 100


def test_scoring_again_from_kept_answers_gives_the_same(cells):
    result, kept, job = done(cells)
    again = load_answers(job.workspace, keep_answers(job.workspace, kept))
    assert TASK.score(again, job) == result


def test_steps_are_those_of_ase():
    """The engine that serves all backends is checked against ASE's velocity Verlet."""
    from ase.build import bulk

    from dpbench.eval.structures import from_atoms

    atoms = bulk("Cu", "fcc", a=3.6, cubic=True) * (2, 2, 2)
    start = from_atoms(atoms)
    plan = Plan(
        baths=Baths(temperature=500.0, timestep=2.0, zero_every=0),
        steps=20,
        seeds=(4,),
        sample_every=1,
        limits=Limits(),
        keeps_coord=True,
    )
    found = make_runs(ByCalculator(EMT(), ["Cu"]), start, plan)
    path = found.values["coord"][0]
    # Velocities at the start follow from the first step: v = (dr - a dt^2 / 2) / dt.
    moving = to_atoms(start)
    moving.calc = EMT()
    dt = 2.0 * units.fs
    acceleration = moving.get_forces() / moving.get_masses()[:, None]
    moving.set_velocities((path[1] - path[0]) / dt - acceleration * dt / 2)
    assert moving.get_kinetic_energy() == pytest.approx(
        found.values["kinetic"][0, 0], rel=1e-6
    )
    dynamics = VelocityVerlet(moving, timestep=dt)
    for step in range(1, 21):
        dynamics.step()
        np.testing.assert_allclose(path[step], moving.positions, atol=1e-9)
    energy = found.values["energy"][0]
    assert energy[-1] == pytest.approx(moving.get_total_energy(), abs=1e-6)


def test_a_crash_of_the_backend_is_no_property_of_the_model(cells):
    def crash(call, frames, answer):
        if call == 20:
            raise BackendCrashed("worker: is gone; expected an answer.")
        return answer

    with pytest.raises(BackendCrashed):
        done(cells, crash)


def test_start_structures_take_each_source_once(cells):
    starts = starts_of(cells.part, task="nve", most=9, min_natoms=30)
    assert [start.frame for start in starts] == [0, 6, 12]
    assert {len(start.structure.z) for start in starts} == {32}
    with pytest.raises(EvaluationError, match="no frames"):
        starts_of(None, task="nve", most=1, min_natoms=1)


def test_modes_ask_for_at_least_three_seeds_and_tell_their_cost():
    """E4: seeds >= 3."""
    assert all(len(settings.seeds) >= 3 for settings in MODES.values())
    costs = [TASK.cost(MODES[mode]) for mode in ("smoke", "standard", "full")]
    assert costs == sorted(costs)
    with pytest.raises(ConfigError, match="for a slope"):
        NveSettings(steps=10, sample_every=10)


def test_the_one_that_cannot_be_evaluated_is_found_and_named_without_its_number(cells):
    """A model that refuses one of three replicas ends that one, with its words."""

    def refuses(call, frames, answer):
        if marked and (frames.coord == marked["at"]).all(axis=1).any():
            raise ModelError("replica 0, atom 3 (Al): has 99 Al within 5 Å.")
        if call == 30 and not marked:
            marked["at"] = frames.coord[20].copy()
            raise ModelError("replica 1, atom 4 (Al): has 99 Al within 5 Å.")
        return answer

    marked = {}
    result, _, _ = done(cells, refuses)
    runs = result.samples["systems"][0]["runs"]
    assert [run["status"] for run in runs] == ["completed", "refused", "completed"]
    assert runs[1]["reason"] == "atom 3 (Al): has 99 Al within 5 Å."
    assert runs[1]["failure_step"] == 30
