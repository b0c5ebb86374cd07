"""Model deviation of an ensemble on frames of a dataset or a file; models of any kind.

Frames pass in blocks through all models at a time, so that a long trajectory needs no
more memory than a short one.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpbench.errors import EvaluationError
from dpbench.eval.evaluator import AbstractEvaluator
from dpbench.eval.native import NativeEvaluator
from dpbench.eval.predict import read_blocks
from dpbench.frames import Frames
from dpbench.io.parsed import Quarantine, SourceFiles
from dpbench.io.readers.extxyz.reader import read as read_extxyz
from dpbench.metrics.frame_errors import Predictions
from dpbench.metrics.model_deviation import (
    COLUMNS,
    Deviation,
    Labels,
    model_devi_lines,
    model_deviation,
)
from dpbench.models.files import load_potential
from dpbench.models.sel import trained_overflow
from dpbench.store.dataset import DatasetVersion
from dpbench.store.files import disk_errors, write_atomically
from dpbench.store.splits.parts import open_part
from dpbench.store.workspace import Workspace
from dpbench.train.model_inputs import frame_numbers

HARMLESS = (Quarantine.NONE, Quarantine.NO_ENERGY, Quarantine.NO_FORCE)
"""Verdicts on frames that a model can be asked about: labels are not needed."""

BLOCK_ATOMS = 20_000
"""Atoms of the frames of a file that pass through the models at a time."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """What to compute of each frame."""

    real_error: bool = False
    """The RMS error against the labels instead of the deviation."""
    relative: float | None = None
    """Level of the relative force deviation, eV/Å; None = absolute."""
    relative_virial: float | None = None
    """Level of the relative virial deviation, eV/atom; None = absolute."""

    def __post_init__(self) -> None:
        """Check the levels."""
        for name in ("relative", "relative_virial"):
            level = getattr(self, name)
            if level is not None and not level > 0:
                raise EvaluationError(
                    f"{name.replace('_', '-')} = {level}: is no level; expected a "
                    "positive number, so that atoms without a force count."
                )


@dataclass(frozen=True, kw_only=True, slots=True)
class Material:
    """Frames to ask about."""

    label: str
    """Where they come from: ``water-v2:test`` or a file."""
    frame_idx: NDArray[np.int64]
    """(frame), index of each in the version or the file."""
    blocks: Callable[[], Iterator[Frames]]
    """Reads them, a block at a time, in this order."""
    version: DatasetVersion | None = None
    """The version they belong to; None for a file."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DeviationReport:
    """Deviation of all frames."""

    models: tuple[str, ...]
    """Files of the models."""
    label: str
    """Where the frames come from."""
    request: Request
    """What was computed."""
    frame_idx: NDArray[np.int64]
    """(frame), index of each in the version or the file."""
    deviations: tuple[Deviation, ...]
    """(frame)."""

    def column(self, name: str) -> NDArray[np.float64]:
        """(frame), one column of ``model_devi.out``."""
        return np.array([getattr(d, name) for d in self.deviations], np.float64)

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values: one list a column, None for what is missing."""
        columns = {name: _plain(self.column(name)) for name in COLUMNS}
        return {
            "models": list(self.models),
            "frames": self.label,
            "real_error": self.request.real_error,
            "relative": self.request.relative,
            "relative_virial": self.request.relative_virial,
            "nframes": len(self.deviations),
            "step": self.frame_idx.tolist(),
            **columns,
        }

    def summary(self) -> str:
        """Word the outcome for a person."""
        what = "RMS error" if self.request.real_error else "deviation"
        lines = [
            f"{what} of {len(self.models)} models on {len(self.deviations)} frames of "
            f"{self.label}",
            f"{'':<10}  {'median':>10}  {'95 %':>10}  {'largest':>10}  at step",
        ]
        for name, unit in (
            ("max_devi_f", "eV/Å" if self.request.relative is None else ""),
            ("avg_devi_f", "eV/Å" if self.request.relative is None else ""),
            ("max_devi_v", "eV/atom" if self.request.relative_virial is None else ""),
            ("devi_e", "eV/atom"),
        ):
            values = self.column(name)
            if np.isnan(values).all():
                lines.append(f"{name:<10}  {'none':>10}")
                continue
            numbers = (
                np.nanmedian(values),
                np.nanpercentile(values, 95),
                np.nanmax(values),
            )
            cells = "  ".join(f"{number:>10.4g}" for number in numbers)
            step = self.frame_idx[int(np.nanargmax(values))]
            lines.append(f"{name:<10}  {cells}  {step:<8d}{unit}".rstrip())
        return "\n".join(lines)


def native_evaluator(path: Path, *, device: str = "cpu") -> AbstractEvaluator:
    """Open a model for dpbench's own kernels, its embedding evaluated exactly.

    Deviations are small differences of large numbers, and are compared between
    programs digit by digit: tables would be seen.

    Raises:
        ModelError: If the file is no model.
    """
    model, provenance = load_potential(path, device=device)
    return NativeEvaluator(
        model,
        device=device,
        is_exact=True,
        sel_overflow=trained_overflow(provenance),
    )


def material_of_dataset(
    workspace: Workspace, reference: str, *, split: str | None = None
) -> Material:
    """Take frames of a dataset version or a part of its split.

    Raises:
        DatasetError: If there is no such thing, or it has no frame.
    """
    selected = open_part(workspace, reference, split=split)
    version, indices = selected.version, np.asarray(selected.frames, np.int64)
    _refuse_empty(selected.label, len(indices))
    return Material(
        label=selected.label,
        frame_idx=indices,
        blocks=lambda: (frames for _, _, frames in read_blocks(version, indices)),
        version=version,
    )


def material_of_file(path: Path) -> Material:
    """Take frames of an extended XYZ file; labels may be missing.

    Raises:
        SourceError: If it is none.
        EvaluationError: If no frame can be used.
    """
    parsed = read_extxyz(SourceFiles(format="extxyz", paths=(path,)))
    usable = np.flatnonzero([verdict in HARMLESS for verdict in parsed.quarantine])
    damaged = parsed.frames.nframes - len(usable)
    if damaged:
        kinds = sorted({v.value for v in parsed.quarantine if v not in HARMLESS})
        logger.warning(
            "%s: %d of %d frames cannot be used (%s) and are left out; the others keep "
            "their numbers",
            path,
            damaged,
            parsed.frames.nframes,
            ", ".join(kinds),
        )
    _refuse_empty(str(path), len(usable))
    return Material(
        label=str(path),
        frame_idx=usable.astype(np.int64),
        blocks=lambda: _cut(parsed.frames, usable),
    )


def measure_deviation(
    evaluators: Sequence[AbstractEvaluator],
    material: Material,
    *,
    names: Sequence[str],
    request: Request | None = None,
    progress: Callable[[str], None] | None = None,
) -> DeviationReport:
    """Ask all models about all frames, and compare their answers frame by frame.

    Args:
        evaluators: The models, open.
        material: The frames.
        names: What the models are called, in the same order.
        request: What to compute.
        progress: Told a few words after each block.

    Raises:
        EvaluationError: If there are too few models, or labels that are needed are
            missing everywhere.
        ModelError: If a model does not know an element.
    """
    request = request or Request()
    _check_number(evaluators, request)
    found: list[Deviation] = []
    unlabelled = 0
    for frames in material.blocks():
        rows = material.frame_idx[len(found) : len(found) + frames.nframes]
        answers = [_ask(one, frames, material.version, rows) for one in evaluators]
        unlabelled += int((~frames.has_force).sum())
        found += _compare(frames, answers, request)
        if progress is not None:
            progress(f"{len(found)} of {len(material.frame_idx)} frames")
    if request.real_error and unlabelled:
        if unlabelled == len(found):
            raise EvaluationError(
                f"{material.label}: has no forces; expected labels to measure the real "
                "error against. Leave --real-error out."
            )
        logger.warning(
            "%s: %d of %d frames have no forces; their errors are written as nan",
            material.label,
            unlabelled,
            len(found),
        )
    return DeviationReport(
        models=tuple(names),
        label=material.label,
        request=request,
        frame_idx=material.frame_idx,
        deviations=tuple(found),
    )


def write_model_devi(
    path: Path,
    report: DeviationReport,
    *,
    atomic: bool = False,
    frequency: int = 1,
) -> None:
    """Write DeePMD-kit's ``model_devi.out``.

    The first column is the index of each frame times ``frequency``. With ``atomic`` a
    header stands wherever the number of atoms changes, as DeePMD-kit starts anew for
    each system.

    Raises:
        WorkspaceError: If the file cannot be written.
    """
    lines: list[str] = []
    for rows in _runs(report, atomic=atomic):
        lines += model_devi_lines(
            [int(report.frame_idx[i]) * frequency for i in rows],
            [report.deviations[i] for i in rows],
            header=report.label,
            atomic=atomic,
        )
    with disk_errors(path):
        write_atomically(path, "".join(f"{line}\n" for line in lines).encode())


def _runs(report: DeviationReport, *, atomic: bool) -> list[range]:
    """Cut the frames where the number of atoms changes, if that matters."""
    total = len(report.deviations)
    if not atomic:
        return [range(total)]
    natoms = np.array([len(d.atom_devi_f) for d in report.deviations])
    edges = [0, *(np.flatnonzero(np.diff(natoms)) + 1).tolist(), total]
    return [range(a, b) for a, b in pairwise(edges)]


def _ask(
    evaluator: AbstractEvaluator,
    frames: Frames,
    version: DatasetVersion | None,
    rows: NDArray[np.int64],
) -> Predictions:
    """Predict, with the numbers of each frame where the model takes some."""
    fitting = evaluator.fitting
    if fitting is None or version is None:
        return evaluator.predict(frames)
    numbers = frame_numbers(version, rows, fitting)
    return evaluator.predict(frames, **({} if numbers is None else {"fparam": numbers}))


def _compare(
    frames: Frames, answers: Sequence[Predictions], request: Request
) -> list[Deviation]:
    energy = np.stack([answer.energy for answer in answers])
    force = np.stack([answer.force for answer in answers])
    virial = np.stack([answer.virial for answer in answers])
    found = []
    for i in range(frames.nframes):
        atoms = frames.atoms_of(i)
        labels = Labels(
            force=np.asarray(frames.force[atoms], np.float64),
            virial=frames.virial[i],
            energy=float(frames.energy[i]),
        )
        found.append(
            model_deviation(
                force[:, atoms],
                virial=virial[:, i],
                energy=energy[:, i],
                labels=labels if request.real_error else None,
                relative=request.relative,
                relative_virial=request.relative_virial,
            )
        )
    return found


def _cut(frames: Frames, usable: NDArray[np.intp]) -> Iterator[Frames]:
    """Yield the usable frames, a block at a time."""
    first, atoms = 0, 0
    for position, natoms in enumerate(frames.natoms[usable].tolist()):
        if position > first and atoms + natoms > BLOCK_ATOMS:
            yield frames.select(usable[first:position])
            first, atoms = position, 0
        atoms += natoms
    yield frames.select(usable[first:])


def _check_number(evaluators: Sequence[AbstractEvaluator], request: Request) -> None:
    least = 1 if request.real_error else 2
    if len(evaluators) < least:
        raise EvaluationError(
            f"--model: {len(evaluators)} given; expected at least {least}, for a "
            "deviation is that of several models. Give --model once for each."
        )


def _refuse_empty(label: str, nframes: int) -> None:
    if not nframes:
        raise EvaluationError(f"{label}: has no frame that a model can be asked about.")


def _plain(values: NDArray[np.float64]) -> list[float | None]:
    return [value if np.isfinite(value) else None for value in values.tolist()]
