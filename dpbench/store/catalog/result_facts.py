"""What the registry keeps of a result record, so that it can be asked for.

A record's payload is JSON of any schema version; what it does not say, or says in
another shape than expected, has no place in the index.
"""

import math
from collections.abc import Mapping
from typing import Any

FORCE_RMSE = "force_rmse_component_mev_per_ang"
"""Metric that a list shows, meV/Å."""

MD_SPEED = "md_us_per_atom_step"
"""Metric that a list shows, µs/atom/step."""

OLD_TASKS = ("accuracy", "stability", "throughput")
"""Tasks with a field of their own."""


def result_facts(payload: Mapping[str, Any]) -> dict[str, Any]:
    """Pick the columns of the table ``result``, None where a record does not say."""
    return {
        "suite": _text(payload, "suite"),
        "suite_digest": _text(payload, "suite_digest"),
        "model": _text(payload, "model", "name"),
        "model_digest": _text(payload, "model", "digest"),
        "dataset": _text(payload, "dataset", "label"),
        "dataset_digest": _text(payload, "dataset", "digest"),
        "part": _text(payload, "part"),
        "backend": _text(payload, "backend"),
        "precision": _text(payload, "precision"),
        "mode": _text(payload, "mode"),
        "hardware": _text(payload, "hardware", "label"),
        "hardware_id": _text(payload, "hardware", "id"),
        "tasks": ",".join(_tasks(payload)) or None,
        "force_rmse": _metric(payload.get("accuracy"), FORCE_RMSE),
        "md_speed": _metric(payload.get("throughput"), MD_SPEED),
    }


def _tasks(payload: Mapping[str, Any]) -> list[str]:
    """Name the tasks that a record has results of."""
    names = [name for name in OLD_TASKS if isinstance(payload.get(name), Mapping)]
    others = payload.get("tasks")
    return names + (sorted(map(str, others)) if isinstance(others, Mapping) else [])


def _text(payload: Any, *path: str) -> str | None:
    for key in path:
        payload = payload.get(key) if isinstance(payload, Mapping) else None
    # A server's text takes no NUL, and a lone surrogate is no character at all.
    is_plain = isinstance(payload, str) and "\0" not in payload
    return payload.encode(errors="replace").decode() if is_plain else None


def _metric(result: Any, name: str) -> float | None:
    metrics = result.get("metrics") if isinstance(result, Mapping) else None
    for metric in metrics if isinstance(metrics, list) else ():
        if isinstance(metric, Mapping) and metric.get("name") == name:
            value: Any = metric.get("value")
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            return float(value) if is_number and math.isfinite(value) else None
    return None
