"""What a record must be by itself: known names, sums that add up, times that can be.

Speeds and runs of dynamics cannot be computed again from predictions. But every number
that follows from others in the record must do so, and none may contradict the time that
the record says it took.
"""

import math
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import numpy as np

from dpbench.errors import EvaluationError
from dpbench.eval.fingerprint import hardware_id
from dpbench.eval.record import Record
from dpbench.eval.rescoring import is_close
from dpbench.eval.stability import TRACE_POINTS
from dpbench.eval.task_results import (
    SizeResult,
    Stability,
    StabilityProtocol,
    StabilityRun,
    Throughput,
    Timing,
)
from dpbench.eval.throughput import SECONDS_PER_DAY
from dpbench.metrics.definitions import METRICS, MetricValue
from dpbench.metrics.drift import energy_drift
from dpbench.metrics.statistics import spread

TOLERANCE = 1e-6
"""Relative difference of a number that follows from others."""

FASTEST = 1e-6
"""µs/atom/step: a thousand times what any machine does."""

SPARE = 1.05
"""Part of the wall time that timed windows may take, with room for its rounding."""


def check_itself(record: Record, *, where: str) -> None:
    """Check what follows from the record alone.

    Args:
        record: Of this schema or an older one.
        where: Its name, the start of every message.

    Raises:
        EvaluationError: If something contradicts something else.
    """
    for metric in _metrics(record):
        _check_metric(metric, where)
    if record.nframes < 1 or record.natoms < record.nframes:
        raise EvaluationError(
            f"{where}: {record.nframes} frames of {record.natoms} atoms; expected at "
            "least one frame, and an atom in each."
        )
    if record.throughput is not None:
        check_throughput(record.throughput, where)
    if record.stability is not None:
        check_stability(record.stability, where)


def check_origin(record: Record, *, where: str) -> None:
    """Check time and hardware of a record that says when and where it was made.

    Raises:
        EvaluationError: If it is from the future, or its hardware has another id.
    """
    try:
        made = datetime.fromisoformat(record.created_at)
    except ValueError:
        made = None
    is_dated = made is not None and made.tzinfo is not None
    if made is None or not is_dated or made > datetime.now(UTC) + timedelta(days=1):
        raise EvaluationError(
            f"{where}: was made at {record.created_at[:40]!r}; expected a time that "
            "has been, in ISO 8601 with its zone."
        )
    machine = record.hardware
    expected = hardware_id(
        cpu=machine.cpu,
        logical=machine.logical,
        threads=machine.threads,
        gpus=machine.gpus,
        machine=machine.machine,
        system=machine.os.partition(" ")[0],
    )
    if machine.id != expected:
        raise EvaluationError(
            f"{where}: its hardware has the id {machine.id[:20]!r}; what it says of "
            f"the machine gives {expected}. Speeds are compared by this id."
        )


def check_throughput(throughput: Throughput, where: str) -> None:
    """Check that medians and rates follow from the samples, and fit into the time."""
    spent = 0.0
    for size in throughput.sizes:
        for quantity, timing in size.quantities.items():
            place = f"{where}: {quantity[:60]} at {size.natoms} atoms"
            _check_timing(timing, size, throughput.protocol.timestep, place)
            window = timing.steps_per_window * size.natoms * 1e-6
            spent += window * math.fsum(timing.samples)
    if spent > SPARE * throughput.wall_time_s + 0.01:
        raise EvaluationError(
            f"{where}: its timed windows take {spent:.3g} s together; the whole task "
            f"took {throughput.wall_time_s:.3g} s. The timings cannot be."
        )


def check_stability(stability: Stability, where: str) -> None:
    """Check that drifts follow from their traces, and the median from the drifts."""
    for run in stability.runs:
        _check_run(run, stability.protocol, where)
    drifts = [abs(run.drift) for run in stability.runs if run.drift is not None]
    for metric in stability.metrics:
        if metric.name != "nve_drift_mev_per_atom_ps" or metric.value is None:
            continue
        if not drifts or not is_close(spread(drifts).median, metric.value, TOLERANCE):
            raise EvaluationError(
                f"{where}: {metric.name} is {metric.value}; its runs drift by "
                f"{drifts[:5]} {metric.unit}."
            )


def _check_timing(
    timing: Timing, size: SizeResult, timestep: float, where: str
) -> None:
    if not timing.samples or min(timing.samples) < FASTEST or size.natoms < 1:
        raise EvaluationError(
            f"{where}: its samples are {timing.samples[:5]} µs/atom/step; expected "
            f"some, each above {FASTEST}. The timings cannot be."
        )
    median = spread(timing.samples).median
    steps_per_s = 1e6 / (median * size.natoms)
    follows = {
        "median": (timing.median, median),
        "steps_per_s": (timing.steps_per_s, steps_per_s),
        "katom_step_per_s": (timing.katom_step_per_s, 1e3 / median),
    }
    if timing.ns_per_day is not None:
        per_day = timestep * steps_per_s * SECONDS_PER_DAY * 1e-6
        follows["ns_per_day"] = (timing.ns_per_day, per_day)
    for name, (told, value) in follows.items():
        if not is_close(told, value, TOLERANCE):
            raise EvaluationError(
                f"{where}: {name} is {told}; its samples give {value}."
            )
    lowest, highest = min(timing.samples), max(timing.samples)
    ends = (timing.quartile_low, timing.quartile_high, timing.ci_low, timing.ci_high)
    if any(not lowest * 0.999 <= end <= highest * 1.001 for end in ends):
        raise EvaluationError(
            f"{where}: an interval lies outside its samples, {lowest:.6g} to "
            f"{highest:.6g} µs/atom/step."
        )


def _check_run(run: StabilityRun, protocol: StabilityProtocol, where: str) -> None:
    place = f"{where}: run of seed {run.seed}"
    if not len(run.time) == len(run.energy) == len(run.temperature):
        raise EvaluationError(f"{place}: its trace has columns of different lengths.")
    if run.steps_done > protocol.steps or run.steps_done < 0:
        raise EvaluationError(
            f"{place}: did {run.steps_done} of {protocol.steps} steps; that cannot be."
        )
    is_whole = len(run.time) < TRACE_POINTS and None not in run.energy
    if run.drift is None or not is_whole or len(run.time) < 3:
        return
    energy = np.array(run.energy, np.float64) / 1000.0  # eV/atom
    time = np.array(run.time)
    again = energy_drift(time, energy, natoms=1, discard=protocol.discard)
    # The trace is rounded to 1e-6 meV/atom; so much may its slope be off.
    rounding = 4e-6 / max((time[-1] - time[0]) * 1e-3, 1e-9)
    if again is None or abs(again.slope - run.drift) > rounding + 1e-4 * abs(run.drift):
        raise EvaluationError(
            f"{place}: drifts by {run.drift} meV/atom/ps; its trace gives "
            f"{None if again is None else again.slope}."
        )


def _check_metric(metric: MetricValue, where: str) -> None:
    known = METRICS.get(metric.name)
    if known is None:
        raise EvaluationError(
            f"{where}: has the metric {metric.name[:60]!r}, which is unknown; expected "
            "one of 'dpbench' of this version. Read it with a newer dpbench."
        )
    if (metric.unit, metric.polarity) != (known.unit, known.polarity):
        raise EvaluationError(
            f"{where}: {metric.name} is in {metric.unit[:20]!r}, better "
            f"{metric.polarity[:20]!r}; expected {known.unit}, {known.polarity}."
        )
    low, high = metric.ci_low, metric.ci_high
    if metric.n < 0 or (low is not None and high is not None and low > high):
        raise EvaluationError(
            f"{where}: {metric.name} is of {metric.n} numbers, with an interval from "
            f"{low} to {high}; that cannot be."
        )


def _metrics(record: Record) -> Iterator[MetricValue]:
    """Yield every metric of a record."""
    for result in (record.stability, record.throughput, *record.tasks.values()):
        yield from () if result is None else result.metrics
    accuracy = record.accuracy
    if accuracy is None:
        return
    yield from accuracy.metrics
    yield from () if accuracy.baseline is None else accuracy.baseline.metrics
    for metrics in accuracy.by_element.values():
        yield from metrics
    for source in accuracy.by_source:
        yield from source.metrics
