"""The result record: everything about one measured row, in one JSON object.

A record reads alone: it holds the numbers with unit, spread and raw samples, what was
measured (model, dataset version, split, part), where (hardware, software), how
(protocol, command), and the chain back to the source files. Non-finite numbers do not
exist in it; what is missing is null.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from dpbench.config import finite, from_mapping, to_mapping
from dpbench.errors import ConfigError, EvaluationError
from dpbench.eval.fingerprint import Hardware, Software
from dpbench.eval.task_results import (
    Accuracy,
    Stability,
    TaskResult,
    Throughput,
)

SCHEMA_VERSION = 5
"""Of the fields below. Readers accept every older number. 1 had neither ``leakage`` nor
names of splits; 2 had neither ``kernels`` nor the kind of the model; 3 knew dpbench's
own backend alone; 4 knew three tasks and no suites."""

SCHEMA_NAME = "dpbench.result"


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelFacts:
    """The model that was measured."""

    digest: str
    """Digest of its weights and configuration."""
    name: str
    """As shown in tables."""
    path: str
    """Where the file lay; a hint."""
    parameters: int | None
    """Number of trainable numbers; None where a foreign model does not tell."""
    type_map: tuple[str, ...]
    """Elements that it knows."""
    rcut: float | None = None
    """Cutoff radius, Å."""
    description: str = ""
    """Architecture in a few words."""
    kind: Literal["plain", "compressed", "foreign"] = "plain"
    """What the file holds: nets, tables that were made of them, or another program's
    model."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BackendFacts:
    """The foreign program that evaluated, and what asking it took."""

    licence: str
    """Of the program, as its card says."""
    versions: dict[str, str]
    """As the program tells them itself."""
    environment: str | None
    """Digest of its Python, packages and build."""
    sandbox: str
    """What confined it."""
    packages: dict[str, str] = field(default_factory=dict)
    """All packages of its environment, name -> version."""
    build: dict[str, Any] = field(default_factory=dict)
    """What it tells of its build: compilers, flags."""
    trusted: str | None = None
    """sha256 of the file that was opened, where that is a program."""
    converted: str | None = None
    """How the file was made that it opened, where it is not the model's own."""
    start_s: float = 0.0
    """Seconds from starting the worker to the open model."""
    calls: int = 0
    """Calls of this evaluation so far."""
    worker_s: float = 0.0
    """The backend's own seconds in them."""
    overhead_s: float = 0.0
    """Seconds of the way to the worker and back beside them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DatasetFacts:
    """A dataset version."""

    name: str
    number: int | None
    label: str
    """``name-vN``."""
    digest: str
    """Content digest of the version."""
    nframes: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class SplitFacts:
    """A partition of a dataset version."""

    digest: str
    strategy: str
    seed: int | None
    parts: dict[str, int]
    """Frames of each part."""
    names: tuple[str, ...] = ()
    """What users call it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Overlap:
    """How many evaluated frames the training had seen, by exact frame digest."""

    train: int | None
    """Frames that lie in the training part; None where that cannot be known."""
    validation: int | None
    """Frames that lie in the validation part; None where that cannot be known."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LeakageFacts:
    """How many evaluated frames the training frames tell of; None = not known."""

    n_train: int | None = None
    """Training frames that they were compared with."""
    exact: int | None = None
    """The same structure as a training frame, whatever its labels."""
    equal_labels: int | None = None
    """Those of them that have the same labels, too."""
    invariant: int | None = None
    """The same structure as a training frame, written in another way; no copies."""
    same_trajectory: int | None = None
    """From a file and composition that training frames are from; copies count."""
    nearest_steps: int | None = None
    """The fewest steps between one of these and a training frame."""
    why_not: str = ""
    """Why something is not known."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceFacts:
    """A source file of a dataset version."""

    path: str
    """Where it lay when it was ingested; a hint."""
    sha256: str
    format: str
    code: str
    code_version: str | None
    nframes: int | None
    """Frames of it in the version."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Provenance:
    """The chain from the record down to the source files."""

    run: dict[str, Any] | None
    """Facts of the training run, as its model file tells them."""
    training_dataset: DatasetFacts | None
    training_split: SplitFacts | None
    sources: tuple[SourceFacts, ...]
    """Sources of the evaluated dataset version, the first thousand."""
    nsources: int
    """How many sources the evaluated version has."""
    theory_conflicts: tuple[str, ...] = ()
    """Settings in which the levels of theory of training and evaluated frames do not go
    together; empty in older records, and where the training data is not at hand."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Record:
    """One model on one dataset part, by one backend in one precision on one machine."""

    schema: str
    """``dpbench.result``."""
    schema_version: int
    created_at: str
    """UTC, ISO 8601, seconds."""
    command: tuple[str, ...]
    """What the user typed."""
    mode: Literal["smoke", "standard", "full"]
    """How much was spent; smoke numbers are rough."""
    model: ModelFacts
    dataset: DatasetFacts
    """What was evaluated."""
    split: SplitFacts | None
    """None if the whole version was evaluated."""
    part: str
    """Part of the split, or ``all``."""
    nframes: int
    natoms: int
    """Atoms of all evaluated frames together."""
    backend: str
    precision: str
    """``float64``, ``float32``, or what a foreign backend tells of it."""
    hardware: Hardware
    software: Software
    overlap: Overlap
    marks: tuple[str, ...]
    """Why the row takes no rank; empty for a row that does."""
    accuracy: Accuracy | None
    stability: Stability | None
    throughput: Throughput | None
    provenance: Provenance
    suite: str | None = None
    """Suite and version, ``si-lda-v1``, where the row is part of one."""
    suite_digest: str | None = None
    """Digest of the suite's file."""
    tasks: dict[str, TaskResult] = field(default_factory=dict)
    """Results of the tasks beside accuracy, stability and throughput, by name."""
    leakage: LeakageFacts | None = None
    """None in records of version 1."""
    kernels: dict[str, str] | None = None
    """What read the embedding, and the variant of each family of kernels that ran; None
    in records of version 2, and where the backend does not tell."""

    foreign: BackendFacts | None = None
    """The program of another backend than dpbench's own; None in older records."""
    failure: str | None = None
    """Why the backend gave no result, with its last words; None if it gave one."""

    def __post_init__(self) -> None:
        """Check what types cannot say."""
        if self.schema != SCHEMA_NAME:
            raise ConfigError(
                f"schema = '{self.schema}'; expected '{SCHEMA_NAME}'. "
                "This is no dpbench result record."
            )
        if not 1 <= self.schema_version <= SCHEMA_VERSION:
            raise ConfigError(
                f"schema_version = {self.schema_version}; expected 1 to "
                f"{SCHEMA_VERSION}. Read it with a newer dpbench."
            )
        results = (self.accuracy, self.stability, self.throughput)
        has_any = bool(self.tasks) or any(result is not None for result in results)
        if self.failure is None and not has_any:
            raise ConfigError("no task has a result; expected at least one.")


def record_to_payload(record: Record) -> dict[str, Any]:
    """Turn a record into plain JSON values; non-finite numbers become null."""
    payload: dict[str, Any] = finite(to_mapping(record))
    return payload


def record_from_payload(payload: Mapping[str, Any], *, where: str) -> Record:
    """Read a record strictly: unknown keys, missing keys and wrong types are errors.

    Args:
        payload: The decoded JSON.
        where: File or digest, the start of every message.

    Raises:
        EvaluationError: If it is no valid record.
    """
    version = payload.get("schema_version") if isinstance(payload, Mapping) else None
    if isinstance(version, int) and version > SCHEMA_VERSION:
        # Said first: a newer record has keys that are unknown here.
        raise EvaluationError(
            f"{where}: schema_version = {version}; expected 1 to {SCHEMA_VERSION}. "
            "Read it with a newer dpbench."
        )
    try:
        return from_mapping(Record, payload, where=where)
    except ConfigError as error:
        raise EvaluationError(str(error)) from error
