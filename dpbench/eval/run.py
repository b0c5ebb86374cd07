"""Evaluate a model: choose frames, do the tasks, file one record per row."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from dpbench.eval.baseline import FittedBaseline, fit_baseline
from dpbench.eval.evaluator import AbstractEvaluator
from dpbench.eval.facts import (
    dataset_facts,
    model_facts,
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
from dpbench.eval.native import NativeEvaluator
from dpbench.eval.options import STABILITY, THROUGHPUT, Options
from dpbench.eval.parts import Part, Training, find_training, parts_to_evaluate
from dpbench.eval.predict import keep, predict
from dpbench.eval.record import (
    SCHEMA_NAME,
    SCHEMA_VERSION,
    LeakageFacts,
    ModelFacts,
    Record,
    record_to_payload,
)
from dpbench.eval.score import score
from dpbench.eval.stability import measure_stability
from dpbench.eval.task_results import Accuracy, Stability, Throughput
from dpbench.eval.throughput import measure_throughput
from dpbench.models.compressed import CompressedPotential
from dpbench.models.files import Potential, load_potential
from dpbench.models.potential import DeepPotential
from dpbench.models.sel import SelOverflow, trained_overflow
from dpbench.store import catalog
from dpbench.store.workspace import Workspace

Progress = Callable[[str], None]

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
        model_path: A model of ``dpbench train``.
        dataset: ``NAME[-vN][:PART]``; None: the held-out parts of the split that the
            model was trained with.
        options: Tasks, mode, backend, precision.
        progress: Called with a few words as each step begins.

    Returns:
        The records, filed in the workspace, first part first.

    Raises:
        ModelError: If the model cannot be read, or does not know an element.
        DatasetError: If the dataset does not exist.
        EvaluationError: If there are no frames to evaluate.
    """
    options = options or Options()
    model, provenance = load_potential(model_path)
    facts = model_facts(model, model_path, provenance, name=options.name)
    precision = options.precision or model.config.precision
    overflow = options.sel_overflow or trained_overflow(provenance)
    evaluator, reference = _evaluators(model, precision, options, overflow)
    training = find_training(workspace, provenance)
    parts = parts_to_evaluate(workspace, training, dataset, split=options.split)
    session = _Session(
        workspace=workspace,
        evaluator=evaluator,
        reference=reference,
        model=facts,
        provenance=provenance,
        training=training,
        options=options,
        hardware=hardware_fingerprint(device=options.device),
        software=software_fingerprint(),
        say=progress or (lambda _: None),
    )
    records = [session.record(part, is_first=part is parts[0]) for part in parts]
    return [session.file(record) for record in records if record is not None]


def _evaluators(
    model: Potential, precision: str, options: Options, overflow: SelOverflow
) -> tuple[NativeEvaluator, NativeEvaluator | None]:
    """Return the model as it is measured, and the exact one where that is another."""
    evaluator = NativeEvaluator(
        model.to(options.device, getattr(torch, precision)),
        device=options.device,
        sel_overflow=overflow,
    )
    # Tables are a fast mode, too: the record says what they cost.
    has_own_tables = isinstance(evaluator.model, CompressedPotential) and isinstance(
        model, DeepPotential
    )
    if precision == "float64" and not has_own_tables:
        return evaluator, None
    if isinstance(model, CompressedPotential):
        # Of the same tables, rounded as they are: what float32's arithmetic costs.
        exact: Potential = model.to(options.device, torch.float64, may_widen=True)
    else:
        exact = model.to(options.device, torch.float64)
    return evaluator, NativeEvaluator(
        exact, device=options.device, is_exact=True, sel_overflow=overflow
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Session:
    """What all records of one evaluation share."""

    workspace: Workspace
    evaluator: AbstractEvaluator
    reference: AbstractEvaluator | None
    model: ModelFacts
    provenance: Mapping[str, Any]
    training: Training | None
    options: Options
    hardware: Hardware
    software: Software
    say: Progress

    def record(self, part: Part, *, is_first: bool) -> Record | None:
        """Do the tasks on one part; None if none of them concerns it."""
        tasks = [task for task in self.options.tasks if is_first or task == "accuracy"]
        if not tasks:
            return None
        where = f"{part.version.label}:{part.name}"
        self.say(f"comparing {where} with the training frames")
        leakage = find_leakage(part, self.training, self.provenance)
        accuracy = stability = throughput = None
        if "accuracy" in tasks:
            self.say(f"accuracy on {len(part.indices)} frames of {where}")
            accuracy = self._accuracy(part)
        if "stability" in tasks:
            self.say(f"stability: constant-energy dynamics from a frame of {where}")
            stability = self._stability(part)
        if "throughput" in tasks:
            self.say(f"throughput on supercells of a frame of {where}")
            throughput = self._throughput(part)
        return Record(
            schema=SCHEMA_NAME,
            schema_version=SCHEMA_VERSION,
            created_at=datetime.now(UTC).isoformat(timespec="seconds"),
            command=self.options.command,
            mode=self.options.mode,
            model=self.model,
            dataset=dataset_facts(part.version),
            split=None if part.split is None else split_facts(part.split),
            part=part.name,
            nframes=len(part.indices),
            natoms=int(part.version.natoms[part.indices].sum()),
            backend=self.options.backend,
            precision=self.evaluator.precision,
            hardware=self.hardware,
            software=self.software,
            overlap=part.overlap,
            marks=_marks_of(part, leakage, accuracy),
            leakage=leakage,
            accuracy=accuracy,
            stability=stability,
            throughput=throughput,
            provenance=provenance_chain(self.provenance, self.training, part.version),
            kernels=self.evaluator.kernels() or None,
        )

    def file(self, record: Record) -> Filed:
        """Put a record into the workspace."""
        payload = record_to_payload(record)
        return Filed(
            digest=catalog.register_result(self.workspace, payload), record=record
        )

    def _accuracy(self, part: Part) -> Accuracy:
        kept, seconds = predict(self.evaluator, part.version, part.indices)
        scored = score(
            kept,
            part.version,
            baseline=self._baseline(part),
            file=keep(self.workspace, kept),
            wall_time_s=seconds,
        )
        if self.reference is None:
            return scored
        fidelity = compare_with_reference(kept, part.version, self.reference)
        return replace(scored, fidelity=fidelity)

    def _stability(self, part: Part) -> Stability:
        first = int(part.indices[0])
        settings = replace(
            STABILITY[self.options.mode], temperature=self.options.temperature
        )
        return measure_stability(
            self.evaluator,
            part.version.read([first]),
            start_frame=first,
            settings=settings,
        )

    def _throughput(self, part: Part) -> Throughput:
        first = int(part.indices[0])
        settings = replace(
            THROUGHPUT[self.options.mode], temperature=self.options.temperature
        )
        return measure_throughput(
            self.evaluator,
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
