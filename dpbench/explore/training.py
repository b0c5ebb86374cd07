"""The ensemble of an iteration: members that differ by their seed alone.

A member is one task: picklable, done by ``train_member`` in any process, and written
into a folder of its own. A folder that holds the finished member of the same task is
only read; a run that was cut off goes on from its last checkpoint, which on one machine
with the same threads ends at the same weights bit for bit.
"""

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import torch

from dpbench.config import canonical_json, from_mapping, to_mapping
from dpbench.errors import (
    DpbenchError,
    ModelError,
    NeighbourSlotsError,
    TrainingError,
)
from dpbench.explore.training_settings import (
    EnsembleSettings,
    ensemble_config,
    member_config,
    member_seed,
)
from dpbench.kernels.threads import use_threads
from dpbench.models.checkpoint import load_model, model_digest
from dpbench.store.dataset import open_dataset
from dpbench.store.files import disk_errors, sha256_of_file, write_atomically
from dpbench.store.workspace import Workspace
from dpbench.train.config import TrainConfig
from dpbench.train.init_model import Init
from dpbench.train.run import MODEL_FILE, RUN_FILE, TrainReport, train
from dpbench.train.runs import find_checkpoint

__all__ = [
    "EnsembleSettings",
    "MemberTask",
    "TrainedMember",
    "ensemble_config",
    "member_seed",
    "member_tasks",
    "read_member",
    "task_identity",
    "train_member",
]

MEMBER_FILE: Final = "member.json"
"""What a finished member is, in its folder; its presence means done."""

FORMAT: Final = 1
"""Format of that file; part of a task's identity."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MemberTask:
    """One member to be trained."""

    workspace: Path
    """Root of the workspace."""
    dataset: str
    """``NAME-vN``."""
    split: str
    """Digest of the split; its part ``validation`` may be missing."""
    config: Mapping[str, Any]
    """The training configuration in plain values, seed and steps in it."""
    init: Path | None = None
    """A model to start from."""
    folder: Path
    """Takes ``m.pth`` and ``member.json``."""
    threads: int = 1
    """Of torch and numba; they decide the order of sums, hence the last bits."""

    @property
    def seed(self) -> int:
        """Of the member."""
        seed: int = self.config["training"]["seed"]
        return seed


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainedMember:
    """A finished member."""

    path: Path
    """The model file."""
    digest: str
    """The model's content."""
    seed: int
    """Of its run."""
    steps: int
    """Done in this iteration."""
    run_id: str
    """Its run in the workspace."""
    started_from: str | None
    """Digest of the model that it began with; None = drawn anew."""
    note: str
    """Why it was drawn anew though there was one to start from; else empty."""
    errors: dict[str, float | None]
    """Last point of the learning curve: ``rmse_e_train``, ... ``rmse_v_validation``,
    eV/atom and eV/Å; None where nothing is labelled."""
    cpu_seconds: float
    """Of the process that finished it; a session that was cut off is not counted."""
    wall_seconds: float
    """Likewise."""


def member_tasks(
    settings: EnsembleSettings,
    *,
    workspace: Path,
    dataset: str,
    split: str,
    folder: Path,
    iteration: int,
    seed: int,
    base: Path,
    elements: Sequence[str] = (),
    previous: Sequence[Path] = (),
    threads: int = 1,
) -> tuple[MemberTask, ...]:
    """Plan the members of an iteration.

    Args:
        settings: What is asked for.
        workspace: Root of the workspace.
        dataset: ``NAME-vN``.
        split: Digest of the split, see ``training_split``.
        folder: Takes a folder ``NNN`` for each member.
        iteration: Counts from 0; part of every seed.
        seed: Of the exploration.
        base: Folder of the configuration, which ``settings.config`` is relative to.
        elements: All that the exploration may meet, where the training configuration
            names none: a model cannot learn an element later.
        previous: Models of the iteration before, in the order of the members.
        threads: Of each member.

    Raises:
        ConfigError: If the training configuration cannot be used.
    """
    config = ensemble_config(settings, base=base, elements=elements)
    starts = [*previous] if settings.reuse else []
    tasks = []
    for member in range(settings.models):
        init = starts[member] if member < len(starts) else None
        tasks.append(
            MemberTask(
                workspace=workspace,
                dataset=dataset,
                split=split,
                config=to_mapping(
                    member_config(
                        settings,
                        config,
                        seed=member_seed(seed, iteration=iteration, member=member),
                        is_reusing=init is not None,
                    )
                ),
                init=init,
                folder=folder / f"{member:03d}",
                threads=threads,
            )
        )
    return tuple(tasks)


def train_member(task: MemberTask) -> TrainedMember:
    """Train a member, go on with it, or read it if it is finished.

    Raises:
        TrainingError: If it was asked to stop before its end.
        DpbenchError: If it cannot be trained.
    """
    identity = task_identity(task)
    finished = read_member(task.folder, identity=identity)
    if finished is not None:
        return finished
    torch.set_num_threads(task.threads)
    use_threads()
    workspace = Workspace.find(task.workspace)
    started, began = time.process_time(), time.perf_counter()
    report, note = _trained(workspace, task, identity)
    if report.model_path is None or report.model_digest is None:
        raise TrainingError(
            f"{task.folder}: was stopped after {report.steps} of "
            f"{report.planned_steps} steps; expected all of them. Start the same "
            "command again: it goes on."
        )
    last = report.last
    member = TrainedMember(
        path=report.model_path,
        digest=report.model_digest,
        seed=task.seed,
        steps=report.steps,
        run_id=report.run_id,
        started_from=None if note or task.init is None else _digest_of(task.init),
        note=note,
        errors={} if last is None else _errors(report.to_json()["last"]),
        cpu_seconds=round(time.process_time() - started, 3),
        wall_seconds=round(time.perf_counter() - began, 3),
    )
    _write_member(task.folder, identity, member)
    return member


def read_member(folder: Path, *, identity: str) -> TrainedMember | None:
    """Read the finished member of a folder; None if there is none of that identity.

    A model file that is missing, damaged or another one does not count.
    """
    try:
        told = json.loads((folder / MEMBER_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(told, dict) or told.pop("identity", None) != identity:
        return None
    path = folder / MODEL_FILE
    try:
        if _digest_of(path) != told["digest"]:
            return None
    except ModelError:
        return None
    return TrainedMember(path=path, **told)


def task_identity(task: MemberTask) -> str:
    """Digest what decides a member: data, split, configuration, start and threads.

    Raises:
        DatasetError: If the workspace lacks the dataset.
        ModelError: If the model to start from cannot be read.
    """
    version = open_dataset(Workspace.find(task.workspace), task.dataset)
    payload = {
        "format": FORMAT,
        "dataset": version.digest,
        "split": task.split,
        "config": dict(task.config),
        "init": None if task.init is None else _digest_of(task.init),
        "threads": task.threads,
    }
    return hashlib.sha256(canonical_json(payload)).hexdigest()


def _trained(
    workspace: Workspace, task: MemberTask, identity: str
) -> tuple[TrainReport, str]:
    """Train, from a run that was cut off if there is one, else from the start.

    Returns:
        The report, and why a model to start from was not used.
    """
    config = from_mapping(TrainConfig, task.config, where=str(task.folder))
    config = replace(config, training=replace(config.training, split=task.split))
    shared: dict[str, Any] = {"out": task.folder / MODEL_FILE, "device": "cpu"}
    begun = _begun_run(workspace, task, identity)
    if begun is not None:
        note = _note_of(task.folder, identity)
        return train(workspace, None, dataset=None, resume=begun, **shared), note
    shared |= {"dataset": task.dataset, "command": _command(identity)}
    init = None if task.init is None else _init(task.init)
    try:
        return train(workspace, config, init=init, **shared), ""
    except NeighbourSlotsError as error:
        # Slots for neighbours are the one thing of a model that new frames outgrow.
        if init is None:
            raise
        note = f"starts anew: {error}"
    _write(_note_file(task.folder, identity), note)
    return train(workspace, config, **shared), note


def _note_file(folder: Path, identity: str) -> Path:
    """Name the file that says why a member starts anew, should its run be cut off."""
    return folder / f"note-{identity[:16]}.txt"


def _note_of(folder: Path, identity: str) -> str:
    try:
        return _note_file(folder, identity).read_text(encoding="utf-8")
    except OSError:
        return ""


def _command(identity: str) -> tuple[str, ...]:
    """Word a member's run for its record; it is found again by this."""
    return ("dpbench", "explore", f"member:{identity}")


def _begun_run(workspace: Workspace, task: MemberTask, identity: str) -> Path | None:
    """Find the newest run of this task that has a checkpoint which can be read."""
    command = [*_command(identity)]
    for file in sorted(workspace.runs.glob(f"*-{task.dataset}-*/{RUN_FILE}"))[::-1]:
        try:
            told = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if not isinstance(told, dict) or told.get("command") != command:
            continue
        try:
            find_checkpoint(workspace, file.parent)
        except DpbenchError:
            continue
        return file.parent
    return None


def _init(path: Path) -> Init:
    model, provenance = load_model(path)
    origin = {"kind": "dpbench", "sha256": sha256_of_file(path)}
    return Init(path=path, model=model, provenance=provenance, origin=origin)


def _digest_of(path: Path) -> str:
    return model_digest(load_model(path)[0])


def _errors(row: Mapping[str, Any]) -> dict[str, float | None]:
    return {name: value for name, value in row.items() if name.startswith("rmse_")}


def _write_member(folder: Path, identity: str, member: TrainedMember) -> None:
    told = {
        name: getattr(member, name)
        for name in TrainedMember.__dataclass_fields__
        if name != "path"  # the folder may be moved
    }
    _write(folder / MEMBER_FILE, json.dumps({"identity": identity, **told}, indent=1))


def _write(path: Path, text: str) -> None:
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, text.encode())
