"""Which frames to evaluate, and whether the training has seen them."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select

from dpbench.errors import DatasetError, EvaluationError
from dpbench.eval.record import Overlap
from dpbench.io.leakage.split import checked_default_split
from dpbench.store import catalog
from dpbench.store.catalog import tables
from dpbench.store.dataset import DatasetVersion, open_dataset
from dpbench.store.references import DatasetReference, parse_reference
from dpbench.store.splits.making import Split, find_split, named_split
from dpbench.store.splits.parts import WHOLE
from dpbench.store.workspace import Workspace

SEEN = {"train": "training frames", "validation": "validation frames"}
"""Parts that shaped the model: a row scored on them takes no rank."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Training:
    """What the model was trained on, where this workspace has it."""

    version: DatasetVersion
    split: Split


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """Frames to evaluate."""

    version: DatasetVersion
    split: Split | None
    name: str
    indices: NDArray[np.int64]
    """(frame), in version order."""
    overlap: Overlap
    marks: tuple[str, ...]
    """Why a row on these frames takes no rank."""


def find_training(
    workspace: Workspace, provenance: Mapping[str, Any]
) -> Training | None:
    """Open what a model was trained on, whatever it is called here; None if missing.

    Args:
        workspace: Where to look.
        provenance: As ``load_model`` gives it.
    """
    dataset, split = provenance.get("dataset"), provenance.get("split")
    if not dataset or not split:
        return None
    found = find_split_content(workspace, dataset["digest"], split["digest"])
    return None if found is None else Training(version=found[0], split=found[1])


def find_content(workspace: Workspace, digest: str) -> DatasetVersion | None:
    """Open the first version of a content, under whatever name; None if missing.

    Args:
        workspace: Where to look.
        digest: Content digest of a version.
    """
    for object_id in versions_of(workspace, digest):
        with suppress(DatasetError):  # retracted, or damaged
            return DatasetVersion(workspace, object_id)
    return None


def find_split_content(
    workspace: Workspace, digest: str, split: str
) -> tuple[DatasetVersion, Split] | None:
    """Open the first version of a content that has a split; None if there is none.

    Args:
        workspace: Where to look.
        digest: Content digest of a version.
        split: Digest of the split.
    """
    for object_id in versions_of(workspace, digest):
        with suppress(DatasetError):  # retracted, or of another order
            version = DatasetVersion(workspace, object_id)
            found = find_split(version, split)
            if found is not None:
                return version, found
    return None


def versions_of(workspace: Workspace, digest: str) -> list[str]:
    """Find the versions of a content, under whatever names, by the registry.

    Args:
        workspace: Where to look.
        digest: Content digest of a version.

    Returns:
        Names of their objects, those that were made first at the front.
    """
    catalog.synchronise(workspace)
    version = tables.version
    query = (
        select(version.c.id)
        .where(version.c.digest == digest)
        .order_by(version.c.created_at, version.c.id)
    )
    with catalog.transaction(workspace, write=False) as connection:
        return list(connection.scalars(query))


def parts_to_evaluate(
    workspace: Workspace,
    training: Training | None,
    dataset: str | None,
    *,
    split: str | None = None,
) -> list[Part]:
    """Choose the frames to evaluate.

    Without ``dataset`` these are the held-out parts of the training's own split:
    ``test`` and all others that are neither training nor validation.

    Args:
        workspace: Where datasets lie.
        training: What the model was trained on.
        dataset: ``NAME[-vN][:PART]`` as the user typed it.
        split: Name or digest of the split that the parts belong to; None = the
            training's own, else the only one.

    Returns:
        At least one part; parts never share a frame.

    Raises:
        EvaluationError: If there is nothing to choose, or the part does not exist.
        DatasetError: If the dataset or the split does not exist.
    """
    if dataset is None:
        if training is None:
            raise EvaluationError(
                "the data that the model was trained on is not in this workspace; "
                "expected it there. Name a dataset with --dataset NAME[-vN][:PART]."
            )
        version = training.version
        own = training.split if split is None else named_split(version, split)
        return _held_out(version, own, training)
    reference = parse_reference(dataset)
    version = open_dataset(workspace, reference, with_part=True)
    chosen = _choose_split(version, training, reference, split)
    if reference.part == WHOLE or chosen is None:
        everything = np.arange(version.nframes)
        return [_part(version, None, WHOLE, everything, training)]
    if reference.part is None:
        return _held_out(version, chosen, training)
    if reference.part not in chosen.parts or not len(chosen.parts[reference.part]):
        known = ", ".join(name for name, rows in chosen.parts.items() if len(rows))
        raise EvaluationError(
            f"{dataset}: the split has no frames in a part '{reference.part}'; "
            f"expected one of {known}, or '{WHOLE}' for the whole version. "
            f"See 'dpbench dataset split {version.label}'."
        )
    rows = chosen.parts[reference.part]
    return [_part(version, chosen, reference.part, rows, training)]


def _choose_split(
    version: DatasetVersion,
    training: Training | None,
    reference: DatasetReference,
    split: str | None,
) -> Split | None:
    """Find the split that the user means; None for the whole version."""
    if split is not None:
        return named_split(version, split)
    if training is not None and version.digest == training.version.digest:
        return find_split(version, training.split.digest)
    if reference.part in (None, WHOLE):
        return None
    return find_split(version, None) or checked_default_split(version, 0)


def _held_out(
    version: DatasetVersion, split: Split, training: Training | None
) -> list[Part]:
    names = [n for n in split.parts if n not in SEEN and len(split.parts[n])]
    names.sort(key=lambda name: (name != "test", name))
    if not names and len(split.parts.get("validation", ())):
        names = ["validation"]
    if not names:
        raise EvaluationError(
            f"{version.label}: the split holds out no frame; expected a test part. "
            f"Evaluate other data with --dataset, or the whole with "
            f"--dataset {version.label}:{WHOLE}."
        )
    return [_part(version, split, n, split.parts[n], training) for n in names]


def _part(
    version: DatasetVersion,
    split: Split | None,
    name: str,
    indices: NDArray[np.int64],
    training: Training | None,
) -> Part:
    if not len(indices):
        raise EvaluationError(
            f"{version.label}: the version holds no frame; expected at least one. "
            "Ingest sources with converged frames."
        )
    rows = np.asarray(indices, np.int64)
    overlap = count_overlap(version, rows, training)
    is_own = (
        training is not None
        and split is not None
        and split.digest == training.split.digest
    )
    marks = [SEEN[name]] if is_own and name in SEEN else []
    if not marks:
        for seen, what in (
            (overlap.train, "train"),
            (overlap.validation, "validation"),
        ):
            if seen:
                marks.append(f"{seen} of {len(rows)} frames are {SEEN[what]}")
    return Part(
        version=version,
        split=split,
        name=name,
        indices=rows,
        overlap=overlap,
        marks=tuple(marks),
    )


def count_overlap(
    version: DatasetVersion, indices: NDArray[np.int64], training: Training | None
) -> Overlap:
    """Count evaluated frames whose exact digest the training part holds as well."""
    if training is None:
        return Overlap(train=None, validation=None)
    evaluated = [digest.tobytes() for digest in version.frame_digests[indices]]
    counts = {}
    known = training.version.frame_digests
    for name in SEEN:
        rows = training.split.parts.get(name, np.zeros(0, np.int64))
        seen = {digest.tobytes() for digest in known[rows]}
        counts[name] = sum(digest in seen for digest in evaluated)
    return Overlap(train=counts["train"], validation=counts["validation"])
