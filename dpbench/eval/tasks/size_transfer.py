"""Task ``size_transfer``: errors on cells larger than any that was trained on."""

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpbench.eval.crystals.asking import Asked, ask, has_virial, outcome
from dpbench.eval.crystals.cases import Subject, done, references_of, subjects
from dpbench.eval.crystals.references import load_references
from dpbench.eval.evaluator import AbstractEvaluator
from dpbench.eval.task_results import TaskResult
from dpbench.eval.tasks.kept import Kept
from dpbench.eval.tasks.task import Job, Task
from dpbench.frames import Frames, concatenate
from dpbench.metrics.accuracy import accuracy_metrics
from dpbench.metrics.frame_errors import Predictions, frame_errors

NAME = "size_transfer"
"""Of the task and of its file of references: each case labelled frames of one size; the
fact ``role`` is ``small`` for the trained size and ``large`` for more."""

SHOWN = {
    "energy_mae_per_atom_mev": "size_transfer_energy_mae_per_atom_mev",
    "force_rmse_component_mev_per_ang": (
        "size_transfer_force_rmse_component_mev_per_ang"
    ),
    "stress_mae_component_gpa": "size_transfer_stress_mae_component_gpa",
}
"""Metric of a set of frames -> the same over the larger cells."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SizeTransferSettings:
    """What a suite may choose."""

    crystals: tuple[str, ...] = ()
    """Names of cases; empty for all."""


def predict(evaluator: AbstractEvaluator, job: Job) -> Kept:
    """Ask about the frames of every size; without references there are none."""
    begin = time.perf_counter()
    references = load_references(job.references, NAME)
    asked = Asked()
    if references is not None:
        for subject in subjects(job, evaluator, references):
            asked.case(subject.name, lambda: _answers(evaluator, subject))  # noqa: B023 -- called at once
    return asked.kept(references, wall_time_s=time.perf_counter() - begin)


def score(kept: Kept, job: Job) -> TaskResult:
    """Compare with the labels, size by size and over all larger cells."""
    references = references_of(job, NAME, kept)
    groups: dict[str, list[tuple[Frames, Predictions]]] = {"small": [], "large": []}
    samples: dict[str, Any] = {}
    for case in () if references is None else references.cases:
        if case.name not in kept.facts["done"]:
            continue
        pair = (case.frames(), _predictions(done(kept, case.name)))
        groups[str(case.facts["role"])].append(pair)
        samples[case.name] = {
            "role": case.facts["role"],
            "natoms": int(pair[0].natoms[0]),
            "nframes": pair[0].nframes,
            **_errors([pair]),
        }
    usable = not kept.facts["failed"]
    small, large = _errors(groups["small"]), _errors(groups["large"])
    count = sum(frames.nframes for frames, _ in groups["large"])
    metrics: dict[str, tuple[float | None, int]] = {
        shown: (large.get(name) if usable else None, count)
        for name, shown in SHOWN.items()
    }
    force = "force_rmse_component_mev_per_ang"
    above, below = large.get(force), small.get(force)
    known = usable and above is not None and below is not None and below > 0
    metrics["size_transfer_force_ratio"] = (
        above / below if known and above is not None and below else None,
        count,
    )
    return outcome(
        NAME,
        kept,
        metrics,
        references=references,
        protocol={"energies": "raw, as labelled"},
        samples=samples,
    )


def _answers(
    evaluator: AbstractEvaluator, subject: Subject
) -> tuple[dict[str, NDArray[np.float64]], dict[str, Any]]:
    found = ask(evaluator, subject.frames)
    virial = found.virial if has_virial(found) else np.full_like(found.virial, np.nan)
    arrays = {"energy": found.energy, "force": found.force, "virial": virial}
    return arrays, {"nframes": subject.frames.nframes}


def _predictions(arrays: Any) -> Predictions:
    lacking = np.isnan(arrays["virial"]).any(axis=(1, 2))
    return Predictions(
        energy=arrays["energy"],
        force=arrays["force"],
        virial=arrays["virial"],
        no_virial=lacking if lacking.any() else None,
    )


def _errors(pairs: list[tuple[Frames, Predictions]]) -> dict[str, float | None]:
    """Errors over some frames, by the code that scores accuracy."""
    if not pairs:
        return {}
    frames = concatenate([one for one, _ in pairs])
    found = [answer for _, answer in pairs]
    none = np.concatenate(
        [
            np.zeros(len(answer.energy), bool)
            if answer.no_virial is None
            else answer.no_virial
            for answer in found
        ]
    )
    answers = Predictions(
        energy=np.concatenate([answer.energy for answer in found]),
        force=np.concatenate([answer.force for answer in found]),
        virial=np.concatenate([answer.virial for answer in found]),
        no_virial=none if none.any() else None,
    )
    errors = frame_errors(frames, answers, elements=frames.symbols)
    return {
        metric.name: metric.value
        for metric in accuracy_metrics(errors)
        if metric.name in SHOWN
    }


def _cost(settings: SizeTransferSettings) -> float:
    return 400.0


TASK = Task(
    name=NAME,
    title="larger cells",
    settings=SizeTransferSettings,
    modes={mode: SizeTransferSettings() for mode in ("smoke", "standard", "full")},
    predict=predict,
    score=score,
    cost=_cost,
    sources=(
        "dpbench.eval.tasks.size_transfer",
        "dpbench.eval.crystals.asking",
        "dpbench.eval.crystals.cases",
        "dpbench.metrics.frame_errors",
        "dpbench.metrics.accuracy",
    ),
)
