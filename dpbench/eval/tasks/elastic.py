"""Task ``elastic``: elastic constants of cubic crystals."""

import time
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpbench.errors import EvaluationError
from dpbench.eval.crystals.asking import Asked, ask, outcome, virial_of
from dpbench.eval.crystals.cases import (
    Subject,
    at_minimum,
    done,
    references_of,
    subjects,
)
from dpbench.eval.crystals.comparing import mean_over, rounded_values
from dpbench.eval.crystals.prototypes import strained
from dpbench.eval.crystals.references import Case, load_references
from dpbench.eval.crystals.relaxing import converged, relax
from dpbench.eval.evaluator import AbstractEvaluator
from dpbench.eval.task_results import TaskResult
from dpbench.eval.tasks.kept import Kept
from dpbench.eval.tasks.task import Job, Task
from dpbench.frames import Frames, concatenate
from dpbench.metrics.elasticity import (
    CubicConstants,
    fit_cubic_constants,
    strain_matrix,
    stress_of,
)

NAME = "elastic"
"""Of the task and of its file of references: each case the cell at its minimum, then
the strained ones, whose strains are the fact ``strains``."""

STRAINS = (
    *((e, 0.0, 0.0, 0.0, 0.0, 0.0) for e in (-0.01, -0.005, 0.005, 0.01)),
    *((0.0, 0.0, 0.0, e, 0.0, 0.0) for e in (-0.02, -0.01, 0.01, 0.02)),
)
"""Where no reference names them: Voigt, shears as engineering strains."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ElasticSettings:
    """What a suite may choose."""

    crystals: tuple[str, ...] = ()
    """Names of cases; empty for all."""
    fmax: float = 0.0025
    """eV/Å, limit of the forces in the strained cells."""
    steps: int = 200
    """Most steps of one relaxation."""


def predict(evaluator: AbstractEvaluator, job: Job) -> Kept:
    """Strain every crystal about the model's own minimum and ask for the stress."""
    begin = time.perf_counter()
    references = load_references(job.references, NAME)
    asked = Asked()
    for subject in subjects(job, evaluator, references):
        asked.case(subject.name, lambda: _stresses(evaluator, subject, job.settings))  # noqa: B023 -- called at once
    return asked.kept(references, wall_time_s=time.perf_counter() - begin)


def score(kept: Kept, job: Job) -> TaskResult:
    """Fit the constants and compare them with those of the reference."""
    references = references_of(job, NAME, kept)
    ours: dict[str, CubicConstants] = {}
    failed: dict[str, str] = {}
    for name in kept.facts["done"]:
        arrays = done(kept, name)
        found = fit_cubic_constants(arrays["strain"], arrays["stress"])
        if found is None:
            failed[name] = "the stresses tell no constants"
        else:
            ours[name] = found
    theirs = {
        case.name: _of_reference(case)
        for case in (() if references is None else references.cases)
        if case.name in kept.facts["cases"]
    }
    whole = not (failed or kept.facts["failed"])
    samples = {
        name: {
            "model": rounded_values(asdict(found)) | kept.facts["done"][name],
            "reference": rounded_values(asdict(theirs[name]))
            if name in theirs
            else None,
        }
        for name, found in ours.items()
    }
    return outcome(
        NAME,
        kept,
        _metrics(ours, theirs, is_whole=whole),
        references=references,
        protocol={
            "at": "the energy minimum of the model, and of the reference",
            "from": "stress by strain, atoms relaxed",
            "fmax_ev_per_ang": job.settings.fmax,
            "steps": job.settings.steps,
        },
        samples=samples,
        failed=failed,
    )


def _stresses(
    evaluator: AbstractEvaluator, subject: Subject, settings: ElasticSettings
) -> tuple[dict[str, NDArray[np.float64]], dict[str, Any]]:
    cell, curve = at_minimum(evaluator, subject.frames.select([0]))
    strain = np.array(STRAINS if subject.case is None else _strains(subject.case))
    frames = strained(cell, strain_matrix(strain))
    relaxed = _relaxed(evaluator, frames, settings)
    stress = stress_of(virial_of(ask(evaluator, relaxed)), relaxed.box)
    facts = {
        "volume_ang3_per_atom": round(curve.volume, 5),
        # By energies alone: a virial that is no derivative of them shows itself here.
        "bulk_modulus_from_energy_gpa": round(curve.bulk_modulus, 3),
    }
    return {"strain": strain, "stress": stress}, facts


def _relaxed(
    evaluator: AbstractEvaluator, frames: Frames, settings: ElasticSettings
) -> Frames:
    """Relax those cells whose atoms are pushed; one call tells which."""
    force = np.linalg.norm(ask(evaluator, frames).force, axis=1)
    longest = force.reshape(frames.nframes, -1).max(axis=1)
    out = []
    for index in range(frames.nframes):
        frame = frames.select([index])
        if longest[index] > settings.fmax:
            found = relax(evaluator, frame, fmax=settings.fmax, steps=settings.steps)
            frame = converged(found, "a strained cell").frame
        out.append(frame)
    return concatenate(out)


def _strains(case: Case) -> list[list[float]]:
    strains: list[list[float]] = case.facts["strains"]
    return strains


def _of_reference(case: Case) -> CubicConstants:
    frames = case.frames().select(range(1, len(case.structures)))
    strain = np.array(_strains(case), float)
    found = None
    if len(strain) == frames.nframes:
        found = fit_cubic_constants(strain, stress_of(frames.virial, frames.box))
    if found is None:
        raise EvaluationError(
            f"reference '{case.name}': tells no constants; expected three. Make it "
            "again."
        )
    return found


def _metrics(
    ours: dict[str, CubicConstants],
    theirs: dict[str, CubicConstants],
    *,
    is_whole: bool,
) -> dict[str, tuple[float | None, int]]:
    shared = [name for name in theirs if name in ours]
    gaps: dict[str, list[float]] = {"c11": [], "c12": [], "c44": []}
    parts: list[float] = []
    for name in shared:
        whole = 0.0
        for constant, column in gaps.items():
            reference = getattr(theirs[name], constant)
            column.append(abs(getattr(ours[name], constant) - reference))
            whole += abs(reference)
        parts.append(100 * sum(column[-1] for column in gaps.values()) / whole)
    every = [gap for column in gaps.values() for gap in column]
    out = {
        "elastic_mae_gpa": mean_over(every, is_whole=is_whole),
        "elastic_mae_percent": mean_over(parts, is_whole=is_whole),
    }
    for constant, column in gaps.items():
        out[f"elastic_{constant}_mae_gpa"] = mean_over(column, is_whole=is_whole)
    return out


def _cost(settings: ElasticSettings) -> float:
    # Eight strained cells of eight atoms, some ten steps each, and the scan.
    return 8 * 8.0 * 10 * max(len(settings.crystals), 1)


TASK = Task(
    name=NAME,
    title="elastic constants",
    settings=ElasticSettings,
    modes={mode: ElasticSettings() for mode in ("smoke", "standard", "full")},
    predict=predict,
    score=score,
    cost=_cost,
    sources=(
        "dpbench.eval.tasks.elastic",
        "dpbench.eval.crystals.asking",
        "dpbench.eval.crystals.cases",
        "dpbench.eval.crystals.prototypes",
        "dpbench.eval.crystals.relaxing",
        "dpbench.metrics.elasticity",
        "dpbench.metrics.equation_of_state",
    ),
)
