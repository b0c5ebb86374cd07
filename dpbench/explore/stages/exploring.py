"""Stage ``explore``: walks by the models of the iteration."""

import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from dpbench.explore.journal import Iteration
from dpbench.explore.sampling.planning import walk_tasks
from dpbench.explore.sampling.starts import Starts, start_structures
from dpbench.explore.sampling.walk_task import WalkTask
from dpbench.explore.sampling.walking import walk
from dpbench.explore.sampling.walks import Walk
from dpbench.explore.session import Session
from dpbench.explore.spread import TaskDied
from dpbench.explore.stage_results import ExploreResult, WalkSummary, write_result


def explore(
    session: Session, iteration: Iteration, *, stage: int, models: Sequence[Path]
) -> ExploreResult:
    """Make the walks of an iteration, or read what came of them.

    A walk that explodes or dies is told of, and ends nothing.

    Args:
        session: At work.
        iteration: Which.
        stage: Which of ``[[explore.stages]]``.
        models: Of the iteration.
    """
    done = iteration.explore
    if done is not None:
        return done
    began = time.perf_counter()
    settings = session.config.explore
    tasks = walk_tasks(
        settings,
        stage,
        starts_of(session, stage, iteration=iteration.number),
        models=models,
        iteration=iteration.number,
        seed=session.config.seed,
        folder=walks_folder(iteration),
    )
    found = session.do(
        walk, tasks, iteration=iteration.number, stage="explore", words=_words
    )
    walks = tuple(
        summary
        for task, result in zip(tasks, found, strict=True)
        for summary in _summaries(task, result)
    )
    result = ExploreResult(
        stage=stage,
        walks=walks,
        cpu_seconds=round(sum(one.cpu_seconds for one in walks), 3),
        wall_seconds=round(time.perf_counter() - began, 3),
    )
    write_result(iteration.folder, "explore", result)
    return result


def starts_of(session: Session, stage: int, *, iteration: int) -> Starts:
    """Return what the walks of an iteration start from; other draws in each."""
    settings = session.config.explore
    return start_structures(
        settings,
        settings.stages[stage].structures,
        workspace=lambda: session.workspace,
        seed=session.config.seed,
        where=session.base,
        iteration=iteration + 1,  # 0 is that of the frames labelled at the start
    )


def walks_folder(iteration: Iteration) -> Path:
    """Return the folder that holds one folder a walk."""
    return iteration.folder / "explore"


def _summaries(
    task: WalkTask, result: tuple[Walk, ...] | TaskDied
) -> list[WalkSummary]:
    """Say what came of the walks of a task; all of them failed if it died."""
    if isinstance(result, TaskDied):
        return [
            WalkSummary(
                name=name,
                structure=task.structure,
                temperature=temperature,
                pressure=task.pressure,
                replica=replica,
                nframes=0,
                outcome="failed",
                reason=result.reason,
                dropped={},
                cpu_seconds=0.0,
                engine=task.engine,
            )
            for name, replica, temperature in zip(
                task.names, task.replicas, task.temperatures, strict=True
            )
        ]
    return [
        WalkSummary(
            name=one.name,
            structure=one.structure,
            temperature=one.temperature,
            pressure=one.pressure,
            replica=one.replica,
            nframes=one.frames.nframes,
            outcome=one.outcome,
            reason=one.reason,
            dropped=dict(sorted(Counter(d.why for d in one.dropped).items())),
            cpu_seconds=one.cpu_seconds,
            origin=one.origin,
            steps=one.steps,
            engine=one.engine,
        )
        for one in result
    ]


def _words(result: tuple[Walk, ...] | TaskDied) -> str:
    if isinstance(result, TaskDied):
        return "walks were lost"
    exploded = sum(one.outcome == "exploded" for one in result)
    return f"{exploded} exploded" if exploded else ""
