"""Check records: schema, digest, and every number that can be computed again."""

import math
from collections.abc import Iterable

import numpy as np

from dpbench.errors import DpbenchError, EvaluationError
from dpbench.eval.filing import find_record
from dpbench.eval.predict import KeptPredictions, load
from dpbench.eval.record import Record, record_from_payload
from dpbench.eval.score import score
from dpbench.eval.task_results import Accuracy, Throughput
from dpbench.metrics.definitions import MetricValue
from dpbench.metrics.statistics import spread
from dpbench.store.dataset import DatasetVersion, open_dataset
from dpbench.store.references import DatasetReference
from dpbench.store.workspace import Workspace

TOLERANCE = 1e-9
"""Relative difference that a recomputed number may have."""


def verify_record(workspace: Workspace, digest: str) -> list[str]:
    """Check one record.

    The object's bytes must fit its digest, the content the schema, the medians the
    raw samples; and where predictions and dataset are here, scoring again must give
    the same numbers.

    Args:
        workspace: Holds the record.
        digest: Its digest, or the first digits.

    Returns:
        What was checked, in words.

    Raises:
        DpbenchError: If a check fails.
    """
    name, payload = find_record(workspace, digest)
    record = record_from_payload(payload, where=f"result {name[:12]}")
    done = ["digest", "schema"]
    if record.throughput is not None:
        _check_samples(record.throughput, name)
        done.append("speeds from their samples")
    accuracy = record.accuracy
    if accuracy is None or accuracy.predictions is None:
        return done
    if not (workspace.root / accuracy.predictions.path).exists():
        return [*done, "accuracy not rescored: predictions are not kept here"]
    version = _find_version(workspace, record)
    if version is None:
        return [*done, "accuracy not rescored: the dataset version is not here"]
    _check_accuracy(load(workspace, accuracy.predictions), version, accuracy, name)
    return [*done, "accuracy rescored from kept predictions"]


def _check_samples(throughput: Throughput, name: str) -> None:
    for size in throughput.sizes:
        for quantity, timing in size.quantities.items():
            median = spread(timing.samples).median
            if not _is_close(median, timing.median):
                raise EvaluationError(
                    f"result {name[:12]}: {quantity} at {size.natoms} atoms is "
                    f"{timing.median}; its samples give {median} µs/atom/step."
                )


def _find_version(workspace: Workspace, record: Record) -> DatasetVersion | None:
    dataset = record.dataset
    reference = DatasetReference(name=dataset.name, number=dataset.number)
    try:
        version = open_dataset(workspace, reference)
    except DpbenchError:
        return None
    return version if version.digest == dataset.digest else None


def _check_accuracy(
    kept: KeptPredictions, version: DatasetVersion, accuracy: Accuracy, name: str
) -> None:
    if not np.array_equal(version.frame_digests[kept.indices], kept.frame_digests):
        raise EvaluationError(
            f"result {name[:12]}: the kept predictions are of other frames than "
            f"{version.label} holds at their places."
        )
    again = score(kept, version, baseline=None, file=None, wall_time_s=0.0)
    _compare(accuracy.metrics, again.metrics, name)


def _compare(
    filed: Iterable[MetricValue], again: Iterable[MetricValue], name: str
) -> None:
    found = {metric.name: metric.value for metric in again}
    for metric in filed:
        value = found.get(metric.name)
        if value is not None and not math.isfinite(value):
            value = None
        if not _is_close(metric.value, value):
            raise EvaluationError(
                f"result {name[:12]}: {metric.name} is {metric.value}; scoring the "
                f"kept predictions again gives {value} {metric.unit}."
            )


def _is_close(a: float | None, b: float | None) -> bool:
    if a is None or b is None:
        return a is b
    return math.isclose(a, b, rel_tol=TOLERANCE, abs_tol=1e-12)
