"""One evaluation: what its records share, each task on a part, and the record of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

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
from dpbench.eval.opening import Opened, Subject
from dpbench.eval.options import DEFAULT_TASKS, STABILITY, THROUGHPUT, Options
from dpbench.eval.parts import Part, Training, find_training
from dpbench.eval.predict import keep, predict
from dpbench.eval.record import (
    SCHEMA_NAME,
    SCHEMA_VERSION,
    LeakageFacts,
    Record,
    record_to_payload,
)
from dpbench.eval.score import score
from dpbench.eval.stability import StabilitySettings, measure_stability
from dpbench.eval.suites.loading import shipped_references
from dpbench.eval.task_results import Accuracy, Stability, TaskResult, Throughput
from dpbench.eval.tasks.doing import do_task
from dpbench.eval.tasks.table import task_of
from dpbench.eval.tasks.task import Job
from dpbench.eval.throughput import ThroughputSettings, measure_throughput
from dpbench.store import catalog
from dpbench.store.workspace import Workspace

Progress = Callable[[str], None]

Result = Accuracy | Stability | Throughput | TaskResult
"""What one task gives."""

NO_RESULT = "the backend gave no result"
"""Mark of a record that says why."""

MIXED = "mixed levels of theory"
"""Mark of a row on a version whose labels contradict each other."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Filed:
    """A record and its name in the object store."""

    digest: str
    record: Record


def open_session(
    workspace: Workspace, subject: Subject, options: Options, say: Progress
) -> "Session":
    """Begin an evaluation on this machine."""
    return Session(
        workspace=workspace,
        subject=subject,
        training=find_training(workspace, subject.provenance),
        options=options,
        hardware=hardware_fingerprint(device=options.device),
        software=software_fingerprint(),
        say=say,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Session:
    """What all records of one evaluation share."""

    workspace: Workspace
    subject: Subject
    training: Training | None
    options: Options
    hardware: Hardware
    software: Software
    say: Progress

    def measure(
        self,
        task: str,
        model: Opened,
        part: Part,
        *,
        settings: Any = None,
        references: Path | None = None,
    ) -> Result:
        """Do one task on one part.

        Args:
            task: Its name.
            model: The model on its backend.
            part: The frames.
            settings: Of the task; None: those of the mode.
            references: Folder of reference values; None: those that ship for the data.

        Raises:
            BackendError: If the backend fails.
        """
        where = f"{part.version.label}:{part.name}"
        if task == "accuracy":
            self.say(f"accuracy on {len(part.indices)} frames of {where}")
            return self._accuracy(model, part)
        if task == "stability":
            self.say(f"stability: constant-energy dynamics from a frame of {where}")
            return self._stability(model, part, settings)
        if task == "throughput":
            self.say(f"throughput on supercells of a frame of {where}")
            return self._throughput(model, part, settings)
        known = task_of(task)
        self.say(f"{task}: {known.title} from {where}")
        job = Job(
            workspace=self.workspace,
            part=part,
            settings=settings or known.modes[self.options.mode],
            references=references or shipped_references(task, part.version.digest),
            provenance=self.subject.provenance,
            say=self.say,
        )
        return do_task(known, model.evaluator, job)

    def record(self, part: Part, results: Mapping[str, Result], **facts: Any) -> Record:
        """Join the results of one part to a record.

        Args:
            part: The frames.
            results: By task.
            facts: Fields of the record beside these.
        """
        self.say(f"comparing {part.version.label}:{part.name} with the training frames")
        leakage = find_leakage(part, self.training, self.subject.provenance)
        own: dict[str, Any] = {n: results.get(n) for n in DEFAULT_TASKS}
        return self._filled(
            part,
            leakage,
            marks=_marks_of(part, leakage, own["accuracy"]),
            **own,
            tasks={n: r for n, r in results.items() if n not in DEFAULT_TASKS},
            **facts,
        )

    def failure(self, part: Part, words: str, **facts: Any) -> Record:
        """Say that the backend gave no result on a part."""
        leakage = find_leakage(part, self.training, self.subject.provenance)
        return self._filled(part, leakage, marks=(NO_RESULT,), failure=words, **facts)

    def _filled(
        self,
        part: Part,
        leakage: LeakageFacts,
        *,
        marks: tuple[str, ...],
        accuracy: Accuracy | None = None,
        stability: Stability | None = None,
        throughput: Throughput | None = None,
        created_at: str | None = None,
        **found: Any,
    ) -> Record:
        """Return a record: the results of a part, and what they are of."""
        subject = self.subject
        return Record(
            schema=SCHEMA_NAME,
            schema_version=SCHEMA_VERSION,
            created_at=created_at or datetime.now(UTC).isoformat(timespec="seconds"),
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

    def _stability(
        self, model: Opened, part: Part, settings: StabilitySettings | None
    ) -> Stability:
        first = int(part.indices[0])
        settings = settings or replace(
            STABILITY[self.options.mode], temperature=self.options.temperature
        )
        return measure_stability(
            model.evaluator,
            part.version.read([first]),
            start_frame=first,
            settings=settings,
        )

    def _throughput(
        self, model: Opened, part: Part, settings: ThroughputSettings | None
    ) -> Throughput:
        first = int(part.indices[0])
        settings = settings or replace(
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
