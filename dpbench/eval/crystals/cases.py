"""What a task over crystals is done on: cases of a reference, or prototypes."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpbench.errors import EvaluationError, SimulationError
from dpbench.eval.crystals.asking import ask
from dpbench.eval.crystals.prototypes import prototypes, scaled, volume_per_atom
from dpbench.eval.crystals.references import Case, References, load_references
from dpbench.eval.evaluator import AbstractEvaluator
from dpbench.eval.tasks.kept import Kept
from dpbench.eval.tasks.task import Job
from dpbench.frames import Frames
from dpbench.metrics.equation_of_state import EquationOfState, fit_equation_of_state

SPAN = 0.08
"""Part of the volume on either side that a scan covers."""

POINTS = 9
"""Volumes of a scan."""

MOST_PROTOTYPES = 4
"""Most elements that are tried where no reference names a crystal."""

_MOST_MOVES = 8
"""Times that a scan follows a falling energy."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Subject:
    """One crystal to be asked about."""

    name: str
    case: Case | None
    """Of the reference; None: a prototype, with nothing to compare."""
    frames: Frames
    """Of the case with their labels; or the prototype's cell."""


def subjects(
    job: Job,
    evaluator: AbstractEvaluator,
    references: References | None,
    *,
    is_cubic: bool = True,
) -> Iterator[Subject]:
    """Yield the cases of a reference, else cells of the model's elements.

    Args:
        job: Its part tells the elements, where it has one.
        evaluator: Its model tells them otherwise.
        references: What ``load_references`` found.
        is_cubic: Whether prototypes are whole cubes.

    Raises:
        EvaluationError: If the settings name a crystal that is not there.
    """
    names: tuple[str, ...] = job.settings.crystals
    if references is not None:
        known: dict[str, Subject] = {
            case.name: Subject(name=case.name, case=case, frames=case.frames())
            for case in references.cases
        }
    else:
        symbols = evaluator.type_map
        if job.part is not None:
            symbols = tuple(job.part.version.symbols)
        cells = prototypes(symbols, is_cubic=is_cubic)
        known = {
            name: Subject(name=name, case=None, frames=cell)
            for name, cell in list(cells.items())[:MOST_PROTOTYPES]
        }
    for name in names:
        if name not in known:
            raise EvaluationError(
                f"settings: crystal '{name}' is not there; expected some of "
                f"{', '.join(known) or 'none'}. Leave 'crystals' empty for all."
            )
    for name, subject in known.items():
        if not names or name in names:
            job.say(f"crystal {name}")
            yield subject


def references_of(job: Job, task: str, kept: Kept) -> References | None:
    """Read the references again that the kept answers belong to.

    Raises:
        EvaluationError: If they are others.
    """
    found = load_references(job.references, task)
    digest = None if found is None else found.digest
    if digest != kept.facts["references"]:
        raise EvaluationError(
            f"task '{task}': the answers were made for references "
            f"{kept.facts['references']}; expected {digest}. Evaluate the model again."
        )
    return found


def scan(
    evaluator: AbstractEvaluator, cell: Frames, *, is_fixed: bool = False
) -> tuple[NDArray[np.float64], NDArray[np.float64], EquationOfState]:
    """Find the volume of least energy of a cell, its shape kept.

    Args:
        evaluator: The model.
        cell: One frame to begin with.
        is_fixed: Do not follow a minimum that lies outside.

    Returns:
        Volumes (Å^3/atom), energies (eV/atom) and the fit.

    Raises:
        SimulationError: If no minimum is found.
    """
    centre = 1.0
    parts = np.linspace(1 - SPAN, 1 + SPAN, POINTS)
    for _ in range(_MOST_MOVES):
        frames = scaled(cell, centre * parts)
        energy = ask(evaluator, frames).energy / len(cell.z)
        volume = volume_per_atom(frames)
        lowest = int(energy.argmin())
        curve = fit_equation_of_state(volume, energy)
        if curve is not None and 2 <= lowest <= POINTS - 3:
            return volume, energy, curve
        if is_fixed or not 0.3 < centre < 3:
            break
        centre *= float(parts[lowest])
    raise SimulationError(
        "the energy has no minimum within 8 % of the volume"
        if is_fixed
        else f"the energy has no minimum near {volume[lowest]:.2f} Å^3/atom"
    )


def at_minimum(
    evaluator: AbstractEvaluator, cell: Frames
) -> tuple[Frames, EquationOfState]:
    """Scale a cell to the model's own volume of least energy."""
    *_, curve = scan(evaluator, cell)
    part = curve.volume / volume_per_atom(cell)
    return scaled(cell, part), curve


def done(kept: Kept, name: str) -> Mapping[str, NDArray[Any]]:
    """Return the arrays of one case."""
    start = f"{name}/"
    return {
        key.removeprefix(start): value
        for key, value in kept.arrays.items()
        if key.startswith(start)
    }
