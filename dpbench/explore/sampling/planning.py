"""The walks of one stage: every start at every temperature and pressure."""

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from dpbench.errors import ConfigError
from dpbench.explore.sampling.settings import SamplingSettings, StageSettings
from dpbench.explore.sampling.starts import Starts
from dpbench.explore.sampling.walk_task import WalkTask
from dpbench.frames import Frames


@dataclass(frozen=True, kw_only=True, slots=True)
class _Row:
    """One walk of the plan."""

    start: int
    """Index of its start."""
    temperature: float
    """K."""
    replica: int
    """Among those of that start at that temperature."""


def walk_tasks(
    settings: SamplingSettings,
    stage_index: int,
    starts: Starts,
    *,
    models: Sequence[Path],
    iteration: int,
    seed: int,
    folder: Path,
) -> tuple[WalkTask, ...]:
    """Plan the walks of a stage; walks of the same atoms share a task.

    Args:
        settings: Section ``[explore]``.
        stage_index: Which stage.
        starts: Where walks start; those of other structures than the stage's are
            left out.
        models: Of the ensemble.
        iteration: Its number; another one draws other velocities.
        seed: Of the exploration.
        folder: Where walks are kept.

    Raises:
        ConfigError: If a start has no cell for a pressure, or there is no start.
    """
    stage = settings.stages[stage_index]
    numbers = _numbers(starts, stage)
    tasks: list[WalkTask] = []
    for pressure, temperatures in _conditions(settings, stage):
        for group in _groups(starts, numbers, temperatures, settings, stage):
            names = tuple(
                walk_name(
                    starts.names[row.start],
                    numbers[row.start],
                    temperature=row.temperature,
                    pressure=pressure,
                    replica=row.replica,
                )
                for row in group
            )
            task = _task(settings, stage, starts, group, pressure=pressure)
            model = models[0]
            if settings.models == "turns":
                model = models[len(tasks) % len(models)]
            seeds = tuple(_seed(seed, iteration, stage_index, name) for name in names)
            tasks.append(
                replace(task, names=names, seeds=seeds, model=model, folder=folder)
            )
    return tuple(tasks)


def walk_name(
    structure: str,
    number: int,
    *,
    temperature: float,
    pressure: float | None,
    replica: int,
) -> str:
    """Name a walk: structure, number of the start, conditions, replica."""
    under = "" if pressure is None else f"-{pressure:g}GPa"
    return f"{structure}-{number:03d}-{temperature:g}K{under}-{replica}"


def _conditions(
    settings: SamplingSettings, stage: StageSettings
) -> Iterator[tuple[float | None, tuple[float, ...]]]:
    """Yield pressures with the temperatures that can run side by side."""
    pressures: tuple[float | None, ...] = stage.pressures or (None,)
    is_mixed = stage.thermostat == "langevin" and not stage.pressures
    for pressure in pressures:
        if is_mixed and settings.engine == "dpbench":
            yield pressure, stage.temperatures
            continue
        for temperature in stage.temperatures:
            yield pressure, (temperature,)


def _numbers(starts: Starts, stage: StageSettings) -> dict[int, int]:
    """Number the starts of each structure of the stage."""
    seen: dict[str, int] = {}
    numbers = {}
    for index, name in enumerate(starts.names):
        if name not in stage.structures:
            continue
        numbers[index] = seen.get(name, 0)
        seen[name] = numbers[index] + 1
        if stage.pressures and not starts.frames.pbc[index].all():
            raise ConfigError(
                f"structure '{name}': has no cell, so no pressure; expected a "
                "periodic structure. Leave pressures out of its stage."
            )
    missing = [name for name in stage.structures if name not in seen]
    if missing:
        raise ConfigError(
            f"structure '{missing[0]}': has no start structure; expected one at "
            "least. Look at its generator."
        )
    return numbers


def _groups(
    starts: Starts,
    numbers: dict[int, int],
    temperatures: tuple[float, ...],
    settings: SamplingSettings,
    stage: StageSettings,
) -> Iterator[list[_Row]]:
    """Yield walks that can run side by side: of one structure, with the same atoms."""
    frames = starts.frames
    alike: dict[tuple[str, bytes, bytes], list[_Row]] = {}
    for index in numbers:
        atoms = frames.z[frames.atoms_of(index)]
        key = (starts.names[index], atoms.tobytes(), frames.pbc[index].tobytes())
        rows = alike.setdefault(key, [])
        rows += [
            _Row(start=index, temperature=temperature, replica=replica)
            for temperature in temperatures
            for replica in range(stage.replicas)
        ]
    for rows in alike.values():
        natoms = int(frames.natoms[rows[0].start])
        # Other engines make one walk at a time; tasks of their own run in parallel.
        most = 1
        if settings.engine == "dpbench":
            most = max(1, settings.atoms_at_once // natoms)
        for first in range(0, len(rows), most):
            yield rows[first : first + most]


def _task(
    settings: SamplingSettings,
    stage: StageSettings,
    starts: Starts,
    group: Sequence[_Row],
    *,
    pressure: float | None,
) -> WalkTask:
    """Return a task that lacks names, seeds, model and folder."""
    chosen = [row.start for row in group]
    frames: Frames = starts.frames.select(chosen)
    atoms = frames.atoms_of(0)
    return WalkTask(
        folder=Path(),
        engine=settings.engine,
        model=Path(),
        structure=starts.names[chosen[0]],
        pressure=pressure,
        names=(),
        temperatures=tuple(row.temperature for row in group),
        replicas=tuple(row.replica for row in group),
        origins=tuple(starts.origins[start] for start in chosen),
        seeds=(),
        z=frames.z[atoms].astype(np.int64),
        pbc=frames.pbc[0],
        coord=np.asarray(frames.coord, np.float64).reshape(len(chosen), -1, 3),
        box=np.nan_to_num(frames.box),
        stage=stage,
        filters=settings.filters,
        lammps=settings.lammps,
        ase=settings.ase,
    )


def _seed(seed: int, iteration: int, stage_index: int, name: str) -> int:
    """Return the seed of one walk."""
    mixed = np.random.SeedSequence(
        [seed, iteration, stage_index, zlib.crc32(name.encode())]
    )
    return int(mixed.generate_state(1)[0])
