"""What an exploration will do and cost at most, before anything is done."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dpbench.explore.announce import silent
from dpbench.explore.checks import check_all, labelled_starts, starts_of_stage
from dpbench.explore.config import ExploreConfig
from dpbench.explore.journal import exploration_folder, iterations_of
from dpbench.explore.sampling.planning import walk_tasks
from dpbench.explore.session import Session
from dpbench.explore.spread import InThisProcess, hired
from dpbench.explore.stage_results import LabelResult, read_result
from dpbench.store.workspace import Workspace


@dataclass(frozen=True, kw_only=True, slots=True)
class PlannedStage:
    """One of ``[[explore.stages]]`` in one iteration."""

    structures: tuple[str, ...]
    """What walks start from."""
    walks: int
    """Walks."""
    steps: int
    """Steps of all walks."""
    frames: int
    """Frames that they give if none is dropped."""
    atoms: tuple[int, int]
    """Atoms of the smallest and the largest start."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What will be done at most."""

    dataset: str
    """What grows."""
    begun: int
    """Iterations that have explored already."""
    start: dict[str, int]
    """Frames to be labelled for the start, by structure; empty where there are
    labels."""
    models: int
    """Models of an iteration."""
    train_steps: int
    """Optimiser steps of one."""
    iterations: int
    """Most iterations."""
    stages: tuple[PlannedStage, ...]
    """Each in one iteration."""
    driver: str
    """Who labels."""
    most_labels: int
    """Most labels, the start's with them."""
    label_seconds: float | None
    """Processor time of a label as known from those that are done; None = of none."""

    @property
    def label_cpu_hours(self) -> float | None:
        """Processor time of all labels at most; None = unknown before the first."""
        if self.label_seconds is None:
            return None
        return self.most_labels * self.label_seconds / 3600

    def to_json(self) -> dict[str, Any]:
        """Return plain dicts, lists and scalars."""
        return {
            "dataset": self.dataset,
            "begun": self.begun,
            "start": self.start,
            "models": self.models,
            "train_steps": self.train_steps,
            "iterations": self.iterations,
            "stages": [
                {
                    "structures": list(stage.structures),
                    "walks": stage.walks,
                    "steps": stage.steps,
                    "frames": stage.frames,
                    "atoms": list(stage.atoms),
                }
                for stage in self.stages
            ],
            "driver": self.driver,
            "most_labels": self.most_labels,
            "label_seconds": self.label_seconds,
            "label_cpu_hours": self.label_cpu_hours,
        }

    def lines(self) -> Iterator[str]:
        """Word the plan."""
        begun = f", {self.begun} iterations begun" if self.begun else ""
        yield f"{self.dataset}: at most {self.iterations} iterations{begun}"
        if self.start:
            counts = ", ".join(f"{n} {name}" for name, n in self.start.items())
            yield f"  start    {sum(self.start.values())} frames to label: {counts}"
        yield (
            f"  train    {self.models} models of {self.train_steps} steps an iteration"
        )
        for number, stage in enumerate(self.stages):
            low, high = stage.atoms
            atoms = str(low) if low == high else f"{low} to {high}"
            yield (
                f"  explore  stage {number}: {stage.walks} walks of "
                f"{', '.join(stage.structures)}, {atoms} atoms, {stage.steps} steps "
                f"in all, {stage.frames} frames at most"
            )
        hours = self.label_cpu_hours
        cost = (
            "cost unknown before the first label"
            if hours is None
            else f"about {hours:.2g} CPU hours"
        )
        yield f"  label    {self.most_labels} frames at most by {self.driver}; {cost}"


def plan(workspace: Workspace, config: ExploreConfig, *, base: Path) -> Plan:
    """Say what an exploration will do; everything that can be checked is checked.

    Args:
        workspace: Where it will be.
        config: What is asked for.
        base: Folder that file names of the configuration are relative to.

    Raises:
        ConfigError: If a structure, file or program is missing, or a section changed
            that must not.
        DatasetError: If the start is missing, or of another level of theory, or the
            name of the dataset is taken.
        DpbenchError: Whatever else ``checks.check_all`` refuses.
    """
    session = Session(
        workspace=workspace,
        config=config,
        base=base,
        crew=InThisProcess(),
        announce=silent,
    )
    check_all(session)
    if config.resources.scheduler is not None:
        with hired(config.resources) as crew:
            crew.check_reach(workspace.root)
    started: dict[str, int] = {}
    if config.start.structures:
        started = dict(Counter(labelled_starts(session).names))
    root = exploration_folder(workspace, config.dataset)
    most = config.select.most * config.stop.iterations
    return Plan(
        dataset=config.dataset,
        begun=sum(one.explore is not None for one in iterations_of(root)),
        start=started,
        models=config.train.models,
        train_steps=config.train.steps,
        iterations=config.stop.iterations,
        stages=tuple(
            _stage(session, number) for number in range(len(config.explore.stages))
        ),
        driver=config.label.driver,
        most_labels=sum(started.values()) + most,
        label_seconds=_seconds_so_far(root),
    )


def _stage(session: Session, number: int) -> PlannedStage:
    config = session.config
    settings = config.explore.stages[number]
    starts = starts_of_stage(session, number)
    tasks = walk_tasks(
        config.explore,
        number,
        starts,
        models=[Path("model")],
        iteration=0,
        seed=config.seed,
        folder=Path("walks"),
    )
    walks = sum(len(task.names) for task in tasks)
    natoms = starts.frames.natoms
    return PlannedStage(
        structures=settings.structures,
        walks=walks,
        steps=walks * settings.steps,
        frames=walks * settings.frames,
        atoms=(int(natoms.min()), int(natoms.max())),
    )


def _seconds_so_far(root: Path) -> float | None:
    """Return the mean processor time of the labels that are done."""
    folders = [root / "start", *(one.folder for one in iterations_of(root))]
    results = [read_result(folder, LabelResult) for folder in folders]
    paid = [
        frame.cpu_seconds
        for result in results
        if result is not None
        for frame in result.done
        if not frame.is_cached
    ]
    return sum(paid) / len(paid) if paid else None
