"""Evaluate a model: choose frames, do the tasks, file one record per row."""

import logging
from dataclasses import replace
from pathlib import Path

from dpbench.errors import BackendError, DpbenchError
from dpbench.eval.opening import Opened, is_on_gpu, opened, unopened
from dpbench.eval.options import STABILITY, THROUGHPUT, Options
from dpbench.eval.parts import Part, parts_to_evaluate
from dpbench.eval.planning import Plan, plan_backends
from dpbench.eval.record import Record
from dpbench.eval.session import (
    MIXED,
    NO_RESULT,
    Filed,
    Progress,
    Result,
    Session,
    open_session,
)
from dpbench.store.workspace import Workspace

__all__ = ["MIXED", "NO_RESULT", "STABILITY", "THROUGHPUT", "Filed", "evaluate"]

logger = logging.getLogger(__name__)


def evaluate(
    workspace: Workspace,
    model_path: Path,
    *,
    dataset: str | None = None,
    options: Options | None = None,
    progress: Progress | None = None,
) -> list[Filed]:
    """Measure a model file and file one record per dataset part.

    Accuracy is measured on every part; stability and throughput start from a frame of
    the first part and belong to its record.

    Args:
        workspace: Holds the data; takes the records.
        model_path: A model file of any kind that a backend reads.
        dataset: ``NAME[-vN][:PART]``; None: the held-out parts of the split that the
            model was trained with.
        options: Tasks, mode, backends, precision.
        progress: Called with a few words as each step begins.

    Returns:
        The records, filed in the workspace, first backend and part first. Of several
        backends one that fails has a record that says so, and the others go on.

    Raises:
        ModelError: If the model cannot be read, or does not know an element.
        DatasetError: If the dataset does not exist.
        EvaluationError: If there are no frames to evaluate.
        BackendError: If a backend is not installed, or the only one fails.
    """
    options = options or Options()
    say = progress or (lambda _: None)
    plans = plan_backends(workspace, model_path, options)
    filed: list[Filed] = []
    for plan in plans:
        if len(plans) > 1:
            say(f"backend {plan.backend}")
        try:
            with opened(workspace, plan, options) as model:
                filed += _measure(workspace, model, options, dataset, say)
        except DpbenchError as error:
            if len(plans) == 1:
                raise
            logger.error("%s The other backends go on.", error)
            filed.append(_failed(workspace, plan, options, dataset, error))
    return filed


def _measure(
    workspace: Workspace,
    model: Opened,
    options: Options,
    dataset: str | None,
    say: Progress,
) -> list[Filed]:
    """Do the tasks on one backend, and file a record per part."""
    device = options.device if is_on_gpu(model.evaluator) else "cpu"
    session = open_session(
        workspace, model.subject, replace(options, device=device), say
    )
    parts = parts_to_evaluate(workspace, session.training, dataset, split=options.split)
    records = (_record(session, model, p, is_first=p is parts[0]) for p in parts)
    return [session.file(record) for record in records if record is not None]


def _record(
    session: Session, model: Opened, part: Part, *, is_first: bool
) -> Record | None:
    """Do the tasks on one part; None if none of them concerns it."""
    tasks = [name for name in session.options.tasks if is_first or name == "accuracy"]
    if not tasks:
        return None
    results: dict[str, Result] = {}
    failure = None
    for task in tasks:
        try:
            results[task] = session.measure(task, model, part)
        except BackendError as error:
            where = f"{part.version.label}:{part.name}"
            failure = f"{task} on {where}: {' '.join(str(error).split())}"
            logger.error("%s What was measured before it stays.", failure)
            break
    return session.record(
        part,
        results,
        kernels=model.evaluator.kernels() or None,
        foreign=model.backend_facts(),
        failure=failure,
    )


def _failed(
    workspace: Workspace,
    plan: Plan,
    options: Options,
    dataset: str | None,
    error: DpbenchError,
) -> Filed:
    """File that a backend gave no result, and its last words."""
    subject = unopened(workspace, plan, options)
    session = open_session(workspace, subject, options, lambda _: None)
    parts = parts_to_evaluate(workspace, session.training, dataset, split=options.split)
    return session.file(session.failure(parts[0], " ".join(str(error).split())))
