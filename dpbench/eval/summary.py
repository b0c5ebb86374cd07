"""Records in words, for a terminal."""

from collections.abc import Iterable, Sequence

from dpbench.eval.filing import Listed
from dpbench.eval.leaderboard.columns import with_spread
from dpbench.eval.leakage import leakage_line
from dpbench.eval.record import BackendFacts, Record
from dpbench.eval.standing import Standing
from dpbench.eval.strict_json import BIDI
from dpbench.eval.task_results import Accuracy, Stability, TaskResult, Throughput
from dpbench.eval.web.numbers import number
from dpbench.metrics.definitions import METRICS, MetricValue


def record_text(
    record: Record, digest: str, *, standing: Standing | None = None
) -> str:
    """Write what was measured as a table with units.

    Args:
        record: The record.
        digest: Its name in the object store.
        standing: What is known here of a record from elsewhere.
    """
    where = f"{record.dataset.label}:{record.part}"
    lines = [
        f"{record.model.name} on {where}: {record.nframes} frames, "
        f"{record.natoms} atoms",
        f"  {record.backend}, {record.precision}, {record.hardware.label}",
    ]
    if record.suite is not None:
        lines.append(f"  suite {record.suite} ({(record.suite_digest or '')[:19]})")
    if standing is not None:
        lines.append(f"  {standing_line(standing)}")
    if record.leakage is not None:
        lines.append(f"  {leakage_line(record.leakage)}")
    lines += [f"  takes no rank: {mark}" for mark in record.marks]
    if record.failure is not None:
        lines.append(f"  {record.failure}")
    if record.foreign is not None:
        lines.append(f"  {_program_line(record.foreign)}")
    if record.accuracy is not None:
        lines += _accuracy_lines(record.accuracy)
    if record.stability is not None:
        lines += _stability_lines(record.stability)
    if record.throughput is not None:
        lines += _throughput_lines(record.throughput)
    for name in sorted(record.tasks):
        lines += task_lines(record.tasks[name])
    lines.append(f"  record {digest}")
    return "\n".join(map(plain, lines))


def standing_line(standing: Standing) -> str:
    """Say where a record is from, and what was found out about it here."""
    done = "; ".join(standing.checks)
    why = f"; {'; '.join(standing.reasons)}" if standing.reasons else ""
    return f"from {standing.source}, {standing.status} here: {done}{why}"


def task_lines(result: TaskResult) -> list[str]:
    """Write the result of a task of the table."""
    rows = [
        (_title(metric.name), with_spread(metric), metric.unit)
        for metric in result.metrics
    ]
    lines = ["", *table_lines((f"Task {result.task}", "value", "unit"), rows)]
    if result.status != "ok":
        lines.append(f"  {result.status}: {result.reason}")
    return lines


def _title(name: str) -> str:
    """Title of a metric; the name itself where another dpbench knows more."""
    known = METRICS.get(name)
    return name if known is None else known.title


def _program_line(program: BackendFacts) -> str:
    """Say what the foreign program was, and what asking it took."""
    versions = ", ".join(f"{k} {v}" for k, v in sorted(program.versions.items()))
    per_call = 1e3 / max(program.calls, 1)
    inside, beside = program.worker_s * per_call, program.overhead_s * per_call
    return (
        f"{versions}; {program.calls} calls of {number(inside)} ms in the worker, "
        f"{number(beside)} ms beside it"
    )


def table_lines(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Set cells in columns: the first to the left, the others to the right."""
    cells = [list(heads), *(list(row) for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(heads))]
    return [
        "  "
        + "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    ]


def _accuracy_lines(accuracy: Accuracy) -> list[str]:
    dummy: dict[str, MetricValue] = {}
    if accuracy.baseline is not None:
        dummy = {metric.name: metric for metric in accuracy.baseline.metrics}
    rows = [
        (
            _title(metric.name),
            with_spread(metric),
            metric.unit,
            number(dummy[metric.name].value) if metric.name in dummy else "–",
        )
        for metric in accuracy.metrics
    ]
    heads = ("Accuracy", "value", "unit", "composition-only")
    return ["", *table_lines(heads, rows), *fidelity_lines(accuracy)]


def fidelity_lines(accuracy: Accuracy) -> list[str]:
    """Say how far a fast mode is from float64; nothing for float64 itself."""
    found = accuracy.fidelity
    if found is None:
        return []
    return [
        f"  against {found.reference} ({found.nframes} frames): force off by "
        f"{number(found.force_mae_component_mev_per_ang)} meV/Å in the mean, "
        f"{number(found.force_max_component_mev_per_ang)} at most; energy by "
        f"{number(found.energy_max_per_atom_mev)} meV/atom at most"
    ]


def _stability_lines(stability: Stability) -> list[str]:
    rows = [
        (_title(metric.name), with_spread(metric), metric.unit)
        for metric in stability.metrics
    ]
    protocol = stability.protocol
    lines = ["", *table_lines(("Stability", "value", "unit"), rows)]
    lines.append(
        f"  {stability.status}: {len(stability.runs)} x {protocol.steps} steps of "
        f"{number(protocol.timestep)} fs, {protocol.natoms} atoms, "
        f"{number(protocol.temperature)} K"
    )
    lines += [
        f"  seed {run.seed} exploded at step {run.failure_step}: {run.reason}"
        for run in stability.runs
        if run.status == "exploded"
    ]
    return lines


def _throughput_lines(throughput: Throughput) -> list[str]:
    rows: list[tuple[str, ...]] = []
    for size in throughput.sizes:
        if size.status != "ok":
            words = size.status.replace("_", " ")
            rows.append((f"{size.natoms} atoms: {words}", "–", "–", "–", "–"))
        for name, timing in size.quantities.items():
            rows.append(
                (
                    f"{_title(name)}, {size.natoms} atoms",
                    number(timing.median),
                    f"{number(timing.quartile_low)}..{number(timing.quartile_high)}",
                    number(timing.katom_step_per_s),
                    number(timing.ns_per_day),
                )
            )
    heads = (
        "Speed",
        "µs/atom/step",
        "quartiles",
        "katom-step/s",
        f"ns/day at {number(throughput.protocol.timestep)} fs",
    )
    return ["", *table_lines(heads, rows)]


def records_overview(records: Sequence[Listed]) -> list[dict[str, str]]:
    """One line of facts for each record, in their order."""
    return [
        {
            "record": record.digest[:12],
            "made": record.created_at,
            "model": plain(record.model),
            "data": plain(record.data),
            "backend": plain(record.backend),
            "precision": plain(record.precision),
            "suite": plain(record.suite),
            "tasks": plain(record.tasks),
            "force_rmse_mev_per_ang": number(record.force_rmse),
            "md_us_per_atom_step": number(record.md_speed),
            "standing": "own" if record.standing is None else record.standing.status,
        }
        for record in records
    ]


def plain(text: str) -> str:
    """Show a text on one line: what is no letter, sign or space is written out."""
    return "".join(
        letter if letter.isprintable() and letter not in BIDI else f"<{ord(letter):x}>"
        for letter in text
    )
