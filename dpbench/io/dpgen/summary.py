"""Ingest of DP-GEN's work folders: what came of every iteration."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from dpbench.errors import DpbenchError
from dpbench.frames import Frames
from dpbench.io.discover import Discovery, find_sources
from dpbench.io.dpgen.finder import Found, LeftOut, find_work
from dpbench.io.dpgen.layout import STAGES, Labels
from dpbench.io.dpgen.matching import n_missing, read_frames
from dpbench.io.ingest import IngestOptions, Progress, ingest
from dpbench.io.ingest_report import IngestReport
from dpbench.store.dataset import DatasetVersion, open_dataset
from dpbench.store.segment.manifest import read_manifest
from dpbench.store.workspace import Workspace

RATIO_FAILED = 0.05
"""Share of tasks without a label above which DP-GEN stops, where not told
(``ratio_failed`` of param.json)."""

_VERDICT_FILES = {
    "accurate": "rest_accurate.shuffled.*.out",
    "candidate": "candidate.shuffled.*.out",
    "failed": "rest_failed.shuffled.*.out",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class IterationFacts:
    """What came of one ``02.fp``."""

    name: str
    """``iter.000003``, or the folder it was found in."""
    n_tasks: int
    """Labels that were asked for."""
    labelled: int
    """Frames of the dataset that come from its tasks."""
    quarantined: Mapping[str, int]
    """Frames of its tasks that are kept out, by reason."""
    unreadable: int
    """Tasks of which nothing could be read."""
    repeated: int
    """Tasks whose files are those of another source, byte by byte."""
    collected: int
    """Frames read from DP-GEN's collections, where the outputs are gone."""
    explored: Mapping[str, int]
    """Frames explored by verdict, where DP-GEN wrote its detailed report."""
    ratio_failed: float
    """Share of tasks without a label above which DP-GEN stops."""

    @property
    def failed_share(self) -> float:
        """Share of the tasks that gave no label."""
        if not self.n_tasks:
            return 0.0
        return 1 - min(self.labelled + self.repeated, self.n_tasks) / self.n_tasks

    def line(self) -> str:
        """Word it."""
        parts = [f"{self.labelled} labelled of {self.n_tasks} tasks"]
        if self.quarantined:
            parts.append(
                ", ".join(f"{n} {why}" for why, n in sorted(self.quarantined.items()))
            )
        if self.unreadable:
            parts.append(f"{self.unreadable} without output")
        if self.repeated:
            parts.append(f"{self.repeated} equal to another, file by file")
        if self.collected:
            parts.append(f"{self.collected} frames from its collections")
        if self.explored:
            words = ", ".join(f"{self.explored[v]} {v}" for v in self.explored)
            parts.append(f"explored: {words}")
        line = f"{self.name}: {'; '.join(parts)}"
        if self.n_tasks and self.failed_share > self.ratio_failed:
            line += (
                f" -- {self.failed_share:.0%} of the tasks failed, more than "
                f"ratio_failed = {self.ratio_failed:g}"
            )
        return line


@dataclass(frozen=True, kw_only=True, slots=True)
class DpgenReport:
    """The closing summary of an ingest of DP-GEN's work folders."""

    report: IngestReport
    """As of any ingest."""
    iterations: tuple[IterationFacts, ...]
    n_init: int
    """Frames of the dataset that the runs started from."""
    left_out: tuple[str, ...]
    """What was not read because the outputs behind it were, one line each."""
    stopped: tuple[str, ...]
    """Where each run stands by its record, one line each."""

    @property
    def refusal(self) -> str | None:
        """Why nothing was committed; None if nothing stood against it."""
        return self.report.refusal

    def to_json(self) -> dict[str, Any]:
        """Return plain dicts, lists and scalars."""
        iterations = [
            asdict(facts) | {"failed_share": facts.failed_share}
            for facts in self.iterations
        ]
        return self.report.to_json() | {
            "dpgen": {
                "iterations": iterations,
                "n_init": self.n_init,
                "left_out": list(self.left_out),
                "stopped": list(self.stopped),
            }
        }

    def summary(self) -> str:
        """Write the report as a user reads it."""
        lines = [self.report.summary()]
        lines += [f"  dp-gen       {line}" for line in self.stopped]
        if self.n_init:
            lines.append(f"  dp-gen       init data: {self.n_init} frames")
        lines += [f"  dp-gen       {facts.line()}" for facts in self.iterations]
        lines += [f"  dp-gen       {line}" for line in self.left_out]
        return "\n".join(lines)


def ingest_dpgen(
    workspace: Workspace,
    paths: Sequence[str | Path],
    *,
    dataset: str | None = None,
    progress: Progress | None = None,
    options: IngestOptions | None = None,
) -> DpgenReport:
    """Read work folders of DP-GEN into the next version of a dataset.

    Args:
        workspace: Where the dataset is.
        paths: Work folders.
        dataset: Name of the dataset; None = that of the folder.
        progress: Called after every task.
        options: As of any ingest; its finder is replaced.

    Returns:
        The closing summary, with what came of every iteration.

    Raises:
        DpbenchError: As ``dpbench.io.ingest.ingest`` does.
    """
    seen: list[Found] = []

    def find(code: str, given: Sequence[str | Path]) -> Discovery:
        seen.append(find_work(given))
        return seen[-1].discovery

    report = ingest(
        workspace,
        "dpgen",
        paths,
        dataset=dataset,
        progress=progress,
        options=replace(options or IngestOptions(), finder=find),
    )
    found = seen[-1]
    version = None
    if report.label is not None and report.refusal is None:
        version = open_dataset(workspace, report.label, allow_retracted=True)
    return _closed(report, found, version)


def _closed(
    report: IngestReport, found: Found, version: DatasetVersion | None
) -> DpgenReport:
    """Count by iteration what came of the ingest."""
    records = [] if version is None else _records(version)
    failed = [Path(entry.path) for entry in report.failed]
    read = {record["path"] for record in records}
    known = _Known(
        failed=failed,
        repeated=[
            source.main
            for source in found.discovery.sources
            if source.main not in read and source.main not in failed
        ],
    )
    return DpgenReport(
        report=report,
        iterations=tuple(
            _facts(labels, work.params, records, known)
            for work in found.works
            for labels in work.labels
        ),
        n_init=sum(r["n_kept"] for r in records if "init" in r["origin"]),
        left_out=tuple(_left_out_line(e, version) for e in found.left_out),
        stopped=tuple(
            f"{work.root}: record.dpgen ends with iteration {work.last[0]}, stage "
            f"{work.last[1]} ({_stage_name(work.last[1])})"
            for work in found.works
            if work.last is not None
        ),
    )


def _records(version: DatasetVersion) -> list[dict[str, Any]]:
    """Return the sources of a version that DP-GEN made, kept and quarantined apart."""
    entries = [
        (role, entry)
        for role in ("data", "quarantine")
        for entry in version.payload[role]
    ]
    return [
        source
        | {
            "n_kept": source["n_kept"] if role == "data" else 0,
            "quarantined": source["quarantined"] if role == "quarantine" else {},
            "path": Path(source["path"].partition("#")[0]),
            "above": _above(Path(source["path"].partition("#")[0])),
        }
        for role, entry in entries
        for source in read_manifest(version.workspace, entry["id"])["sources"]
        if source.get("origin")
    ]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Known:
    """Main files of sources that left no record of their own."""

    failed: Sequence[Path]
    repeated: Sequence[Path]


def _facts(
    labels: Labels,
    params: Mapping[str, Any],
    records: Sequence[Mapping[str, Any]],
    known: _Known,
) -> IterationFacts:
    counts: Counter[str] = Counter()
    quarantined: Counter[str] = Counter()
    tasks, collected = _Folders.of(labels.tasks), _Folders.of(labels.collected)
    for record in records:
        if tasks.hold(record, labels.iteration, "task"):
            counts["labelled"] += record["n_kept"]
            quarantined.update(record["quarantined"])
        elif collected.hold(record, labels.iteration, "collected"):
            counts["collected"] += record["n_kept"]
    ratio = params.get("ratio_failed")
    return IterationFacts(
        name=labels.name,
        n_tasks=len(labels.tasks),
        labelled=counts["labelled"],
        quarantined=dict(sorted(quarantined.items())),
        unreadable=tasks.count(known.failed),
        repeated=tasks.count(known.repeated) if records else 0,
        collected=counts["collected"],
        explored=_explored(labels),
        ratio_failed=float(ratio) if isinstance(ratio, int | float) else RATIO_FAILED,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Folders:
    """Folders of one kind, looked up by what lies in them."""

    paths: frozenset[Path]
    """Resolved."""
    names: frozenset[str]

    @classmethod
    def of(cls, folders: Sequence[Path]) -> "_Folders":
        return cls(
            paths=frozenset(folder.resolve() for folder in folders),
            names=frozenset(folder.name for folder in folders),
        )

    def hold(self, record: Mapping[str, Any], iteration: int | None, key: str) -> bool:
        """Tell whether a source lies in one of them, which may have been moved."""
        if record["path"].exists():
            return not self.paths.isdisjoint(record["above"])
        origin = record["origin"]
        return origin.get("iteration") == iteration and origin.get(key) in self.names

    def count(self, paths: Sequence[Path]) -> int:
        return sum(not self.paths.isdisjoint(_above(path)) for path in paths)


def _above(path: Path) -> frozenset[Path]:
    """Return a path and all folders above it, resolved."""
    whole = path.resolve()
    return frozenset((whole, *whole.parents))


def _explored(labels: Labels) -> dict[str, int]:
    """Count the frames by verdict in DP-GEN's detailed report; none without one."""
    counts = {}
    for verdict, pattern in _VERDICT_FILES.items():
        files = list(labels.folder.glob(pattern))
        if files:
            counts[verdict] = sum(_count_lines(file) for file in files)
    return counts


def _count_lines(path: Path) -> int:
    try:
        return sum(1 for line in path.read_bytes().split(b"\n") if line.strip())
    except OSError:
        return 0


def _left_out_line(entry: LeftOut, version: DatasetVersion | None) -> str:
    """Say whether a collection that was not read is among what was."""
    count = f"{entry.nframes} frames" if entry.nframes != 1 else "1 frame"
    head = f"{entry.path}: {count}, not read: the outputs it was made of are"
    if version is None:
        return head
    try:
        sources = find_sources("deepmd", [entry.path]).sources
        collected = [read_frames(source) for source in sources]
    except DpbenchError as error:
        return f"{head} (it cannot be compared: {error})"
    kept = _frames_below(version, entry.path.parent)
    missing = n_missing(collected, [kept])
    if not missing:
        return f"{head}, and hold all of it"
    nowhere = n_missing(collected, [kept, version.quarantine().frames])
    words = f"{head}, but {missing} of them are not kept"
    if nowhere < missing:
        words += f"; {missing - nowhere} are in quarantine"
    if nowhere:
        words += (
            f"; {nowhere} are in no output. Look at them, and read them with "
            f"'dpbench ingest deepmd {entry.path}'"
        )
    return words


def _frames_below(version: DatasetVersion, folder: Path) -> Frames:
    """Read the frames of a version whose sources lie below a folder."""
    is_below = np.array(
        [folder.resolve() in _above(Path(s.path)) for s in version.sources]
    )
    if not is_below.any():
        return version.read([])
    return version.read(np.flatnonzero(is_below[version.source_of]))


def _stage_name(stage: int) -> str:
    return STAGES[stage] if stage < len(STAGES) else "unknown"
