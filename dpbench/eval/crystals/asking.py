"""Asking a model about crystals: what it does not know is a fact, not a crash."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, final

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.stress import full_3x3_to_voigt_6_stress
from numpy.typing import NDArray

from dpbench.errors import BackendRefused, ModelError, SimulationError
from dpbench.eval.crystals.references import References
from dpbench.eval.evaluator import AbstractEvaluator
from dpbench.eval.structures import from_atoms
from dpbench.eval.task_results import TaskResult
from dpbench.eval.tasks.kept import Kept
from dpbench.frames import Frames
from dpbench.metrics.definitions import MetricValue, metric_value
from dpbench.metrics.frame_errors import Predictions

NO_REFERENCE = "there is no reference to compare with"
"""Reason of a result whose metrics are null."""


def ask(evaluator: AbstractEvaluator, frames: Frames) -> Predictions:
    """Predict frames, all at once.

    Raises:
        ModelError: If the model does not know one of their elements.
        SimulationError: If an answer is not a number.
    """
    missing = sorted(set(frames.symbols) - set(evaluator.type_map))
    if missing and evaluator.type_map:
        raise ModelError(
            f"the model does not know {', '.join(missing)}; it knows "
            f"{', '.join(evaluator.type_map)}. Choose crystals of these."
        )
    with np.errstate(all="ignore"):  # what is not a number is told below
        found = evaluator.predict(frames)
    if not (np.isfinite(found.energy).all() and np.isfinite(found.force).all()):
        raise SimulationError("energy or force is not a number")
    return found


def virial_of(found: Predictions) -> NDArray[np.float64]:
    """Virials of an answer, eV, (frame, 3, 3).

    Raises:
        SimulationError: If the backend gave none, or one is not a number.
    """
    if found.no_virial is not None and found.no_virial.any():
        raise SimulationError("the backend gives no virial")
    if not np.isfinite(found.virial).all():
        raise SimulationError("the virial is not a number")
    return found.virial


def has_virial(found: Predictions) -> bool:
    """Whether every frame of an answer has its virial."""
    lacking = found.no_virial is not None and bool(found.no_virial.any())
    return not lacking and bool(np.isfinite(found.virial).all())


@dataclass(slots=True)
class Asked:
    """Answers case by case, and why a case has none."""

    arrays: dict[str, NDArray[Any]] = field(default_factory=dict)
    """``CASE/ARRAY`` -> numbers."""
    failed: dict[str, str] = field(default_factory=dict)
    """Case -> reason."""
    facts: dict[str, Any] = field(default_factory=dict)
    """Case -> plain facts."""

    def case(
        self, name: str, answer: Callable[[], tuple[Mapping[str, Any], Any]]
    ) -> None:
        """Take the answers of one case; a model that gives out is a reason."""
        try:
            arrays, facts = answer()
        except (ModelError, SimulationError, BackendRefused) as error:
            self.failed[name] = " ".join(str(error).split())
            return
        self.facts[name] = facts
        for key, value in arrays.items():
            self.arrays[f"{name}/{key}"] = np.asarray(value)

    def kept(self, references: References | None, *, wall_time_s: float) -> Kept:
        """Return what is to be kept."""
        told = {
            "cases": [*self.facts, *self.failed],
            "done": self.facts,
            "failed": self.failed,
            "references": None if references is None else references.digest,
        }
        return Kept(arrays=self.arrays, facts=told, wall_time_s=wall_time_s)


@final
class AskingCalculator(Calculator):
    """ASE calculator that asks an evaluator: one meaning of stress for all backends."""

    implemented_properties: ClassVar[list[str]] = [  # type: ignore[misc]
        "energy",
        "forces",
        "stress",
    ]

    def __init__(self, evaluator: AbstractEvaluator) -> None:
        """Take the model; no state but ASE's own."""
        super().__init__()  # type: ignore[no-untyped-call]
        self.evaluator = evaluator

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: list[str] | None = None,
        system_changes: list[str] = all_changes,
    ) -> None:
        """Energy (eV), forces (eV/Å) and stress (eV/Å^3, tension positive)."""
        super().calculate(atoms, properties, system_changes)  # type: ignore[no-untyped-call]
        structure: Any = self.atoms
        found = ask(self.evaluator, from_atoms(structure))
        self.results = {"energy": float(found.energy[0]), "forces": found.force}
        if "stress" in (properties or ()) or has_virial(found):
            virial = virial_of(found)[0]
            stress = -(virial + virial.T) / 2 / structure.get_volume()
            self.results["stress"] = full_3x3_to_voigt_6_stress(stress)


def outcome(
    task: str,
    kept: Kept,
    metrics: Mapping[str, tuple[float | None, int]],
    *,
    references: References | None,
    protocol: Mapping[str, Any],
    samples: Mapping[str, Any],
    failed: Mapping[str, str] | None = None,
    needs_reference: bool = True,
) -> TaskResult:
    """Word the result of a task over crystals.

    A mean over the crystals that went well would flatter a model that failed on the
    others: with one failure all numbers that it enters are null.

    Args:
        task: Name of the task.
        kept: What the dear stage left, by ``Asked.kept``.
        metrics: Name -> value and count.
        references: What it was compared with.
        protocol: How it was done.
        samples: Numbers behind the metrics.
        failed: Case -> reason, of those that only scoring found out.
        needs_reference: Whether there is nothing to tell without one.
    """
    failed = {**kept.facts["failed"], **(failed or {})}
    status: Any = "ok"
    reason = None
    if failed:
        status = "failed"
        reason = "; ".join(f"{name}: {why}" for name, why in failed.items())
    elif references is None and needs_reference:
        status, reason = "no_reference", NO_REFERENCE
    about = {} if references is None else {"theory": references.theory}
    return TaskResult(
        task=task,
        code="",
        status=status,
        reason=reason,
        protocol={**protocol, "references": kept.facts["references"], **about},
        metrics=tuple(_metric(name, *pair) for name, pair in metrics.items()),
        samples=dict(samples),
        wall_time_s=round(kept.wall_time_s, 3),
    )


def _metric(name: str, value: float | None, n: int) -> MetricValue:
    usable = value is not None and math.isfinite(value)
    return metric_value(name, value if usable else None, n=n)
