"""Making walks: the engine, then the filters, then the files."""

from collections.abc import Callable

from dpbench.explore.sampling.engine_ase import open_calculator, run_ase_walks
from dpbench.explore.sampling.engine_dpbench import run_replicas
from dpbench.explore.sampling.engine_lammps import check_lammps, run_lammps_walks
from dpbench.explore.sampling.settings import Engine, SamplingSettings
from dpbench.explore.sampling.walk_task import WalkTask
from dpbench.explore.sampling.walks import Trail, Walk, read_walk, sifted, write_walk
from dpbench.models.sel import SEL_EXPECTS

ENGINES: dict[Engine, Callable[[WalkTask], list[Trail]]] = {
    "dpbench": run_replicas,
    "lammps": run_lammps_walks,
    "ase": run_ase_walks,
}
"""What makes the walks of a task, by name."""


def check_engine(settings: SamplingSettings) -> None:
    """Check that the engine of walks is there.

    Raises:
        ConfigError: If the calculator or Python that is named cannot be used.
        BackendError: If there is no environment with LAMMPS.
    """
    if settings.engine == "lammps":
        check_lammps(settings.lammps)
    elif settings.engine == "ase" and settings.ase.calculator:
        open_calculator(settings.ase)


def walk(task: WalkTask) -> tuple[Walk, ...]:
    """Make the walks of a task, or read them where they are made already.

    A walk that explodes keeps the frames before and is no error.

    Args:
        task: Of ``walk_tasks``.

    Returns:
        One walk for each of the task's names, in that order.

    Raises:
        DpbenchError: If the engine is missing, or the model is none for these atoms.
    """
    digest = task.digest()
    held = [read_walk(task.folder / name, digest=digest) for name in task.names]
    finished = tuple(one for one in held if one is not None)
    if len(finished) == len(held):
        return finished
    trails = ENGINES[task.engine](task)
    walks = tuple(_walk_of(task, row, trail) for row, trail in enumerate(trails))
    for one in walks:
        write_walk(one, task.folder / one.name, digest=digest)
    return walks


def _advised(reason: str) -> str:
    """Say what to do about full slots where an ensemble is trained again and again."""
    head, found, rest = reason.partition(SEL_EXPECTS)
    if not found:
        return reason
    return (
        f"{head}{found}{rest.partition('.')[0]}. It was measured on the frames trained "
        "on: state a larger sel in the file of train.config, or start with frames "
        "that have these elements side by side."
    )


def _walk_of(task: WalkTask, row: int, trail: Trail) -> Walk:
    frames, step, dropped = sifted(
        trail, z=task.z, pbc=task.pbc, volume=task.volume(row), filters=task.filters
    )
    return Walk(
        name=task.names[row],
        structure=task.structure,
        temperature=task.temperatures[row],
        pressure=task.pressure,
        replica=task.replicas[row],
        origin=task.origins[row],
        frames=frames,
        step=step,
        outcome=trail.outcome,
        reason=_advised(trail.reason),
        steps=trail.steps,
        dropped=dropped,
        cpu_seconds=trail.cpu_seconds,
        engine=task.engine,
    )
