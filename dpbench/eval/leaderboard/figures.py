"""What the plots under a table need beside its rows: sizes, and versions of data."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

from dpbench.config import canonical_json
from dpbench.eval.leaderboard.board import Table
from dpbench.eval.leaderboard.lines import Line, lines
from dpbench.eval.leaderboard.ranks import RANKED_BY, TIMED_BY
from dpbench.eval.record import Record
from dpbench.metrics.definitions import MetricValue

MOST_CURVES = 8
"""Lines in a plot of speeds: more cannot be told apart."""

MOST_STEPS = 6
"""Steps from one version of the data to the next that a table shows."""

OF_DATA = frozenset({"dataset", "split", "seed", "type_map"})
"""Keys of a training's configuration that a change of data alone may change."""


def size_curves(table: Table) -> list[dict[str, Any]]:
    """Costs against atoms, µs/atom/step, machine by machine; best rows first."""
    machines: dict[str, list[dict[str, Any]]] = {}
    for line in lines(table):
        for family, points in _curves(line):
            if len(points) > 1:
                machines.setdefault(line.record.hardware.id, []).append(
                    {
                        "row": line.entry.id,
                        "name": line.entry.name,
                        "backend": f"{line.record.backend}, {line.record.precision}",
                        "family": family,
                        "hardware": line.record.hardware.label,
                        "points": points,
                    }
                )
    return [
        curve for _, found in sorted(machines.items()) for curve in found[:MOST_CURVES]
    ]


def _curves(line: Line) -> Iterable[tuple[str, list[list[float]]]]:
    """Yield family of structures and (atoms, cost) of each size that ran."""
    task = line.first.tasks.get("md_throughput") or line.first.tasks.get("scaling")
    families = {} if task is None else task.samples.get("families", {})
    for name, family in families.items():
        sizes = [] if family is None else family["sizes"]
        found = [
            [size["natoms"], size["levels"][TIMED_BY]["median"]]
            for size in sizes
            if size.get("levels", {}).get(TIMED_BY)
        ]
        yield str(name), found
    throughput = line.first.throughput
    if throughput is not None and not families:
        yield (
            "start frame",
            [
                [size.natoms, size.quantities[TIMED_BY].median]
                for size in throughput.sizes
                if TIMED_BY in size.quantities
            ],
        )


def data_steps(table: Table) -> list[dict[str, Any]]:
    """Compare the same training on one version of a dataset and on the next.

    Returns:
        Each step with the ranked error before and after, over all and by element.
    """
    groups: dict[bytes, list[Line]] = {}
    for line in lines(table):
        if key := _configuration(line.record):
            groups.setdefault(key, []).append(line)
    steps = []
    for _, members in sorted(groups.items()):
        ordered = sorted(members, key=lambda m: (_number(m), m.entry.id))
        steps += [
            _step(one, other)
            for one, other in pairwise(ordered)
            if _number(one) < _number(other)
        ]
    return steps[:MOST_STEPS]


def _number(line: Line) -> int:
    training = line.record.provenance.training_dataset
    return 0 if training is None else training.number or 0


def _configuration(record: Record) -> bytes:
    """What a training was, but for the version of its data; empty where unknown."""
    run, training = record.provenance.run or {}, record.provenance.training_dataset
    config = run.get("config")
    if not config or training is None or training.number is None:
        return b""
    told = [_without_data(config.get("used", config)), run.get("engine")]
    bench = [training.name, record.backend, record.precision, record.hardware.id]
    return canonical_json([*told, *bench, record.model.kind])


def _without_data(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {k: _without_data(v) for k, v in value.items() if k not in OF_DATA}
    if isinstance(value, list):
        return [_without_data(item) for item in value]
    return value


def _step(one: Line, other: Line) -> dict[str, Any]:
    before, after = _by_element(one), _by_element(other)
    names = [_trained(line) for line in (one, other)]
    return {
        "from": {"row": one.entry.id, "name": one.entry.name, "data": names[0]},
        "to": {"row": other.entry.id, "name": other.entry.name, "data": names[1]},
        "all": [_value(line.entry.metrics.get(RANKED_BY)) for line in (one, other)],
        "elements": [
            [symbol, before[symbol], after[symbol]]
            for symbol in before
            if symbol in after
        ],
    }


def _trained(line: Line) -> str:
    training = line.record.provenance.training_dataset
    return "unknown" if training is None else training.label


def _value(metric: MetricValue | None) -> float | None:
    return None if metric is None else metric.value


def _by_element(line: Line) -> dict[str, float]:
    """Ranked error of each element; mean over the seeds."""
    found: dict[str, list[float]] = {}
    for row in line.rows:
        told: Mapping[str, Sequence[MetricValue]] = (
            {} if row.accuracy is None else row.accuracy.by_element
        )
        for symbol, metrics in told.items():
            values = [m.value for m in metrics if m.name == RANKED_BY]
            found.setdefault(symbol, []).extend(v for v in values if v is not None)
    return {symbol: sum(v) / len(v) for symbol, v in found.items() if v}
