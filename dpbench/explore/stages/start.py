"""The start: the first frames with labels, as version 1 of the dataset."""

import tempfile
from pathlib import Path
from typing import Any, Final

from dpbench.errors import ConfigError, DatasetError
from dpbench.explore.announce import Announcement
from dpbench.explore.journal import Iteration
from dpbench.explore.sampling.starts import start_structures
from dpbench.explore.session import Session
from dpbench.explore.stage_results import ChosenFrame, IngestResult, write_result
from dpbench.explore.stages.ingesting import add_labels
from dpbench.explore.stages.labelling import Wanted, label_frames
from dpbench.io.discover import find_sources
from dpbench.io.exchange.export import export_dataset
from dpbench.io.exchange.importing import import_dataset
from dpbench.io.ingest import IngestOptions, ingest
from dpbench.io.theory_file import read_theory_file
from dpbench.store.dataset import DatasetVersion, open_dataset
from dpbench.store.references import parse_reference
from dpbench.store.versions import newest_version

FOLDER: Final = "start"
"""Folder of the start in that of the exploration."""

LOSSLESS: Final = "parquet"
"""Format by which frames go from one dataset to another."""


def start(session: Session) -> IngestResult:
    """Make the version that the exploration begins with, or read which it was.

    Raises:
        ConfigError: If the start contradicts itself.
        DatasetError: If there is no such dataset, or no frame got a label.
    """
    books = Iteration(number=-1, folder=session.root / FOLDER)
    done = books.ingest
    if done is not None:
        return done
    settings = session.config.start
    if settings.structures:
        result = _labelled_structures(session, books)
    elif settings.files:
        result = _ingested_files(session)
    else:
        result = _taken_version(session, str(settings.dataset))
    write_result(books.folder, "ingest", result, config=session.digest)
    return result


def refuse_taken_name(session: Session) -> None:
    """Check, before anything is done, that the dataset may be made.

    Raises:
        DatasetError: If there is one of that name that is not what is begun with.
    """
    name = session.config.dataset
    head = newest_version(session.workspace, name)
    wanted = session.config.start.dataset
    if head is None or (wanted is not None and _is_same(wanted, name)):
        return
    raise DatasetError(
        f"dataset = '{name}': there is one of that name, {head.label} with "
        f"{head.nframes} frames; expected a new name. Choose another, or begin with "
        f"it: start.dataset = '{head.label}'."
    )


def check_source(session: Session) -> None:
    """Check that what is begun with is there, before anything is done.

    Raises:
        SourceError: If a file is missing, or is none of the format.
        ConfigError: If the level of theory cannot be read, or a version is not the
            newest of the dataset that grows.
    """
    settings = session.config.start
    if settings.files:
        paths = [_beside(session.base, name) for name in settings.files]
        find_sources(settings.format, paths)
        _theory(session)
    elif settings.dataset is not None:
        _refuse_older(session, settings.dataset)


def _refuse_older(session: Session, reference: str) -> None:
    """Refuse a version of the dataset that grows if there is a newer one."""
    name = session.config.dataset
    if not _is_same(reference, name):
        return
    head = newest_version(session.workspace, name)
    version = open_dataset(session.workspace, reference)
    if head is not None and head.object_id != version.object_id:
        raise ConfigError(
            f"start.dataset = '{reference}': {head.label} is newer; expected the "
            "newest version of the dataset that is to grow. Name that, or give "
            "'dataset' another name."
        )


def _theory(session: Session) -> dict[str, Any] | None:
    """Read the level of theory that is declared for files."""
    name = session.config.start.theory
    return None if name is None else read_theory_file(Path(_beside(session.base, name)))


def _is_same(reference: str, name: str) -> bool:
    """Whether a reference means a version of the dataset that grows."""
    return parse_reference(reference).name == name


def _labelled_structures(session: Session, books: Iteration) -> IngestResult:
    """Label generated structures."""
    settings = session.config.start
    labelled = books.label
    if labelled is None:
        starts = start_structures(
            session.config.explore,
            settings.structures,
            workspace=lambda: session.workspace,
            seed=session.config.seed,
            where=session.base,
            count=settings.count,
        )
        chosen = tuple(
            ChosenFrame(walk=f"start-{name}-{row:03d}", step=0, max_devi_f=0.0)
            for row, name in enumerate(starts.names)
        )
        wanted = Wanted(frames=starts.frames, chosen=chosen)
        labelled = label_frames(session, wanted, iteration=None)
        write_result(books.folder, "label", labelled, config=session.digest)
    return add_labels(
        session,
        labelled,
        before=None,
        note=f"start of exploration {session.config.dataset}",
        iteration=None,
    )


def _ingested_files(session: Session) -> IngestResult:
    """Ingest files of the user."""
    settings = session.config.start
    session.announce(Announcement(iteration=None, stage="ingest"))
    paths = [_beside(session.base, name) for name in settings.files]
    report = ingest(
        session.workspace,
        settings.format,
        paths,
        dataset=session.config.dataset,
        options=IngestOptions(
            theory=_theory(session),
            note=f"start of exploration {session.config.dataset}",
            workers=0 if session.config.resources.count == 0 else None,
        ),
    )
    version = open_dataset(session.workspace, session.config.dataset)
    session.announce(
        Announcement(iteration=None, stage="ingest", text=version.label, is_over=True)
    )
    refused = dict(report.quarantined)
    for failed in report.failed:
        refused[failed.reason] = refused.get(failed.reason, 0) + 1
    return _result(version, refused=refused)


def _beside(base: Path, name: str) -> str:
    path = Path(name).expanduser()
    return str(path if path.is_absolute() else base / path)


def _taken_version(session: Session, reference: str) -> IngestResult:
    """Begin with a version that is there: itself, or a copy under the new name."""
    workspace, name = session.workspace, session.config.dataset
    if _is_same(reference, name):
        _refuse_older(session, reference)
        return _result(open_dataset(workspace, reference))
    with tempfile.TemporaryDirectory(dir=session.root) as scratch:
        folder = Path(scratch) / "export"
        export_dataset(workspace, reference, LOSSLESS, folder)
        report = import_dataset(workspace, folder, dataset=name)
    version = open_dataset(workspace, name)
    return _result(version, refused=report.quarantined)


def _result(
    version: DatasetVersion, *, refused: dict[str, int] | None = None
) -> IngestResult:
    return IngestResult(
        version=version.label,
        digest=version.digest,
        nframes=version.nframes,
        new=version.nframes,
        refused=refused or {},
    )
