"""What can be said of a record from elsewhere, with the data that lie here."""

from collections.abc import Sequence
from contextlib import suppress

import numpy as np
from numpy.typing import NDArray

from dpbench.errors import DatasetError, EvaluationError
from dpbench.eval.leakage import find_leakage, leakage_marks
from dpbench.eval.parts import (
    SEEN,
    Part,
    Training,
    count_overlap,
    find_content,
    find_training,
)
from dpbench.eval.predict import KeptPredictions, load
from dpbench.eval.record import Record
from dpbench.eval.rescoring import ELSEWHERE, check_accuracy, equals_labels, placed
from dpbench.eval.speed.plausibility import flags
from dpbench.eval.standing import Standing
from dpbench.eval.strict_npz import check_npz
from dpbench.eval.suite_membership import check_membership, suite_of
from dpbench.eval.suites.loading import Suite
from dpbench.eval.task_rescoring import TROUBLE, rescore_tasks
from dpbench.eval.task_results import PredictionFile
from dpbench.store.dataset import DatasetVersion
from dpbench.store.splits.making import Split, find_split
from dpbench.store.splits.parts import WHOLE
from dpbench.store.workspace import Workspace

LABELS = "its predictions equal the labels bit for bit"
"""Flag of a record whose model would have to know the answers."""

SHAPES = {
    "file_format": ("iu", ()),
    "indices": ("iu", ("frame",)),
    "frame_digests": ("u", ("frame", 32)),
    "atom_offset": ("iu", ("frame+1",)),
    "energy": ("f", ("frame",)),
    "force": ("f", ("atom", 3)),
    "virial": ("f", ("frame", 3, 3)),
}
"""Arrays of kept predictions: kinds of numbers and dimensions."""


def judge(workspace: Workspace, record: Record, *, source: str, where: str) -> Standing:
    """Compute the numbers of a record again from its predictions and our data.

    Args:
        workspace: Has the predictions, checked by ``strict_npz``, and perhaps the data.
        record: From elsewhere, checked by ``self_check``.
        source: Name of the file that it came in.
        where: The record, the start of every message.

    Returns:
        How it stands here.

    Raises:
        EvaluationError: If a number is not what its predictions give, or predictions
            do not belong to the frames.
    """
    if record.failure is not None and record.accuracy is None and not record.tasks:
        return _unverified(["it tells of a failure"], source)
    suite = suite_of(record)
    if suite is not None:
        check_membership(record, suite, where=where)
    version = find_content(workspace, record.dataset.digest)
    part = None if version is None else _part_here(version, record, where)
    checks, marks = ["schema", "sums and times"], list[str]()
    reasons = _not_here(record, suite, version, part)
    if version is not None and part is not None:
        marks += _check_seen(workspace, record, part, where)
        checks.append("frames")
    if record.accuracy is not None:
        why = _rescored(workspace, record, part, where, marks)
        if why:
            reasons.append(why)
        elif part is not None:
            checks.append("accuracy from predictions")
    told = rescore_tasks(workspace, record, part, where=where, tolerance=ELSEWHERE)
    checks += [*told.done, *told.told]
    reasons += told.missing
    if record.accuracy is None and not told.done and not told.missing:
        reasons.append("nothing in it can be computed again; speeds must be measured")
    if record.throughput is not None or record.stability is not None or told.told:
        checks.append("speeds and dynamics as told")
        checks += [f"caution: {words}" for words in _cautions(record, where)]
    return Standing(
        status="unverified" if reasons else "verified",
        checks=tuple(checks),
        reasons=tuple(dict.fromkeys(reasons)),
        flags=tuple(dict.fromkeys(marks)),
        label=None if version is None else version.label,
        source=source,
    )


def _not_here(
    record: Record,
    suite: Suite | None,
    version: DatasetVersion | None,
    part: Part | None,
) -> list[str]:
    """Name what a record is about and this workspace lacks."""
    reasons = []
    if record.suite is not None and suite is None:
        reasons.append(f"the suite {record.suite[:60]} is not here")
    if version is None:
        named = f"{record.dataset.label} ({record.dataset.digest[:17]})"
        reasons.append(f"the dataset version {named} is not here")
    elif part is None and record.split is not None:
        facts = record.split
        reasons.append(
            f"the split {facts.digest[:17]} is not here; if it was made by a recipe: "
            f"dpbench dataset split {version.label} --strategy {facts.strategy} "
            f"--seed {facts.seed}"
        )
    return reasons


def _cautions(record: Record, where: str) -> tuple[str, ...]:
    """Say which times do not fit each other (T7)."""
    try:
        return flags(record)
    except TROUBLE as error:
        raise EvaluationError(
            f"{where}: its ladder cannot be read ({type(error).__name__}: {error}); "
            "expected what 'md_throughput' leaves."
        ) from error


def _unverified(reasons: Sequence[str], source: str) -> Standing:
    return Standing(
        status="unverified", checks=("schema",), reasons=tuple(reasons), source=source
    )


def _part_here(version: DatasetVersion, record: Record, where: str) -> Part | None:
    """Find the frames that the record says it is about; None without its split."""
    split: Split | None = None
    if record.split is None:
        if record.part != WHOLE:
            raise EvaluationError(
                f"{where}: is about the part '{record.part}' of no split; expected "
                f"'{WHOLE}'."
            )
        rows: NDArray[np.int64] = np.arange(version.nframes)
    else:
        with suppress(DatasetError):
            split = find_split(version, record.split.digest)
        if split is None:
            return None
        if record.part not in split.parts:
            raise EvaluationError(
                f"{where}: is about the part '{record.part}'; its split has "
                f"{', '.join(split.parts)}."
            )
        rows = np.asarray(split.parts[record.part], np.int64)
    natoms = int(version.natoms[rows].sum())
    if (len(rows), natoms) != (record.nframes, record.natoms):
        raise EvaluationError(
            f"{where}: says {record.nframes} frames of {record.natoms} atoms; the part "
            f"'{record.part}' of {version.label} has {len(rows)} of {natoms}."
        )
    theirs = {source.sha256 for source in record.provenance.sources}
    ours = {source.sha256 for source in version.sources}
    if not theirs <= ours:
        raise EvaluationError(
            f"{where}: names the source file {min(theirs - ours)[:12]}, which "
            f"{version.label} is not made of."
        )
    return Part(
        version=version,
        split=split,
        name=record.part,
        indices=rows,
        overlap=record.overlap,
        marks=(),
    )


def _check_seen(
    workspace: Workspace, record: Record, part: Part, where: str
) -> list[str]:
    """Compare the frames with the training's, where that is here; return new marks."""
    training = _training_here(workspace, record)
    if training is None:
        return []
    found = count_overlap(part.version, part.indices, training)
    told = record.overlap
    if told.train is not None and (told.train, told.validation) != (
        found.train,
        found.validation,
    ):
        raise EvaluationError(
            f"{where}: says that {told.train} of its frames are training frames and "
            f"{told.validation} validation frames; {found.train} and "
            f"{found.validation} are."
        )
    marks = [
        f"{count} of {record.nframes} frames are {SEEN[name]}"
        for name, count in (("train", found.train), ("validation", found.validation))
        if count
    ]
    if not marks:
        leakage = find_leakage(part, training, {})
        marks += leakage_marks(part, leakage)
    return [] if record.marks else marks


def _training_here(workspace: Workspace, record: Record) -> Training | None:
    dataset, split = (
        record.provenance.training_dataset,
        record.provenance.training_split,
    )
    if dataset is None or split is None:
        return None
    named = {"dataset": {"digest": dataset.digest}, "split": {"digest": split.digest}}
    return find_training(workspace, named)


def _rescored(
    workspace: Workspace,
    record: Record,
    part: Part | None,
    where: str,
    marks: list[str],
) -> str | None:
    """Score the accuracy again; return why that is not possible."""
    accuracy = record.accuracy
    file = None if accuracy is None else accuracy.predictions
    if accuracy is None or file is None:
        return "its predictions were not kept"
    if not (workspace.root / file.path).exists():
        return "its predictions did not come with it"
    if part is None:
        return None  # why its frames are not known has been said
    kept = load_checked(workspace, file, where=where)
    kept = placed(kept, part.version, part.indices, where=where)
    check_accuracy(accuracy, kept, part.version, where=where, tolerance=ELSEWHERE)
    if equals_labels(kept, part.version):
        marks.append(LABELS)
    return None


def load_checked(
    workspace: Workspace, file: PredictionFile, *, where: str
) -> KeptPredictions:
    """Read predictions that somebody else made, their arrays of the right shapes.

    Raises:
        EvaluationError: If an array is missing or of another shape or kind.
    """
    shapes = check_npz((workspace.root / file.path).read_bytes(), where=where)
    sizes = {"frame": file.nframes, "frame+1": file.nframes + 1}
    if "force" in shapes and shapes["force"][0]:
        sizes["atom"] = shapes["force"][0][0]
    expected = dict(SHAPES)
    if "no_virial" in shapes:
        expected["no_virial"] = ("b", ("frame",))
    for name, (kinds, dimensions) in expected.items():
        wanted = tuple(sizes.get(str(d), d) for d in dimensions)
        shape, kind = shapes.get(name, (None, None))
        if shape != wanted or kind is None or kind.kind not in kinds:
            raise EvaluationError(
                f"{where}: its predictions have '{name}' of shape {shape}, {kind}; "
                f"expected {wanted}."
            )
    kept = load(workspace, file)
    steps = np.diff(kept.atom_offset)
    ends = (int(kept.atom_offset[0]), int(kept.atom_offset[-1]))
    if (steps < 0).any() or ends != (0, sizes["atom"]):
        raise EvaluationError(
            f"{where}: its predictions cut {sizes['atom']} atoms at {ends}; expected "
            "one frame after the other."
        )
    return kept
