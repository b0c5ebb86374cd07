"""Task ``vacancy``: what it costs to take an atom out of a crystal."""

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpbench.eval.crystals.asking import Asked, ask, outcome
from dpbench.eval.crystals.cases import (
    Subject,
    at_minimum,
    done,
    references_of,
    subjects,
)
from dpbench.eval.crystals.comparing import mean_over
from dpbench.eval.crystals.references import load_references
from dpbench.eval.crystals.relaxing import converged, relax
from dpbench.eval.evaluator import AbstractEvaluator
from dpbench.eval.structures import displaced, replicas_to_reach, supercell
from dpbench.eval.task_results import TaskResult
from dpbench.eval.tasks.kept import Kept
from dpbench.eval.tasks.task import Job, Task
from dpbench.frames import Frames, concatenate, uniform

NAME = "vacancy"
"""Of the task and of its file of references: each case the perfect supercell, the same
with an atom less, that with the others displaced a little, and that one relaxed."""

SHAKEN = 0.02
"""Å, displacements that keep a relaxation off a saddle."""


@dataclass(frozen=True, kw_only=True, slots=True)
class VacancySettings:
    """What a suite may choose."""

    crystals: tuple[str, ...] = ()
    """Names of cases; empty for all."""
    fmax: float = 0.0025
    """eV/Å, limit of the forces."""
    steps: int = 300
    """Most steps of the relaxation."""
    min_natoms: int = 30
    """Of the supercell, where no reference brings one."""


def predict(evaluator: AbstractEvaluator, job: Job) -> Kept:
    """Ask for the energies with and without the atom, and relax."""
    begin = time.perf_counter()
    references = load_references(job.references, NAME)
    asked = Asked()
    for subject in subjects(job, evaluator, references):
        asked.case(subject.name, lambda: _energies(evaluator, subject, job.settings))  # noqa: B023 -- called at once
    return asked.kept(references, wall_time_s=time.perf_counter() - begin)


def score(kept: Kept, job: Job) -> TaskResult:
    """Form the differences and compare them with those of the reference."""
    references = references_of(job, NAME, kept)
    theirs = {}
    for case in () if references is None else references.cases:
        frames = case.frames()
        theirs[case.name] = formation_energies(frames.energy[[0, 1, 3]], frames)
    samples: dict[str, Any] = {}
    gaps: dict[str, list[float]] = {"relaxed": [], "unrelaxed": []}
    for name, facts in kept.facts["done"].items():
        arrays = done(kept, name)
        ours = _formed(arrays["energy"], natoms=facts["natoms"])
        samples[name] = {"model_ev": ours, "reference_ev": theirs.get(name), **facts}
        if name in theirs:
            for kind, gap in gaps.items():
                gap.append(abs(ours[kind] - theirs[name][kind]))
    usable = not kept.facts["failed"]
    return outcome(
        NAME,
        kept,
        {
            "vacancy_formation_energy_mae_ev": mean_over(
                gaps["relaxed"], is_whole=usable
            ),
            "vacancy_unrelaxed_energy_mae_ev": mean_over(
                gaps["unrelaxed"], is_whole=usable
            ),
        },
        references=references,
        protocol={
            "cell": "fixed, that of the reference for the model as well",
            "fmax_ev_per_ang": job.settings.fmax,
            "steps": job.settings.steps,
        },
        samples=samples,
    )


def formation_energies(energy: NDArray[np.float64], frames: Frames) -> dict[str, float]:
    """E(N-1) - (N-1)/N E(N), eV, of one element.

    Args:
        energy: Perfect, unrelaxed and relaxed, eV.
        frames: The first of them is the perfect supercell.
    """
    return _formed(energy, natoms=int(frames.natoms[0]))


def _formed(energy: NDArray[np.float64], *, natoms: int) -> dict[str, float]:
    perfect = float(energy[0]) * (natoms - 1) / natoms
    return {
        "unrelaxed": round(float(energy[1]) - perfect, 6),
        "relaxed": round(float(energy[2]) - perfect, 6),
    }


def _energies(
    evaluator: AbstractEvaluator, subject: Subject, settings: VacancySettings
) -> tuple[dict[str, NDArray[np.float64]], dict[str, Any]]:
    if subject.case is None:
        frames = _structures(at_minimum(evaluator, subject.frames)[0], settings)
    else:
        frames = subject.frames
    fixed = ask(evaluator, frames.select([0, 1])).energy
    start = frames.select([2])
    found = relax(evaluator, start, fmax=settings.fmax, steps=settings.steps)
    converged(found, "the vacancy")
    moved = np.linalg.norm(found.frame.coord - start.coord, axis=1)
    facts = {
        "natoms": int(frames.natoms[0]),
        "relaxation_steps": found.steps,
        "longest_move_ang": round(float(moved.max()), 4),
    }
    return {"energy": np.array([*fixed, found.energy])}, facts


def _structures(cell: Frames, settings: VacancySettings) -> Frames:
    """Make what a reference brings: perfect, one atom less, the others shaken."""
    perfect = supercell(cell, replicas_to_reach(cell, settings.min_natoms))
    empty = uniform(z=perfect.z[1:], coord=perfect.coord[1:][None], box=perfect.box)
    return concatenate([perfect, empty, displaced(empty, amplitude=SHAKEN, seed=1)])


def _cost(settings: VacancySettings) -> float:
    return 40.0 * settings.min_natoms * max(len(settings.crystals), 1)


TASK = Task(
    name=NAME,
    title="vacancy",
    settings=VacancySettings,
    modes={mode: VacancySettings() for mode in ("smoke", "standard", "full")},
    predict=predict,
    score=score,
    cost=_cost,
    sources=(
        "dpbench.eval.tasks.vacancy",
        "dpbench.eval.crystals.asking",
        "dpbench.eval.crystals.cases",
        "dpbench.eval.crystals.relaxing",
    ),
)
