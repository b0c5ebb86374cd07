"""Measuring a record again, and saying for each number whether it agrees.

Numbers that follow from weights and frames must be level within the rounding of their
precision. Dynamics and other weights scatter: there the intervals that were stated must
overlap. Speeds are compared on the same hardware alone.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from dpbench.errors import EvaluationError
from dpbench.eval.comparing import Line, compare_two
from dpbench.eval.opening import is_on_gpu, opened
from dpbench.eval.parts import parts_to_evaluate
from dpbench.eval.planning import plan_backends
from dpbench.eval.record import Record
from dpbench.eval.reproduction import Planned
from dpbench.eval.session import Filed, Result, open_session
from dpbench.eval.summary import plain, table_lines
from dpbench.eval.web.numbers import number
from dpbench.metrics.definitions import MetricValue
from dpbench.metrics.verdicts import compare_values
from dpbench.store.workspace import Workspace
from dpbench.train.progress import Reporter
from dpbench.train.run import train

ROUNDING = {"float64": 1e-6, "float32": 1e-3}
"""Relative difference that other kernels or machines may give the same weights."""

OTHER = 1e-3
"""The same, for a backend that does not tell its precision."""

SCATTER = 0.2
"""Relative difference that is let through where no interval was stated."""

Say = Callable[[str], None]
Verdict = Literal["agrees", "differs", "not judged"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Judged:
    """One number, then and now."""

    name: str
    unit: str
    then: float | None
    now: float | None
    verdict: Verdict
    by: str
    """What it was held against, in words."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Reproduced:
    """What came out."""

    digest: str
    """Of the record that was reproduced."""
    again: str
    """Of the new one."""
    numbers: tuple[Judged, ...]
    notes: tuple[str, ...]

    @property
    def agrees(self) -> bool:
        """Whether something could be judged, and nothing differs."""
        verdicts = {one.verdict for one in self.numbers}
        return "agrees" in verdicts and "differs" not in verdicts

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self) | {"agrees": self.agrees}


def reproduce(
    workspace: Workspace,
    planned: Planned,
    *,
    say: Say,
    reporter: Reporter | None = None,
) -> Reproduced:
    """Measure what a record tells again, and file the new record beside it.

    Args:
        workspace: Has model and data; takes the new record.
        planned: What to do; nothing may be missing.
        say: Told what goes on.
        reporter: Told how far a training is.

    Raises:
        EvaluationError: If something is missing.
        DpbenchError: If the model cannot be opened, trained or evaluated.
    """
    if planned.missing:
        raise EvaluationError(
            f"result {planned.digest[:12]}: cannot be reproduced here: "
            f"{'; '.join(planned.missing)}."
        )
    model = planned.model
    if model is None:
        model = _trained(workspace, planned, say, reporter)
    filed = _measured(workspace, planned, model, say)
    numbers = tuple(judge(planned.record, filed.record))
    return Reproduced(
        digest=planned.digest, again=filed.digest, numbers=numbers, notes=planned.notes
    )


def judge(then: Record, now: Record) -> Iterator[Judged]:
    """Hold every number of a record against that of another one of the same kind.

    Args:
        then: The record that was reproduced.
        now: Its reproduction.
    """
    is_same = then.model.digest == now.model.digest
    rounding = ROUNDING.get(then.precision, OTHER) if is_same else 0.0
    if then.accuracy is not None and now.accuracy is not None:
        found = {metric.name: metric for metric in now.accuracy.metrics}
        for metric in then.accuracy.metrics:
            if metric.value is not None and metric.name in found:
                yield _judged(
                    metric,
                    found[metric.name],
                    rounding=rounding,
                    scatters=not is_same,
                )
    if then.stability is not None and now.stability is not None:
        told = {metric.name: metric for metric in now.stability.metrics}
        for metric in then.stability.metrics:
            if metric.name in told:
                yield _judged(
                    metric, told[metric.name], rounding=rounding, scatters=True
                )
    yield from _judged_tasks(then, now, rounding)
    yield from _judged_speeds(then, now)


def reproduction_text(found: Reproduced) -> str:
    """Write what came out; the last line says whether it agrees."""
    rows = [
        (
            one.name,
            number(one.then),
            number(one.now),
            one.unit,
            one.verdict,
            one.by,
        )
        for one in found.numbers
    ]
    heads = ("number", "then", "now", "unit", "verdict", "judged by")
    lines = [*table_lines(heads, rows), *(f"  note: {note}" for note in found.notes)]
    lines += [f"  new record {found.again}", f"  {verdict_line(found)}"]
    return "\n".join(map(plain, lines))


def verdict_line(found: Reproduced) -> str:
    """Say in one line whether a record was reproduced."""
    judged = [one for one in found.numbers if one.verdict != "not judged"]
    off = [one for one in judged if one.verdict == "differs"]
    rest = len(found.numbers) - len(judged)
    left = f"; {rest} not judged" if rest else ""
    if off:
        worst = off[0]
        return (
            f"differs: {len(off)} of {len(judged)} numbers, first {worst.name}: "
            f"{number(worst.then)} then, {number(worst.now)} now {worst.unit} "
            f"({worst.by}){left}"
        )
    if not judged:
        return f"nothing could be judged{left}"
    return f"agrees: {len(judged)} of {len(judged)} numbers{left}"


def _trained(
    workspace: Workspace, planned: Planned, say: Say, reporter: Reporter | None
) -> Path:
    """Train the model again; return its file."""
    training = planned.training
    if training is None:
        raise EvaluationError(
            f"result {planned.digest[:12]}: there is neither a model nor a training; "
            "expected one of them. Name the model with --model."
        )
    say(f"training again on {training.dataset}, {training.config.training.steps} steps")
    out = workspace.runs / f"reproduced-{planned.digest[:12]}"
    report = train(
        workspace,
        training.config,
        dataset=training.dataset,
        out=out,
        device=planned.options.device,
        progress=reporter,
        command=planned.options.command,
    )
    if report.model_path is None:
        raise EvaluationError(
            f"result {planned.digest[:12]}: the training was stopped; expected it to "
            "end. Run it again."
        )
    return report.model_path


def _measured(
    workspace: Workspace, planned: Planned, model_path: Path, say: Say
) -> Filed:
    """Do the tasks with the settings of the record, on the same frames."""
    options = planned.options
    (plan,) = plan_backends(workspace, model_path, options)
    with opened(workspace, plan, options) as model:
        device = options.device if is_on_gpu(model.evaluator) else "cpu"
        session = open_session(workspace, model.subject, options, say)
        say(f"measuring on {device}")
        (part,) = parts_to_evaluate(
            workspace, session.training, planned.data, split=options.split
        )
        results: dict[str, Result] = {
            task: session.measure(
                task,
                model,
                part,
                settings=settings,
                references=planned.references.get(task),
            )
            for task, settings in planned.tasks.items()
        }
        record = session.record(
            part,
            results,
            kernels=model.evaluator.kernels() or None,
            foreign=model.backend_facts(),
        )
    return session.file(record)


def _judged(
    then: MetricValue,
    now: MetricValue,
    *,
    rounding: float,
    scatters: bool,
    before: str = "",
) -> Judged:
    """Judge one number by its rounding, and where it scatters by its interval."""

    def said(verdict: Verdict, by: str) -> Judged:
        return Judged(
            name=before + then.name,
            unit=then.unit,
            then=then.value,
            now=now.value,
            verdict=verdict,
            by=by,
        )

    if then.value is None or now.value is None:
        both = then.value is None and now.value is None
        return said("agrees" if both else "differs", "no number")
    if math.isclose(then.value, now.value, rel_tol=rounding, abs_tol=1e-9):
        return said("agrees", f"rounding, {rounding:g}" if rounding else "equal")
    if not scatters:
        return said("differs", f"rounding, {rounding:g}")
    verdict = compare_values(now, then)
    if verdict.outcome != "unknown":
        level = verdict.outcome == "level"
        return said("agrees" if level else "differs", "stated intervals")
    is_near = math.isclose(then.value, now.value, rel_tol=SCATTER)
    by = f"{SCATTER:.0%}, no interval was stated"
    return said("agrees" if is_near else "differs", by)


def _judged_tasks(then: Record, now: Record, rounding: float) -> Iterator[Judged]:
    for name in sorted(then.tasks.keys() & now.tasks.keys()):
        a, b = then.tasks[name], now.tasks[name]
        if a.status != b.status:
            yield Judged(
                name=f"{name}: {a.status} then, {b.status} now",
                unit="",
                then=None,
                now=None,
                verdict="differs",
                by="status",
            )
            continue
        found = {metric.name: metric for metric in b.metrics}
        for metric in a.metrics:
            if metric.name in found:
                yield _judged(
                    metric,
                    found[metric.name],
                    rounding=rounding,
                    scatters=True,
                    before=f"{name}: ",
                )


def _judged_speeds(then: Record, now: Record) -> Iterator[Judged]:
    """Judge speeds by their rounds, where they are of the same hardware."""
    if then.throughput is None or now.throughput is None:
        return
    if then.hardware.id != now.hardware.id:
        for metric in then.throughput.metrics:
            yield Judged(
                name=metric.name,
                unit=metric.unit,
                then=metric.value,
                now=None,
                verdict="not judged",
                by=f"measured on other hardware: {then.hardware.label}",
            )
        return
    lines, _ = compare_two(_only_speed(then), _only_speed(now))
    for line in lines:
        yield _speed(line)


def _only_speed(record: Record) -> Record:
    return replace(record, accuracy=None, stability=None, tasks={})


def _speed(line: Line) -> Judged:
    outcome = line.verdict.outcome
    verdict: Verdict = "not judged"
    if outcome != "unknown":
        verdict = "agrees" if outcome == "level" else "differs"
    return Judged(
        name=line.name,
        unit=line.unit,
        then=line.a,
        now=line.b,
        verdict=verdict,
        by=line.verdict.note or "rounds of both",
    )
