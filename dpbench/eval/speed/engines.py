"""A step of molecular dynamics in each engine: atoms move, a thermostat acts.

All run a Langevin thermostat, so that a structure that was made on the spot relaxes
instead of exploding: BAOAB in dpbench's own engine, ``ase.md.langevin``, and
``fix langevin`` with ``fix nve`` in LAMMPS.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from ase import units
from ase.md.langevin import Langevin

from dpbench.eval.evaluator import AbstractEvaluator
from dpbench.eval.speed.configurations import ProbeJob
from dpbench.eval.speed.lammps_runs import LammpsRuns
from dpbench.eval.structures import set_temperature, to_atoms
from dpbench.frames import Frames
from dpbench.md.dynamics import Dynamics
from dpbench.md.models import load_forces
from dpbench.md.settings import Baths, MDConfig, default_limit
from dpbench.md.state import Structure, masses_of, start_state
from dpbench.md.velocities import draw_velocities
from dpbench.md.watch import Watch

INTEGRATORS = {
    "dpbench": "BAOAB Langevin, dpbench's own engine",
    "ase": "Langevin of ASE, through the backend's calculator",
    "lammps": "fix nve with fix langevin, LAMMPS",
}
"""Engine -> integrator and thermostat, for records."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Mover:
    """Molecular dynamics that is ready to go on."""

    step: Callable[[], object]
    """One step."""
    many: Callable[[int], float] | None = None
    """So many steps in the engine's own loop; returns the loop's seconds."""
    builds: Callable[[], int | None] = lambda: None
    """Neighbour lists built so far, where the engine tells."""


@contextmanager
def moving(
    job: ProbeJob, frame: Frames, evaluator: AbstractEvaluator | None
) -> Iterator[Mover]:
    """Start molecular dynamics of a structure.

    Args:
        job: The configuration, with its engine, and the baths.
        frame: One frame to start from.
        evaluator: The open model; LAMMPS and dpbench's engine open their own.

    Raises:
        DpbenchError: If the engine does not start, or refuses the model.
    """
    engine = job.configuration.engine
    if engine == "lammps":
        with LammpsRuns(job, frame) as runs:
            yield Mover(step=lambda: runs.run(1), many=runs.run)
    elif engine == "dpbench":
        yield _own(job, frame)
    elif evaluator is not None:
        yield _ase(job, frame, evaluator)


def _own(job: ProbeJob, frame: Frames) -> Mover:
    configuration = job.configuration
    baths = Baths(
        ensemble="langevin",
        temperature=job.temperature,
        timestep=job.timestep,
        tdamp=job.tdamp,
    )
    config = MDConfig(
        model=str(configuration.path),
        structure=job.family,
        baths=baths,
        steps=1,
        skin=job.skin,
        seed=job.seed,
        precision=configuration.precision,  # type: ignore[arg-type]
        device=configuration.device,
        exact=configuration.is_exact,
    )
    state = start_state(structure_of(job, frame), device=configuration.device)
    generator = torch.Generator(device=configuration.device).manual_seed(job.seed)
    field = load_forces(config, state.z).field
    dynamics = Dynamics(field, state, baths, generator=generator)
    limit = default_limit(job.temperature)
    watch = Watch(state, dof=dynamics.dof, max_temperature=limit)
    dynamics.start()

    def step() -> None:
        dynamics.step()
        watch.look()  # as a run does at each step on the CPU

    return Mover(step=step, builds=lambda: dynamics.neighbours.builds)


def structure_of(job: ProbeJob, frame: Frames) -> Structure:
    """Give a frame velocities at the temperature."""
    mass = masses_of(frame.z)
    velocity = draw_velocities(mass, job.temperature, seed=job.seed, nreplicas=1)[0]
    return Structure(
        where=job.family,
        z=frame.z.astype(np.int64),
        coord=frame.coord.astype(np.float64),
        box=frame.box[0].astype(np.float64),
        pbc=np.asarray(frame.pbc[0]),
        velocity=velocity,
    )


def _ase(job: ProbeJob, frame: Frames, evaluator: AbstractEvaluator) -> Mover:
    atoms = to_atoms(frame)
    calculator = evaluator.calculator()
    atoms.calc = calculator
    set_temperature(atoms, job.temperature, seed=job.seed)
    dynamics = Langevin(
        atoms,
        timestep=job.timestep * units.fs,
        temperature_K=job.temperature,
        friction=1.0 / (job.tdamp * units.fs),
        rng=np.random.RandomState(job.seed),  # what ASE takes
    )
    return Mover(step=dynamics.step, builds=lambda: evaluator.list_builds(calculator))
