"""Opening a model on the backend that shall evaluate it."""

import logging
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from dpbench.backends.client import BackendModel, open_backend
from dpbench.backends.devices import visible_devices
from dpbench.backends.evidence import evidence_of
from dpbench.backends.interchange import Loaded, convert, load_any, write_native
from dpbench.backends.launch import Launch
from dpbench.backends.trust import digest_of, is_program, trust_of
from dpbench.errors import EvaluationError, ModelError
from dpbench.eval.evaluator import AbstractEvaluator
from dpbench.eval.facts import foreign_model_facts, model_facts
from dpbench.eval.foreign import NOT_TOLD, ForeignEvaluator
from dpbench.eval.known import known_provenance
from dpbench.eval.native import NativeEvaluator
from dpbench.eval.options import Options
from dpbench.eval.planning import PORTABLE, Plan, Program
from dpbench.eval.record import BackendFacts, ModelFacts
from dpbench.models.compressed import CompressedPotential
from dpbench.models.files import Potential, load_potential
from dpbench.models.potential import DeepPotential
from dpbench.models.recognise import OWN_KINDS
from dpbench.models.sel import trained_overflow
from dpbench.store.workspace import Workspace

logger = logging.getLogger(__name__)

OPENING_SECONDS = 900.0
"""How long opening a model may take, s: some backends compile it then."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Subject:
    """What a record says of a model on a backend, measured or not."""

    backend: str
    """Name of the backend, as in records."""
    model: ModelFacts
    """The model."""
    provenance: Mapping[str, Any]
    """What is known of its making."""
    precision: str
    """In which the backend evaluates it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Opened:
    """A model that can be measured."""

    subject: Subject
    """What it is."""
    evaluator: AbstractEvaluator
    """The model as it is measured."""
    reference: AbstractEvaluator | None
    """The same weights in float64 with the exact embedding, where that is another."""
    facts: BackendFacts | None = None
    """The foreign program; its counts are those at the start."""

    def backend_facts(self) -> BackendFacts | None:
        """Describe the foreign program with what it has taken so far."""
        if self.facts is None or not isinstance(self.evaluator, ForeignEvaluator):
            return None
        spent = self.evaluator.spent
        return replace(
            self.facts,
            calls=spent.calls,
            worker_s=round(spent.worker_s, 6),
            overhead_s=round(spent.overhead_s, 6),
        )


def unopened(workspace: Workspace, plan: Plan, options: Options) -> Subject:
    """Describe a model that a backend could not evaluate."""
    provenance = known_provenance(workspace, plan.path)
    facts = foreign_model_facts(plan.path, None, provenance, name=options.name)
    if plan.kind in OWN_KINDS:
        try:
            model, told = load_potential(plan.path)
        except ModelError as error:
            logger.info("%s The record names its file alone.", error)
        else:
            provenance = known_provenance(workspace, plan.path, told)
            facts = model_facts(model, plan.path, provenance, name=options.name)
    return Subject(
        backend=plan.backend,
        model=facts,
        provenance=provenance,
        precision=options.precision or NOT_TOLD,
    )


@contextmanager
def opened(workspace: Workspace, plan: Plan, options: Options) -> Iterator[Opened]:
    """Open what was planned; a worker ends with the context.

    Raises:
        ModelError: If the model cannot be read.
        BackendError: If the backend cannot open it.
    """
    program = plan.program
    if program is None:
        yield _opened_native(workspace, plan, options)
        return
    with tempfile.TemporaryDirectory(prefix="dpbench-evaluate-") as folder:
        native = _native_of(workspace, plan, options)
        launch = _on_device(program.launch, options.device)
        if native is None and plan.kind in PORTABLE:
            plan = replace(plan, suffix=None)  # its own program converts it
        target = plan.path
        if plan.suffix is not None:
            target = _converted(workspace, plan, options, Path(folder), native)
        with open_backend(
            launch,
            target,
            # Anew: what was converted just now is noted in the workspace.
            trust=trust_of(workspace.root, options.trust),
            # Of the one that it sees, the number is 0.
            options={"device": options.device.partition(":")[0]}
            if program.takes_device
            else {},
            start_timeout_s=OPENING_SECONDS,
        ) as model:
            found = _opened_foreign(workspace, plan, options, model, native=native)
            facts = _program_facts(workspace, program, plan, model, file=target)
            yield replace(found, facts=facts)


def _opened_native(workspace: Workspace, plan: Plan, options: Options) -> Opened:
    model, provenance = _read(workspace, plan)
    precision = options.precision or model.config.precision
    overflow = options.sel_overflow or trained_overflow(provenance)
    evaluator = NativeEvaluator(
        model.to(options.device, getattr(torch, precision)),
        device=options.device,
        sel_overflow=overflow,
    )
    # Tables are a fast mode, too: the record says what they cost.
    has_own_tables = isinstance(evaluator.model, CompressedPotential) and isinstance(
        model, DeepPotential
    )
    reference = None
    if precision != "float64" or has_own_tables:
        reference = exact_evaluator(model, options, overflow=overflow)
    return Opened(
        subject=Subject(
            backend=plan.backend,
            model=model_facts(model, plan.path, provenance, name=options.name),
            provenance=provenance,
            precision=precision,
        ),
        evaluator=evaluator,
        reference=reference,
    )


def exact_evaluator(
    model: Potential, options: Options, *, overflow: Any
) -> NativeEvaluator:
    """Return the same weights in float64, the embedding exact."""
    if isinstance(model, CompressedPotential):
        # Of the same tables, rounded as they are: what float32's arithmetic costs.
        exact: Potential = model.to(options.device, torch.float64, may_widen=True)
    else:
        exact = model.to(options.device, torch.float64)
    return NativeEvaluator(
        exact, device=options.device, is_exact=True, sel_overflow=overflow
    )


def _read(workspace: Workspace, plan: Plan) -> tuple[Potential, Mapping[str, Any]]:
    """Read a model for dpbench's own kernels."""
    if plan.kind in (*OWN_KINDS, "unknown"):
        model, told = load_potential(plan.path)
        return model, known_provenance(workspace, plan.path, told)
    loaded = plan.loaded or load_any(
        plan.path, trust=plan.trust, workspace=workspace.root
    )
    return loaded.model, known_provenance(workspace, plan.path, loaded.provenance)


def _native_of(workspace: Workspace, plan: Plan, options: Options) -> Loaded | None:
    """Read the weights of a file that dpbench reads itself; None of any other."""
    if plan.kind not in OWN_KINDS:
        return None
    try:
        loaded = load_any(plan.path, trust=plan.trust, workspace=workspace.root)
    except ModelError as error:
        if plan.kind not in PORTABLE:
            raise
        logger.info("%s Backend %s reads it itself.", error, plan.backend)
        return None
    if options.precision is not None:
        dtype = getattr(torch, options.precision)
        loaded = replace(loaded, model=loaded.model.to("cpu", dtype))
    return loaded


def is_on_gpu(evaluator: AbstractEvaluator) -> bool:
    """Say whether an evaluator computes on a GPU."""
    return evaluator.device.lower().startswith(("cuda", "gpu", "rocm", "hip"))


def _on_device(launch: Launch, device: str) -> Launch:
    """Let the worker see the device that was asked for, and no other."""
    return replace(launch, env={**launch.env, **visible_devices(device, os.environ)})


def _converted(
    workspace: Workspace,
    plan: Plan,
    options: Options,
    folder: Path,
    native: Loaded | None,
) -> Path:
    """Write the model in the backend's own format."""
    source = plan.path
    if native is not None:
        source = folder / "m.dp"
        write_native(source, native.model, native.provenance)
    target = folder / f"model{plan.suffix}"
    convert(
        source,
        target,
        backend=plan.backend,
        trust=options.trust,
        workspace=workspace.root,
    )
    return target


def _opened_foreign(
    workspace: Workspace,
    plan: Plan,
    options: Options,
    model: BackendModel,
    *,
    native: Loaded | None,
) -> Opened:
    evaluator = ForeignEvaluator(model)
    wanted = options.precision
    if wanted is not None and wanted != evaluator.precision:
        raise EvaluationError(
            f"{plan.path}: {plan.backend} evaluates it in {evaluator.precision}; "
            f"expected {wanted}, as --precision says. Leave that out, or name a model "
            "of that precision."
        )
    reference, provenance = None, known_provenance(workspace, plan.path)
    if native is None:
        facts = foreign_model_facts(plan.path, model, provenance, name=options.name)
    else:
        provenance = known_provenance(workspace, plan.path, native.provenance)
        facts = model_facts(native.model, plan.path, provenance, name=options.name)
        reference = exact_evaluator(
            native.model, options, overflow=trained_overflow(provenance)
        )
    return Opened(
        subject=Subject(
            backend=plan.backend,
            model=facts,
            provenance=provenance,
            precision=evaluator.precision,
        ),
        evaluator=evaluator,
        reference=reference,
    )


def _program_facts(
    workspace: Workspace,
    program: Program,
    plan: Plan,
    model: BackendModel,
    *,
    file: Path,
) -> BackendFacts:
    found = evidence_of(plan.backend, own_cards=workspace.root / "backends")
    return BackendFacts(
        licence=program.card.licence,
        versions={str(k): str(v) for k, v in model.facts.get("versions", {}).items()},
        environment=found["digest"],
        packages=found["packages"],
        build=found["facts"],
        sandbox=model.sandbox,
        trusted=digest_of(file) if is_program(file) else None,
        converted=None
        if plan.suffix is None
        else f"from {plan.path.name} to {plan.suffix} by DeePMD-kit",
        start_s=round(model.start_s, 3),
    )
