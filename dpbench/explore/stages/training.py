"""Stage ``train``: the ensemble of an iteration."""

import time
from pathlib import Path

from dpbench.elements import symbols_of
from dpbench.errors import TrainingError
from dpbench.explore.journal import Iteration, iteration_at
from dpbench.explore.sampling.starts import start_structures
from dpbench.explore.session import Session
from dpbench.explore.spread import TaskDied
from dpbench.explore.stage_results import TrainedModel, TrainResult, write_result
from dpbench.explore.training import TrainedMember, member_tasks, train_member
from dpbench.explore.training_split import training_split
from dpbench.store.dataset import DatasetVersion, open_dataset


def train(session: Session, iteration: Iteration, *, dataset: str) -> TrainResult:
    """Train the models of an iteration, or read them.

    Where the dataset has not grown, those of the iteration before are kept.

    Args:
        session: At work.
        iteration: Which.
        dataset: ``NAME-vN`` that they are trained on.

    Raises:
        TrainingError: If a member could not be trained.
    """
    done = iteration.train
    if done is not None:
        return done
    began = time.perf_counter()
    settings, number = session.config.train, iteration.number
    version = open_dataset(session.workspace, dataset)
    split = training_split(version, validation=settings.validation)
    before = iteration_at(session.root, number - 1).train if number else None
    if before is not None and before.digest == version.digest:
        result = _kept(before)
        write_result(iteration.folder, "train", result, config=session.digest)
        return result
    tasks = member_tasks(
        settings,
        workspace=session.workspace.root,
        dataset=version.label,
        split=split,
        folder=iteration.folder / "train",
        iteration=number,
        seed=session.config.seed,
        base=session.base,
        elements=_elements(session, version),
        previous=[] if before is None else model_paths(session, before),
        threads=session.config.resources.threads,
    )
    members = session.do(
        train_member, tasks, iteration=number, stage="train", words=_words
    )
    models = tuple(_model(session.root, one) for one in members)
    result = TrainResult(
        dataset=version.label,
        digest=version.digest,
        split=split,
        models=models,
        cpu_seconds=round(sum(model.cpu_seconds for model in models), 3),
        wall_seconds=round(time.perf_counter() - began, 3),
    )
    write_result(iteration.folder, "train", result, config=session.digest)
    return result


def model_paths(session: Session, result: TrainResult) -> list[Path]:
    """Return where the models of an iteration lie, in the order of the members."""
    return [session.root / model.path for model in result.models]


def mean_error(result: TrainResult, name: str) -> float | None:
    """Return the mean of an error over the models; None if one lacks it."""
    values = [model.errors.get(name) for model in result.models]
    told = [value for value in values if value is not None]
    return sum(told) / len(told) if told and len(told) == len(values) else None


def _kept(before: TrainResult) -> TrainResult:
    return TrainResult(
        dataset=before.dataset,
        digest=before.digest,
        split=before.split,
        models=before.models,
        is_kept=True,
    )


def _elements(session: Session, version: DatasetVersion) -> tuple[str, ...]:
    """Return all elements that the exploration may meet, by atomic number."""
    sampling = session.config.explore
    names = [name for stage in sampling.stages for name in stage.structures]
    starts = start_structures(
        sampling,
        names,
        workspace=lambda: session.workspace,
        seed=session.config.seed,
        where=session.base,
    )
    labelled = version.read(range(version.nframes))
    atoms = {int(z) for frames in (starts.frames, labelled) for z in set(frames.z)}
    return symbols_of(sorted(atoms))


def _model(root: Path, member: TrainedMember | TaskDied) -> TrainedModel:
    if isinstance(member, TaskDied):
        raise TrainingError(
            f"train: a member of the ensemble was lost: {member.reason}. Mend what is "
            "said, and start the same command again: finished members are kept."
        )
    return TrainedModel(
        path=member.path.relative_to(root).as_posix(),
        digest=member.digest,
        seed=member.seed,
        steps=member.steps,
        errors=member.errors,
        cpu_seconds=member.cpu_seconds,
        started_from=member.started_from,
        note=member.note,
    )


def _words(member: TrainedMember | TaskDied) -> str:
    if isinstance(member, TaskDied):
        return "a member was lost"
    error = member.errors.get("rmse_f_validation") or member.errors.get("rmse_f_train")
    return "" if error is None else f"force RMSE {1000 * error:.0f} meV/Å"
