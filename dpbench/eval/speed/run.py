"""``dpbench bench throughput``: prepare, tell the cost, measure, file a record each."""

import os
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from dpbench.config import to_mapping
from dpbench.errors import EvaluationError
from dpbench.eval.fingerprint import hardware_fingerprint, software_fingerprint
from dpbench.eval.record import Record, record_to_payload
from dpbench.eval.speed import machine
from dpbench.eval.speed.competitors import Competitor, Wish
from dpbench.eval.speed.configurations import Configuration
from dpbench.eval.speed.kept_probes import KeptProbes, open_kept
from dpbench.eval.speed.measuring import expected_seconds, measure_ladders
from dpbench.eval.speed.preparing import prepare
from dpbench.eval.speed.records import speed_record
from dpbench.eval.speed.reporting import task_result
from dpbench.eval.speed.results import Ladders
from dpbench.eval.speed.settings import SpeedSettings
from dpbench.eval.task_results import Fidelity
from dpbench.store import catalog
from dpbench.store.workspace import Workspace

Mode = Literal["smoke", "standard", "full"]
Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class SpeedRun:
    """What a measurement left."""

    ladders: tuple[Ladders, ...]
    """One per configuration."""
    records: tuple[tuple[str, Record], ...]
    """Digest in the workspace, and the record, in the same order."""
    fidelity: dict[str, Fidelity | None]
    """Of each label, how far it is from the same weights evaluated exactly."""


def bench_throughput(
    workspace: Workspace,
    wish: Wish,
    settings: SpeedSettings,
    *,
    mode: Mode,
    command: Sequence[str] = (),
    say: Say = lambda _: None,
) -> SpeedRun:
    """Measure all configurations side by side, and file a record of each.

    Args:
        workspace: Has cards and trust; takes the records.
        wish: Models, backends, precisions.
        settings: Sizes, families, processes, windows.
        mode: As the records tell it.
        command: What the user typed.
        say: Told what goes on, the cost first.

    Raises:
        EvaluationError: If nothing is to be measured.
        ModelError: If a file is no model.
        BackendError: If a backend is not installed, or refuses the model.
    """
    with tempfile.TemporaryDirectory(prefix="dpbench-speed-") as folder:
        began = time.perf_counter()
        competitors = prepare(workspace, wish, folder=Path(folder), say=say)
        if len(competitors) > 1 or time.perf_counter() - began > 1:
            say(f"files are ready after {time.perf_counter() - began:.0f} s")
        say(cost_words(competitors, settings))
        return _measured(
            workspace, competitors, settings, mode=mode, command=command, say=say
        )


def cost_words(competitors: Sequence[Competitor], settings: SpeedSettings) -> str:
    """Say what will be measured and how long that takes at least."""
    configurations = [item.configuration for item in competitors]
    seconds = expected_seconds(configurations, settings)
    cases = len(settings.families) * len(settings.sizes)
    return (
        f"{len(configurations)} configurations, {cases} structures at most, "
        f"{settings.processes} processes each: about {_duration(seconds)}, longer "
        "where a step takes longer than a window"
    )


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def _measured(
    workspace: Workspace,
    competitors: Sequence[Competitor],
    settings: SpeedSettings,
    *,
    mode: Mode,
    command: Sequence[str],
    say: Say,
) -> SpeedRun:
    configurations = [item.configuration for item in competitors]
    device = configurations[0].device
    hardware = hardware_fingerprint(device=device)
    if hardware.threads != settings.threads:
        raise EvaluationError(
            f"threads = {settings.threads}, but this process has {hardware.threads}; "
            "expected the same, so that records name what was used. Set "
            f"OMP_NUM_THREADS={settings.threads}, or give --threads."
        )
    software = software_fingerprint()
    before = _load()
    start, ends = machine.conditions(), {}
    about = {"hardware": hardware.id, "software": to_mapping(software)}
    kept = _kept(workspace, configurations, settings, about=about, say=say)
    ladders = measure_ladders(configurations, settings, say=say, kept=kept)
    ends = machine.conditions()
    conditions = {
        "load_before": before,
        "load_after": _load(),
        "cores_allowed": settings.threads,
        "machine_before": start,
        "machine_after": ends,
    }
    records = []
    labels = [configuration.label for configuration in configurations]
    for competitor, found in zip(competitors, ladders, strict=True):
        result = task_result(settings, found, conditions=conditions, together=labels)
        record = speed_record(
            competitor,
            result,
            hardware=hardware,
            software=software,
            mode=mode,
            command=command,
            kernels=found.kernels,
        )
        digest = catalog.register_result(workspace, record_to_payload(record))
        records.append((digest, record))
    kept.drop()
    return SpeedRun(
        ladders=tuple(ladders),
        records=tuple(records),
        fidelity={item.configuration.label: item.fidelity for item in competitors},
    )


def _kept(
    workspace: Workspace,
    configurations: Sequence[Configuration],
    settings: SpeedSettings,
    *,
    about: dict[str, Any],
    say: Say,
) -> KeptProbes:
    """Open what an interrupted measurement left, and say how much that is."""
    kept = open_kept(workspace, configurations, settings, machine=about)
    count = kept.count()
    if count:
        say(
            f"going on: {count} processes were measured within the last day, before "
            "this was interrupted"
        )
    return kept


def _load() -> float | None:
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None
