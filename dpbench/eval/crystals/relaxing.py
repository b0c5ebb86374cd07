"""Relaxing a structure with a model."""

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase.filters import FrechetCellFilter
from ase.optimize import BFGS

from dpbench.errors import DpbenchError, SimulationError
from dpbench.eval.crystals.asking import AskingCalculator
from dpbench.eval.evaluator import AbstractEvaluator
from dpbench.eval.structures import from_atoms, to_atoms
from dpbench.frames import Frames

LONGEST_STEP = 0.1
"""Å, of one atom in one step."""

LOST = 1e3
"""eV/Å; a model with larger forces has lost the structure."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Relaxed:
    """Where a relaxation ended."""

    frame: Frames
    """Without labels."""
    energy: float
    """eV."""
    force: float
    """eV/Å, longest force left (with a free cell: of the filter's own)."""
    steps: int
    converged: bool
    """Whether the limit was reached within the steps allowed."""


def relax(
    evaluator: AbstractEvaluator,
    start: Frames,
    *,
    fmax: float,
    steps: int,
    free_cell: bool = False,
) -> Relaxed:
    """Move the atoms, and the cell if it is free, to the nearest minimum.

    Args:
        evaluator: The model.
        start: One periodic frame.
        fmax: eV/Å, limit of the longest force.
        steps: Most steps of BFGS.
        free_cell: Whether the cell relaxes, too.

    Raises:
        ModelError: If the model does not know an element.
        SimulationError: If energy or force is not a number, or the structure is lost.
    """
    atoms = to_atoms(start)
    atoms.calc = AskingCalculator(evaluator)
    moved: Any = FrechetCellFilter(atoms) if free_cell else atoms
    optimiser = BFGS(moved, logfile=None, maxstep=LONGEST_STEP)
    try:
        # Matrix functions warn of cells that are lost; that is told below.
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for _ in optimiser.irun(fmax=fmax, steps=steps):
                longest = _longest(moved)
                if longest > LOST:
                    raise SimulationError(f"a force of {longest:.3g} eV/Å")
            longest = _longest(moved)
            energy = float(atoms.get_potential_energy())
    except DpbenchError:
        raise
    except (ValueError, ArithmeticError, np.linalg.LinAlgError) as error:
        raise SimulationError(f"the relaxation broke down ({error})") from error
    return Relaxed(
        frame=from_atoms(atoms),
        energy=energy,
        force=longest,
        steps=int(optimiser.nsteps),
        converged=longest <= fmax,
    )


def converged(found: Relaxed, what: str) -> Relaxed:
    """Return what is given if it is converged.

    Raises:
        SimulationError: If it is not, saying how far it came.
    """
    if not found.converged:
        raise SimulationError(
            f"{what} did not relax in {found.steps} steps: a force of "
            f"{found.force:.2g} eV/Å is left"
        )
    return found


def _longest(moved: Any) -> float:
    forces = moved.get_forces()
    return float(np.sqrt((forces**2).sum(axis=1)).max())
