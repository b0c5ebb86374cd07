"""What the page tells, read from the results of the stages and nothing else."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from dpbench.explore.announce import Announcement
from dpbench.explore.journal import ConfigEntry, Iteration, iterations_of, read_record
from dpbench.explore.outcome import doubts, has_converged
from dpbench.explore.stage_results import (
    REFUSED,
    AssessResult,
    ExploreResult,
    IngestResult,
    LabelResult,
    SelectResult,
    StopReason,
    TrainResult,
    read_refused,
    read_result,
)

State = Literal["new", "running", "stopped", "converged", "limit"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Told:
    """All results of one iteration; None where a stage is not done."""

    number: int
    """Counts from 0."""
    train: TrainResult | None
    explore: ExploreResult | None
    select: SelectResult | None
    label: LabelResult | None
    ingest: IngestResult | None
    assess: AssessResult | None

    @property
    def cpu_seconds(self) -> dict[str, float]:
        """Processor time by stage, s; of the stages that are done."""
        stages = {
            "train": self.train,
            "explore": self.explore,
            "select": self.select,
            "label": self.label,
            "assess": self.assess,
        }
        return {n: one.cpu_seconds for n, one in stages.items() if one is not None}

    @property
    def wall_seconds(self) -> dict[str, float]:
        """Time from begin to end by stage, s."""
        stages = {
            "train": self.train,
            "explore": self.explore,
            "select": self.select,
            "label": self.label,
            "ingest": self.ingest,
        }
        return {n: one.wall_seconds for n, one in stages.items() if one is not None}


@dataclass(frozen=True, kw_only=True, slots=True)
class Content:
    """All that the page is made of."""

    name: str
    """Name of the dataset that grows."""
    state: State
    """Whether it goes on."""
    stop: StopReason | None
    """Why it has ended; None = it has not."""
    doubts: tuple[str, ...]
    """What speaks against the headline."""
    running: Announcement | None
    """What is being done; None = nothing."""
    configs: tuple[ConfigEntry, ...]
    """Configurations, oldest first; the last is in force."""
    start_label: LabelResult | None
    """Labels of the start frames, if they had to be made."""
    start: IngestResult | None
    """The version of the start."""
    iterations: tuple[Told, ...]
    """In order."""
    written_at: str
    """When this was read, UTC."""

    @property
    def config(self) -> Mapping[str, Any]:
        """The configuration in force."""
        return self.configs[-1].config if self.configs else {}

    @property
    def stages(self) -> list[Mapping[str, Any]]:
        """``[[explore.stages]]`` of the configuration in force."""
        explore = self.config.get("explore") or {}
        return list(explore.get("stages") or [])

    @property
    def cpu_seconds(self) -> dict[str, float]:
        """Processor time by stage, s, the labels of the start among ``label``."""
        total = dict.fromkeys(("train", "explore", "select", "label", "assess"), 0.0)
        if self.start_label is not None:
            total["label"] += self.start_label.cpu_seconds
        for told in self.iterations:
            for stage, seconds in told.cpu_seconds.items():
                total[stage] += seconds
        return total


Known = dict[int, tuple[tuple[tuple[str, int, int], ...], Told]]
"""Iterations that were read before: {number: (name, time and size of its files, all
that they tell)}. Iterations of thousands of walks take a tenth of a second each."""


def collect(
    root: Path, *, running: Announcement | None = None, known: Known | None = None
) -> Content:
    """Read an exploration.

    Args:
        root: Its folder.
        running: What is being done at this moment; None = nothing.
        known: Holds what earlier calls have read; is kept up to date.

    Raises:
        WorkspaceError: If a result is damaged.
    """
    configs = read_record(root)
    known = {} if known is None else known
    told = tuple(_read_once(iteration, known) for iteration in iterations_of(root))
    start = read_result(root / "start", IngestResult)
    # Where too many labels failed, those are told that it has stopped for.
    start_label = read_result(root / "start", LabelResult) or read_refused(
        root / "start"
    )
    is_begun = bool(told) or start is not None or start_label is not None
    stop = _end(told, configs)
    config = configs[-1].config if configs else {}
    is_over = running is None and stop is not None
    return Content(
        name=str(configs[-1].config["dataset"]) if configs else root.name,
        state=_state(stop, running, told, is_begun=is_begun),
        stop=stop,
        doubts=doubts(stop, told, config) if stop is not None and is_over else (),
        running=running,
        configs=configs,
        start_label=start_label,
        start=start,
        iterations=told,
        written_at=datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC"),
    )


def _read_once(iteration: Iteration, known: Known) -> Told:
    """Read the results of an iteration, unless its files are those read before."""
    names = [*iteration.done]
    names += [REFUSED] if (iteration.folder / f"{REFUSED}.json").is_file() else []
    files = [(n, (iteration.folder / f"{n}.json").stat()) for n in names]
    marks = tuple((name, one.st_mtime_ns, one.st_size) for name, one in files)
    before = known.get(iteration.number)
    if before is None or before[0] != marks:
        known[iteration.number] = before = (marks, _told(iteration))
    return before[1]


def _told(iteration: Iteration) -> Told:
    return Told(
        number=iteration.number,
        train=iteration.train,
        explore=iteration.explore,
        select=iteration.select,
        label=iteration.label or iteration.refused,
        ingest=iteration.ingest,
        assess=iteration.assess,
    )


def _end(
    iterations: tuple[Told, ...], configs: tuple[ConfigEntry, ...]
) -> StopReason | None:
    """Find why all ended: what ends the last stage of exploring ends everything."""
    selected = [told.select for told in iterations if told.select is not None]
    if not selected or not configs:
        return None
    select = selected[-1]
    explore = configs[-1].config.get("explore") or {}
    is_last = select.stage >= len(explore.get("stages") or []) - 1
    if select.stop is not None and (select.stop.ends == "all" or is_last):
        return select.stop
    return None


def _state(
    stop: StopReason | None,
    running: Announcement | None,
    iterations: tuple[Told, ...],
    *,
    is_begun: bool,
) -> State:
    if running is not None:
        return "running"
    if stop is not None:
        return "converged" if has_converged(stop, iterations) else "limit"
    return "stopped" if is_begun else "new"
