"""Records of their own for configurations that were measured side by side."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Literal

from dpbench.config import to_mapping
from dpbench.eval.facts import RUN_KEYS
from dpbench.eval.fingerprint import Hardware, Software
from dpbench.eval.record import (
    SCHEMA_NAME,
    SCHEMA_VERSION,
    DatasetFacts,
    Overlap,
    Provenance,
    Record,
)
from dpbench.eval.speed.competitors import Competitor
from dpbench.eval.speed.reporting import TASK
from dpbench.eval.task_results import TaskResult
from dpbench.eval.tasks.doing import code_digest


def speed_record(
    competitor: Competitor,
    result: TaskResult,
    *,
    hardware: Hardware,
    software: Software,
    mode: Literal["smoke", "standard", "full"],
    command: Sequence[str],
    kernels: Mapping[str, str],
) -> Record:
    """Make a record of its own for one configuration.

    Its dataset is the set of structures that the code makes: named by the digest of
    that code.
    """
    subject = competitor.subject
    notes = {**result.protocol, **competitor.notes}
    fidelity = competitor.fidelity
    samples = {
        **result.samples,
        "fidelity": None if fidelity is None else to_mapping(fidelity),
    }
    told = {k: subject.provenance[k] for k in RUN_KEYS if k in subject.provenance}
    families = [one for one in result.samples["families"].values() if one]
    sizes = [size for family in families for size in family["sizes"]]
    return Record(
        schema=SCHEMA_NAME,
        schema_version=SCHEMA_VERSION,
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        command=tuple(command),
        mode=mode,
        model=subject.model,
        dataset=structures(),
        split=None,
        part="all",
        nframes=len(sizes),
        natoms=sum(size["natoms"] for size in sizes),
        backend=subject.backend,
        precision=subject.precision,
        hardware=hardware,
        software=software,
        overlap=Overlap(train=None, validation=None),
        marks=(),
        accuracy=None,
        stability=None,
        throughput=None,
        provenance=Provenance(
            run=told or None,
            training_dataset=None,
            training_split=None,
            sources=(),
            nsources=0,
        ),
        tasks={TASK: replace(result, protocol=notes, samples=samples)},
        kernels=dict(kernels) or None,
        foreign=competitor.facts,
    )


def structures() -> DatasetFacts:
    """Name the structures that the families make."""
    digest = code_digest(("dpbench.eval.speed.families",))
    return DatasetFacts(
        name="speed-structures",
        number=None,
        label="structures made on the spot",
        digest=digest,
    )
