"""Stage ``label``: labels of the frames that were chosen."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from dpbench.errors import ConfigError, DatasetError, WorkspaceError
from dpbench.explore.journal import Iteration
from dpbench.explore.labels.driver import Driver
from dpbench.explore.labels.label_files import Labelled, read_label
from dpbench.explore.labels.labelling import (
    LabelTask,
    label,
    label_tasks,
    lost,
    refuse_failures,
)
from dpbench.explore.labels.table import driver_of
from dpbench.explore.labels.theory_check import refuse_labelled
from dpbench.explore.session import Session
from dpbench.explore.spread import TaskDied
from dpbench.explore.stage_results import (
    REFUSED,
    ChosenFrame,
    LabelledFrame,
    LabelResult,
    QuarantinedFrame,
    SelectResult,
    iteration_folder,
    write_result,
)
from dpbench.explore.stages.selecting import chosen_frames
from dpbench.frames import Frames
from dpbench.store.dataset import DatasetVersion, open_dataset
from dpbench.store.versions import newest_version


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """Frames to label, and where each is from."""

    frames: Frames
    """Without labels."""
    chosen: tuple[ChosenFrame, ...]
    """(frame)."""


def label_chosen(
    session: Session, iteration: Iteration, *, selected: SelectResult, dataset: str
) -> LabelResult:
    """Label the frames that an iteration has chosen, or read what came of it.

    Args:
        session: At work.
        iteration: Which.
        selected: Its choice.
        dataset: ``NAME-vN`` that the labels are to be added to.

    Raises:
        DatasetError: If more labels failed than may, or they are at another level of
            theory than the dataset.
        ConfigError: If the program that labels is not there.
    """
    done = iteration.label
    if done is not None:
        return done
    frames = chosen_frames(iteration)
    result = label_frames(
        session,
        Wanted(frames=frames, chosen=selected.chosen),
        iteration=iteration.number,
        version=open_dataset(session.workspace, dataset),
    )
    write_result(iteration.folder, "label", result, config=session.digest)
    return result


def label_frames(
    session: Session,
    wanted: Wanted,
    *,
    iteration: int | None,
    version: DatasetVersion | None = None,
) -> LabelResult:
    """Label frames; what has been labelled before is read and costs nothing.

    Args:
        session: At work.
        wanted: The frames.
        iteration: For the announcements; None = the start.
        version: What the labels are to be added to; None = there is nothing yet.

    Raises:
        DatasetError: If more labels failed than may, or they are at another level of
            theory than the dataset.
        ConfigError: If the program that labels is not there.
    """
    began = time.perf_counter()
    settings = session.config.label.resolved(session.base)
    tasks = label_tasks(wanted.frames, settings, folder=session.labels)
    found = _labelled(session, tasks, iteration, version)
    result = _result(wanted, tasks, found, driver=settings.driver, began=began)
    folder = session.root / "start"
    if iteration is not None:
        folder = iteration_folder(session.root, iteration)
    try:
        refuse_failures(found, settings, folder=session.labels)
    except DatasetError:
        write_result(folder, REFUSED, result)
        raise
    (folder / f"{REFUSED}.json").unlink(missing_ok=True)
    name = session.config.dataset
    refuse_labelled(found, newest_version(session.workspace, name), name=name)
    return result


def _result(
    wanted: Wanted,
    tasks: Sequence[LabelTask],
    found: Sequence[Labelled],
    *,
    driver: str,
    began: float,
) -> LabelResult:
    """Say what came of every frame that was wanted."""
    # Equal frames share a label, which all but the first have for nothing.
    by_index = {
        index: one if index == task.indices[0] else replace(one, was_kept=True)
        for task, one in zip(tasks, found, strict=True)
        for index in task.indices
    }
    places = sorted(by_index.items(), key=lambda place: place[0])
    done = [_done(wanted, i, one) for i, one in places if one.status == "done"]
    quarantined = [
        _quarantined(wanted, i, one) for i, one in places if one.status != "done"
    ]
    paid = [one for _, one in places if not one.was_kept]
    return LabelResult(
        driver=driver,
        done=tuple(done),
        quarantined=tuple(quarantined),
        cpu_seconds=round(sum(one.cpu_seconds for one in paid), 3),
        wall_seconds=round(time.perf_counter() - began, 3),
    )


def driver_at_work(session: Session) -> Driver:
    """Return the driver that the configuration names."""
    return driver_of(session.config.label.resolved(session.base))


def outputs_of(session: Session, keys: Sequence[str]) -> list[Path]:
    """Return the files of finished labels that ingest reads, in the order of keys.

    Raises:
        WorkspaceError: If a label is not there any more.
    """
    found: list[Path] = []
    for key in keys:
        known = read_label(session.labels / key)
        if known is None:
            raise WorkspaceError(
                f"{session.labels / key}: has no label; expected the one that the "
                "stage tells of. Remove label.json of the iteration: the same command "
                "labels the frame again."
            )
        found += known.outputs
    return found


def _labelled(
    session: Session,
    tasks: Sequence[LabelTask],
    iteration: int | None,
    version: DatasetVersion | None,
) -> list[Labelled]:
    """Do the tasks; a frame that takes its process with it is quarantined.

    The first label of another theory than the dataset's ends it: the others would be
    paid for in vain.
    """

    def inspect(result: Labelled | TaskDied) -> None:
        if isinstance(result, TaskDied):
            if not result.is_crash:
                raise ConfigError(f"label: {result.reason}")
        else:
            refuse_labelled([result], version, name=session.config.dataset)

    results = session.do(
        label,
        tasks,
        iteration=iteration,
        stage="label",
        words=_words,
        inspect=inspect,
        cores=session.config.label.cores,
    )
    return [
        lost(task, result.reason) if isinstance(result, TaskDied) else result
        for task, result in zip(tasks, results, strict=True)
    ]


def _done(wanted: Wanted, index: int, one: Labelled) -> LabelledFrame:
    chosen = wanted.chosen[index]
    return LabelledFrame(
        key=one.key,
        walk=chosen.walk,
        step=chosen.step,
        attempts=one.attempts,
        remedies=one.remedies,
        cpu_seconds=0.0 if one.was_kept else one.cpu_seconds,
        is_cached=one.was_kept,
        atom=chosen.atom,
    )


def _quarantined(wanted: Wanted, index: int, one: Labelled) -> QuarantinedFrame:
    chosen = wanted.chosen[index]
    return QuarantinedFrame(
        key=one.key,
        walk=chosen.walk,
        step=chosen.step,
        reason=one.reason,
        attempts=one.attempts,
        trouble=str(one.trouble),
        cpu_seconds=0.0 if one.was_kept else one.cpu_seconds,
        atom=chosen.atom,
    )


def _words(result: Labelled | TaskDied) -> str:
    if isinstance(result, TaskDied):
        return "a job died"
    if result.status != "done":
        return f"quarantined: {result.reason}"
    return "there already" if result.was_kept else f"{result.wall_seconds:.1f} s each"
