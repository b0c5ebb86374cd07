"""Check records: schema, digest, and every number that can be computed again."""

from contextlib import suppress

import numpy as np

from dpbench.errors import DatasetError, DpbenchError, EvaluationError
from dpbench.eval.filing import find_record
from dpbench.eval.parts import Part, find_content
from dpbench.eval.predict import load
from dpbench.eval.record import Record, record_from_payload
from dpbench.eval.rescoring import check_accuracy, placed
from dpbench.eval.self_check import check_itself
from dpbench.eval.suite_membership import check_membership, suite_of
from dpbench.eval.task_rescoring import rescore_tasks
from dpbench.store.dataset import DatasetVersion, open_dataset
from dpbench.store.references import DatasetReference
from dpbench.store.splits.making import find_split
from dpbench.store.workspace import Workspace


def verify_record(workspace: Workspace, digest: str) -> list[str]:
    """Check one record.

    The object's bytes must fit its digest, the content the schema, the medians the
    raw samples; and where predictions and dataset are here, scoring again must give
    the same numbers. The suite that it names must be the one that is here.

    Args:
        workspace: Holds the record.
        digest: Its digest, or the first digits.

    Returns:
        What was checked, in words.

    Raises:
        DpbenchError: If a check fails.
    """
    name, payload = find_record(workspace, digest)
    where = f"result {name[:12]}"
    record = record_from_payload(payload, where=where)
    done = ["digest", "schema"]
    check_itself(record, where=where)
    if record.throughput is not None:
        done.append("speeds from their samples")
    if record.stability is not None:
        done.append("drifts from their traces")
    if record.suite is not None:
        suite = suite_of(record)
        if suite is not None:
            check_membership(record, suite, where=where)
        here = "suite" if suite else f"suite {record.suite} is not here"
        done.append(here)
    version = _find_version(workspace, record)
    part = None if version is None else _part(version, record)
    done += _accuracy(workspace, record, version, part, where=where)
    told = rescore_tasks(workspace, record, part, where=where)
    return [*done, *told.done, *(f"not rescored: {why}" for why in told.missing)]


def _accuracy(
    workspace: Workspace,
    record: Record,
    version: DatasetVersion | None,
    part: Part | None,
    *,
    where: str,
) -> list[str]:
    """Score the accuracy again where that is possible; say what was done."""
    accuracy = record.accuracy
    if accuracy is None or accuracy.predictions is None:
        return []
    if not (workspace.root / accuracy.predictions.path).exists():
        return ["accuracy not rescored: predictions are not kept here"]
    if version is None:
        return ["accuracy not rescored: the dataset version is not here"]
    kept = load(workspace, accuracy.predictions)
    if part is not None:
        kept = placed(kept, version, part.indices, where=where)
    elif not np.array_equal(version.frame_digests[kept.indices], kept.frame_digests):
        raise EvaluationError(
            f"{where}: the kept predictions are of other frames than {version.label} "
            "holds at their places."
        )
    check_accuracy(accuracy, kept, version, where=where)
    return ["accuracy rescored from kept predictions"]


def _find_version(workspace: Workspace, record: Record) -> DatasetVersion | None:
    """Find the dataset version by its name, else by its content."""
    dataset = record.dataset
    with suppress(DpbenchError):
        reference = DatasetReference(name=dataset.name, number=dataset.number)
        version = open_dataset(workspace, reference)
        if version.digest == dataset.digest:
            return version
    return find_content(workspace, dataset.digest)


def _part(version: DatasetVersion, record: Record) -> Part | None:
    """Return the frames of a record; None where their split is not here."""
    split, rows = None, np.arange(version.nframes)
    if record.split is not None:
        with suppress(DatasetError):
            split = find_split(version, record.split.digest)
        if split is None or record.part not in split.parts:
            return None
        rows = np.asarray(split.parts[record.part], np.int64)
    return Part(
        version=version,
        split=split,
        name=record.part,
        indices=rows,
        overlap=record.overlap,
        marks=record.marks,
    )
