"""The same model in LAMMPS through DeePMD-kit: the same trajectory, the same means."""

import os
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from dpbench.md.dynamics import Dynamics
from dpbench.md.forces import BatchForces, TabulatedForces
from dpbench.md.settings import Baths
from dpbench.md.state import Structure, masses_of, start_state
from dpbench.md.velocities import draw_velocities, remove_momentum
from dpbench.models.compressed import TableSettings, compress
from dpbench.models.config import EnergyFittingConfig
from dpbench.models.deepmd_file import write_deepmd
from dpbench.models.potential import DeepPotential
from tests.md.analytic import standard_error
from tests.models.structures import config, statistics, water

EDGE = 6.6

TABLE = TableSettings(intervals=4096, shortest=0.1)
"""An untrained model does not keep atoms apart."""

LAMMPS_MASS = 1.0364269e-4
"""LAMMPS' mvv2e in units metal; it is 7e-8 off CODATA's."""

THERMO = ("step", "pe", "ke", "temp", "press", "vol")


def model():
    """A small model; TensorFlow skips layers of the fitting net of equal width only."""
    plain = EnergyFittingConfig(neuron=(12, 12, 12))
    roomy = config(sel=(20, 32))
    return DeepPotential.initialise(replace(roomy, fitting=plain), statistics(), 5)


def structure():
    frames = water(natoms=12, box=np.eye(3) * EDGE)
    return Structure(
        where="water",
        z=frames.z.astype(int),
        coord=frames.coord,
        box=np.eye(3) * EDGE,
        pbc=np.ones(3, dtype=bool),
    )


def write_data(path: Path, start: Structure, velocity) -> None:
    """A LAMMPS data file; type 1 is O, 2 is H, masses make LAMMPS' eV ours."""
    o, h = (float(masses_of(np.array([z]))[0]) / LAMMPS_MASS for z in (8, 1))
    kinds = np.where(start.z == 8, 1, 2)
    lines = [
        "water",
        "",
        f"{start.natoms} atoms",
        "2 atom types",
        *(f"0 {float(start.box[0, 0])!r} {a}lo {a}hi" for a in "xyz"),
        "",
        "Masses",
        "",
        f"1 {o!r}",
        f"2 {h!r}",
        "",
        "Atoms # atomic",
        "",
    ]
    for i, (kind, place) in enumerate(zip(kinds, start.coord.tolist(), strict=True)):
        lines.append(f"{i + 1} {kind} " + " ".join(map(repr, place)))
    lines += ["", "Velocities", ""]
    for i, row in enumerate(velocity.tolist()):
        lines.append(f"{i + 1} " + " ".join(map(repr, row)))
    path.write_text("\n".join(lines) + "\n")


def lammps(python, folder, start, velocity, *, phases, timestep, every=1):
    """Run LAMMPS; return what it prints of ``THERMO``, one table per phase.

    A phase is a fix and a number of steps.
    """
    programs = Path(python).parent
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "TF_INTRA_OP_PARALLELISM_THREADS": "1",
        "TF_INTER_OP_PARALLELISM_THREADS": "1",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
    }
    write_deepmd(folder / "m.dp", model())
    write_data(folder / "start.data", start, velocity)
    (folder / "in.lmp").write_text(
        f"""units metal
atom_style atomic
boundary p p p
read_data start.data
pair_style deepmd m.pb
pair_coeff * * O H
neighbor 1.0 bin
neigh_modify every 1 delay 0 check yes
timestep {timestep / 1000!r}
thermo_style custom {" ".join(THERMO)}
thermo_modify format float %.16g norm no flush no
thermo {every}
"""
        + "".join(f"fix 1 all {fix}\nrun {steps}\nunfix 1\n" for fix, steps in phases)
    )
    for words in (
        [str(programs / "dp"), "convert-backend", "m.dp", "m.pb"],
        [str(programs / "lmp"), "-in", "in.lmp", "-log", "log.lammps"],
    ):
        done = subprocess.run(
            words,
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    tables, is_table = [], False
    for line in (folder / "log.lammps").read_text().splitlines():
        words = line.split()
        if words[:1] == ["Step"]:
            is_table = True
            tables.append([])
        elif line.startswith("Loop time"):
            is_table = False
        elif is_table:
            tables[-1].append([float(word) for word in words])
    return [dict(zip(THERMO, np.array(t).T, strict=True)) for t in tables]


def start_velocity(start, temperature):
    mass = masses_of(start.z)
    velocity = draw_velocities(mass, temperature, seed=4, nreplicas=1)[0]
    return velocity - (mass[:, None] * velocity).sum(axis=0) / mass.sum()


def dynamics_of(start, velocity, baths, *, nreplicas=1, is_exact=False):
    state = start_state(start, nreplicas=nreplicas)
    state.velocity += torch.from_numpy(velocity)
    field = (
        BatchForces(model(), start.z, skin=0.5)
        if is_exact
        else TabulatedForces(
            compress(model(), TABLE), start.z, nreplicas=nreplicas, skin=0.5
        )
    )
    generator = torch.Generator().manual_seed(8)
    dynamics = Dynamics(field, state, baths, generator=generator)
    remove_momentum(state)
    dynamics.start()
    return dynamics


@pytest.mark.slow
def test_constant_energy_runs_are_those_of_lammps_step_by_step(
    deepmd_python, tmp_path, figures
):
    start = structure()
    velocity = start_velocity(start, 300.0)
    (theirs,) = lammps(
        deepmd_python,
        tmp_path,
        start,
        velocity,
        phases=[("nve", 150)],
        timestep=0.2,
    )
    baths = Baths(timestep=0.2, zero_every=0)
    worst = {}
    for name, is_exact, limit in (("exact", True, 1e-8), ("table", False, 1e-6)):
        run = dynamics_of(start, velocity, baths, is_exact=is_exact)
        rows = [sample(run)]
        for _ in range(150):
            run.step()
            rows.append(sample(run))
        ours = np.array(rows).T
        worst[name] = max(
            float(np.abs(ours[0] - theirs["pe"]).max()),
            float(np.abs(ours[1] - theirs["ke"]).max()),
        )
        assert worst[name] < limit
        # LAMMPS' constants of pressure differ by 2e-6.
        np.testing.assert_allclose(ours[2], theirs["press"], rtol=5e-5, atol=2.0)
    assert np.ptp(theirs["ke"]) > 0.05
    figures(
        ", ".join(f"{name} {value:.1e} eV off LAMMPS" for name, value in worst.items())
    )


def sample(run):
    state = run.state
    return [
        float(value[0])
        for value in (state.energy, 0.5 * state.twice_kinetic(), state.pressure())
    ]


@pytest.mark.slow
def test_means_of_nvt_and_npt_are_those_of_lammps(deepmd_python, tmp_path, figures):
    """A hot, dense gas of a dozen atoms, so that short runs say something."""
    start = structure()
    temperature, pressure, steps, every = 2500.0, 8_000.0, 10_000, 10
    velocity = start_velocity(start, temperature)
    tdamp, pdamp = 40.0, 100.0
    nvt, npt = lammps(
        deepmd_python,
        tmp_path,
        start,
        velocity,
        phases=[
            (f"nvt temp {temperature} {temperature} {tdamp / 1000}", steps),
            (
                f"npt temp {temperature} {temperature} {tdamp / 1000} "
                f"iso {pressure} {pressure} {pdamp / 1000}",
                steps,
            ),
        ],
        timestep=0.25,
        every=every,
    )
    common = {"timestep": 0.25, "temperature": temperature, "tdamp": tdamp}
    ours = {
        "nvt": Baths(ensemble="nvt", **common),
        "npt": Baths(
            ensemble="npt",
            pressure=pressure,
            pdamp=pdamp,
            compressibility=1 / pressure,
            **common,
        ),
    }
    for name, theirs in (("nvt", nvt), ("npt", npt)):
        run = dynamics_of(start, velocity, ours[name], nreplicas=2)
        # Replicas of one start need velocities of their own.
        run.state.velocity[1].neg_()
        rows = []
        for step in range(1, steps + 1):
            run.step()
            if step % every == 0:
                rows.append(observed(run))
        table = np.array(rows)
        for index, quantity in enumerate(("pe", "temp", "press", "vol")):
            if name == "nvt" and quantity == "vol":
                continue
            found, known = table[:, index], theirs[quantity][:, np.newaxis]
            error = np.hypot(
                standard_error(found, discard=0.25), standard_error(known, discard=0.25)
            )
            cut = len(found) // 4
            mean, expected = found[cut:].mean(), known[cut:].mean()
            figures(
                f"{name} {quantity}: {mean:.5g}, LAMMPS {expected:.5g} +- {error:.2g}"
            )
            # LAMMPS' barostat counts 3N - 3 momenta: volumes differ by about 1/N.
            finite = expected / start.natoms if quantity == "vol" else 0.0
            assert abs(mean - expected) < 3 * error + finite, (name, quantity)


def observed(run):
    state = run.state
    values = (
        state.energy,
        state.temperature(run.dof),
        state.pressure(),
        state.volume(),
    )
    return [value.numpy().copy() for value in values]
