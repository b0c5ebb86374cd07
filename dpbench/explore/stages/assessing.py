"""Stage ``assess``: the frames of an iteration, before and after training on them."""

import logging
from dataclasses import dataclass
from pathlib import Path

from dpbench.explore.assess import assess as assess_models
from dpbench.explore.journal import Iteration, iteration_at
from dpbench.explore.session import Session
from dpbench.explore.spread import TaskDied
from dpbench.explore.stage_results import AssessResult, TrainResult, write_result
from dpbench.store.workspace import Workspace

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class AssessTask:
    """Two sets of models, and the dataset versions that they were trained on."""

    workspace: Path
    """Root of the workspace."""
    root: Path
    """Folder of the exploration."""
    before: TrainResult
    """Of the iteration that chose the frames."""
    after: TrainResult
    """Of the next."""


def measure(task: AssessTask) -> AssessResult:
    """Measure both sets of models on what came between them."""
    workspace = Workspace.find(task.workspace)
    return assess_models(workspace, task.root, before=task.before, after=task.after)


def assess(session: Session, iteration: Iteration) -> None:
    """Say what an iteration's labels were worth, unless it is said.

    Nothing depends on it: where it cannot be measured, that is told and the loop goes
    on.
    """
    before = iteration.train
    after = iteration_at(session.root, iteration.number + 1).train
    if iteration.assess is not None or before is None or after is None:
        return
    if before.digest == after.digest:
        return  # nothing was added
    task = AssessTask(
        workspace=session.workspace.root, root=session.root, before=before, after=after
    )
    [result] = session.do(measure, [task], iteration=iteration.number, stage="assess")
    if isinstance(result, TaskDied):
        logger.warning(
            "%s: the errors before and after are not known: %s",
            iteration.folder.name,
            result.reason,
        )
        return
    write_result(iteration.folder, "assess", result)
