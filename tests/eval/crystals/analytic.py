"""Analytic potentials as models, and references made of them by ASE alone."""

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes

from dpbench.eval.crystals.references import FORMAT, Case, References, structure_of
from dpbench.eval.evaluator import AbstractEvaluator
from dpbench.eval.structures import to_atoms
from dpbench.eval.tasks.kept import keep_answers, load_answers
from dpbench.eval.tasks.task import Job, Task
from dpbench.frames import Frames, concatenate, uniform
from dpbench.metrics.frame_errors import Predictions
from dpbench.store.workspace import Workspace


class CalculatorEvaluator(AbstractEvaluator):
    """Any ASE calculator, with a fault planted in its answers where one is wanted."""

    backend = "analytic"
    precision = "float64"
    device = "cpu"
    rcut = 6.0

    def __init__(
        self,
        make: Callable[[], Calculator],
        elements: tuple[str, ...],
        fault: Callable[[Predictions, Frames], Predictions] | None = None,
    ) -> None:
        self.make, self.type_map, self.fault = make, elements, fault
        self.calls = 0

    def predict(self, frames, *, fparam=None):
        self.calls += 1
        found = labels(frames, self.make())
        answer = Predictions(
            energy=found.energy, force=found.force, virial=found.virial
        )
        return answer if self.fault is None else self.fault(answer, frames)

    def prepare(self, frame):
        return None

    def forward(self, frame):
        return self.predict(frame)

    def calculator(self):
        return self.make()

    def list_builds(self, calculator):
        return None

    def synchronise(self):
        pass


def labels(frames: Frames, calculator: Calculator) -> Frames:
    """Label frames by ASE."""
    out = []
    for index in range(frames.nframes):
        atoms: Atoms = to_atoms(frames.select([index]))
        atoms.calc = calculator
        stress = atoms.get_stress(voigt=False)
        out.append(
            uniform(
                z=atoms.numbers,
                coord=atoms.positions[None],
                box=np.asarray(atoms.cell)[None],
                energy=np.array([atoms.get_potential_energy()]),
                force=atoms.get_forces()[None],
                virial=-stress[None] * atoms.get_volume(),
            )
        )
    return concatenate(out)


def scaled_answers(times: float) -> Callable[[Predictions, Frames], Predictions]:
    """The same landscape, steeper: every property but the volume scales with it."""

    def fault(answer: Predictions, _: Frames) -> Predictions:
        return Predictions(
            energy=times * answer.energy,
            force=times * answer.force,
            virial=times * answer.virial,
        )

    return fault


def wrong_stress(answer: Predictions, _: Frames) -> Predictions:
    return replace(answer, virial=-answer.virial)


def swirling(answer: Predictions, frames: Frames) -> Predictions:
    """Add a force that is no derivative: 0.1 eV/Å per Å around the first axis."""
    extra = np.zeros_like(answer.force)
    extra[:, 1] = -0.1 * frames.coord[:, 2]
    extra[:, 2] = 0.1 * frames.coord[:, 1]
    return replace(answer, force=answer.force + extra)


class Springs(Calculator):
    """Harmonic springs of 3 eV/Å^2 between nearest neighbours of a perfect fcc lattice.

    Frequencies at X and L are textbook: m w^2 = 8k, 4k, 4k and 8k, 2k, 2k.
    """

    implemented_properties = ("energy", "forces", "stress")

    def __init__(self, sites: np.ndarray, *, bond: float, stiffness: float) -> None:
        super().__init__()
        self.sites, self.bond, self.stiffness = sites, bond, stiffness

    def calculate(self, atoms=None, properties=None, system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        moved = self.atoms.positions - self.sites
        cell = np.asarray(self.atoms.cell)
        energy, force = 0.0, np.zeros_like(moved)
        images = np.array(list(np.ndindex(5, 5, 5))) - 2
        for i in range(len(moved)):
            for j in range(len(moved)):
                for shift in images @ cell:
                    vector = self.sites[j] + shift - self.sites[i]
                    length = np.linalg.norm(vector)
                    if abs(length - self.bond) > 1e-3:
                        continue
                    unit = vector / length
                    stretch = unit @ (moved[j] - moved[i])
                    energy += self.stiffness * stretch**2 / 4
                    force[i] += self.stiffness * stretch * unit
        self.results = {"energy": energy, "forces": force, "stress": np.zeros(6)}


def write_references(folder: Path, task: str, *cases: Case) -> Path:
    """Write what the tool writes."""
    folder.mkdir(exist_ok=True)
    found = References(
        format=FORMAT, task=task, theory="ASE", made_by="a test", cases=cases
    )
    plain = asdict(found)
    del plain["digest"]
    (folder / f"{task}.json").write_text(json.dumps(plain))
    return folder


def case_of(name: str, frames: Frames, **facts: Any) -> Case:
    structures = tuple(structure_of(frames, i) for i in range(frames.nframes))
    return Case(name=name, facts=facts, structures=structures)


def do(
    task: Task,
    evaluator: AbstractEvaluator,
    root: Path,
    *,
    references: Path | None = None,
    **settings: Any,
):
    """Both stages, the answers kept and read back between them."""
    workspace = Workspace.find(root / "workspace", create=True)
    chosen = replace(task.modes["standard"], **settings)
    job = Job(workspace=workspace, part=None, settings=chosen, references=references)
    kept = task.predict(evaluator, job)
    return task.score(load_answers(workspace, keep_answers(workspace, kept)), job)


def values(result) -> dict[str, float | None]:
    return {metric.name: metric.value for metric in result.metrics}
