"""From a model file to a compressed one: tabulate, measure the error, write."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dpbench.errors import DatasetError, ModelError
from dpbench.eval.parts import find_training
from dpbench.frames import Frames
from dpbench.models.checkpoint import model_digest
from dpbench.models.compressed import CompressedPotential, TableSettings, compress
from dpbench.models.compressed_error import (
    FrameError,
    ScanError,
    frame_error,
    scan_error,
)
from dpbench.models.compressed_file import compressed_digest, save_compressed
from dpbench.models.files import load_potential
from dpbench.models.potential import DeepPotential
from dpbench.store.dataset import DatasetVersion, open_dataset
from dpbench.store.references import parse_reference
from dpbench.store.workspace import Workspace

MOST_FRAMES, MOST_ATOMS = 16, 4000
"""Frames and atoms that the error is measured on."""

FEWEST_INTERVALS, MOST_INTERVALS = 64, 32_768
"""Where the search for a tolerance starts and gives up."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CompressionReport:
    """What was written, and how far it is from the exact model."""

    path: str
    """The compressed file."""
    source: str
    """Digest of the exact model."""
    digest: str
    """Digest of the compressed model."""
    precision: str
    intervals: int
    """Of each table."""
    shortest: float
    """Distance to which the tables reach, Å."""
    tables: int
    """Tables: one per neighbour type, or per pair of types."""
    size: int
    """Bytes of the file."""
    scan: ScanError
    """Errors of the tables over their whole range."""
    dataset: str | None
    """Frames that errors were measured on; None if none were at hand."""
    frames: FrameError | None
    """The compressed model against the exact one in float64."""
    plain: FrameError | None
    """Where the precision is float32: the exact model in float32 against itself in
    float64, the rounding that no table can avoid."""

    def to_json(self) -> dict[str, Any]:
        """Return the report as plain JSON values."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return plain

    def summary(self) -> str:
        """Word the report for people."""
        lines = [
            f"{self.tables} tables of {self.intervals} intervals, {self.precision}, "
            f"down to {self.shortest:g} Å",
            f"tables         G {self.scan.value:.1e}   dG/ds {self.scan.slope:.1e}   "
            "(largest errors, any distance)",
        ]
        if self.frames is None:
            lines.append("forces         not measured: no dataset at hand (--dataset)")
        else:
            lines.append(f"on {self.frames.nframes} frames of {self.dataset}:")
            lines += _words("compressed", self.frames)
            if self.plain is not None:
                lines += _words("float32 alone", self.plain)
        lines.append(f"{self.path}  ({self.size / 1e6:.1f} MB)")
        return "\n".join(lines)


def _words(name: str, error: FrameError) -> list[str]:
    return [
        f"{name:<14} force max {error.force_max:.1e}, RMSE {error.force_rmse:.1e} eV/Å;"
        f" energy {error.energy_max_per_atom:.1e}, virial "
        f"{error.virial_max_per_atom:.1e} eV/atom"
    ]


def compress_file(
    source: Path,
    out: Path,
    *,
    settings: TableSettings,
    tolerance: float | None = None,
    workspace: Workspace | None = None,
    dataset: str | None = None,
) -> CompressionReport:
    """Compress a model file and measure what that costs.

    Args:
        source: An ``m.pth`` of ``dpbench train``.
        out: File to write.
        settings: Intervals and reach of the tables.
        tolerance: Largest error of a force component, eV/Å; the fewest intervals, a
            power of two, that keep it. Needs frames.
        workspace: Where the training data may lie; None if there is none.
        dataset: ``NAME[-vN]`` to measure on; None: what the model was trained on, if
            the workspace has it.

    Raises:
        ModelError: If the file is no plain model, cannot be compressed or written, or
            the tolerance cannot be met.
        DatasetError: If the dataset is not there.
    """
    model, provenance = _plain_model(source)
    label, frames = _frames(provenance, workspace, dataset)
    exact = model.to("cpu", torch.float64)
    if tolerance is not None:
        if frames is None:
            raise ModelError(
                f"{source}: a tolerance of forces needs frames, and the data that the "
                "model was trained on is not at hand. Name a dataset with --dataset, "
                "or give --intervals."
            )
        settings = _search(exact, frames, settings, tolerance)
    made = compress(model, settings)
    report = _judge(model, exact, made, frames)
    report = replace(report, shortest=settings.shortest, dataset=label)
    told = report.to_json()
    # Neither is known to the file itself.
    for name in ("path", "size"):
        del told[name]
    save_compressed(out, made, provenance, told)
    return replace(report, path=str(out), size=out.stat().st_size)


def _judge(
    model: DeepPotential,
    exact: DeepPotential,
    made: CompressedPotential,
    frames: Frames | None,
) -> CompressionReport:
    """Measure the errors of a compressed model."""
    found = plain = None
    if frames is not None:
        found = frame_error(exact, made, frames)
        if model.dtype != torch.float64:
            plain = frame_error(exact, model, frames)
    return CompressionReport(
        path="",
        source=model_digest(model),
        digest=compressed_digest(made),
        precision=model.config.precision,
        intervals=made.intervals,
        shortest=0.0,
        tables=len(made.state.tables.lower),
        size=0,
        scan=scan_error(exact, made),
        dataset=None,
        frames=found,
        plain=plain,
    )


def _plain_model(source: Path) -> tuple[DeepPotential, dict[str, Any]]:
    model, provenance = load_potential(source)
    if isinstance(model, CompressedPotential):
        raise ModelError(
            f"{source}: is compressed already; expected a model as 'dpbench train' "
            "writes it."
        )
    return model, provenance


def _search(
    exact: DeepPotential, frames: Frames, settings: TableSettings, tolerance: float
) -> TableSettings:
    """Double the intervals until the forces are within the tolerance."""
    if not tolerance > 0:
        raise ModelError(f"tolerance = {tolerance} eV/Å; expected a positive number.")
    intervals, error = FEWEST_INTERVALS, np.inf
    while intervals <= MOST_INTERVALS:
        wanted = replace(settings, intervals=intervals)
        error = frame_error(exact, compress(exact, wanted), frames).force_max
        if error <= tolerance:
            return wanted
        intervals *= 2
    raise ModelError(
        f"tolerance = {tolerance} eV/Å: with {MOST_INTERVALS} intervals the largest "
        f"error of a force is still {error:.1e} eV/Å. Allow more."
    )


def _frames(
    provenance: Mapping[str, Any],
    workspace: Workspace | None,
    dataset: str | None,
) -> tuple[str | None, Frames | None]:
    """Choose frames, spread over the dataset."""
    version = None
    if dataset is not None:
        if workspace is None:
            raise DatasetError(
                f"{dataset}: there is no workspace here; expected one that has the "
                "dataset. Name it with --workspace."
            )
        version = open_dataset(workspace, parse_reference(dataset))
    elif workspace is not None:
        training = find_training(workspace, provenance)
        version = None if training is None else training.version
    if version is None:
        return None, None
    chosen = _spread(version)
    return version.label, version.read(chosen)


def _spread(version: DatasetVersion) -> list[int]:
    """Return frames evenly spread over a version, few enough to be quick."""
    wanted = np.linspace(0, version.nframes - 1, min(MOST_FRAMES, version.nframes))
    chosen: list[int] = []
    atoms = 0
    for frame in np.unique(wanted.astype(np.int64)).tolist():
        atoms += int(version.natoms[frame])
        if chosen and atoms > MOST_ATOMS:
            break
        chosen.append(frame)
    return chosen
