"""A foreign trainer on a split of ours: exported, run, watched, filed."""

import json
import logging
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, final

from dpbench.backends.environments import launch_of
from dpbench.backends.launch import Launch
from dpbench.errors import ConfigError, TrainingError
from dpbench.store.dataset import DatasetVersion, open_dataset
from dpbench.store.files import disk_errors, write_atomically
from dpbench.store.splits.making import Split
from dpbench.store.workspace import Workspace
from dpbench.train.curve import draw_curve
from dpbench.train.history import CURVE_FILE, CurveFile, CurveRow
from dpbench.train.interrupt import stop_on_interrupt
from dpbench.train.progress import Reporter, Silent
from dpbench.train.run import RUN_FILE
from dpbench.train.runs import LOG_FILE, check_writable, new_run
from dpbench.train.session import choose_split
from dpbench.trainers.export import export_split
from dpbench.trainers.filed import file_models
from dpbench.trainers.foreign import AbstractTrainer, Job, Planned, Seen, Stage
from dpbench.trainers.process import NOTHING, Cost, Ended, run_stage, seeing
from dpbench.trainers.record import (
    config_facts,
    cost_facts,
    curve_facts,
    data_facts,
    environment_facts,
    model_facts_of,
)
from dpbench.trainers.report import ForeignReport
from dpbench.trainers.vouched import check_confined

SANDBOX_FAILED = 125
"""Exit status of the sandbox itself."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """What the user asks for."""

    config: Path
    """The trainer's own configuration."""
    dataset: str
    """``NAME[-vN]``."""
    out: Path
    """Folder for the model, or its file."""
    split: str | None = None
    """Name or digest of the split; None = the only one, or a new one."""
    steps: int | None = None
    """Optimiser steps; None = as the configuration says."""
    seed: int | None = None
    """Seed; None = as the configuration says."""
    device: str = "cpu"
    """``cpu``, ``cuda`` or ``cuda:N``; the trainer sees no other."""
    trust: tuple[str, ...] = ()
    """sha256 of configurations that may run without a sandbox."""
    command: tuple[str, ...] = ()
    """The command line, for the record."""


def train_foreign(
    workspace: Workspace,
    trainer: AbstractTrainer,
    request: Request,
    *,
    progress: Reporter | None = None,
    launch: Launch | None = None,
) -> ForeignReport:
    """Train a model with a foreign trainer, and file it as dpbench's own are.

    Args:
        workspace: Where the dataset is.
        trainer: Who trains.
        request: On what, how, and where to.
        progress: Told how far the run is.
        launch: Its environment; None = that which is installed.

    Returns:
        What was done; without a model if the run was stopped.

    Raises:
        ConfigError: If the configuration cannot be used on the split, or nobody vouches
            for it where it is a program and there is no sandbox.
        BackendError: If the trainer is not installed.
        TrainingError: If the run fails.
    """
    reporter = progress or Silent()
    target = model_target(request.out, trainer)
    theirs = trainer.read(request.config)
    check_confined(trainer, request.config, request.trust)
    launch = launch or launch_of(trainer.backend, own_cards=workspace.root / "backends")
    launch = seeing(launch, request.device)
    check_writable(target)
    version = open_dataset(workspace, request.dataset)
    split = choose_split(version, request.split)
    run_id, folder = new_run(workspace, version.label)
    with disk_errors(folder):
        plan = _prepare(
            workspace, trainer, request, folder, split=split, version=version
        )
    facts = {
        "run_id": run_id,
        **data_facts(version, split),
        "seed": plan.seed,
        "config": config_facts(request.config, theirs, plan),
        "precision": plan.precision,
        "device": request.device,
        "command": list(request.command),
        "type_map": list(plan.type_map),
        **environment_facts(trainer, workspace.root),
    }
    run = _Run(trainer=trainer, launch=launch, folder=folder, plan=plan, facts=facts)
    for note in (*_opening(facts, version, split), *plan.notes):
        reporter.note(note)
    return run.go(workspace, reporter, target, version=version, split=split)


def model_target(out: Path, trainer: AbstractTrainer) -> Path:
    """Return the model file to make.

    Raises:
        ConfigError: If its suffix is none that the trainer can end in.
    """
    if not out.suffix or out.is_dir():
        return out / f"m{trainer.suffixes[0]}"
    if not any(out.name.endswith(suffix) for suffix in trainer.suffixes):
        raise ConfigError(
            f"--out {out}: {trainer.title} makes no {out.suffix}; expected a folder, "
            f"or a name that ends with {' or '.join(trainer.suffixes)}."
        )
    return out


def _prepare(
    workspace: Workspace,
    trainer: AbstractTrainer,
    request: Request,
    folder: Path,
    *,
    version: DatasetVersion,
    split: Split,
) -> Planned:
    """Write the split and the configuration into the run's folder.

    A configuration that cannot be used leaves no folder behind.
    """
    try:
        data = export_split(
            workspace, version, split, format_name=trainer.format, folder=folder
        )
        target = model_target(request.out, trainer)
        plan = trainer.plan(
            Job(
                where=request.config.name,
                theirs=trainer.read(request.config),
                source=request.config.parent,
                data=data,
                suffix=next(s for s in trainer.suffixes if target.name.endswith(s)),
                steps=request.steps,
                seed=request.seed,
                device=request.device,
            )
        )
    except (ConfigError, TrainingError):
        shutil.rmtree(folder, ignore_errors=True)
        raise
    for name, content in plan.files.items():
        (folder / name).write_bytes(content)
    return plan


def _opening(
    facts: Mapping[str, Any], version: DatasetVersion, split: Split
) -> list[str]:
    """Say who trains on what."""
    versions = ", ".join(f"{k} {v}" for k, v in facts["versions"].items())
    sizes = split.sizes
    lines = [
        f"{facts['trainer_title']}: {versions}; licence {facts['licence']}",
        f"data: {version.label}, {sizes['train']} training and "
        f"{sizes.get('validation', 0)} validation frames, energies as labelled; split "
        f"{split.label}; the test part is not handed out",
    ]
    if facts["sandbox"].startswith("none"):
        lines.append(f"it runs without a sandbox: there is {facts['sandbox']}")
    return lines


@final
@dataclass(kw_only=True, slots=True)
class _Run:
    """A run that goes on."""

    trainer: AbstractTrainer
    launch: Launch
    folder: Path
    plan: Planned
    facts: dict[str, Any]
    rows: list[CurveRow] = field(default_factory=list)
    seen: Seen = field(default_factory=Seen)
    costs: dict[str, Cost] = field(default_factory=dict)

    def go(
        self,
        workspace: Workspace,
        reporter: Reporter,
        target: Path,
        *,
        version: DatasetVersion,
        split: Split,
    ) -> ForeignReport:
        """Run all stages, then file the model."""
        self._tell(self.facts)
        was_stopped = self._train(reporter)
        self.facts |= self._outcome()
        if self.rows:
            title = f"{version.label}, {self.trainer.title}, run {self.facts['run_id']}"
            draw_curve(self.rows, self.folder / "curve.png", title=title)
        digest = None
        if not was_stopped:
            paths = self._take_models(target)
            digest = file_models(workspace, paths, self.facts)
        self._tell(self.facts)
        return ForeignReport(
            trainer=self.trainer.title,
            backend=self.trainer.backend,
            run_id=self.facts["run_id"],
            run_folder=self.folder,
            model_path=None if was_stopped else target,
            model_digest=digest,
            dataset=version.label,
            split_digest=split.digest,
            sizes=split.sizes,
            steps=self.seen.steps,
            planned_steps=self.plan.steps,
            cost=sum(self.costs.values(), NOTHING),
            parameters=self.facts["parameters"],
            interrupted=was_stopped,
            last=self.rows[-1] if self.rows else None,
        )

    def _train(self, reporter: Reporter) -> bool:
        """Run the stages one after the other; return whether they were stopped."""
        reporter.start(0, self.plan.steps)
        file = CurveFile(self.folder / CURVE_FILE)
        try:
            with stop_on_interrupt() as should_stop:
                for stage in self.plan.stages:
                    is_first = stage is self.plan.stages[0]
                    look = self._looker(reporter, file) if is_first else None
                    ended = self._stage(stage, look, should_stop, reporter)
                    if ended.was_stopped and not self.seen.is_nan:
                        return True
                    self._check(stage, ended)
        finally:
            reporter.close()
        return False

    def _stage(
        self,
        stage: Stage,
        look: Callable[[], None] | None,
        should_stop: Callable[[], bool],
        reporter: Reporter,
    ) -> Ended:
        def watch() -> bool:
            if look is not None:
                look()
            return should_stop() or self.seen.is_nan

        ended = run_stage(
            self.launch, stage, self.folder, watch=watch, say=reporter.note
        )
        self.costs[stage.name] = ended.cost
        return ended

    def _looker(self, reporter: Reporter, file: CurveFile) -> Callable[[], None]:
        """Return what reads the trainer's files and tells what is new in them."""
        began = time.monotonic()
        follower = self.trainer.follow(self.folder)

        def look() -> None:
            self.seen = follower.look()
            for row in self.seen.rows[len(self.rows) :]:
                timed = replace(row, wall_time=round(time.monotonic() - began, 3))
                self.rows.append(timed)
                file.append(timed)
                reporter.row(timed)
            reporter.step(self.seen.steps, self.seen.loss)

        return look

    def _check(self, stage: Stage, ended: Ended) -> None:
        """Raise TrainingError if a stage has failed; go on where it is not needed."""
        log = self.folder / LOG_FILE
        if self.seen.is_nan:
            raise TrainingError(
                f"{self.trainer.title}: its loss is not a number at step "
                f"{self.seen.steps}, so it was stopped. Lower the learning rate, or "
                f"look at {log}."
            )
        made = stage.makes and (self.folder / stage.makes).exists()
        if ended.status == 0 and (made or not stage.makes):
            return
        if ended.status == 0:
            said = f"wrote no {stage.makes}"
        elif ended.status == SANDBOX_FAILED:
            said = "was not started"
        elif ended.status < 0 or ended.status > 128:
            said = f"was ended by signal {abs(ended.status) % 128}"
        else:
            said = f"ended with status {ended.status}"
        words = (
            f"{self.trainer.title}: '{stage.name}' {said}; its last words: "
            f"{ended.last_words}. The whole log is {log}."
        )
        if stage.is_needed:
            raise TrainingError(words)
        logger.warning("%s", words)

    def _outcome(self) -> dict[str, Any]:
        """Say what came out."""
        train = self.costs.get(self.plan.stages[0].name, NOTHING)
        return {
            "steps": self.seen.steps,
            "planned_steps": self.plan.steps,
            "wall_time_s": train.wall_s,
            "cost": cost_facts(self.costs),
            "weights": "as the trainer left them",
            "curve": curve_facts(self.rows),
            **model_facts_of(self.folder),
        }

    def _take_models(self, target: Path) -> list[Path]:
        """Copy the model to where it is wanted; return it, and its other formats."""
        wanted, *others = (self.folder / name for name in self.plan.outputs)
        with disk_errors(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            part = target.with_name(f".{target.name}.part")
            shutil.copyfile(wanted, part)
            part.replace(target)
        return [target, *others]

    def _tell(self, facts: Mapping[str, Any]) -> None:
        told = json.dumps(facts, indent=1, ensure_ascii=False, default=str)
        with disk_errors(self.folder):
            write_atomically(self.folder / RUN_FILE, f"{told}\n".encode())
