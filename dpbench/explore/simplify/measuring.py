"""Errors of a model on frames that it was not trained on."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dpbench.eval.model_deviation import native_evaluator
from dpbench.frames import Frames
from dpbench.metrics.accuracy import accuracy_ratios
from dpbench.metrics.frame_errors import frame_errors


@dataclass(frozen=True, kw_only=True, slots=True)
class Errors:
    """Errors of one model."""

    rmse_f: float
    """eV/Å."""
    p95_f: float
    """eV/Å, 95th percentile of the length of the force error."""
    rmse_e: float
    """eV/atom, after the best energy of each element is taken off."""


def errors_of(model: Path, frames: Frames) -> Errors:
    """Measure a model; NaN where no frame has the label.

    Raises:
        ModelError: If the file is no model, or it does not know an element.
    """
    answer = native_evaluator(model).predict(frames)
    errors = frame_errors(frames, answer, elements=frames.symbols)
    ratios = {ratio.name: ratio for ratio in accuracy_ratios(errors)}

    def root(name: str) -> float:
        """Return a root mean square, in eV/Å or eV/atom; NaN without labels."""
        ratio = ratios[name]
        counted = ~np.isnan(ratio.numerator)
        if not counted.any():
            return float("nan")
        mean = ratio.numerator[counted].sum() / ratio.denominator[counted].sum()
        return float(ratio.scale * np.sqrt(mean) / 1000)

    length = np.linalg.norm(answer.force - frames.force, axis=1)
    known = length[~np.isnan(frames.force).any(axis=1)]
    return Errors(
        rmse_f=root("force_rmse_component_mev_per_ang"),
        p95_f=float(np.percentile(known, 95)) if len(known) else float("nan"),
        rmse_e=root("energy_shifted_rmse_per_atom_mev"),
    )
