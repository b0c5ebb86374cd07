"""Two records number by number: what is better, what is worse, and what cannot be told.

Errors on the same frames are paired; other numbers are compared by their intervals;
speeds by their rounds, on the same hardware alone. A regression is a number that is
significantly worse in the second record.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from dpbench.config import to_mapping
from dpbench.errors import EvaluationError
from dpbench.eval.error_series import PAIRED, metric_series
from dpbench.eval.filing import find_record
from dpbench.eval.record import Record, record_from_payload
from dpbench.eval.standing import as_it_stands, is_unverified, standings
from dpbench.eval.summary import plain, table_lines
from dpbench.eval.task_results import Throughput
from dpbench.eval.web.numbers import number
from dpbench.metrics.definitions import METRICS, MetricValue
from dpbench.metrics.verdicts import Verdict, compare, compare_timings, compare_values
from dpbench.store.workspace import Workspace

TIMED = re.compile(r"(^|[^a-z])(s|ms|µs|us|J|mJ|µJ|W)(/|$)|/(s|day)$")
"""Units of what depends on the machine: times, rates and energies of the machine."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """One number of both records."""

    name: str
    """Metric; of a task of the table or of a size, with its name before it."""
    unit: str
    a: float | None
    b: float | None
    verdict: Verdict
    """On B against A."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """Everything that can be said of B against A."""

    a: str
    """Digest of the first record."""
    b: str
    lines: tuple[Line, ...]
    notes: tuple[str, ...]
    """What cannot be compared, and why."""

    @property
    def regressions(self) -> tuple[Line, ...]:
        """Numbers in which B is significantly worse."""
        return tuple(line for line in self.lines if line.verdict.outcome == "worse")

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "a": self.a,
            "b": self.b,
            "lines": [asdict(line) for line in self.lines],
            "regressions": [line.name for line in self.regressions],
            "notes": list(self.notes),
        }


def compare_records(workspace: Workspace, a: str, b: str) -> Comparison:
    """Compare record ``b`` with record ``a``.

    Args:
        workspace: Holds both.
        a: Digest, or its first digits.
        b: Likewise.

    Raises:
        EvaluationError: If one does not exist, or nothing of the two can be compared.
    """
    standing = standings(workspace)
    found: list[tuple[str, Record]] = []
    for digest in (a, b):
        name, payload = find_record(workspace, digest)
        record = record_from_payload(payload, where=f"result {name[:12]}")
        found.append((name, as_it_stands(record, standing.get(name))))
    (first, old), (second, new) = found
    compared = compare_two(old, new)
    if not compared[0]:
        raise EvaluationError(
            f"results {first[:12]} and {second[:12]}: cannot be compared: "
            f"{'; '.join(compared[1])}. Evaluate both on the same data, or on the same "
            "machine."
        )
    return Comparison(a=first, b=second, lines=compared[0], notes=compared[1])


def compare_two(old: Record, new: Record) -> tuple[tuple[Line, ...], tuple[str, ...]]:
    """Compare the second record with the first: lines, and what has none."""
    notes = [
        f"{name} is unverified: its numbers are only told"
        for name, record in (("A", old), ("B", new))
        if is_unverified(record)
    ]
    lines: list[Line] = []
    for part in (_accuracy, _stability, _throughput, _tasks):
        for item in part(old, new):
            if isinstance(item, Line):
                lines.append(item)
            else:
                notes.append(item)
    if not lines and not notes:
        notes.append("they have no task in common")
    return tuple(lines), tuple(notes)


def comparison_text(found: Comparison) -> str:
    """Write a comparison as a table, regressions last and by name."""
    heads = (
        "B against A",
        "A",
        "B",
        "unit",
        "difference",
        "95 % interval",
        "p",
        "blocks",
        "B is",
    )
    rows = [_row(line) for line in found.lines]
    lines = [f"A {found.a[:12]}, B {found.b[:12]}", *table_lines(heads, rows)]
    said = dict.fromkeys(line.verdict.note for line in found.lines if line.verdict.note)
    lines += [f"  note: {note}" for note in (*said, *found.notes)]
    worse = ", ".join(line.name for line in found.regressions)
    lines.append(f"  regressions: {worse or 'none'}")
    return "\n".join(map(plain, lines))


def _row(line: Line) -> tuple[str, ...]:
    verdict = line.verdict
    interval = "–"
    if verdict.ci_low is not None and verdict.ci_high is not None:
        interval = f"{number(verdict.ci_low)} to {number(verdict.ci_high)}"
    return (
        line.name,
        number(line.a),
        number(line.b),
        line.unit,
        number(verdict.difference),
        interval,
        "–" if verdict.p is None else f"{verdict.p:.2g}",
        str(verdict.nblocks) if verdict.nblocks else "–",
        verdict.outcome,
    )


def _accuracy(old: Record, new: Record) -> Iterator[Line | str]:
    if old.accuracy is None or new.accuracy is None:
        return
    if why := _other_frames(old, new):
        yield f"accuracy: {why}"
        return
    mine = {metric.name: metric for metric in new.accuracy.metrics}
    for metric in old.accuracy.metrics:
        other = mine.get(metric.name)
        if other is None or (metric.value is None and other.value is None):
            continue
        verdict = compare_values(other, metric)
        if metric.name in PAIRED:
            ours = metric_series(new.accuracy.errors, metric.name)
            theirs = metric_series(old.accuracy.errors, metric.name)
            if ours is not None and theirs is not None:
                verdict = compare(
                    [ours], [theirs], higher_is_better=metric.polarity == "higher"
                )
        yield _line(metric.name, metric, other, verdict)


def _stability(old: Record, new: Record) -> Iterator[Line | str]:
    if old.stability is None or new.stability is None:
        return
    a, b = (to_mapping(r.stability.protocol) for r in (old, new) if r.stability)
    if why := _other_protocol(a, b, ignored=("start_frame",)):
        yield f"stability: {why}"
        return
    yield from _by_interval(
        {m.name: m for m in old.stability.metrics},
        {m.name: m for m in new.stability.metrics},
    )


def _throughput(old: Record, new: Record) -> Iterator[Line | str]:
    if old.throughput is None or new.throughput is None:
        return
    if old.hardware.id != new.hardware.id:
        yield (
            f"speed: measured on other hardware ({old.hardware.label}; "
            f"{new.hardware.label}); speeds of two machines are never compared"
        )
        return
    theirs, ours = _rounds(old.throughput), _rounds(new.throughput)
    for (natoms, quantity), samples in theirs.items():
        others = ours.get((natoms, quantity))
        if others is None:
            continue
        yield Line(
            name=f"{quantity}, {natoms} atoms",
            unit=METRICS[quantity].unit if quantity in METRICS else "",
            a=_median(samples),
            b=_median(others),
            verdict=compare_timings(others, samples, paired=False),
        )
    if not theirs.keys() & ours.keys():
        yield "speed: measured at other sizes"


def _tasks(old: Record, new: Record) -> Iterator[Line | str]:
    for name in sorted(old.tasks.keys() & new.tasks.keys()):
        a, b = old.tasks[name], new.tasks[name]
        if a.code != b.code:
            yield f"task {name}: scored by two codes; score both by one"
        elif why := _other_protocol(a.protocol, b.protocol):
            yield f"task {name}: {why}"
        elif old.dataset.digest != new.dataset.digest:
            yield f"task {name}: started from other data"
        elif a.status != b.status:
            yield f"task {name}: is '{a.status}' in A and '{b.status}' in B"
        else:
            is_same_machine = old.hardware.id == new.hardware.id
            timed = [m.name for m in a.metrics if TIMED.search(m.unit)]
            if timed and not is_same_machine:
                yield f"task {name}: measured on other hardware; no speed is compared"
            yield from _by_interval(
                {
                    m.name: m
                    for m in a.metrics
                    if is_same_machine or m.name not in timed
                },
                {m.name: m for m in b.metrics},
                before=f"{name}: ",
            )


def _by_interval(
    old: Mapping[str, MetricValue], new: Mapping[str, MetricValue], before: str = ""
) -> Iterator[Line]:
    for name, metric in old.items():
        other = new.get(name)
        if other is not None and not (metric.value is None and other.value is None):
            yield _line(before + name, metric, other, compare_values(other, metric))


def _line(name: str, a: MetricValue, b: MetricValue, verdict: Verdict) -> Line:
    return Line(name=name, unit=a.unit, a=a.value, b=b.value, verdict=verdict)


def _other_frames(old: Record, new: Record) -> str:
    """Say why the frames of two records are not the same; empty if they are."""
    if old.dataset.digest != new.dataset.digest:
        return f"on other data ({old.dataset.label}; {new.dataset.label})"
    splits = [None if r.split is None else r.split.digest for r in (old, new)]
    if splits[0] != splits[1]:
        return f"on parts of other splits of {old.dataset.label}"
    if old.part != new.part:
        return f"on other parts ('{old.part}'; '{new.part}')"
    return ""


def _other_protocol(
    a: Mapping[str, Any], b: Mapping[str, Any], ignored: tuple[str, ...] = ()
) -> str:
    """Name the first setting in which two protocols differ; empty if none does."""
    for key in sorted((a.keys() | b.keys()) - set(ignored)):
        if a.get(key) != b.get(key):
            return f"done otherwise: {key} is {a.get(key)!s:.60} and {b.get(key)!s:.60}"
    return ""


def _rounds(throughput: Throughput) -> dict[tuple[int, str], tuple[float, ...]]:
    return {
        (size.natoms, quantity): timing.samples
        for size in throughput.sizes
        for quantity, timing in size.quantities.items()
    }


def _median(samples: tuple[float, ...]) -> float:
    ordered = sorted(samples)
    middle = len(ordered) // 2
    return (ordered[middle] + ordered[-middle - 1]) / 2
