"""The cheap stage: from kept predictions and references to the accuracy."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dpbench.eval.baseline import FittedBaseline
from dpbench.eval.error_series import in_order_of_time
from dpbench.eval.predict import KeptPredictions, read_blocks
from dpbench.eval.task_results import (
    Accuracy,
    Baseline,
    Parity,
    PredictionFile,
    SourceAccuracy,
)
from dpbench.frames import Frames
from dpbench.metrics.accuracy import accuracy_metrics, element_metrics, group_metrics
from dpbench.metrics.composition import count_elements
from dpbench.metrics.frame_errors import (
    FrameErrors,
    Predictions,
    frame_errors,
    merge_errors,
)
from dpbench.store.dataset import DatasetVersion
from dpbench.store.splits.trajectories import find_trajectories

PARITY_FRAMES = 300
"""Most points of the energy parity plot."""

PARITY_ATOMS = 300
"""Most atoms of the force parity plot; three points each."""

PARITY_SEED = 7
"""Fixed, so that scoring again gives the same sample."""

MOST_SOURCES = 200
"""Most sources that a record breaks its accuracy down to."""


def score(
    kept: KeptPredictions,
    version: DatasetVersion,
    *,
    baseline: FittedBaseline | None,
    file: PredictionFile | None,
    wall_time_s: float,
) -> Accuracy:
    """Compare predictions with the labels of a dataset version.

    Args:
        kept: The model's answers.
        version: The version that ``kept.indices`` refer to.
        baseline: Energies per element to score beside the model, if any.
        file: Where the predictions are kept.
        wall_time_s: Seconds that the predictions took.
    """
    elements = version.symbols
    group = np.asarray(version.source_of)[kept.indices]
    sample = _ParitySample.choose(kept)
    model, dummy, parity = [], [], []
    for first, last, frames in read_blocks(version, kept.indices):
        part, sources = kept.part(first, last), group[first:last]
        model.append(frame_errors(frames, part, elements=elements, group=sources))
        parity.append(sample.take(frames, part, first=first, kept=kept))
        if baseline is not None:
            answer = composition_predictions(frames, baseline, elements)
            dummy.append(frame_errors(frames, answer, elements=elements, group=sources))
    errors = merge_errors(model)
    trajectory, position = find_trajectories(version).of(version)
    in_time = in_order_of_time(errors, trajectory[kept.indices], position[kept.indices])
    return Accuracy(
        metrics=in_time.metrics(),
        nonfinite_frames=_count_nonfinite(kept),
        baseline=None
        if baseline is None
        else Baseline(
            fitted_on=baseline.fitted_on,
            energies=dict(zip(baseline.fit.elements, baseline.fit.energy, strict=True)),
            rank=baseline.fit.rank,
            metrics=accuracy_metrics(merge_errors(dummy)),
        ),
        by_element={
            symbol: element_metrics(errors, symbol)
            for column, symbol in enumerate(elements)
            if errors.counts[:, column].any()
        },
        by_source=_by_source(errors, version),
        nsources=len(np.unique(group)),
        parity=_join(parity),
        predictions=file,
        wall_time_s=round(wall_time_s, 3),
        errors=in_time.series(kept.frame_digests),
    )


def composition_predictions(
    frames: Frames, baseline: FittedBaseline, elements: tuple[str, ...]
) -> Predictions:
    """Answer with the energy of the composition, no force and no virial."""
    known = dict(zip(baseline.fit.elements, baseline.fit.energy, strict=True))
    energies = np.array([known.get(symbol, 0.0) for symbol in elements])
    counts = count_elements(frames, elements)
    return Predictions(
        energy=(counts * energies).sum(axis=1),
        force=np.zeros((len(frames.z), 3)),
        virial=np.zeros((frames.nframes, 3, 3)),
    )


def _by_source(
    errors: FrameErrors, version: DatasetVersion
) -> tuple[SourceAccuracy, ...]:
    out = []
    for index in np.unique(errors.group)[:MOST_SOURCES]:
        source = version.sources[int(index)]
        out.append(
            SourceAccuracy(
                source=str(source.path),
                sha256=source.sha256,
                nframes=int((errors.group == index).sum()),
                metrics=group_metrics(errors, int(index)),
            )
        )
    return tuple(out)


def _count_nonfinite(kept: KeptPredictions) -> int:
    lost = ~np.isfinite(kept.predictions.energy)
    atoms = ~np.isfinite(kept.predictions.force).all(axis=1)
    frame = np.repeat(np.arange(len(kept.indices)), np.diff(kept.atom_offset))
    lost[frame[atoms]] = True
    return int(lost.sum())


@dataclass(frozen=True, kw_only=True, slots=True)
class _ParitySample:
    """Which frames and atoms the parity plots show."""

    frames: NDArray[np.int64]
    """Sorted positions among the evaluated frames."""
    atoms: NDArray[np.int64]
    """Sorted rows of the per-atom arrays of all evaluated frames."""

    @classmethod
    def choose(cls, kept: KeptPredictions) -> "_ParitySample":
        rng = np.random.default_rng(PARITY_SEED)
        nframes, natoms = len(kept.indices), int(kept.atom_offset[-1])
        return cls(
            frames=_choose(rng, nframes, PARITY_FRAMES),
            atoms=_choose(rng, natoms, PARITY_ATOMS),
        )

    def take(
        self,
        frames: Frames,
        part: Predictions,
        *,
        first: int,
        kept: KeptPredictions,
    ) -> Parity:
        """Pick the points that lie in one block starting at frame ``first``."""
        rows = _inside(self.frames, first, first + frames.nframes)
        start = int(kept.atom_offset[first])
        atoms = _inside(self.atoms, start, start + len(frames.z))
        rows = rows[frames.has_energy[rows]]
        atoms = atoms[np.isfinite(frames.force[atoms]).all(axis=1)]
        natoms = frames.natoms[rows]
        return Parity(
            energy_reference=_rounded(frames.energy[rows] / natoms),
            energy_predicted=_rounded(part.energy[rows] / natoms),
            force_reference=_rounded(frames.force[atoms].ravel()),
            force_predicted=_rounded(part.force[atoms].ravel()),
        )


def _choose(rng: np.random.Generator, total: int, most: int) -> NDArray[np.int64]:
    if total <= most:
        return np.arange(total)
    return np.sort(rng.choice(total, size=most, replace=False))


def _inside(rows: NDArray[np.int64], low: int, high: int) -> NDArray[np.int64]:
    return rows[(rows >= low) & (rows < high)] - low


def _rounded(values: NDArray[np.floating]) -> tuple[float, ...]:
    return tuple(round(float(value), 6) for value in values)


def _join(parts: list[Parity]) -> Parity:
    def all_of(name: str) -> tuple[float, ...]:
        return tuple(value for part in parts for value in getattr(part, name))

    return Parity(
        energy_reference=all_of("energy_reference"),
        energy_predicted=all_of("energy_predicted"),
        force_reference=all_of("force_reference"),
        force_predicted=all_of("force_predicted"),
    )
