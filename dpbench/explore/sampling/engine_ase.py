"""Walks by the dynamics of ASE: the model, or any calculator."""

import time
from typing import Any

import numpy as np
from ase import Atoms, units
from numpy.typing import NDArray

from dpbench.errors import ConfigError, DpbenchError
from dpbench.eval.structures import set_temperature
from dpbench.explore.labels.ase_single_point import factory
from dpbench.explore.sampling.settings import AseSettings
from dpbench.explore.sampling.walk_task import WalkTask
from dpbench.explore.sampling.walks import Outcome, Trail
from dpbench.md.settings import Baths, default_limit
from dpbench.units import BAR

Array = NDArray[np.float64]


def run_ase_walks(task: WalkTask) -> list[Trail]:
    """Make the walks of a task one after the other.

    Raises:
        DpbenchError: If the model or calculator cannot be opened.
    """
    calculator = _calculator(task)
    return [_run(task, row, calculator) for row in range(len(task.names))]


def _calculator(task: WalkTask) -> Any:
    if not task.ase.calculator:
        from dpbench.md.ase_calculator import DPCalculator

        return DPCalculator(task.model)
    return open_calculator(task.ase)


def open_calculator(settings: AseSettings) -> Any:
    """Make the calculator that is named.

    Raises:
        ConfigError: If it cannot be imported, or refuses its arguments.
    """
    make = factory(settings.calculator, where="explore.ase.calculator")
    try:
        return make(**settings.arguments)
    except Exception as error:  # constructors raise whatever they please
        raise ConfigError(
            f"explore.ase.arguments: {settings.calculator} refuses them ({error}); "
            "expected what it is called with in Python. Correct them."
        ) from error


def _run(task: WalkTask, row: int, calculator: Any) -> Trail:
    began, temperature = time.process_time(), task.temperatures[row]
    atoms = Atoms(
        numbers=task.z, positions=task.coord[row], cell=task.box[row], pbc=task.pbc
    )
    atoms.calc = calculator
    if task.ase.calculator and hasattr(calculator, "directory"):
        # Where one that runs a program keeps its files.
        calculator.directory = str(task.folder / task.names[row])
    set_temperature(atoms, temperature, seed=task.seeds[row])
    rng = np.random.default_rng(task.seeds[row])
    moves = integrator(atoms, task.baths, rng=rng)
    coord: list[Array] = []
    box: list[Array] = []
    steps: list[int] = []
    outcome: Outcome = "done"
    reason, made = "", 0
    try:
        with np.errstate(all="ignore"):
            while made < task.stage.steps and not reason:
                chunk = min(task.stage.every, task.stage.steps - made)
                moves.run(chunk)
                made += chunk
                reason = _explosion(atoms, temperature)
                if reason:
                    outcome = "exploded"
                elif task.frames_at(made):
                    coord.append(np.array(atoms.positions))
                    box.append(np.array(atoms.cell))
                    steps.append(made)
    except DpbenchError as error:
        outcome, reason = "failed", str(error)
        if not np.isfinite(atoms.positions).all():
            outcome, reason = "exploded", "a place is no number"
    # calculators raise whatever they please
    except Exception as error:
        outcome, reason = "failed", f"{type(error).__name__}: {error}"
    return Trail(
        coord=np.array(coord).reshape(len(steps), len(task.z), 3),
        box=np.array(box).reshape(len(steps), 3, 3),
        step=np.array(steps, dtype=np.int64),
        outcome=outcome,
        reason=" ".join(reason.split()),
        steps=made,
        cpu_seconds=time.process_time() - began,
    )


def _explosion(atoms: Any, temperature: float) -> str:
    """Say what is wrong; "" if nothing is."""
    if not np.isfinite(atoms.positions).all():
        return "a place is no number"
    now, limit = float(atoms.get_temperature()), default_limit(temperature)
    if not now <= limit:
        return f"temperature {now:.0f} K, more than {limit:.0f} K"
    return ""


def integrator(atoms: Any, baths: Baths, *, rng: np.random.Generator) -> Any:
    """Make ASE's dynamics of an ensemble.

    Langevin and Bussi serve fixed cells; with a pressure it is the barostat of
    Martyna, Tobias and Klein with chains of its own, whatever the thermostat.

    Raises:
        ConfigError: If this ASE has no such dynamics.
    """
    step, tdamp = baths.timestep * units.fs, baths.tdamp * units.fs
    try:
        if baths.ensemble == "npt":
            return _at_pressure(atoms, baths, step=step, tdamp=tdamp)
        if baths.bath == "langevin":
            from ase.md.langevin import Langevin

            return Langevin(
                atoms,
                step,
                temperature_K=baths.temperature,
                friction=1 / tdamp,
                fixcm=False,
                rng=rng,
            )
        if baths.bath == "bussi":
            from ase.md.bussi import Bussi

            return Bussi(atoms, step, baths.temperature, tdamp, rng=rng)
        from ase.md.nose_hoover_chain import NoseHooverChainNVT

        return NoseHooverChainNVT(atoms, step, baths.temperature, tdamp)
    except ImportError as error:
        raise ConfigError(
            f"engine = 'ase': this ASE has no dynamics for it ({error}); expected a "
            "newer one. Update ASE, or take engine = 'dpbench'."
        ) from error


def _at_pressure(atoms: Any, baths: Baths, *, step: float, tdamp: float) -> Any:
    from ase.md.nose_hoover_chain import MTKNPT, IsotropicMTKNPT

    kind = IsotropicMTKNPT if baths.couple == "iso" else MTKNPT
    return kind(
        atoms,
        step,
        temperature_K=baths.temperature,
        pressure_au=baths.pressure * BAR,
        tdamp=tdamp,
        pdamp=baths.pdamp * units.fs,
    )
