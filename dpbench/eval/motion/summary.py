"""Numbers of several systems: means with intervals, and lists for a record."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from dpbench.metrics.definitions import MetricValue, metric_value
from dpbench.metrics.statistics import bootstrap_ratios, spread

FEWEST_SYSTEMS = 5
"""Below it there is no interval: runs of one system share its start."""

Lists = Sequence[Sequence[float]]
"""Values of each run, by system."""


def mean_over_systems(name: str, values: Lists) -> MetricValue:
    """Average over all runs of all systems; the interval resamples systems.

    Args:
        name: Of the metric.
        values: Of each run, by system; none is missing.
    """
    flat = [value for system in values for value in system]
    if not flat:
        return metric_value(name, None, n=0)
    interval = None
    if len(values) >= FEWEST_SYSTEMS:
        sums = np.array([[sum(system)] for system in values])
        counts = np.array([[float(len(system))] for system in values])
        low, high = bootstrap_ratios(sums, counts)
        interval = (float(low[0]), float(high[0]))
    return metric_value(name, float(np.mean(flat)), n=len(flat), interval=interval)


def median_over_systems(
    name: str, values: Sequence[Sequence[float | None]]
) -> MetricValue:
    """Take the median of all runs; None if one run has no value: it failed.

    The interval resamples the medians of the systems.
    """
    flat = [value for system in values for value in system]
    known = [value for value in flat if value is not None]
    if not flat or len(known) < len(flat):
        return metric_value(name, None, n=len(known))
    interval = None
    if len(values) >= FEWEST_SYSTEMS:
        medians = [float(np.median([v or 0.0 for v in system])) for system in values]
        found = spread(medians)
        interval = (found.ci_low, found.ci_high)
    return metric_value(name, float(np.median(known)), n=len(flat), interval=interval)


def survived_percent(runs: Sequence[Mapping[str, Any]], steps: int) -> list[float]:
    """Return the part of its steps that each run did before it failed, percent."""
    done = [
        steps if run["failure_step"] is None else run["failure_step"] for run in runs
    ]
    return [100.0 * step / max(steps, 1) for step in done]


def listed(values: NDArray[np.floating], *, digits: int, most: int) -> list[Any]:
    """Round a series and thin it to ``most`` points; what is no number is None."""
    index = np.arange(len(values))
    if len(values) > most:
        index = np.linspace(0, len(values) - 1, most).round().astype(np.int64)
    return [
        round(float(value), digits) if math.isfinite(value) else None
        for value in values[index]
    ]


def how_it_went(
    runs: Sequence[Mapping[str, Any]],
) -> tuple[Literal["ok", "failed"], str | None]:
    """Return status and reason of a task: failed only if no run reached its end."""
    if not runs or any(run["failure_step"] is None for run in runs):
        return "ok", None
    first = min(runs, key=lambda run: run["failure_step"])
    return "failed", (
        f"all {len(runs)} runs failed, the first at step {first['failure_step']}: "
        f"{first['reason']}"
    )
