"""Evaluate a model: choose frames, do the tasks, file one record per row."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dpbench.errors import BackendError, DpbenchError
from dpbench.eval.baseline import FittedBaseline, fit_baseline
from dpbench.eval.facts import (
    dataset_facts,
    provenance_chain,
    split_facts,
)
from dpbench.eval.fidelity import compare_with_reference
from dpbench.eval.fingerprint import (
    Hardware,
    Software,
    hardware_fingerprint,
    software_fingerprint,
)
from dpbench.eval.leakage import find_leakage, leakage_marks
from dpbench.eval.opening import Opened, Subject, is_on_gpu, opened, unopened
from dpbench.eval.options import DEFAULT_TASKS, STABILITY, THROUGHPUT, Options
from dpbench.eval.parts import Part, Training, find_training, parts_to_evaluate
from dpbench.eval.planning import Plan, plan_backends
from dpbench.eval.predict import keep, predict
from dpbench.eval.record import (
    SCHEMA_NAME,
    SCHEMA_VERSION,
    LeakageFacts,
    Record,
    record_to_payload,
)
from dpbench.eval.score import score
from dpbench.eval.stability import measure_stability
from dpbench.eval.task_results import Accuracy, Stability, TaskResult, Throughput
from dpbench.eval.tasks.doing import do_task
from dpbench.eval.tasks.table import task_of
from dpbench.eval.tasks.task import Job
from dpbench.eval.throughput import measure_throughput
from dpbench.store import catalog
from dpbench.store.workspace import Workspace

Progress = Callable[[str], None]

logger = logging.getLogger(__name__)

NO_RESULT = "the backend gave no result"
"""Mark of a record that says why."""

MIXED = "mixed levels of theory"
"""Mark of a row on a version whose labels contradict each other."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Filed:
    """A record and its name in the object store."""

    digest: str
    record: Record


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
    session = _session(workspace, model.subject, replace(options, device=device), say)
    parts = parts_to_evaluate(workspace, session.training, dataset, split=options.split)
    records = (session.record(model, part, is_first=part is parts[0]) for part in parts)
    return [session.file(record) for record in records if record is not None]


def _failed(
    workspace: Workspace,
    plan: Plan,
    options: Options,
    dataset: str | None,
    error: DpbenchError,
) -> Filed:
    """File that a backend gave no result, and its last words."""
    subject = unopened(workspace, plan, options)
    session = _session(workspace, subject, options, lambda _: None)
    parts = parts_to_evaluate(workspace, session.training, dataset, split=options.split)
    return session.file(session.failure(parts[0], " ".join(str(error).split())))


def _session(
    workspace: Workspace, subject: Subject, options: Options, say: Progress
) -> "_Session":
    return _Session(
        workspace=workspace,
        subject=subject,
        training=find_training(workspace, subject.provenance),
        options=options,
        hardware=hardware_fingerprint(device=options.device),
        software=software_fingerprint(),
        say=say,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Session:
    """What all records of one evaluation share."""

    workspace: Workspace
    subject: Subject
    training: Training | None
    options: Options
    hardware: Hardware
    software: Software
    say: Progress

    def record(self, model: Opened, part: Part, *, is_first: bool) -> Record | None:
        """Do the tasks on one part; None if none of them concerns it."""
        tasks = [task for task in self.options.tasks if is_first or task == "accuracy"]
        if not tasks:
            return None
        where = f"{part.version.label}:{part.name}"
        self.say(f"comparing {where} with the training frames")
        leakage = find_leakage(part, self.training, self.subject.provenance)
        found: dict[str, Any] = {}
        others: dict[str, TaskResult] = {}
        failure = None
        for task in tasks:
            try:
                if task in DEFAULT_TASKS:
                    found[task] = self._result(task, model, part)
                else:
                    others[task] = self._task_result(task, model, part)
            except BackendError as error:
                failure = f"{task} on {where}: {' '.join(str(error).split())}"
                logger.error("%s What was measured before it stays.", failure)
                break
        return self._filled(
            part,
            leakage,
            marks=_marks_of(part, leakage, found.get("accuracy")),
            **found,
            tasks=others,
            kernels=model.evaluator.kernels() or None,
            foreign=model.backend_facts(),
            failure=failure,
        )

    def _result(
        self, task: str, model: Opened, part: Part
    ) -> Accuracy | Stability | Throughput:
        """Do one task on one part."""
        where = f"{part.version.label}:{part.name}"
        if task == "accuracy":
            self.say(f"accuracy on {len(part.indices)} frames of {where}")
            return self._accuracy(model, part)
        if task == "stability":
            self.say(f"stability: constant-energy dynamics from a frame of {where}")
            return self._stability(model, part)
        self.say(f"throughput on supercells of a frame of {where}")
        return self._throughput(model, part)

    def _task_result(self, name: str, model: Opened, part: Part) -> TaskResult:
        """Do a task of the table on one part."""
        task = task_of(name)
        self.say(f"{name}: {task.title} from {part.version.label}:{part.name}")
        return do_task(
            task,
            model.evaluator,
            Job(
                workspace=self.workspace,
                part=part,
                settings=task.modes[self.options.mode],
                provenance=self.subject.provenance,
                say=self.say,
            ),
        )

    def failure(self, part: Part, words: str) -> Record:
        """Say that the backend gave no result on a part."""
        leakage = find_leakage(part, self.training, self.subject.provenance)
        return self._filled(part, leakage, marks=(NO_RESULT,), failure=words)

    def _filled(
        self,
        part: Part,
        leakage: LeakageFacts,
        *,
        marks: tuple[str, ...],
        accuracy: Accuracy | None = None,
        stability: Stability | None = None,
        throughput: Throughput | None = None,
        **found: Any,
    ) -> Record:
        """Return a record: the results of a part, and what they are of."""
        subject = self.subject
        return Record(
            schema=SCHEMA_NAME,
            schema_version=SCHEMA_VERSION,
            created_at=datetime.now(UTC).isoformat(timespec="seconds"),
            command=self.options.command,
            mode=self.options.mode,
            model=subject.model,
            dataset=dataset_facts(part.version),
            split=None if part.split is None else split_facts(part.split),
            part=part.name,
            nframes=len(part.indices),
            natoms=int(part.version.natoms[part.indices].sum()),
            backend=subject.backend,
            precision=subject.precision,
            hardware=self.hardware,
            software=self.software,
            overlap=part.overlap,
            marks=marks,
            leakage=leakage,
            accuracy=accuracy,
            stability=stability,
            throughput=throughput,
            provenance=provenance_chain(
                subject.provenance, self.training, part.version
            ),
            **found,
        )

    def file(self, record: Record) -> Filed:
        """Put a record into the workspace."""
        payload = record_to_payload(record)
        return Filed(
            digest=catalog.register_result(self.workspace, payload), record=record
        )

    def _accuracy(self, model: Opened, part: Part) -> Accuracy:
        kept, seconds = predict(model.evaluator, part.version, part.indices)
        scored = score(
            kept,
            part.version,
            baseline=self._baseline(part),
            file=keep(self.workspace, kept),
            wall_time_s=seconds,
        )
        if model.reference is None:
            return scored
        fidelity = compare_with_reference(kept, part.version, model.reference)
        return replace(scored, fidelity=fidelity)

    def _stability(self, model: Opened, part: Part) -> Stability:
        first = int(part.indices[0])
        settings = replace(
            STABILITY[self.options.mode], temperature=self.options.temperature
        )
        return measure_stability(
            model.evaluator,
            part.version.read([first]),
            start_frame=first,
            settings=settings,
        )

    def _throughput(self, model: Opened, part: Part) -> Throughput:
        first = int(part.indices[0])
        settings = replace(
            THROUGHPUT[self.options.mode], temperature=self.options.temperature
        )
        return measure_throughput(
            model.evaluator,
            part.version.read([first]),
            start_frame=first,
            settings=settings,
        )

    def _baseline(self, part: Part) -> FittedBaseline:
        """Fit to the training frames; where they are not here, to the scored ones."""
        training = self.training
        if training is not None and len(training.split.parts.get("train", ())):
            return fit_baseline(
                training.version,
                training.split.parts["train"],
                fitted_on=f"{training.version.label}:train",
            )
        return fit_baseline(
            part.version,
            part.indices,
            fitted_on="the evaluated frames themselves (training data not here)",
        )


def _marks_of(
    part: Part, leakage: LeakageFacts, accuracy: Accuracy | None
) -> tuple[str, ...]:
    seen = (*part.marks, *leakage_marks(part, leakage))
    if mixed := part.version.mixed_theory:
        seen += (f"{MIXED} ({', '.join(conflict['key'] for conflict in mixed)})",)
    if accuracy is None or not accuracy.nonfinite_frames:
        return seen
    return (*seen, f"no finite answer on {accuracy.nonfinite_frames} frames")
