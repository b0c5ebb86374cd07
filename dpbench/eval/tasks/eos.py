"""Task ``eos``: energy against volume, and what follows from it."""

import time
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpbench.elements import symbols_of
from dpbench.errors import EvaluationError
from dpbench.eval.crystals.asking import Asked, ask, outcome
from dpbench.eval.crystals.cases import (
    POINTS,
    Subject,
    done,
    references_of,
    scan,
    subjects,
)
from dpbench.eval.crystals.prototypes import volume_per_atom
from dpbench.eval.crystals.references import Case, load_references
from dpbench.eval.evaluator import AbstractEvaluator
from dpbench.eval.task_results import TaskResult
from dpbench.eval.tasks.kept import Kept
from dpbench.eval.tasks.task import Job, Task
from dpbench.frames import Frames
from dpbench.metrics.equation_of_state import (
    EquationOfState,
    delta,
    fit_equation_of_state,
)

NAME = "eos"
"""Of the task and of its file of references: each case a cell at several volumes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EosSettings:
    """What a suite may choose."""

    crystals: tuple[str, ...] = ()
    """Names of cases; empty for all."""


def predict(evaluator: AbstractEvaluator, job: Job) -> Kept:
    """Ask for the energies of every crystal at its volumes."""
    begin = time.perf_counter()
    references = load_references(job.references, NAME)
    asked = Asked()
    for subject in subjects(job, evaluator, references):
        asked.case(subject.name, lambda: _energies(evaluator, subject))  # noqa: B023 -- called at once
    return asked.kept(references, wall_time_s=time.perf_counter() - begin)


def score(kept: Kept, job: Job) -> TaskResult:
    """Fit the curves and compare them with those of the reference."""
    references = references_of(job, NAME, kept)
    composition = {
        name: dict(facts["composition"]) for name, facts in kept.facts["done"].items()
    }
    told = () if references is None else references.cases
    cases = {case.name: case for case in told if case.name in kept.facts["cases"]}
    composition |= {name: _composition(case.frames()) for name, case in cases.items()}
    ours: dict[str, EquationOfState] = {}
    failed: dict[str, str] = {}
    for name in kept.facts["done"]:
        curve = _fit(**done(kept, name))
        if curve is None:
            failed[name] = "the energy has no single minimum among the volumes"
        else:
            ours[name] = curve
    theirs = {name: _reference_curve(case) for name, case in cases.items()}
    whole = not (failed or kept.facts["failed"])
    metrics = _metrics(ours, theirs, composition, is_whole=whole)
    samples = {
        name: {
            "model": _shown(curve),
            "reference": _shown(theirs[name]) if name in theirs else None,
            "volume_ang3_per_atom": _rounded(done(kept, name)["volume"]),
            "energy_ev_per_atom": _rounded(done(kept, name)["energy"]),
        }
        for name, curve in ours.items()
    }
    return outcome(
        NAME,
        kept,
        metrics,
        references=references,
        protocol={"fit": "Birch-Murnaghan, third order", "points": POINTS},
        samples=samples,
        failed=failed,
    )


def _energies(
    evaluator: AbstractEvaluator, subject: Subject
) -> tuple[dict[str, NDArray[np.float64]], dict[str, Any]]:
    frames = subject.frames
    facts = {"composition": _composition(frames)}
    if subject.case is None:
        volume, energy, _ = scan(evaluator, frames)
        return {"volume": volume, "energy": energy}, facts
    energy = ask(evaluator, frames).energy / frames.natoms
    return {"volume": volume_per_atom(frames), "energy": energy}, facts


def _composition(frames: Frames) -> dict[str, int]:
    """Atoms of each element in the first frame."""
    counts = Counter(symbols_of(frames.select([0]).z.tolist()))
    return dict(sorted(counts.items()))


def _fit(
    volume: NDArray[np.float64], energy: NDArray[np.float64]
) -> EquationOfState | None:
    return fit_equation_of_state(volume, energy)


def _reference_curve(case: Case) -> EquationOfState:
    frames = case.frames()
    curve = _fit(volume_per_atom(frames), frames.energy / frames.natoms)
    if curve is None:
        raise EvaluationError(
            f"reference '{case.name}': has no minimum; expected one. Make it again."
        )
    return curve


def _metrics(
    ours: dict[str, EquationOfState],
    theirs: dict[str, EquationOfState],
    composition: dict[str, dict[str, int]],
    *,
    is_whole: bool,
) -> dict[str, tuple[float | None, int]]:
    """Average over crystals; null where one is missing."""
    pairs = [(ours[name], theirs[name]) for name in theirs if name in ours]
    usable = bool(pairs) and is_whole

    def mean(values: list[float]) -> tuple[float | None, int]:
        return (float(np.mean(values)) if usable else None, len(values))

    out = {
        "eos_volume_mae_percent": mean(
            [100 * abs(a.volume / b.volume - 1) for a, b in pairs]
        ),
        "eos_bulk_modulus_mae_percent": mean(
            [100 * abs(a.bulk_modulus / b.bulk_modulus - 1) for a, b in pairs]
        ),
        "eos_bulk_modulus_derivative_mae": mean(
            [abs(a.derivative - b.derivative) for a, b in pairs]
        ),
        "eos_delta_per_atom_mev": mean([1000 * delta(a, b) for a, b in pairs]),
    }
    formed = formation_energies(theirs, composition)
    if formed:
        mine = formation_energies(ours, composition, like=formed)
        errors = [1000 * abs(mine[n] - formed[n]) for n in formed if n in mine]
        out["formation_energy_mae_per_atom_mev"] = mean(errors)
    return out


def formation_energies(
    curves: dict[str, EquationOfState],
    composition: dict[str, dict[str, int]],
    *,
    like: dict[str, float] | None = None,
) -> dict[str, float]:
    """Energy of each crystal over that of the lowest ones of its elements, eV/atom.

    Args:
        curves: Crystal -> its curve.
        composition: Crystal -> atoms of each element.
        like: Crystals to be told; None: all but the lowest of each element, which
            have none.
    """
    pure: dict[str, tuple[float, str]] = {}
    for name, curve in curves.items():
        if len(composition[name]) == 1:
            (symbol,) = composition[name]
            pure[symbol] = min(pure.get(symbol, (np.inf, "")), (curve.energy, name))
    ground = {name for _, name in pure.values()}
    out = {}
    for name, curve in curves.items():
        counts = composition[name]
        if not set(counts) <= set(pure):
            continue
        if name not in like if like is not None else name in ground:
            continue
        natoms = sum(counts.values())
        apart = sum(n * pure[symbol][0] for symbol, n in counts.items()) / natoms
        out[name] = curve.energy - apart
    return out


def _shown(curve: EquationOfState) -> dict[str, float]:
    return {
        "volume_ang3_per_atom": round(curve.volume, 5),
        "energy_ev_per_atom": round(curve.energy, 6),
        "bulk_modulus_gpa": round(curve.bulk_modulus, 3),
        "bulk_modulus_derivative": round(curve.derivative, 4),
        "fit_rms_mev_per_atom": round(1000 * curve.residual, 4),
    }


def _rounded(values: NDArray[np.float64]) -> list[float]:
    return [round(float(value), 6) for value in values]


def _cost(settings: EosSettings) -> float:
    # Two crystals of eight atoms are typical; each has one energy per volume.
    return POINTS * 8.0 * max(len(settings.crystals), 2)


TASK = Task(
    name=NAME,
    title="equation of state",
    settings=EosSettings,
    modes={mode: EosSettings() for mode in ("smoke", "standard", "full")},
    predict=predict,
    score=score,
    cost=_cost,
    sources=(
        "dpbench.eval.tasks.eos",
        "dpbench.eval.crystals.asking",
        "dpbench.eval.crystals.cases",
        "dpbench.metrics.equation_of_state",
    ),
)
