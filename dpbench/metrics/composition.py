"""Energies that depend on the composition alone: one number per element."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dpbench.elements import SYMBOLS
from dpbench.frames import Frames


@dataclass(frozen=True, kw_only=True, slots=True)
class CompositionEnergies:
    """A least-squares energy per element."""

    elements: tuple[str, ...]
    """Elements, in the order of ``energy``."""
    energy: tuple[float, ...]
    """eV per atom of each element; the smallest set where several fit alike."""
    rank: int
    """Independent compositions among the fitted frames."""
    nframes: int
    """Frames that entered the fit."""

    def predict(self, counts: NDArray[np.integer]) -> NDArray[np.float64]:
        """Total energies, eV (frame), of ``counts`` atoms (frame, element)."""
        total: NDArray[np.float64] = (counts * np.asarray(self.energy)).sum(axis=1)
        return total


def count_elements(frames: Frames, elements: tuple[str, ...]) -> NDArray[np.int64]:
    """Count the atoms of each element in each frame.

    Args:
        frames: Structures.
        elements: Symbols, the order of the columns.

    Returns:
        (frame, element); atoms of other elements are not counted.
    """
    column = np.full(len(SYMBOLS), len(elements), dtype=np.int64)
    for index, symbol in enumerate(elements):
        column[SYMBOLS.index(symbol)] = index
    frame = np.repeat(np.arange(frames.nframes), frames.natoms)
    flat = frame * (len(elements) + 1) + column[frames.z]
    counts = np.bincount(flat, minlength=frames.nframes * (len(elements) + 1))
    return counts.reshape(frames.nframes, len(elements) + 1)[:, :-1]


def fit_composition(
    counts: NDArray[np.integer],
    energy: NDArray[np.floating],
    *,
    elements: tuple[str, ...],
) -> CompositionEnergies:
    """Fit one energy per element to total energies.

    Minimises the sum over frames of ((E - sum_e n_e b_e) / natoms)^2, the square that
    ``energy_rmse_per_atom_mev`` reports.

    Args:
        counts: Atoms of each element, (frame, element).
        energy: eV, (frame); frames with NaN are left out.
        elements: Symbols of the columns.

    Returns:
        The energies; all zero if no frame has a label.
    """
    labelled = np.isfinite(energy) & (counts.sum(axis=1) > 0)
    rows = counts[labelled].astype(np.float64)
    natoms = rows.sum(axis=1)
    if not len(rows):
        return CompositionEnergies(
            elements=elements, energy=(0.0,) * len(elements), rank=0, nframes=0
        )
    solution, _, rank, _ = np.linalg.lstsq(
        rows / natoms[:, None], energy[labelled] / natoms, rcond=1e-10
    )
    return CompositionEnergies(
        elements=elements,
        energy=tuple(float(b) for b in solution),
        rank=int(rank),
        nframes=len(rows),
    )
