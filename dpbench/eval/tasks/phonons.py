"""Task ``phonons``: frequencies by finite displacements in a small supercell."""

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase.data import atomic_masses
from numpy.typing import NDArray

from dpbench.eval.crystals.asking import Asked, ask, outcome
from dpbench.eval.crystals.cases import (
    Subject,
    at_minimum,
    done,
    references_of,
    subjects,
)
from dpbench.eval.crystals.comparing import mean_over, rounded
from dpbench.eval.crystals.references import load_references
from dpbench.eval.evaluator import AbstractEvaluator
from dpbench.eval.task_results import TaskResult
from dpbench.eval.tasks.kept import Kept
from dpbench.eval.tasks.task import Job, Task
from dpbench.frames import Frames, uniform
from dpbench.metrics.phonons import (
    Supercell,
    build_supercell,
    displacements,
    fitting_wave_vectors,
    frequencies,
)

NAME = "phonons"
"""Of the task and of its file of references: each case the primitive cell, then the
displaced supercells; facts ``matrix`` (supercell) and ``step_ang``."""

STEP = 0.02
"""Å, where no reference names it."""

IMAGINARY = -0.3
"""THz; what lies between this and zero may be noise of the forces."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PhononSettings:
    """What a suite may choose."""

    crystals: tuple[str, ...] = ()
    """Names of cases; empty for all."""
    copies: int = 2
    """Of the primitive cell along each vector, where no reference names them."""


def predict(evaluator: AbstractEvaluator, job: Job) -> Kept:
    """Ask for the forces in every displaced supercell."""
    begin = time.perf_counter()
    references = load_references(job.references, NAME)
    asked = Asked()
    for subject in subjects(job, evaluator, references, is_cubic=False):
        asked.case(subject.name, lambda: _forces(evaluator, subject, job.settings))  # noqa: B023 -- called at once
    return asked.kept(references, wall_time_s=time.perf_counter() - begin)


def score(kept: Kept, job: Job) -> TaskResult:
    """Diagonalise, and compare branch by branch."""
    references = references_of(job, NAME, kept)
    theirs = {
        case.name: case.frames()
        for case in (() if references is None else references.cases)
    }
    samples: dict[str, Any] = {}
    means, worst, imaginary = [], [], []
    for name, facts in kept.facts["done"].items():
        arrays = done(kept, name)
        waves, ours = _frequencies(arrays["force"], arrays, facts)
        samples[name] = {
            "wave_vectors": [rounded(wave) for wave in waves],
            "model_thz": [rounded(row, 4) for row in ours],
        }
        if name not in theirs:
            continue
        labels = np.asarray(
            theirs[name].select(range(1, theirs[name].nframes)).force, np.float64
        )
        _, reference = _frequencies(labels, arrays, facts)
        samples[name]["reference_thz"] = [rounded(row, 4) for row in reference]
        means.append(float(np.abs(ours - reference).mean()))
        worst.append(float(np.abs(ours - reference).max()))
        imaginary.append(int(((ours < IMAGINARY) & (reference >= IMAGINARY)).sum()))
    usable = bool(means) and not kept.facts["failed"]
    return outcome(
        NAME,
        kept,
        {
            "phonon_frequency_mae_thz": mean_over(means, is_whole=usable),
            "phonon_frequency_max_thz": (max(worst) if usable else None, len(worst)),
            "phonon_imaginary_modes": (
                sum(imaginary) if usable else None,
                len(imaginary),
            ),
        },
        references=references,
        protocol={
            "at": "the cell of the reference, for the model as well",
            "imaginary_below_thz": IMAGINARY,
        },
        samples=samples,
    )


def _forces(
    evaluator: AbstractEvaluator, subject: Subject, settings: PhononSettings
) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    if subject.case is None:
        cell, _ = at_minimum(evaluator, subject.frames)
        matrix = settings.copies * np.eye(3, dtype=np.int64)
        frames, step = displaced_supercells(cell, matrix, STEP), STEP
    else:
        cell = subject.frames.select([0])
        matrix = np.array(subject.case.facts["matrix"], np.int64)
        step = float(subject.case.facts["step_ang"])
        frames = subject.frames.select(range(1, subject.frames.nframes))
    arrays = {
        "force": ask(evaluator, frames).force,
        "z": cell.z,
        "coord": cell.coord,
        "box": cell.box[0],
    }
    return arrays, {"matrix": matrix.tolist(), "step_ang": step}


def displaced_supercells(
    cell: Frames, matrix: NDArray[np.int64], step: float
) -> Frames:
    """Make the supercells whose forces tell the frequencies.

    Args:
        cell: One frame, the primitive cell.
        matrix: (3, 3), rows are the supercell's vectors in those of the cell.
        step: Å.

    Returns:
        Six frames for each atom of the cell.
    """
    big = build_supercell(np.asarray(cell.coord, np.float64), cell.box[0], matrix)
    natoms = len(cell.z)
    coord = np.repeat(big.coord[None], 6 * natoms, axis=0)
    coord[:, :natoms] += displacements(natoms, step)
    return uniform(
        z=cell.z[big.basis],
        coord=coord,
        box=np.repeat(big.box[None], len(coord), axis=0),
    )


def _frequencies(
    force: NDArray[np.float64], arrays: Any, facts: Any
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    matrix = np.array(facts["matrix"], np.int64)
    big: Supercell = build_supercell(arrays["coord"], arrays["box"], matrix)
    waves = fitting_wave_vectors(matrix)
    return waves, frequencies(
        force,
        big,
        masses=np.asarray(atomic_masses)[arrays["z"].astype(int)],
        step=facts["step_ang"],
        waves=waves,
    )


def _cost(settings: PhononSettings) -> float:
    # Twelve supercells of two atoms times the copies.
    return 12 * 2.0 * settings.copies**3 * max(len(settings.crystals), 1)


TASK = Task(
    name=NAME,
    title="phonons",
    settings=PhononSettings,
    modes={mode: PhononSettings() for mode in ("smoke", "standard", "full")},
    predict=predict,
    score=score,
    cost=_cost,
    sources=(
        "dpbench.eval.tasks.phonons",
        "dpbench.eval.crystals.asking",
        "dpbench.eval.crystals.cases",
        "dpbench.metrics.phonons",
    ),
)
