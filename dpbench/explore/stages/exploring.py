"""Stage ``explore``: walks by the models of the iteration."""

import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from dpbench.errors import DpbenchError, EvaluationError, SimulationError
from dpbench.explore.journal import Iteration
from dpbench.explore.sampling.planning import walk_tasks
from dpbench.explore.sampling.starts import Starts, start_structures
from dpbench.explore.sampling.walk_task import WalkTask
from dpbench.explore.sampling.walking import walk
from dpbench.explore.sampling.walks import Walk
from dpbench.explore.session import Session
from dpbench.explore.spread import TaskDied
from dpbench.explore.stage_results import ExploreResult, WalkSummary, write_result
from dpbench.store.files import remove_tree


def explore(
    session: Session, iteration: Iteration, *, stage: int, models: Sequence[Path]
) -> ExploreResult:
    """Make the walks of an iteration, or read what came of them.

    A walk that explodes or dies is told of, and ends nothing. Where none gave a frame,
    nothing is kept: what is mended, or trained again, is walked anew.

    Args:
        session: At work.
        iteration: Which.
        stage: Which of ``[[explore.stages]]``.
        models: Of the iteration.

    Raises:
        SimulationError: If no walk could be made.
        EvaluationError: If no walk gave a frame that passes the filters.
    """
    done = iteration.explore
    if done is not None and not done.is_idle:
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
        walk, tasks, iteration=iteration.number, stage="explore", words=_Tally().words
    )
    walks = tuple(
        summary
        for task, result in zip(tasks, found, strict=True)
        for summary in _summaries(task, result)
    )
    try:
        _refuse_no_walk(found)
        _refuse_no_frame(iteration, walks)
    except DpbenchError:
        (iteration.folder / "explore.json").unlink(missing_ok=True)
        remove_tree(walks_folder(iteration))
        raise
    result = ExploreResult(
        stage=stage,
        walks=walks,
        cpu_seconds=round(sum(one.cpu_seconds for one in walks), 3),
        wall_seconds=round(time.perf_counter() - began, 3),
    )
    write_result(iteration.folder, "explore", result, config=session.digest)
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


def _refuse_no_walk(found: Sequence[tuple[Walk, ...] | TaskDied]) -> None:
    """Stop where every task was refused: it is no walk's fault."""
    reasons = Counter(
        one.reason for one in found if isinstance(one, TaskDied) and not one.is_crash
    )
    if not found or sum(reasons.values()) < len(found):
        return
    raise SimulationError(f"explore: no walk was made: {_most_often(reasons)}")


def _refuse_no_frame(iteration: Iteration, walks: Sequence[WalkSummary]) -> None:
    if any(walk.nframes for walk in walks):
        return
    reason = _most_often(Counter(w.reason or _dropped_words(w.dropped) for w in walks))
    raise EvaluationError(
        f"{iteration.folder}: no walk gave a frame that passes the filters; expected "
        f"some. Most often: {reason.rstrip('.')}. Train longer, explore at lower "
        "temperatures, loosen [explore.filters], or mend what is said: the walks of "
        "this iteration are made again."
    )


def _most_often(reasons: Counter[str]) -> str:
    return reasons.most_common(1)[0][0] if reasons else "there were no walks"


def _dropped_words(dropped: dict[str, int]) -> str:
    return ", ".join(f"{n} x {why}" for why, n in dropped.items()) or "no frame"


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


class _Tally:
    """What the walks made so far came to, for those who watch."""

    def __init__(self) -> None:
        self._ended: Counter[str] = Counter()
        self._dropped = 0

    def words(self, result: tuple[Walk, ...] | TaskDied) -> str:
        """Count the walks of a task, and say what all came to."""
        if isinstance(result, TaskDied):
            self._ended["tasks lost"] += 1
        else:
            self._ended.update(w.outcome for w in result if w.outcome != "done")
            self._dropped += sum(len(one.dropped) for one in result)
        parts = [f"{n} {how}" for how, n in sorted(self._ended.items())]
        if self._dropped:
            parts.append(f"{self._dropped} frames dropped by filters")
        return ", ".join(parts)
