"""Stage ``ingest``: labels into the next version of the dataset."""

import time
from collections import Counter

from dpbench.errors import DatasetError, SourceError
from dpbench.explore.announce import Announcement
from dpbench.explore.journal import Iteration
from dpbench.explore.labels.theory_check import refuse_foretold
from dpbench.explore.session import Session
from dpbench.explore.stage_results import IngestResult, LabelResult, write_result
from dpbench.explore.stages.labelling import driver_at_work, outputs_of
from dpbench.io.ingest import IngestOptions, ingest
from dpbench.io.ingest_report import IngestReport
from dpbench.store.dataset import DatasetVersion, open_dataset


def ingest_labels(
    session: Session, iteration: Iteration, *, labelled: LabelResult, dataset: str
) -> IngestResult:
    """Make the next version out of the labels of an iteration, or read which it was.

    Args:
        session: At work.
        iteration: Which.
        labelled: Its labels.
        dataset: ``NAME-vN`` that they are added to.

    Raises:
        DatasetError: If their level of theory contradicts that of the dataset.
    """
    done = iteration.ingest
    if done is not None:
        return done
    result = add_labels(
        session,
        labelled,
        before=open_dataset(session.workspace, dataset),
        note=f"exploration {session.config.dataset}, iteration {iteration.number}",
        iteration=iteration.number,
    )
    write_result(iteration.folder, "ingest", result, config=session.digest)
    return result


def add_labels(
    session: Session,
    labelled: LabelResult,
    *,
    before: DatasetVersion | None,
    note: str,
    iteration: int | None,
) -> IngestResult:
    """Ingest labels; those that are in the dataset already are not added twice.

    Args:
        session: At work.
        labelled: The labels.
        before: The version they are added to; None = there is none.
        note: Kept with the version.
        iteration: For the announcements; None = the start.

    Raises:
        DatasetError: If levels of theory would mix, or no frame is left to begin with.
    """
    session.announce(Announcement(iteration=iteration, stage="ingest"))
    began = time.perf_counter()
    name = session.config.dataset
    driver = driver_at_work(session)
    keys = dict.fromkeys(one.key for one in labelled.done)
    paths = outputs_of(session, list(keys))
    failures: Counter[str] = Counter()
    if paths:
        options = IngestOptions(theory=driver.declared(), note=note, workers=0)
        try:
            report = ingest(
                session.workspace, driver.code, paths, dataset=name, options=options
            )
            failures = _failures(report)
        except SourceError:
            # Each was read once already, when its label was accepted: what fails here
            # fails for the dataset's own rules.
            failures[f"no frame passes the checks of {name}"] = len(labelled.done)
    version = _version_after(session, before)
    known = Counter(before.payload["quarantined"] if before else {})
    kept_out = Counter(version.payload["quarantined"])
    kept_out.subtract(known)
    refused = {why: n for why, n in (failures | +kept_out).items() if n}
    new = version.nframes - (before.nframes if before else 0)
    missing = len(labelled.done) - new - sum(refused.values())
    if missing > 0:
        refused["in the dataset already, or equal to another label"] = missing
    session.announce(
        Announcement(
            iteration=iteration, stage="ingest", text=version.label, is_over=True
        )
    )
    return IngestResult(
        version=version.label,
        digest=version.digest,
        nframes=version.nframes,
        new=new,
        refused=dict(sorted(refused.items())),
        wall_seconds=round(time.perf_counter() - began, 3),
    )


def check_theory(session: Session, version: DatasetVersion) -> None:
    """Refuse a driver whose labels would not fit the dataset, before one is paid for.

    Args:
        session: At work.
        version: What the labels are to be added to.

    Raises:
        DatasetError: If the levels of theory contradict each other.
    """
    refuse_foretold(driver_at_work(session), version, name=version.label)


def _version_after(session: Session, before: DatasetVersion | None) -> DatasetVersion:
    """Open the newest version of the dataset.

    A process that was killed after the commit finds the version that it has made.
    """
    try:
        return open_dataset(session.workspace, session.config.dataset)
    except DatasetError:
        if before is not None:
            raise
        raise DatasetError(
            f"{session.config.dataset}: not one frame of the start got a label; "
            "expected some to train on. Look at the reasons in start/label.json, and "
            "correct [start] or [label]."
        ) from None


def _failures(report: IngestReport) -> Counter[str]:
    """Count sources that gave no frame, by reason without their paths."""
    found: Counter[str] = Counter()
    for failed in report.failed:
        found[failed.reason.removeprefix(f"{failed.path}: ")] += 1
    return found
