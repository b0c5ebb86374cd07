"""Errors of a model frame by frame: the partial sums that every metric is made of.

A block of frames gives a ``FrameErrors``; blocks are merged by laying them behind each
other, so any chunking of a dataset gives the same bits. The rows also serve the
bootstrap, which resamples frames.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from dpbench.elements import SYMBOLS
from dpbench.frames import Frames
from dpbench.metrics.composition import count_elements
from dpbench.units import GPA


@dataclass(frozen=True, kw_only=True, slots=True)
class Predictions:
    """What a model says about some frames, aligned with their arrays."""

    energy: NDArray[np.float64]
    """eV, (frame)."""
    force: NDArray[np.float64]
    """eV/Å, (atom, 3)."""
    virial: NDArray[np.float64]
    """eV, (frame, 3, 3); NaN where the model gives none."""
    no_virial: NDArray[np.bool_] | None = None
    """(frame), for which the backend has no virial to give; None: it gives all."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FrameErrors:
    """Partial sums of errors, one row per frame; NaN where a label is missing."""

    elements: tuple[str, ...]
    """Columns of the per-element arrays."""
    group: NDArray[np.int64]
    """(frame), the source each frame comes from."""
    counts: NDArray[np.int64]
    """(frame, element), atoms of each element."""
    energy_error: NDArray[np.float64]
    """(frame), E_pred - E_ref, eV."""
    force_square: NDArray[np.float64]
    """(frame, element), sum of |F_pred - F_ref|^2, (eV/Å)^2."""
    force_absolute: NDArray[np.float64]
    """(frame, element), sum of |F_pred - F_ref| over components, eV/Å."""
    force_norm: NDArray[np.float64]
    """(frame, element), sum of the lengths of F_pred - F_ref, eV/Å."""
    reference_square: NDArray[np.float64]
    """(frame, element), sum of |F_ref|^2, (eV/Å)^2."""
    virial_square: NDArray[np.float64]
    """(frame), mean over components of ((W_pred - W_ref)/natoms)^2, eV^2."""
    virial_absolute: NDArray[np.float64]
    """(frame), mean over components of |W_pred - W_ref|/natoms, eV."""
    stress_square: NDArray[np.float64]
    """(frame), mean over components of the squared stress error, GPa^2."""
    stress_absolute: NDArray[np.float64]
    """(frame), mean over components of |stress error|, GPa."""

    @property
    def nframes(self) -> int:
        """Number of frames."""
        return len(self.energy_error)

    @property
    def natoms(self) -> NDArray[np.int64]:
        """(frame), number of atoms."""
        natoms: NDArray[np.int64] = self.counts.sum(axis=1)
        return natoms

    def select(self, rows: NDArray[np.integer] | NDArray[np.bool_]) -> "FrameErrors":
        """Return the frames at ``rows``."""
        arrays = {
            field.name: getattr(self, field.name)[rows]
            for field in fields(self)
            if field.name != "elements"
        }
        return FrameErrors(elements=self.elements, **arrays)


def frame_errors(
    frames: Frames,
    predictions: Predictions,
    *,
    elements: tuple[str, ...],
    group: NDArray[np.integer] | None = None,
) -> FrameErrors:
    """Reduce predictions to one row of partial sums per frame.

    Args:
        frames: Reference structures and labels.
        predictions: The model's answer for the same frames.
        elements: Elements of the whole dataset, so that blocks merge.
        group: Source of each frame, (frame); all one source if None.

    Returns:
        The rows, in the order of ``frames``. A frame whose label is missing, or whose
        virial the backend does not give, and only such a frame, has NaN there: a
        prediction that is NaN gives infinity.
    """
    counts = count_elements(frames, elements)
    natoms = np.maximum(frames.natoms, 1).astype(np.float64)
    virial = _blame_model(predictions.virial, frames.virial) / natoms[:, None, None]
    if predictions.no_virial is not None:
        virial[predictions.no_virial] = np.nan
    volume = np.abs(np.linalg.det(np.nan_to_num(frames.box)))
    volume = np.where((volume > 0) & frames.pbc.all(axis=1), volume, np.nan)
    stress = virial * (natoms / volume / GPA)[:, None, None]
    force = _blame_model(predictions.force, frames.force)
    labelled = np.where(frames.has_force, 0.0, np.nan)[:, None]
    absolute = np.abs(force)
    sums = {
        "force_square": (force**2).sum(axis=1),
        "force_absolute": absolute.sum(axis=1),
        "force_norm": np.sqrt((force**2).sum(axis=1)),
        "reference_square": (frames.force**2).sum(axis=1),
    }
    return FrameErrors(
        elements=elements,
        group=np.zeros(frames.nframes, np.int64)
        if group is None
        else group.astype(np.int64),
        counts=counts,
        energy_error=_blame_model(predictions.energy, frames.energy),
        virial_square=(virial**2).mean(axis=(1, 2)),
        virial_absolute=np.abs(virial).mean(axis=(1, 2)),
        stress_square=(stress**2).mean(axis=(1, 2)),
        stress_absolute=np.abs(stress).mean(axis=(1, 2)),
        **{
            name: _sum_by_element(frames, values, elements) + labelled
            for name, values in sums.items()
        },
    )


def merge_errors(parts: Sequence[FrameErrors]) -> FrameErrors:
    """Lay blocks behind each other; they must share their elements."""
    if not parts:
        raise ValueError("expected at least one block of frame errors, got none")
    if len({part.elements for part in parts}) != 1:
        raise ValueError("blocks of frame errors differ in their elements")
    arrays = {
        field.name: np.concatenate([getattr(part, field.name) for part in parts])
        for field in fields(FrameErrors)
        if field.name != "elements"
    }
    return FrameErrors(elements=parts[0].elements, **arrays)


def _blame_model(
    predicted: NDArray[np.floating], reference: NDArray[np.floating]
) -> NDArray[np.float64]:
    """Subtract; NaN means no label, so a model's own NaN becomes infinity."""
    error = np.asarray(predicted, np.float64) - reference
    error[np.isnan(error) & ~np.isnan(reference)] = np.inf
    return error


def _sum_by_element(
    frames: Frames, values: NDArray[np.float64], elements: tuple[str, ...]
) -> NDArray[np.float64]:
    """Sum per-atom values over each frame and element, atoms in their order."""
    total = np.zeros((frames.nframes, len(elements)))
    frame = np.repeat(np.arange(frames.nframes), frames.natoms)
    present = np.nan_to_num(values, nan=0.0, posinf=np.inf)
    for column, symbol in enumerate(elements):
        chosen = _is_element(frames, symbol)
        total[:, column] = np.bincount(
            frame[chosen], weights=present[chosen], minlength=frames.nframes
        )
    return total


def _is_element(frames: Frames, symbol: str) -> NDArray[np.bool_]:
    chosen: NDArray[np.bool_] = frames.z == SYMBOLS.index(symbol)
    return chosen
