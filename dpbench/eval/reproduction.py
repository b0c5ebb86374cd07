"""What is needed to reproduce a record, whether it is here, and what it will cost."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dpbench.config import from_mapping
from dpbench.errors import ConfigError, DatasetError, DpbenchError, EvaluationError
from dpbench.eval.filing import find_record
from dpbench.eval.opening import unopened
from dpbench.eval.options import STABILITY, THROUGHPUT, Mode, Options
from dpbench.eval.parts import find_content
from dpbench.eval.planning import plan_backends
from dpbench.eval.record import DatasetFacts, Record, SplitFacts, record_from_payload
from dpbench.eval.stability import StabilitySettings
from dpbench.eval.strict_json import strict_loads
from dpbench.eval.suite_membership import references_of, settings_of, suite_of
from dpbench.eval.task_results import Stability, Throughput
from dpbench.eval.tasks.doing import code_digest
from dpbench.eval.tasks.table import TASKS
from dpbench.eval.throughput import ThroughputSettings
from dpbench.store import catalog
from dpbench.store.splits.making import find_split
from dpbench.store.splits.parts import WHOLE
from dpbench.store.workspace import Workspace
from dpbench.train.config import TrainConfig

WHOLE_SECONDS = 3.0
"""Seconds of opening a model and comparing its data, beside the tasks."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Wishes:
    """How the user wants a record reproduced."""

    mode: Mode | None = None
    """Length of dynamics and timings; None: as the record has them."""
    retrain: bool = False
    """Train the model again, from the configuration and seed of its run."""
    model: Path | None = None
    """Where the model lies now; None: it is looked for."""
    trust: tuple[str, ...] = ()
    """sha256 of foreign programs that may be opened."""
    device: str = "cpu"
    """Torch's name of the device."""
    command: tuple[str, ...] = ()
    """What the user typed, for the new record."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Training:
    """The training of the model, as its run tells it."""

    config: TrainConfig
    dataset: str
    """Label here, ``water-v2``."""
    seconds: float | None
    """What it took."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Planned:
    """A reproduction that can be started, or what it lacks."""

    digest: str
    record: Record
    missing: tuple[str, ...]
    """What is not here, and how to get it; nothing may be missing to start."""
    model: Path | None
    """The model's file; None where it is trained again."""
    training: Training | None
    """Only with ``retrain``."""
    data: str
    """``NAME-vN:PART`` here; empty where it is missing."""
    options: Options
    tasks: Mapping[str, Any]
    """Task -> settings; None where the task has none."""
    references: Mapping[str, Path | None]
    """Task -> folder of reference values."""
    notes: tuple[str, ...]
    """What is done otherwise than in the record."""

    def cost(self) -> str:
        """Say what it will take, by what it took there."""
        record, words = self.record, []
        total = WHOLE_SECONDS
        if self.training is not None:
            seconds = self.training.seconds
            words.append(f"training {_time(seconds)}")
            total += seconds or 0.0
        for name in self.tasks:
            result = getattr(record, name, None) or record.tasks.get(name)
            seconds = 0.0 if result is None else result.wall_time_s
            words.append(f"{name} {_time(seconds)}")
            total += seconds
        return (
            f"cost, as {record.hardware.label} took it: {', '.join(words)}; about "
            f"{_time(total)} in all"
        )


def read_named(workspace: Workspace, name: str) -> tuple[str, Record]:
    """Read the record that a user names: by digest, or a file of it.

    Raises:
        EvaluationError: If there is no such record.
    """
    path = Path(name)
    if path.suffix == ".json" and path.is_file():
        payload = strict_loads(path.read_bytes(), where=name)
        return path.name, record_from_payload(payload, where=name)
    digest, payload = find_record(workspace, name)
    return digest, record_from_payload(payload, where=f"result {digest[:12]}")


def plan_reproduction(workspace: Workspace, name: str, wishes: Wishes) -> Planned:
    """Find out whether a record can be reproduced here.

    Args:
        workspace: Has, perhaps, the model and the data.
        name: Digest of the record, its first digits, or a JSON file of it.
        wishes: How.

    Raises:
        EvaluationError: If there is no such record, or it has no number.
    """
    digest, record = read_named(workspace, name)
    missing: list[str] = []
    notes: list[str] = []
    tasks, references = _tasks(record, wishes, notes)
    if not tasks:
        raise EvaluationError(
            f"result {digest[:12]}: has no number to reproduce"
            f"{': ' + record.failure if record.failure else ''}. Evaluate the model "
            "again."
        )
    data, split = _data(workspace, record.dataset, record.split, record.part, missing)
    options = Options(
        tasks=tuple(tasks),
        mode=wishes.mode or record.mode,
        backends=(record.backend,),
        trust=wishes.trust,
        precision=record.precision if record.backend == "dpbench" else None,
        device=wishes.device,
        name=record.model.name,
        split=split,
        command=wishes.command,
    )
    training = _training(workspace, record, missing) if wishes.retrain else None
    model = None
    if not wishes.retrain:
        model = _model(workspace, record, wishes, options, missing)
    return Planned(
        digest=digest,
        record=record,
        missing=tuple(dict.fromkeys(missing)),
        model=model,
        training=training,
        data=data,
        options=options,
        tasks=tasks,
        references=references,
        notes=tuple(notes),
    )


def _tasks(
    record: Record, wishes: Wishes, notes: list[str]
) -> tuple[dict[str, Any], dict[str, Path | None]]:
    """List the tasks of a record with the settings that they were done with."""
    tasks: dict[str, Any] = {}
    mode = wishes.mode
    if mode is not None and mode != record.mode:
        notes.append(
            f"dynamics and timings in mode {mode}; the record's are {record.mode}"
        )
    if record.accuracy is not None:
        tasks["accuracy"] = None
    if record.stability is not None:
        own = _stability_settings(record.stability)
        tasks["stability"] = own if mode is None else STABILITY[mode]
    if record.throughput is not None:
        told = _throughput_settings(record.throughput)
        tasks["throughput"] = told if mode is None else THROUGHPUT[mode]
    references: dict[str, Path | None] = {}
    suite = suite_of(record)
    if record.suite is not None and suite is None:
        notes.append(
            f"the suite {record.suite} is not here; its references are missing"
        )
    for name, result in sorted(record.tasks.items()):
        task = TASKS.get(name)
        if task is None:
            notes.append(f"task {name} is unknown here; a newer dpbench knows it")
            continue
        if result.code != code_digest(task.sources):
            notes.append(f"task {name}: the code that decides it has changed since")
        tasks[name] = settings_of(task, result) if mode is None else task.modes[mode]
        references[name] = references_of(suite, record, name)
    return tasks, references


def _stability_settings(result: Stability) -> StabilitySettings:
    protocol = result.protocol
    return StabilitySettings(
        temperature=protocol.temperature,
        timestep=protocol.timestep,
        steps=protocol.steps,
        seeds=tuple(run.seed for run in result.runs),
        sample_every=protocol.sample_every,
        min_natoms=protocol.natoms,
        discard=protocol.discard,
        limits=dict(protocol.limits),
    )


def _throughput_settings(result: Throughput) -> ThroughputSettings:
    protocol, sizes = result.protocol, [size.natoms for size in result.sizes]
    growth = round(sizes[1] / sizes[0]) if len(sizes) > 1 else 2
    return ThroughputSettings(
        window_s=protocol.window_s,
        repeats=protocol.repeats,
        min_natoms=sizes[0],
        growth=max(growth, 2),
        nsizes=len(sizes),
        max_natoms=sizes[-1],
        temperature=protocol.temperature,
        timestep=protocol.timestep,
    )


def _data(
    workspace: Workspace,
    dataset: DatasetFacts,
    split: SplitFacts | None,
    part: str,
    missing: list[str],
) -> tuple[str, str | None]:
    """Find data by content: (``NAME-vN:PART``, digest of the split)."""
    version = find_content(workspace, dataset.digest)
    if version is not None and split is None:
        return f"{version.label}:{WHOLE}", None
    if version is not None and split is not None:
        with suppress(DatasetError):  # of another order of the same content
            if find_split(version, split.digest) is not None:
                return f"{version.label}:{part}", split.digest
        missing.append(
            f"the split {split.digest[:17]} of {version.label} is not here. If it was "
            f"made by a recipe: dpbench dataset split {version.label} --strategy "
            f"{split.strategy} --seed {split.seed}"
        )
        return "", None
    missing.append(
        f"the dataset version {dataset.label} of content {dataset.digest} is not here. "
        f"Ingest its sources, or fetch it: dpbench dataset fetch {dataset.name}"
    )
    return "", None


def _model(
    workspace: Workspace,
    record: Record,
    wishes: Wishes,
    options: Options,
    missing: list[str],
) -> Path | None:
    """Find the model's file by its digest, wherever it may lie."""
    digest = record.model.digest
    known = [p for p in catalog.models(workspace) if p.get("digest") == digest]
    places = [str(p["path"]) for p in known if isinstance(p.get("path"), str)]
    if wishes.model is not None:
        places = [str(wishes.model)]
    else:
        places += [record.model.path, Path(record.model.path).name]
    trouble = ""
    for place in dict.fromkeys(places):
        path = Path(place)
        if not path.exists():
            continue
        try:
            (plan,) = plan_backends(workspace, path, options)
            found = unopened(workspace, plan, options).model.digest
        except DpbenchError as error:
            trouble = f" {place}: {error}"
            continue
        if found == digest:
            return path
        trouble = f" {place} is another model ({found[:19]})."
    # One place may be known by two names, whole and from here.
    looked = ", ".join({Path(place).resolve(): place for place in places}.values())
    missing.append(
        f"the model {record.model.name} ({digest[:19]}) is not at "
        f"{looked}.{trouble} Name its file with --model, or train it again with "
        "--retrain"
    )
    return None


def _training(
    workspace: Workspace, record: Record, missing: list[str]
) -> Training | None:
    """Set up the training of the model again."""
    run = record.provenance.run or {}
    dataset, split = (
        record.provenance.training_dataset,
        record.provenance.training_split,
    )
    if dataset is None or split is None or "config" not in run:
        missing.append(
            "the record does not tell what its model was trained on, and how"
        )
        return None
    if record.model.kind != "plain":
        missing.append(
            f"the model is {record.model.kind}: dpbench trains plain models of its own "
            "again. Train it with its own program, and evaluate that"
        )
        return None
    label, digest = _data(workspace, dataset, split, "train", missing)
    try:
        config = from_mapping(TrainConfig, run["config"], where="provenance.run.config")
    except ConfigError as error:
        missing.append(f"its configuration is none of this dpbench ({error})")
        return None
    length: dict[str, Any] = {"steps": run.get("steps"), "epochs": None}
    length["time_budget"] = None
    settings = replace(config.training, split=digest, **length)
    seconds = run.get("wall_time_s")
    return Training(
        config=replace(config, training=settings),
        dataset=label.partition(":")[0],
        seconds=float(seconds) if isinstance(seconds, int | float) else None,
    )


def _time(seconds: float | None) -> str:
    """Word a time."""
    if seconds is None:
        return "of unknown length"
    if seconds < 90:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
