"""Ingest: DFT outputs into the next version of a dataset.

Sources are found, hashed and skipped if known; the others are parsed in bundles, each
of which becomes a segment; one commit at the end makes the version. Whatever ends the
process before that commit leaves the dataset as it was.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dpbench.cores import available_cores
from dpbench.errors import ConfigError, SourceError
from dpbench.io.discover import Discovery, find_sources
from dpbench.io.ingest_plan import (
    PlannedSource,
    ReaderTable,
    bundle_size,
    bundles,
    known_sources,
    name_of_paths,
    plan_sources,
)
from dpbench.io.ingest_pool import Engine, InThisProcess, LocalProcesses
from dpbench.io.ingest_report import IngestProgress, IngestReport
from dpbench.io.ingest_run import IngestRun
from dpbench.io.limits import ReaderLimits
from dpbench.store.references import check_name
from dpbench.store.staging import staging_folder
from dpbench.store.versions import Outcome, commit_version, newest_version
from dpbench.store.workspace import Workspace

Progress = Callable[[IngestProgress], None]
Finder = Callable[[str, Sequence[str | Path]], Discovery]

MOST_REASONS = 3
"""Failures that the message of an ingest without a frame repeats."""


@dataclass(frozen=True, kw_only=True, slots=True)
class IngestOptions:
    """Choices of an ingest that few users make."""

    strict: bool = False
    """Commit nothing if any frame is quarantined or any source fails."""
    allow_mixed_theory: bool = False
    """Let levels of theory that contradict each other into one version."""
    theory: Mapping[str, Any] | None = None
    """Level of theory of what the sources do not tell (``theory_file`` reads it)."""
    note: str = ""
    """Kept with the version."""
    workers: int | None = None
    """Reader processes on this machine; 0 = none but this one, where a reader that
    crashes ends all; None = chosen by size."""
    scheduler: str | None = None
    """Address or scheduler file of a running Dask cluster; None = this machine."""
    limits: ReaderLimits = field(default_factory=ReaderLimits)
    """What one source may cost before it is given up."""
    bundle_bytes: int | None = None
    """Sources are put together up to this size; 0 = one segment a source; None =
    chosen by size."""
    readers: ReaderTable | None = None
    """Reader by format; None = the reader table."""
    finder: Finder = field(default=find_sources)
    """Finds the sources under the paths."""


def ingest(
    workspace: Workspace,
    code: str,
    paths: Sequence[str | Path],
    *,
    dataset: str | None = None,
    strict: bool = False,
    workers: int | None = None,
    progress: Progress | None = None,
    options: IngestOptions | None = None,
) -> IngestReport:
    """Read DFT outputs into the next version of a dataset.

    Readers run in processes of their own: one that crashes, hangs or eats memory costs
    its source alone.

    Args:
        workspace: Where the dataset is.
        code: ``vasp``, ``qe``, ``cp2k``, ``deepmd``, ``extxyz``, ``auto`` or
            ``dpdata:FORMAT``.
        paths: Files, folders or glob patterns.
        dataset: Name of the dataset; None = that of the folder.
        strict: Commit nothing if any frame is quarantined or any source fails.
        workers: Reader processes; 0 = none but this one; None = chosen by size.
        progress: Called after every task.
        options: The rest; ``strict`` and ``workers`` above win where given.

    Returns:
        The closing summary. With ``strict``, its ``refusal`` says if nothing was
        committed.

    Raises:
        ConfigError: If the dataset's name cannot be used, or a Dask cluster cannot.
        SourceError: If no source is found, or none gives a frame.
        DatasetError: If levels of theory would mix, or the dataset is damaged.
        WorkspaceError: If the disk or the registry cannot be written.
    """
    options = options or IngestOptions()
    if strict or workers is not None:
        chosen = options.workers if workers is None else workers
        options = replace(options, strict=strict or options.strict, workers=chosen)
    if not paths:
        raise ConfigError("ingest: no path was given; expected files or folders.")
    name = check_name(name_of_paths(paths) if dataset is None else dataset)
    with closing(_engine(options)) as engine:
        found = options.finder(code, paths)
        return _ingest(workspace, found, name, options, engine=engine, tell=progress)


def _engine(options: IngestOptions) -> Engine:
    """Start what will run the readers; it gets ready while sources are looked for."""
    if options.scheduler is not None:
        # Imported here: distributed takes half a second, and one machine needs none.
        from dpbench.io.ingest_cluster import DaskCluster

        if options.workers is not None:
            raise ConfigError(
                "--workers and --scheduler: both given; expected one of them. The "
                "cluster has as many workers as were started for it."
            )
        return DaskCluster(options.scheduler, options.limits)
    if options.workers == 0:
        return InThisProcess(options.limits)
    return LocalProcesses(options.limits, workers=options.workers)


def _ingest(
    workspace: Workspace,
    found: Discovery,
    name: str,
    options: IngestOptions,
    *,
    engine: Engine,
    tell: Progress | None,
) -> IngestReport:
    head = newest_version(workspace, name)
    planned, unreadable = plan_sources(
        found.sources,
        options.readers,
        threads=available_cores(),
        theory=options.theory,
    )
    new = _new_sources(planned, known_sources(head))
    skipped = [(str(path), why) for path, why in found.skipped]
    run = IngestRun(
        new, failed=[(path, f"{path}: {why}") for path, why in skipped + unreadable]
    )
    workers = engine.count_for(new)
    size = options.bundle_bytes
    if size is None:
        size = bundle_size(new, workers=workers)
    tasks = bundles(new, bundle_bytes=size)
    with staging_folder(workspace) as staging:
        with closing(engine.run(tasks, staging, options.readers)) as results:
            for result in results:
                run.take(result)
                if tell is not None:
                    tell(run.progress())
        run.refuse_contradictions(name)
        refusal = run.refusal() if options.strict else None
        outcome = Outcome(version=head, is_new=False, n_added=0, n_repeated=0)
        if refusal is None:
            if len(new) == len(planned):
                _refuse_empty(name, run)
            leaves_out = len(new) < len(planned)
            outcome = commit_version(
                workspace,
                name,
                run.content(staging),
                created_at=datetime.now(UTC).isoformat(timespec="seconds"),
                note=options.note,
                allow_mixed_theory=options.allow_mixed_theory,
                expected_head=head.object_id if head and leaves_out else None,
            )
    counts = {
        "n_files": sum(source.n_files for source in planned) + len(skipped),
        "n_sources": len(found.sources) + len(skipped),
        "n_already_in": len(planned) - len(new),
    }
    return run.report(name, outcome, refusal=refusal, found=counts)


def _new_sources(
    planned: Sequence[PlannedSource], known: set[str]
) -> list[PlannedSource]:
    """Leave out what is in the dataset, and what was found twice."""
    new: dict[str, PlannedSource] = {}
    for source in planned:
        if source.id not in known:
            new.setdefault(source.id, source)
    return list(new.values())


def _refuse_empty(name: str, run: IngestRun) -> None:
    """Raise if not one good frame was read, before anything is committed."""
    if run.n_good:
        return
    reasons = run.reasons()
    more = len(reasons) - MOST_REASONS
    text = " | ".join(reasons[:MOST_REASONS]) + (f" | {more} more" if more > 0 else "")
    raise SourceError(
        f"{name}: no good frame in {len(reasons)} sources; expected at least one. "
        f"Nothing was committed. {text}"
    )
