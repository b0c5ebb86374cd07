"""Task ``smoothness``: forces and virial as derivatives, and curves of two atoms."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations_with_replacement
from typing import Any

import numpy as np
from ase.data import atomic_numbers, covalent_radii
from numpy.typing import NDArray

from dpbench.errors import EvaluationError
from dpbench.eval.crystals.asking import Asked, ask, has_virial, outcome
from dpbench.eval.crystals.cases import done
from dpbench.eval.crystals.comparing import rounded
from dpbench.eval.crystals.prototypes import prototypes, strained
from dpbench.eval.evaluator import AbstractEvaluator
from dpbench.eval.structures import displaced
from dpbench.eval.task_results import TaskResult
from dpbench.eval.tasks.kept import Kept
from dpbench.eval.tasks.task import Job, Task
from dpbench.frames import Frames, uniform
from dpbench.metrics.diatomics import CurveShape, curve_shape
from dpbench.metrics.elasticity import VOIGT, strain_matrix

NAME = "smoothness"
"""Of the task; it needs no reference."""

STEPS = {"float64": 1e-3, "float32": 2e-2}
"""Å: half the shorter distance of two differences. In float32 the rounding of the
energy asks for more; other precisions count as float32."""

STENCIL = ((-2, 1 / 12), (-1, -2 / 3), (1, 2 / 3), (2, -1 / 12))
"""Steps and weights of a first derivative of fourth order."""

SHAKEN = 0.05
"""Å, displacements of prototypes where no dataset brings frames."""

REACH = 6.0
"""Å, end of the curves where the backend tells no cutoff."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SmoothnessSettings:
    """What a suite may choose."""

    frames: int = 4
    """Frames of the part that are probed, evenly spread."""
    atoms: int = 4
    """Atoms of each that are moved."""
    step_ang: float | None = None
    """Å; None: by the precision of the model."""
    elements: tuple[str, ...] = ()
    """Of the dimers; empty: those of the part, else of the model."""
    most_pairs: int = 10
    """Pairs of elements looked at; the others are counted."""
    points: int = 120
    """Of each curve, in all modes: the jump depends on them."""
    dimers: bool = True
    """Whether to look at dimers at all."""

    def __post_init__(self) -> None:
        """Check the numbers."""
        if min(self.frames, self.atoms) < 1 or self.points < 10:
            raise EvaluationError(
                f"smoothness: frames {self.frames}, atoms {self.atoms}, points "
                f"{self.points}; expected at least 1, 1 and 10. Raise them."
            )


def predict(evaluator: AbstractEvaluator, job: Job) -> Kept:
    """Move atoms, strain cells, pull dimers apart."""
    begin = time.perf_counter()
    settings: SmoothnessSettings = job.settings
    step = settings.step_ang or STEPS.get(evaluator.precision, STEPS["float32"])
    asked = Asked()
    for name, frame in _frames(evaluator, job):
        job.say(f"derivatives of {name}")
        asked.case(name, lambda: _derivatives(evaluator, frame, settings, step=step))  # noqa: B023 -- called at once
    pairs = _pairs(evaluator, job) if settings.dimers else []
    for one, two in pairs[: settings.most_pairs]:
        job.say(f"dimer {one}-{two}")
        asked.case(f"{one}-{two}", lambda: _curve(evaluator, one, two, settings.points))  # noqa: B023 -- called at once
    kept = asked.kept(None, wall_time_s=time.perf_counter() - begin)
    left_out = max(len(pairs) - settings.most_pairs, 0)
    more = {"step_ang": step, "pairs_left_out": left_out}
    return Kept(
        arrays=kept.arrays,
        facts={**kept.facts, **more},
        wall_time_s=kept.wall_time_s,
    )


def score(kept: Kept, job: Job) -> TaskResult:
    """Compare derivatives, measure the curves."""
    force: list[float] = []
    virial: list[float] = []
    shapes: dict[str, CurveShape | None] = {}
    samples: dict[str, Any] = {}
    for name, facts in kept.facts["done"].items():
        arrays = done(kept, name)
        if facts["kind"] == "dimer":
            shape = curve_shape(arrays["energy"], arrays["force"])
            shapes[name] = shape
            samples[name] = _shown(arrays, shape)
            continue
        gaps = 1000 * np.abs(arrays["force"] - arrays["slope"]).ravel()
        force += gaps.tolist()
        samples[name] = {**facts, "force_mae_mev_per_ang": round(float(gaps.mean()), 6)}
        if "virial" in arrays:
            apart = 1000 * np.abs(arrays["virial"] - arrays["strain_slope"])
            virial += (apart / facts["natoms"]).tolist()
    usable = not kept.facts["failed"]
    metrics: dict[str, tuple[float | None, int]] = {
        "conservativeness_mae_component_mev_per_ang": (
            float(np.mean(force)) if force and usable else None,
            len(force),
        ),
        "conservativeness_max_component_mev_per_ang": (
            float(np.max(force)) if force and usable else None,
            len(force),
        ),
        "virial_consistency_mae_per_atom_mev": (
            float(np.mean(virial)) if virial and usable else None,
            len(virial),
        ),
        **_diatomic_metrics(shapes, is_whole=usable),
    }
    samples["dimer_pairs_left_out"] = kept.facts["pairs_left_out"]
    return outcome(
        NAME,
        kept,
        metrics,
        references=None,
        needs_reference=False,
        protocol={
            "step_ang": kept.facts["step_ang"],
            "differences": "central, fourth order",
        },
        samples=samples,
    )


def _frames(evaluator: AbstractEvaluator, job: Job) -> Iterator[tuple[str, Frames]]:
    """Yield frames of the part, else shaken prototypes of the model's elements."""
    if job.part is not None:
        rows = job.part.indices
        chosen = np.linspace(0, len(rows) - 1, min(job.settings.frames, len(rows)))
        for row in rows[chosen.round().astype(np.int64)]:
            yield f"frame {int(row)}", job.part.version.read([int(row)])
        return
    cells = list(prototypes(evaluator.type_map).items())[: job.settings.frames]
    for name, cell in cells:
        yield name, displaced(cell, amplitude=SHAKEN, seed=1)


def _pairs(evaluator: AbstractEvaluator, job: Job) -> list[tuple[str, str]]:
    """Pairs of elements, like ones first: they are in every dataset."""
    symbols: tuple[str, ...] = job.settings.elements
    if not symbols and job.part is not None:
        symbols = tuple(job.part.version.symbols)
    pairs = combinations_with_replacement(symbols or evaluator.type_map, 2)
    return sorted(pairs, key=lambda pair: pair[0] != pair[1])


def _derivatives(
    evaluator: AbstractEvaluator,
    frame: Frames,
    settings: SmoothnessSettings,
    *,
    step: float,
) -> tuple[dict[str, NDArray[np.float64]], dict[str, Any]]:
    """Forces and virial as told, and by differences of the energy."""
    natoms = len(frame.z)
    count = min(settings.atoms, natoms)
    atoms = np.linspace(0, natoms - 1, count).round().astype(np.int64)
    found = ask(evaluator, frame)
    coord = np.asarray(frame.coord, np.float64)
    moved = np.repeat(coord[None], 12 * count, axis=0)
    shifts = np.array([times for times, _ in STENCIL]) * step
    view = moved.reshape(count, 3, 4, natoms, 3)
    for place, atom in enumerate(atoms):
        for axis in range(3):
            view[place, axis, :, atom, axis] += shifts
    periodic = bool(frame.pbc.all())
    box = np.repeat(frame.box, len(moved), axis=0) if periodic else None
    energy = ask(evaluator, uniform(z=frame.z, coord=moved, box=box)).energy
    arrays = {
        "force": found.force[atoms],
        "slope": -_slopes(energy, step).reshape(count, 3),
    }
    facts = {"kind": "derivatives", "natoms": natoms, "atoms": atoms.tolist()}
    if periodic and has_virial(found):
        # As far as the atoms of a cell of this size move by one step.
        size = float(np.abs(np.linalg.det(frame.box[0]))) ** (1 / 3)
        told = (found.virial[0] + found.virial[0].T) / 2
        arrays["virial"] = np.array([told[i, j] for i, j in VOIGT])
        arrays["strain_slope"] = _strain_slopes(evaluator, frame, step / size)
    return arrays, facts


def _strain_slopes(
    evaluator: AbstractEvaluator, frame: Frames, step: float
) -> NDArray[np.float64]:
    """-dE/dstrain for the six symmetric strains, eV."""
    strains = np.zeros((6, 4, 6))
    for which in range(6):
        strains[which, :, which] = np.array([times for times, _ in STENCIL]) * step
    frames = strained(frame, strain_matrix(strains.reshape(-1, 6)))
    # An engineering shear moves both off-diagonal elements by half of it each.
    return -_slopes(ask(evaluator, frames).energy, step)


def _slopes(energy: NDArray[np.float64], step: float) -> NDArray[np.float64]:
    """Derivatives from energies, four each in the order of the stencil."""
    weights = np.array([weight for _, weight in STENCIL])
    slopes: NDArray[np.float64] = energy.reshape(-1, 4) @ weights / step
    return slopes


def _curve(
    evaluator: AbstractEvaluator, one: str, two: str, points: int
) -> tuple[dict[str, NDArray[np.float64]], dict[str, Any]]:
    """Energy and force of two atoms in a box too large for their images."""
    numbers = atomic_numbers[one], atomic_numbers[two]
    bond = float(covalent_radii[numbers[0]] + covalent_radii[numbers[1]])
    reach = evaluator.rcut or REACH
    distance = np.linspace(0.7 * bond, max(reach, 2 * bond), points)
    edge = 2 * reach + float(distance[-1]) + 1.0
    coord = np.full((points, 2, 3), edge / 2)
    coord[:, 0, 0] -= distance / 2
    coord[:, 1, 0] += distance / 2
    box = np.repeat(edge * np.eye(3)[None], points, axis=0)
    found = ask(evaluator, uniform(z=numbers, coord=coord, box=box))
    arrays = {
        "distance": distance,
        "energy": found.energy,
        "force": found.force.reshape(points, 2, 3)[:, 1, 0],
    }
    return arrays, {"kind": "dimer"}


def _diatomic_metrics(
    shapes: dict[str, CurveShape | None], *, is_whole: bool
) -> dict[str, tuple[float | None, int]]:
    known = [shape for shape in shapes.values() if shape is not None]
    bent = [shape.tortuosity for shape in known if shape.tortuosity is not None]

    def mean(values: list[float]) -> tuple[float | None, int]:
        usable = is_whole and values and len(known) == len(shapes)
        return (float(np.mean(values)) if usable else None, len(values))

    return {
        "diatomic_tortuosity": mean(bent),
        "diatomic_energy_jump_ev": mean([shape.energy_jump for shape in known]),
        "diatomic_force_flips": mean([float(shape.force_flips) for shape in known]),
    }


def _shown(arrays: Any, shape: CurveShape | None) -> dict[str, Any]:
    return {
        "tortuosity": None if shape is None else shape.tortuosity,
        "energy_jump_ev": None if shape is None else shape.energy_jump,
        "force_flips": None if shape is None else shape.force_flips,
        "distance_ang": rounded(arrays["distance"], 3),
        "energy_ev": rounded(arrays["energy"] - arrays["energy"][-1], 5),
        "force_ev_per_ang": rounded(arrays["force"], 5),
    }


def _cost(settings: SmoothnessSettings) -> float:
    probes = settings.frames * (12 * settings.atoms + 24) * 8.0
    return probes + settings.most_pairs * settings.points * 2.0


TASK = Task(
    name=NAME,
    title="smoothness",
    settings=SmoothnessSettings,
    modes={
        "smoke": SmoothnessSettings(frames=1, atoms=2, most_pairs=3),
        "standard": SmoothnessSettings(),
        "full": SmoothnessSettings(frames=12, atoms=8, most_pairs=45),
    },
    predict=predict,
    score=score,
    cost=_cost,
    sources=(
        "dpbench.eval.tasks.smoothness",
        "dpbench.eval.crystals.asking",
        "dpbench.metrics.diatomics",
        "dpbench.metrics.elasticity",
    ),
)
