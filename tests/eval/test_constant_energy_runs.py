import numpy as np
import pytest
from ase import units
from ase.build import bulk
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.emt import EMT

from dpbench.eval.stability import LIMITS, TRACE_POINTS, run_nve
from dpbench.eval.task_results import StabilityProtocol


def protocol(**changes) -> StabilityProtocol:
    values = {
        "ensemble": "NVE",
        "integrator": "velocity Verlet (ASE)",
        "temperature": 300.0,
        "timestep": 1.0,
        "steps": 60,
        "sample_every": 2,
        "discard": 0.2,
        "start_frame": 0,
        "replicas": (2, 2, 2),
        "natoms": 8,
        "limits": dict(LIMITS),
    }
    return StabilityProtocol(**(values | changes))


def copper():
    return bulk("Cu", a=3.6) * (2, 2, 2)


class Planted(Calculator):
    """EMT with a planted fault, by the number of evaluations."""

    implemented_properties = ("energy", "forces")

    def __init__(self, fault) -> None:
        super().__init__()
        self.emt, self.fault, self.calls = EMT(), fault, -1

    def calculate(self, atoms=None, properties=("energy",), changes=all_changes):
        super().calculate(atoms, properties, changes)
        self.calls += 1
        self.emt.calculate(atoms, ["energy", "forces"], all_changes)
        energy = self.emt.results["energy"]
        forces = self.emt.results["forces"].copy()
        self.results = self.fault(self.calls, energy, forces)


def test_a_conservative_potential_completes_without_drift():
    run = run_nve(copper(), EMT(), protocol=protocol(steps=200), seed=0)
    assert run.status == "completed"
    assert run.reason is run.failure_step is None
    assert run.steps_done == 200
    assert abs(run.drift) < 0.5  # meV/atom/ps, short run
    assert 2.0 < run.min_distance < 2.55
    assert run.temperature[0] == pytest.approx(300.0, rel=1e-6)


def test_a_planted_drift_in_ev_per_ps_is_read_as_such():
    """Would read 10.18 times too large if ASE's time unit were taken for 1 fs."""
    planted = 0.05  # eV/atom/ps

    def drifting(calls, energy, forces):
        return {"energy": energy + 8 * planted * calls * 1e-3, "forces": forces}

    run = run_nve(copper(), Planted(drifting), protocol=protocol(steps=400), seed=0)
    assert run.drift == pytest.approx(1000 * planted, rel=0.02)
    assert units.fs != pytest.approx(1.0, rel=0.5)


def test_a_force_that_is_no_number_ends_the_run_with_step_and_reason():
    def broken(calls, energy, forces):
        if calls >= 7:
            forces[0, 0] = np.nan
        return {"energy": energy, "forces": forces}

    run = run_nve(copper(), Planted(broken), protocol=protocol(), seed=0)
    assert (run.status, run.failure_step) == ("exploded", 7)
    assert "not a number" in run.reason
    assert run.drift is None


def test_a_jump_of_the_total_energy_ends_the_run():
    def jumping(calls, energy, forces):
        return {"energy": energy + (8.0 if calls >= 11 else 0.0), "forces": forces}

    run = run_nve(copper(), Planted(jumping), protocol=protocol(), seed=0)
    assert (run.status, run.failure_step) == ("exploded", 11)
    assert "total energy" in run.reason


def test_collapsing_atoms_end_the_run():
    limits = LIMITS | {"min_distance_ang": 2.6}
    run = run_nve(copper(), EMT(), protocol=protocol(limits=limits), seed=0)
    assert run.status == "exploded"
    assert "Å apart" in run.reason


def test_a_hot_run_is_ended():
    limits = LIMITS | {"temperature_factor": 0.5, "temperature_floor_k": 10.0}
    run = run_nve(copper(), EMT(), protocol=protocol(limits=limits), seed=0)
    assert "temperature" in run.reason
    assert run.failure_step == 0


def test_the_same_seed_gives_the_same_run_and_another_does_not():
    first, again, other = (
        run_nve(copper(), EMT(), protocol=protocol(), seed=seed) for seed in (3, 3, 4)
    )
    assert first == again
    assert first.energy != other.energy


def test_the_trace_is_bounded():
    run = run_nve(copper(), EMT(), protocol=protocol(steps=600, sample_every=1), seed=0)
    assert len(run.time) == len(run.energy) == len(run.temperature) == TRACE_POINTS
    assert run.time[-1] == 600.0
