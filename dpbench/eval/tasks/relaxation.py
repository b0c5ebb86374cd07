"""Task ``relaxation``: does a disturbed crystal find the reference's minimum?"""

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
from dpbench.eval.crystals.prototypes import strained
from dpbench.eval.crystals.references import load_references
from dpbench.eval.crystals.relaxing import Relaxed, relax
from dpbench.eval.evaluator import AbstractEvaluator
from dpbench.eval.structures import displaced
from dpbench.eval.task_results import TaskResult
from dpbench.eval.tasks.kept import Kept
from dpbench.eval.tasks.task import Job, Task
from dpbench.frames import Frames
from dpbench.metrics.elasticity import strain_matrix

NAME = "relaxation"
"""Of the task and of its file of references: each case the start and the end, both with
their energies; the fact ``free_cell`` says whether the cell relaxes."""

STRAIN = (0.02, -0.02, 0.0, 0.03, 0.0, 0.0)
SHAKEN = 0.1
"""Strain (Voigt) and displacements (Å) of a start without reference."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RelaxationSettings:
    """What a suite may choose."""

    crystals: tuple[str, ...] = ()
    """Names of cases; empty for all."""
    fmax: float = 0.0025
    """eV/Å, limit of the forces; with a free cell of the filter's forces as well."""
    steps: int = 300
    """Most steps of one relaxation."""


def predict(evaluator: AbstractEvaluator, job: Job) -> Kept:
    """Relax every start structure."""
    begin = time.perf_counter()
    references = load_references(job.references, NAME)
    asked = Asked()
    for subject in subjects(job, evaluator, references):
        asked.case(subject.name, lambda: _relaxed(evaluator, subject, job.settings))  # noqa: B023 -- called at once
    return asked.kept(references, wall_time_s=time.perf_counter() - begin)


def score(kept: Kept, job: Job) -> TaskResult:
    """Compare where the relaxations ended."""
    references = references_of(job, NAME, kept)
    theirs = {
        case.name: case for case in (() if references is None else references.cases)
    }
    samples: dict[str, Any] = {}
    failed: dict[str, str] = {}
    gaps: dict[str, list[float]] = {"rmsd": [], "energy": [], "volume": []}
    for name, facts in kept.facts["done"].items():
        arrays = done(kept, name)
        samples[name] = dict(facts)
        if not facts["converged"]:
            failed[name] = (
                f"did not relax in {facts['steps']} steps: a force of "
                f"{facts['force_ev_per_ang']} eV/Å is left"
            )
        if name in theirs:
            compared = _compare(arrays, theirs[name].frames())
            samples[name] |= {key: round(value, 5) for key, value in compared.items()}
            gaps["rmsd"].append(compared["rmsd_ang"])
            gaps["energy"].append(abs(compared["energy_error_per_atom_mev"]))
            if facts["free_cell"]:
                gaps["volume"].append(abs(compared["volume_error_percent"]))
    usable = not (failed or kept.facts["failed"])
    begun = kept.facts["cases"]
    ended = len(kept.facts["done"]) - len(failed)
    metrics = {
        "relaxation_rmsd_ang": mean_over(gaps["rmsd"], is_whole=usable),
        "relaxation_energy_mae_per_atom_mev": mean_over(
            gaps["energy"], is_whole=usable
        ),
        "relaxation_volume_mae_percent": mean_over(gaps["volume"], is_whole=usable),
        "relaxation_converged_percent": (
            100 * ended / len(begun) if begun else None,
            len(begun),
        ),
    }
    return outcome(
        NAME,
        kept,
        metrics,
        references=references,
        protocol={
            "optimiser": "BFGS (ASE)",
            "fmax_ev_per_ang": job.settings.fmax,
            "steps": job.settings.steps,
        },
        samples=samples,
        failed=failed,
    )


def _relaxed(
    evaluator: AbstractEvaluator, subject: Subject, settings: RelaxationSettings
) -> tuple[dict[str, NDArray[np.float64]], dict[str, Any]]:
    if subject.case is None:
        start, free = _start(at_minimum(evaluator, subject.frames)[0]), True
    else:
        start = subject.frames.select([0])
        free = bool(subject.case.facts["free_cell"])
    before = float(ask(evaluator, start).energy[0])
    found: Relaxed = relax(
        evaluator, start, fmax=settings.fmax, steps=settings.steps, free_cell=free
    )
    facts = {
        "free_cell": free,
        "converged": found.converged,
        "steps": found.steps,
        "force_ev_per_ang": round(found.force, 6),
        "natoms": len(start.z),
    }
    arrays = {
        "energy": np.array([before, found.energy]),
        "coord": np.asarray(found.frame.coord, np.float64),
        "box": found.frame.box[0],
    }
    return arrays, facts


def _start(cell: Frames) -> Frames:
    bent = strained(cell, strain_matrix(np.array([STRAIN])))
    return displaced(bent, amplitude=SHAKEN, seed=1)


def _compare(arrays: Any, frames: Frames) -> dict[str, float]:
    """Compare one end with the reference's."""
    natoms = int(frames.natoms[1])
    end = frames.select([1])
    fall = float(arrays["energy"][1] - arrays["energy"][0])
    reference = float(frames.energy[1] - frames.energy[0])
    volumes = [abs(float(np.linalg.det(box))) for box in (arrays["box"], end.box[0])]
    return {
        "rmsd_ang": rmsd(
            arrays["coord"] @ np.linalg.inv(arrays["box"]),
            np.asarray(end.coord, np.float64) @ np.linalg.inv(end.box[0]),
            end.box[0],
        ),
        "energy_error_per_atom_mev": 1000 * (fall - reference) / natoms,
        "volume_error_percent": 100 * (volumes[0] / volumes[1] - 1),
    }


def rmsd(
    one: NDArray[np.float64], other: NDArray[np.float64], box: NDArray[np.float64]
) -> float:
    """RMS distance of two structures, Å, their common shift taken off.

    Args:
        one: (atom, 3), parts of the cell.
        other: (atom, 3), of the same atoms in the same order.
        box: (3, 3), Å, in which the distances are measured.
    """
    gap = one - other
    gap -= gap[0]  # no atom is far from the first one's shift
    gap -= np.round(gap)
    gap -= gap.mean(axis=0)
    return float(np.sqrt(((gap @ box) ** 2).sum(axis=1).mean()))


def _cost(settings: RelaxationSettings) -> float:
    return 4 * 40 * 8.0


TASK = Task(
    name=NAME,
    title="relaxation",
    settings=RelaxationSettings,
    modes={mode: RelaxationSettings() for mode in ("smoke", "standard", "full")},
    predict=predict,
    score=score,
    cost=_cost,
    sources=(
        "dpbench.eval.tasks.relaxation",
        "dpbench.eval.crystals.asking",
        "dpbench.eval.crystals.cases",
        "dpbench.eval.crystals.relaxing",
    ),
)
