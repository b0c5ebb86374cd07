"""The composition-only baseline: what a model that sees no geometry would score."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dpbench.eval.predict import read_blocks
from dpbench.metrics.composition import (
    CompositionEnergies,
    count_elements,
    fit_composition,
)
from dpbench.store.dataset import DatasetVersion


@dataclass(frozen=True, kw_only=True, slots=True)
class FittedBaseline:
    """Energies per element, and where they come from."""

    fit: CompositionEnergies
    fitted_on: str
    """Words for the record, e.g. ``water-v2:train``."""


def fit_baseline(
    version: DatasetVersion, indices: NDArray[np.int64], *, fitted_on: str
) -> FittedBaseline:
    """Fit one energy per element to the labels of some frames.

    Args:
        version: Dataset version.
        indices: Frames to fit, (frame): the training part, where there is one.
        fitted_on: Words for the record.
    """
    elements = version.symbols
    counts, energies = [], []
    for _, _, frames in read_blocks(version, indices):
        counts.append(count_elements(frames, elements))
        energies.append(frames.energy)
    return FittedBaseline(
        fit=fit_composition(
            np.concatenate(counts), np.concatenate(energies), elements=elements
        ),
        fitted_on=fitted_on,
    )
