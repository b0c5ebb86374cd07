"""Which sources a work folder of DP-GEN holds, and what of it is not read, and why.

The outputs of ``02.fp/task.*`` are read, not what DP-GEN made of them: they tell the
level of theory, convergence and precision that ``data.SSS`` has lost. A collection is
read only where the outputs behind it are gone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from dpbench.errors import DpbenchError, SourceError
from dpbench.io.discover import Discovery, search
from dpbench.io.dpgen.layout import (
    STAGES,
    InitData,
    Labels,
    WorkFolder,
    outputs_behind,
    read_layout,
    system_of,
)
from dpbench.io.dpgen.matching import count_frames, n_missing, read_frames
from dpbench.io.dpgen.origins import Origin, Origins, of_collected, of_init
from dpbench.io.grouping import natural_key
from dpbench.io.parsed import SourceFiles

RUN_FP = STAGES.index("run_fp")
_STRUCTURE_ONLY = "deepmd.raw"
"""Folder in tasks of the engine gromacs: the structure, without labels."""

NO_OUTPUT = (
    "no output of a calculation; expected e.g. OUTCAR, output or OUT.ABACUS. The job "
    "did not run, or its files were removed."
)


@dataclass(frozen=True, kw_only=True, slots=True)
class LeftOut:
    """A collection that is not read because the outputs behind it are."""

    path: Path
    """``data.SSS`` of an iteration, or ``deepmd`` of init data."""
    nframes: int
    """Frames in it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """What lies in work folders."""

    works: tuple[WorkFolder, ...]
    discovery: Discovery
    """What is to be read, each source with its origin, and what cannot be."""
    left_out: tuple[LeftOut, ...]
    """Collections that repeat what is read."""


def find_work(paths: Sequence[str | Path]) -> Found:
    """Find what is to be read in work folders of DP-GEN.

    Args:
        paths: Work folders (see ``read_layout``).

    Raises:
        SourceError: If a path is no folder, or nothing of DP-GEN's.
    """
    books = _Books()
    works = []
    for given in paths:
        root = Path(given)
        if not root.is_dir():
            raise SourceError(
                f"{root}: is no folder; expected a work folder of DP-GEN, with iter.* "
                "in it."
            )
        work = read_layout(root)
        works.append(work)
        for entry in work.init:
            _add_init(books, entry)
        for labels in work.labels:
            _add_labels(books, work, labels)
    return Found(
        works=tuple(works),
        discovery=books.discovery(),
        left_out=tuple(sorted(books.left_out, key=lambda e: natural_key(e.path))),
    )


def find_dpgen(paths: Sequence[str | Path]) -> Discovery:
    """Find the sources of work folders; see ``find_work``.

    Raises:
        SourceError: If nothing is found.
    """
    found = find_work(paths).discovery
    if not found.sources:
        path, reason = found.skipped[0] if found.skipped else (paths[0], "no label")
        raise SourceError(f"{path}: no source found: {reason}")
    return found


class _Books:
    """Sources, what was skipped and what was left out, as they are found."""

    def __init__(self) -> None:
        self._sources: dict[tuple[Path, str], SourceFiles] = {}
        self._skipped: dict[Path, str] = {}
        self.left_out: list[LeftOut] = []

    def keep(self, source: SourceFiles, origin: Origin) -> None:
        key = (source.main.resolve(), source.member)
        self._sources.setdefault(key, replace(source, origin=origin))

    def skip(self, path: Path, reason: str) -> None:
        self._skipped.setdefault(path, reason)

    def leave_out(self, path: Path) -> None:
        self.left_out.append(LeftOut(path=path, nframes=count_frames(path)))

    def discovery(self) -> Discovery:
        """Return what was found, in natural order."""
        return Discovery.of(self._sources.values(), self._skipped)


def _add_init(books: _Books, entry: InitData) -> None:
    origin = of_init(entry.told_by)
    outputs = outputs_behind(entry.path)
    if outputs:
        _add_all(books, "auto", outputs, origin)
        if any(entry.path.rglob("coord.npy")):
            books.leave_out(entry.path)
    elif not Path(str(entry.path).partition("#")[0]).exists():
        books.skip(
            entry.path,
            f"does not exist; {entry.told_by} names it as init data. Ingest it from "
            "where it lies now with 'dpbench ingest deepmd'.",
        )
    else:
        code = "auto" if entry.told_by == "02.md" else "deepmd"
        _add_all(books, code, [entry.path], origin)


def _add_labels(books: _Books, work: WorkFolder, labels: Labels) -> None:
    origins = Origins()
    found = search("auto", labels.tasks)
    folders = {str(task): task for task in labels.tasks}
    answered: dict[Path, list[SourceFiles]] = {task: [] for task in labels.tasks}
    for source in found.sources:
        task = _folder_of(source, folders)
        if task is not None and _STRUCTURE_ONLY not in source.main.parts:
            answered[task].append(source)
            books.keep(source, origins.of_task(labels, task))
    reason = _why_no_output(work, labels)
    for path, why in found.skipped:
        books.skip(path, reason if path in answered else why)
    told = {above for path, _ in found.skipped for above in (path, *path.parents)}
    for task, sources in answered.items():
        if not sources and task not in told:
            books.skip(task, reason)
    by_system: dict[int | None, list[list[SourceFiles]]] = {}
    for task, sources in answered.items():
        by_system.setdefault(system_of(task), []).append(sources)
    for folder in labels.collected:
        if _is_copy(folder, by_system):
            books.leave_out(folder)
        else:
            _add_all(books, "deepmd", [folder], of_collected(labels, folder))


def _is_copy(
    folder: Path, by_system: Mapping[int | None, list[list[SourceFiles]]]
) -> bool:
    """Tell whether the outputs that a collection was made from are all here.

    DP-GEN makes ``data.SSS`` of ``task.SSS.*``. Where a collection has no tasks of its
    number, it may be that of other tasks, and its labels are looked for in theirs.
    """
    own = by_system.get(system_of(folder), [])
    if own:
        return sum(bool(sources) for sources in own) >= count_frames(folder)
    others = [s for tasks in by_system.values() for sources in tasks for s in sources]
    if not others:
        return False
    try:
        collected = [read_frames(s) for s in search("deepmd", [folder]).sources]
        known = [read_frames(source) for source in others]
    except DpbenchError:
        return False
    return n_missing(collected, known) == 0


def _why_no_output(work: WorkFolder, labels: Labels) -> str:
    """Word why a task has no output: not run yet, or lost."""
    if work.last is None or labels.iteration is None:
        return NO_OUTPUT
    if work.last >= (labels.iteration, RUN_FP):
        return NO_OUTPUT
    iteration, stage = work.last
    name = STAGES[stage] if stage < len(STAGES) else str(stage)
    return (
        f"not run yet: record.dpgen ends with iteration {iteration}, stage {stage} "
        f"({name}). Ingest the folder again when the run has gone on."
    )


def _add_all(books: _Books, code: str, paths: Sequence[Path], origin: Origin) -> None:
    found = search(code, paths)
    for source in found.sources:
        books.keep(source, origin)
    for path, why in found.skipped:
        books.skip(path, why)


def _folder_of(source: SourceFiles, folders: dict[str, Path]) -> Path | None:
    for path in (source.main, *source.main.parents):
        if str(path) in folders:
            return folders[str(path)]
    return None
