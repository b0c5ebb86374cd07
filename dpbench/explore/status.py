"""How far an exploration is, from its books alone."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dpbench.config import to_mapping
from dpbench.errors import WorkspaceError
from dpbench.explore.journal import Iteration, is_worked_on, iterations_of, read_record
from dpbench.explore.outcome import losses_of
from dpbench.explore.stage_results import (
    IngestResult,
    LabelResult,
    read_refused,
    read_result,
)

STAGES = ("train", "explore", "select", "label", "ingest")
"""Stages of an iteration, in order."""

MOST_REASONS = 3
"""Reasons that a line names."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Status:
    """How far it is."""

    root: Path
    """Folder of the exploration."""
    dataset: str
    """What grows."""
    is_running: bool
    """Whether a process works on it; on a local disk, one of this machine."""
    begun_with: IngestResult | None
    """The version it began with; None if it is not made yet."""
    start_labels: LabelResult | None
    """Labels of the start, where it was labelled."""
    refused: LabelResult | None
    """Labels of the start that it has stopped for: too many failed."""
    iterations: tuple[Iteration, ...]
    """Those that have begun."""

    def to_json(self) -> dict[str, Any]:
        """Return plain dicts, lists and scalars."""
        return {
            "folder": str(self.root),
            "dataset": self.dataset,
            "is_running": self.is_running,
            "start": _plain(self.begun_with),
            "refused": _plain(self.refused),
            "iterations": [
                {
                    "iteration": one.number,
                    "done": list(one.done),
                    **{stage: _plain(getattr(one, stage)) for stage in STAGES},
                    "assess": _plain(one.assess),
                    "refused": _plain(one.refused),
                }
                for one in self.iterations
            ],
        }

    def lines(self) -> Iterator[str]:
        """Word it, a line an iteration and a line for what was kept out."""
        running = ", a process works on it" if self.is_running else ""
        yield f"{self.dataset}: {self.root}{running}"
        if self.begun_with is None:
            yield "  start: not done"
            if self.refused is not None:
                yield from _refused(self.refused)
            return
        begun = self.begun_with
        yield f"  start: {begun.version}, {begun.nframes} frames"
        if self.start_labels is not None:
            yield from _quarantine(self.start_labels)
        for one in self.iterations:
            yield from _iteration_lines(one)


def status(root: Path) -> Status:
    """Read how far an exploration is.

    Raises:
        WorkspaceError: If there is none, or its books are damaged.
    """
    entries = read_record(root)
    if not entries:
        raise WorkspaceError(
            f"{root}: there is no exploration; expected one. Begin it with 'dpbench "
            "explore CONFIG'."
        )
    return Status(
        root=root,
        dataset=entries[-1].config["dataset"],
        is_running=is_worked_on(root),
        begun_with=read_result(root / "start", IngestResult),
        start_labels=read_result(root / "start", LabelResult),
        refused=read_refused(root / "start"),
        iterations=iterations_of(root),
    )


def _iteration_lines(one: Iteration) -> Iterator[str]:
    train, explore, select = one.train, one.explore, one.select
    parts = []
    if train is not None:
        parts.append(f"{len(train.models)} models on {train.dataset}")
    if explore is not None:
        bad = sum(walk.outcome != "done" for walk in explore.walks)
        ended = f" ({bad} ended early)" if bad else ""
        parts.append(f"stage {explore.stage}: {len(explore.walks)} walks{ended}")
    if select is not None:
        counts = ", ".join(f"{n} {name}" for name, n in select.counts.items())
        left = ""
        if select.stop is not None and one.label is None and select.chosen:
            left = ", not labelled"
        parts.append(f"{counts}; {len(select.chosen)} chosen{left}")
    if one.ingest is not None:
        parts.append(f"{one.ingest.version} with {one.ingest.new} new frames")
    yield f"  iteration {one.number}: {' | '.join(parts) or 'begun'}"
    if explore is not None and (lost := losses_of(explore).words):
        yield f"    not explored: {lost}"
    if one.label is not None:
        yield from _quarantine(one.label)
    elif (refused := one.refused) is not None:
        yield from _refused(refused)
    if select is not None and select.stop is not None:
        yield f"    end of the {_end(select.stop.ends)}: {select.stop.reason}"


def _end(ends: str) -> str:
    return "stage" if ends == "stage" else "exploration"


def _refused(label: LabelResult) -> Iterator[str]:
    """Say what it has stopped for, and how to go on."""
    total = len(label.done) + len(label.quarantined)
    yield (
        f"    stopped: {len(label.quarantined)} of {total} frames could not be "
        "labelled; correct the inputs and start again with --retry"
    )
    yield from _quarantine(label)


def _quarantine(label: LabelResult) -> Iterator[str]:
    for frame in label.quarantined[:MOST_REASONS]:
        yield f"    not labelled: {frame.walk} step {frame.step}: {frame.reason}"
    more = len(label.quarantined) - MOST_REASONS
    if more > 0:
        yield f"    not labelled: {more} more"


def _plain(result: Any) -> Any:
    return None if result is None else to_mapping(result)
