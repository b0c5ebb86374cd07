"""A foreign backend as the tasks see it: a model in a worker of its own."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, final

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.stress import full_3x3_to_voigt_6_stress
from numpy.typing import NDArray

from dpbench.backends.client import Answer, BackendModel
from dpbench.eval.evaluator import AbstractEvaluator
from dpbench.eval.structures import from_atoms
from dpbench.frames import Frames
from dpbench.metrics.frame_errors import Predictions

NOT_TOLD = "not told"
"""Precision of a backend that does not say it."""


@dataclass(slots=True)
class Spent:
    """What the calls of a worker have taken so far."""

    calls: int = 0
    worker_s: float = 0.0
    """The backend's own time."""
    overhead_s: float = 0.0
    """What the way to the worker and back took beside it."""

    def add(self, answer: Answer) -> None:
        """Count one call."""
        self.calls += 1
        self.worker_s += answer.worker_s
        self.overhead_s += answer.overhead_s


@final
class ForeignEvaluator(AbstractEvaluator):
    """A model that another program evaluates."""

    def __init__(self, model: BackendModel) -> None:
        """Take a model that is open."""
        self.model = model
        self.backend = model.name
        self.precision = str(model.facts.get("precision") or NOT_TOLD)
        self.device = str(model.facts.get("device") or "cpu")
        self.type_map = model.type_map
        cutoff = model.facts.get("rcut")
        self.rcut = None if cutoff is None else float(cutoff)
        self.spent = Spent()

    def predict(
        self, frames: Frames, *, fparam: NDArray[np.float64] | None = None
    ) -> Predictions:
        """Energy, force and virial of some frames."""
        found = self._ask(frames, fparam).predictions
        missing = np.atleast_1d(np.isnan(found.virial).all(axis=(1, 2)))
        return Predictions(
            energy=found.energy,
            force=found.force,
            virial=found.virial,
            no_virial=missing if missing.any() else None,
        )

    def prepare(self, frame: Frames) -> Callable[[], object] | None:
        """Return None: its neighbour lists are out of our sight."""
        return None

    def forward(self, frame: Frames) -> object:
        """Evaluate one frame, with whatever list the backend builds."""
        return self._ask(frame, None)

    def calculator(self) -> Any:
        """Make an ASE calculator that asks the worker."""
        return ForeignCalculator(self)

    def list_builds(self, calculator: Any) -> int | None:
        """Return None: the backend does not tell."""
        return None

    def synchronise(self) -> None:
        """Do nothing: an answer is there when the call returns."""

    def _ask(self, frames: Frames, fparam: NDArray[np.float64] | None) -> Answer:
        """Ask the worker; one that died in an earlier task is started again."""
        if not self.model.is_alive:
            self.model.restart()
        answer = self.model.evaluate(frames, fparam)
        self.spent.add(answer)
        return answer


@final
class ForeignCalculator(Calculator):
    """Energy (eV), forces (eV/Å) and stress (eV/Å^3) from a worker."""

    implemented_properties: ClassVar[list[str]] = [  # type: ignore[misc]
        "energy",
        "free_energy",
        "forces",
        "stress",
    ]

    def __init__(self, evaluator: ForeignEvaluator) -> None:
        """Wrap an evaluator."""
        super().__init__()  # type: ignore[no-untyped-call]
        self.evaluator = evaluator

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = all_changes,
    ) -> None:
        """Evaluate the model; all properties come from one evaluation.

        Raises:
            BackendError: If the worker fails, or answers what is no number.
        """
        super().calculate(  # type: ignore[no-untyped-call]
            atoms, properties, system_changes
        )
        current: Any = self.atoms
        found = self.evaluator.predict(from_atoms(current))
        energy = float(found.energy[0])
        self.results = {
            "energy": energy,
            "free_energy": energy,
            "forces": found.force,
        }
        if current.cell.rank == 3 and found.no_virial is None:
            symmetric = (found.virial[0] + found.virial[0].T) / 2
            stress = -symmetric / current.get_volume()
            self.results["stress"] = full_3x3_to_voigt_6_stress(stress)
