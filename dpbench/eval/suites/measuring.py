"""Measuring units: open the model, do the task, make the record."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from dpbench.backends.cards import NATIVE
from dpbench.errors import BackendError, DpbenchError
from dpbench.eval.opening import Opened, is_on_gpu, opened, unopened
from dpbench.eval.parts import Part, parts_to_evaluate
from dpbench.eval.planning import Plan, plan_backends
from dpbench.eval.record import BackendFacts, Record
from dpbench.eval.session import Session, open_session
from dpbench.eval.suites.units import Unit
from dpbench.kernels.families import IN_USE
from dpbench.store.workspace import Workspace

Say = Callable[[str], None]

REJECTED = " rejected"
"""Ends the names of kernels that failed their check: told in every record."""


def measure_units(
    workspace: Workspace, units: Sequence[Unit], *, say: Say
) -> Iterator[tuple[Unit, Record]]:
    """Measure units of one model on one backend, one after the other.

    A foreign program stays open over all of them; dpbench's own model is opened for
    each, so that a record names the kernels of its unit and no others.

    Args:
        workspace: Holds the data; takes kept answers.
        units: All of the same model and backend.
        say: Told what goes on.

    Raises:
        ModelError: If the model cannot be read.
        BackendError: If the backend cannot open it.
    """
    plan = plan_of(workspace, units[0])
    if plan.backend == NATIVE:
        for unit in units:
            forget_kernels()
            with opened(workspace, plan, unit.options) as model:
                yield unit, measure(workspace, unit, model, say=say)
        return
    with opened(workspace, plan, units[0].options) as model:
        for unit in units:
            yield unit, measure(workspace, unit, model, say=say)


def measure_one(root: Path, unit: Unit) -> Record:
    """Measure one unit in a process of its own, for a Dask worker.

    A backend that fails is a record that says so.

    Args:
        root: Folder of the workspace.
        unit: The unit.
    """
    workspace = Workspace.find(root, create=False)
    try:
        ((_, record),) = measure_units(workspace, [unit], say=lambda _: None)
    except BackendError as error:
        return failed(workspace, unit, error)
    return record


def plan_of(workspace: Workspace, unit: Unit) -> Plan:
    """Find how the model of a unit is opened."""
    (plan,) = plan_backends(workspace, unit.model, unit.options)
    return plan


def measure(workspace: Workspace, unit: Unit, model: Opened, *, say: Say) -> Record:
    """Measure one unit with a model that is open.

    Returns:
        The record; of a backend that failed, one that says so.
    """
    device = unit.options.device if is_on_gpu(model.evaluator) else "cpu"
    options = replace(unit.options, device=device)
    session = open_session(workspace, model.subject, options, say)
    part = _part(workspace, unit, session)
    before = model.backend_facts()
    suite = {"suite": unit.suite, "suite_digest": unit.suite_digest}
    try:
        result = session.measure(
            unit.task.task,
            model,
            part,
            settings=unit.settings,
            references=unit.references,
        )
    except BackendError as error:
        words = f"{unit.name}: {' '.join(str(error).split())}"
        return session.failure(part, words, **suite)
    return session.record(
        part,
        {unit.task.task: result},
        kernels=model.evaluator.kernels() or None,
        foreign=_spent_since(before, model.backend_facts()),
        **suite,
    )


def failed(workspace: Workspace, unit: Unit, error: DpbenchError) -> Record:
    """Say that the backend could not open the model."""
    subject = unopened(workspace, plan_of(workspace, unit), unit.options)
    session = open_session(workspace, subject, unit.options, lambda _: None)
    return session.failure(
        _part(workspace, unit, session),
        f"{unit.name}: {' '.join(str(error).split())}",
        suite=unit.suite,
        suite_digest=unit.suite_digest,
    )


def forget_kernels() -> None:
    """Forget which kernels served before, but not which failed their check."""
    for name in [name for name in IN_USE if not name.endswith(REJECTED)]:
        del IN_USE[name]


def _part(workspace: Workspace, unit: Unit, session: Session) -> Part:
    (part,) = parts_to_evaluate(
        workspace,
        session.training,
        f"{unit.version}:{unit.task.part}",
        split=unit.split,
    )
    return part


def _spent_since(
    before: BackendFacts | None, after: BackendFacts | None
) -> BackendFacts | None:
    """Take what earlier units asked of the program off its counts."""
    if before is None or after is None:
        return after
    return replace(
        after,
        calls=after.calls - before.calls,
        worker_s=round(after.worker_s - before.worker_s, 6),
        overhead_s=round(after.overhead_s - before.overhead_s, 6),
    )
