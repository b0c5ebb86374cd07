"""Scoring again: do the numbers of a record follow from the predictions kept with it?

Used by ``dpbench results verify`` on records of this workspace, and by ``import`` on
records from elsewhere, which may lie. Nothing here changes a record: it agrees, or an
``EvaluationError`` names the first number that differs.
"""

import base64
import math
from collections.abc import Iterable, Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from dpbench.errors import EvaluationError
from dpbench.eval.baseline import FittedBaseline
from dpbench.eval.predict import KeptPredictions, read_blocks
from dpbench.eval.score import score
from dpbench.eval.task_results import Accuracy, Baseline, ErrorSeries
from dpbench.metrics.composition import CompositionEnergies
from dpbench.metrics.definitions import MetricValue
from dpbench.store.dataset import DatasetVersion

TOLERANCE = 1e-9
"""Relative difference that a number may have on the machine that made it."""

ELSEWHERE = 1e-6
"""Relative difference that a number may have on another machine: sums are rounded
otherwise there."""

WIDTH = 0.15
"""Difference that the end of an interval may have, in widths of the interval: random
numbers may be drawn otherwise by another version of numpy."""

ROUNDED = 1e-4
"""Relative difference of errors that are kept in float32."""


def check_accuracy(
    told: Accuracy,
    kept: KeptPredictions,
    version: DatasetVersion,
    *,
    where: str,
    tolerance: float = TOLERANCE,
) -> None:
    """Score kept predictions and hold every number against what a record tells.

    Args:
        told: What the record says.
        kept: Predictions whose ``indices`` are frames of ``version``.
        version: Has the labels.
        where: The record, the start of every message.
        tolerance: Relative difference that is let through.

    Raises:
        EvaluationError: If a number differs.
    """
    again = score(
        kept,
        version,
        baseline=None if told.baseline is None else _fitted(told.baseline, version),
        file=told.predictions,
        wall_time_s=told.wall_time_s,
    )
    if told.nonfinite_frames != again.nonfinite_frames:
        raise _differs(
            where, "frames without a finite answer", told, again, "nonfinite_frames"
        )
    compare_metrics(told.metrics, again.metrics, where=where, tolerance=tolerance)
    _check_breakdowns(told, again, where, tolerance)
    if told.baseline is not None and again.baseline is not None:
        compare_metrics(
            told.baseline.metrics,
            again.baseline.metrics,
            where=f"{where}: composition-only",
            tolerance=tolerance,
        )
    if told.errors is not None and again.errors is not None:
        _compare_intervals(told.metrics, again.metrics, where)
        _compare_errors(told.errors, again.errors, where)


def compare_metrics(
    told: Iterable[MetricValue],
    again: Iterable[MetricValue],
    *,
    where: str,
    tolerance: float = TOLERANCE,
) -> None:
    """Hold the values of metrics against those computed again.

    Raises:
        EvaluationError: If one differs, or is not computed at all.
    """
    found = {metric.name: metric for metric in again}
    for metric in told:
        other = found.get(metric.name)
        value = None if other is None else other.value
        if value is not None and not math.isfinite(value):
            value = None
        if not is_close(metric.value, value, tolerance):
            raise EvaluationError(
                f"{where}: {metric.name} is {metric.value}; scoring the kept "
                f"predictions again gives {value} {metric.unit}."
            )
        if other is not None and metric.n != other.n:
            raise EvaluationError(
                f"{where}: {metric.name} is of {metric.n} numbers; scoring the kept "
                f"predictions again counts {other.n}."
            )


def is_close(a: float | None, b: float | None, tolerance: float) -> bool:
    """Whether two numbers are level; None is level with None alone."""
    if a is None or b is None:
        return a is b
    return math.isclose(a, b, rel_tol=tolerance, abs_tol=max(1e-12, tolerance * 1e-3))


def equals_labels(kept: KeptPredictions, version: DatasetVersion) -> bool:
    """Whether all energies and forces are the labels, bit for bit.

    No model does that: whoever sends it has sent the answers.
    """
    for first, last, frames in read_blocks(version, kept.indices):
        mine = kept.part(first, last)
        for labels, answers in (
            (frames.energy, mine.energy),
            (frames.force, mine.force),
        ):
            known = ~np.isnan(labels)
            if known.any() and not np.array_equal(labels[known], answers[known]):
                return False
    return True


def placed(
    kept: KeptPredictions,
    version: DatasetVersion,
    rows: NDArray[np.int64],
    *,
    where: str,
) -> KeptPredictions:
    """Find the frames of predictions from elsewhere among the rows of a version.

    The same content may lie in another order here: frames are known by their digests.

    Args:
        kept: Predictions; their ``indices`` mean the version of who made them.
        version: The same content here.
        rows: Frames that the record says it is about, (frame).
        where: The record, the start of every message.

    Returns:
        The same predictions with indices of ``version``.

    Raises:
        EvaluationError: If they are of other frames.
    """
    theirs = np.ascontiguousarray(kept.frame_digests).view("V32").reshape(-1)
    ours = np.ascontiguousarray(version.frame_digests[rows]).view("V32").reshape(-1)
    mine, told = np.argsort(ours, kind="stable"), np.argsort(theirs, kind="stable")
    is_same = len(ours) == len(theirs) and np.array_equal(ours[mine], theirs[told])
    if not is_same:
        raise EvaluationError(
            f"{where}: its predictions are of other frames than {version.label} holds "
            f"in this part ({len(theirs)} frames; expected {len(ours)})."
        )
    indices = np.empty(len(rows), np.int64)
    indices[told] = rows[mine]
    if not np.array_equal(np.diff(kept.atom_offset), version.natoms[indices]):
        raise EvaluationError(
            f"{where}: its predictions count other atoms than the frames have."
        )
    return replace(kept, indices=indices)


def _fitted(baseline: Baseline, version: DatasetVersion) -> FittedBaseline:
    """Take the energies per element that the record tells."""
    known = [s for s in version.symbols if s in baseline.energies]
    return FittedBaseline(
        fit=CompositionEnergies(
            elements=tuple(known),
            energy=tuple(baseline.energies[symbol] for symbol in known),
            rank=baseline.rank,
            nframes=0,
        ),
        fitted_on=baseline.fitted_on,
    )


def _check_breakdowns(
    told: Accuracy, again: Accuracy, where: str, tolerance: float
) -> None:
    """Check the numbers by element and by source."""
    sources = {source.sha256: source for source in again.by_source}
    groups: list[tuple[str, Iterable[MetricValue], Iterable[MetricValue]]] = []
    for element, metrics in told.by_element.items():
        groups.append((element, metrics, again.by_element.get(element, ())))
    for source in told.by_source:
        own = sources.get(source.sha256)
        name = f"source {source.sha256[:12]}"
        groups.append((name, source.metrics, () if own is None else own.metrics))
    for name, mine, theirs in groups:
        compare_metrics(mine, theirs, where=f"{where}: {name}", tolerance=tolerance)
    if told.nsources != again.nsources:
        raise _differs(where, "sources", told, again, "nsources")


def _compare_intervals(
    told: Iterable[MetricValue], again: Iterable[MetricValue], where: str
) -> None:
    found = {metric.name: metric for metric in again}
    for metric in told:
        other = found[metric.name]
        ends = ((metric.ci_low, other.ci_low), (metric.ci_high, other.ci_high))
        if other.ci_low is None or other.ci_high is None:
            allowed = 0.0
        else:
            allowed = WIDTH * (other.ci_high - other.ci_low) + 1e-9
        for mine, theirs in ends:
            if mine is None or theirs is None:
                is_same = mine is None and theirs is None
            else:
                is_same = abs(mine - theirs) <= allowed
            if not is_same:
                raise EvaluationError(
                    f"{where}: the interval of {metric.name} is {metric.ci_low} to "
                    f"{metric.ci_high}; scoring the kept predictions again gives "
                    f"{other.ci_low} to {other.ci_high} {metric.unit}."
                )


def _compare_errors(told: ErrorSeries, again: ErrorSeries, where: str) -> None:
    """Check the errors frame by frame, where both lie in the same order."""
    if told.frames != again.frames:
        return  # they pair with nothing then, and no verdict is drawn from them
    theirs = _arrays(again.columns)
    for name, column in _arrays(told.columns).items():
        if name not in theirs or not _is_level(column, theirs[name]):
            raise EvaluationError(
                f"{where}: the errors '{name}', frame by frame, are not those of the "
                "kept predictions."
            )


def _is_level(told: NDArray[np.float32], again: NDArray[np.float32]) -> bool:
    """Whether two columns agree as far as float32 holds them; infinities must be."""
    if len(told) != len(again) or not np.array_equal(np.isinf(told), np.isinf(again)):
        return False
    finite = np.isfinite(again)
    scale = float(np.abs(again[finite]).max(initial=0.0))
    return bool(
        np.allclose(
            told[finite], again[finite], rtol=ROUNDED, atol=ROUNDED * 1e-3 * scale
        )
    )


def _arrays(columns: Mapping[str, str]) -> dict[str, NDArray[np.float32]]:
    """Decode columns; one that is no base64 of float32 has no number."""
    out: dict[str, NDArray[np.float32]] = {}
    for name, text in columns.items():
        try:
            data = base64.b64decode(text, validate=True)
        except ValueError:
            data = b""
        out[name] = np.frombuffer(data[: len(data) // 4 * 4], "<f4")
    return out


def _differs(
    where: str, what: str, told: Accuracy, again: Accuracy, field: str
) -> EvaluationError:
    return EvaluationError(
        f"{where}: says {getattr(told, field)} {what}; scoring the kept predictions "
        f"again gives {getattr(again, field)}."
    )
