"""Suites, plans and scores in words, for a terminal."""

from collections.abc import Iterable, Mapping
from typing import Any

from dpbench.eval.record import Record
from dpbench.eval.session import Filed
from dpbench.eval.suites.loading import Suite, is_frozen
from dpbench.eval.suites.run import SuitePlan
from dpbench.eval.suites.scoring import Score, row_of, score_of
from dpbench.eval.summary import table_lines
from dpbench.eval.web.numbers import number
from dpbench.metrics.definitions import METRICS

MINUTE, HOUR = 60.0, 3600.0


def plan_text(plan: SuitePlan) -> str:
    """Say what will be measured and about how long it takes."""
    rows = [
        (
            planned.unit.name,
            planned.unit.model.name,
            planned.unit.backend,
            f"record {planned.filed.digest[:12]}"
            if planned.filed
            else duration(planned.seconds),
        )
        for planned in plan.planned
    ]
    todo = [planned for planned in plan.planned if planned.filed is None]
    known = sum(planned.seconds or 0.0 for planned in todo)
    unknown = sum(planned.seconds is None for planned in todo)
    total = f"{len(todo)} of {len(rows)} to be measured"
    if todo:
        total += f", about {duration(known)}"
    if unknown:
        total += f" and {unknown} of unknown cost"
    lines = [f"{plan.suite.label}, {plan.mode}: {total}"]
    lines += table_lines(("Task", "model", "backend", "cost"), rows)
    return "\n".join([*lines, *(f"  note: {note}" for note in plan.notes)])


def duration(seconds: float | None) -> str:
    """Write a time in the unit that people use for it."""
    if seconds is None:
        return "unknown"
    if seconds < 2 * MINUTE:
        return f"{max(seconds, 1):.0f} s"
    if seconds < 2 * HOUR:
        return f"{seconds / MINUTE:.0f} min"
    return f"{seconds / HOUR:.1f} h"


def scores_of(suite: Suite, filed: Iterable[Filed]) -> list[tuple[Record, Score]]:
    """Score every row among records of a suite, in the order of its first record."""
    rows: dict[tuple[str, ...], list[Record]] = {}
    for item in filed:
        record = item.record
        key = (
            record.model.digest,
            record.backend,
            record.precision,
            record.hardware.id,
        )
        rows.setdefault(key, []).append(record)
    return [
        (row[0], score_of(suite.file, row_of(suite.file, row))) for row in rows.values()
    ]


def score_text(suite: Suite, record: Record, score: Score) -> str:
    """Write a row's score as a table of its terms."""
    rows = [
        (
            f"{METRICS[term.metric.name].title}, {term.metric.data}:{term.metric.part}",
            number(term.value),
            METRICS[term.metric.name].unit,
            f"{number(term.metric.perfect)}..{number(term.metric.useless)}",
            number(term.metric.weight),
            f"{number(term.error)}{'' if term.status == 'ok' else f' ({term.status})'}",
        )
        for term in score.terms
    ]
    heads = (suite.label, "value", "unit", "perfect..useless", "weight", "error")
    if score.value is None:
        total = f"no score: {score.why_none}"
        known = {key: value for key, value in score.by_data.items() if value}
        if len(score.by_data) > 1 and known:
            each = ", ".join(f"{key} {number(value)}" for key, value in known.items())
            total += f"; of single datasets: {each}"
    else:
        total = f"score {number(score.value)} (0 = perfect, 1 = useless)"
        if score.low is not None and score.high is not None:
            total += f", {number(score.low)}..{number(score.high)}"
        if score.is_rough:
            total += "; smoke mode: rough"
    return "\n".join(
        [
            f"{record.model.name}, {record.backend}, {record.precision}",
            *table_lines(heads, rows),
            f"  {total}",
        ]
    )


def suite_facts(suite: Suite) -> dict[str, Any]:
    """Return what a suite says, ready for JSON."""
    return {
        "suite": suite.label,
        "title": suite.file.title,
        "licence": suite.file.licence,
        "digest": suite.digest,
        "frozen": is_frozen(suite),
        "description": " ".join(suite.file.description.split()),
        "data": [
            {
                "key": data.key,
                "dataset": data.dataset,
                "digest": data.digest,
                "split": data.split.digest,
                "ships": data.origin != "user",
                "licence": data.licence,
                "elements": list(data.elements),
                "made": data.made,
            }
            for data in suite.file.data
        ],
        "tasks": [f"{t.task} on {t.data}:{t.part}" for t in suite.file.task],
        "metrics": [
            {
                "name": metric.name,
                "unit": METRICS[metric.name].unit,
                "polarity": metric.polarity,
                "place": f"{metric.task} on {metric.data}:{metric.part}",
                "weight": metric.weight,
                "perfect": metric.perfect,
                "useless": metric.useless,
                "missing": metric.missing,
            }
            for metric in suite.file.metric
        ],
        "published": [row.model for row in suite.published()],
    }


def suite_text(facts: Mapping[str, Any]) -> str:
    """Write what a suite says."""
    lines = [
        f"{facts['suite']}: {facts['title']} ({facts['licence']}, "
        f"{'frozen' if facts['frozen'] else 'not frozen: a draft'})",
        f"  {facts['digest']}",
        "",
        facts["description"],
        "",
    ]
    for data in facts["data"]:
        elements = "-".join(data["elements"])
        where = (
            "ships with dpbench" if data["ships"] else f"does not ship: {data['made']}"
        )
        lines += [
            f"  {data['key']}: {elements}, {data['licence']}, {where}",
            f"    dataset {data['digest']}",
            f"    split   {data['split']}",
        ]
    rows = [
        (
            f"{METRICS[metric['name']].title}, {metric['place']}",
            metric["unit"],
            metric["polarity"],
            number(metric["perfect"]),
            number(metric["useless"]),
            number(metric["weight"]),
        )
        for metric in facts["metrics"]
    ]
    heads = ("Metric", "unit", "better", "perfect", "useless", "weight")
    lines += ["", *table_lines(heads, rows)]
    if facts["published"]:
        lines += ["", f"  published rows: {', '.join(facts['published'])}"]
    return "\n".join(lines)
