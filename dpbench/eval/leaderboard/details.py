"""What a row unfolds to: plots, every number, the chain to the sources, the record."""

import json
from collections.abc import Iterable
from dataclasses import replace

from dpbench.eval.leaderboard.board import Row
from dpbench.eval.leaderboard.columns import with_spread
from dpbench.eval.leaderboard.plots import parity_plot, trace_plot
from dpbench.eval.leakage import leakage_line
from dpbench.eval.record import BackendFacts, Record, record_to_payload
from dpbench.eval.task_results import (
    Accuracy,
    Parity,
    Stability,
    StabilityRun,
    Throughput,
)
from dpbench.eval.web.markup import Markup, join, tag
from dpbench.eval.web.numbers import number
from dpbench.eval.web.tables import grid
from dpbench.metrics.definitions import METRICS, MetricValue

SOURCES_SHOWN = 50
"""Most source files listed under a row; the record has more."""


def row_details(row: Row) -> Markup:
    """Everything about a row, as a grid of cards."""
    accuracy, cards = row.accuracy, []
    if accuracy is not None:
        cards += _parity_cards(accuracy.parity)
    if row.stability is not None:
        cards.append(_stability_card(row.stability))
    if accuracy is not None:
        cards.append(_accuracy_card(accuracy))
    if row.throughput is not None:
        cards.append(_throughput_card(row.throughput))
    if accuracy is not None and accuracy.by_source:
        cards.append(_source_card(accuracy))
    cards += [provenance_card(row), _record_card(row)]
    return tag("div", *cards, class_="cards")


def _card(title: str, *children: Markup | None, span: str = "") -> Markup:
    return tag(
        "section",
        tag("h4", title),
        *children,
        class_=f"card {span}".strip(),
    )


def _parity_cards(parity: Parity) -> list[Markup]:
    energy = parity_plot(
        parity.energy_reference,
        parity.energy_predicted,
        quantity="energy",
        unit="eV/atom",
    )
    force = parity_plot(
        parity.force_reference,
        parity.force_predicted,
        quantity="force",
        unit="eV/Å",
    )
    pairs = (("Energy parity", energy), ("Force parity", force))
    return [_card(title, plot) for title, plot in pairs if plot is not None]


def _accuracy_card(accuracy: Accuracy) -> Markup:
    rows = [
        (symbol, *_three(metrics)[1:])
        for symbol, metrics in accuracy.by_element.items()
    ]
    by_element: list[Markup] = []
    if rows:
        heads = ("Element", *_THREE_HEADS[1:])
        by_element = [tag("h4", "Forces by element"), grid(heads, rows, numbers_from=1)]
    found = accuracy.fidelity
    note = None
    if found is not None:
        note = tag(
            "p",
            f"Against {found.reference}, {found.nframes} frames: force off by "
            f"{number(found.force_mae_component_mev_per_ang)} meV/Å in the mean, "
            f"{number(found.force_max_component_mev_per_ang)} at most; energy by "
            f"{number(found.energy_max_per_atom_mev)} meV/atom at most.",
            class_="note",
        )
    return _card("Accuracy", metric_grid(accuracy.metrics), note, *by_element)


def _source_card(accuracy: Accuracy) -> Markup:
    rows = [
        (item.source, item.sha256[:12], str(item.nframes), *_three(item.metrics))
        for item in accuracy.by_source[:SOURCES_SHOWN]
    ]
    heads = ("Source", "sha256", "Frames", *_THREE_HEADS)
    return _card(
        f"By source ({accuracy.nsources})",
        grid(heads, rows, numbers_from=2),
        span="wide",
    )


_THREE_HEADS = ("Energy RMSE, meV/atom", "Force RMSE, meV/Å", "Force rel., %")
_THREE = (
    "energy_rmse_per_atom_mev",
    "force_rmse_component_mev_per_ang",
    "force_rmse_relative_percent",
)


def _three(metrics: Iterable[MetricValue]) -> tuple[str, ...]:
    values = {metric.name: metric.value for metric in metrics}
    return tuple(number(values.get(name)) for name in _THREE)


def metric_grid(metrics: Iterable[MetricValue]) -> Markup:
    """List metrics with interval, unit and count."""
    rows = [
        (
            METRICS[metric.name].title if metric.name in METRICS else metric.name,
            f"{with_spread(metric)} {metric.unit}",
            str(metric.n),
        )
        for metric in metrics
    ]
    return grid(("Metric", "Value", "n"), rows, numbers_from=1)


def _stability_card(stability: Stability) -> Markup:
    protocol = stability.protocol
    text = (
        f"{protocol.ensemble}, {protocol.natoms} atoms, {number(protocol.temperature)} "
        f"K at the start, {number(protocol.timestep)} fs, {protocol.steps} steps, "
        f"first {protocol.discard:.0%} dropped from the regression."
    )
    rows = [
        (str(run.seed), _outcome(run), number(run.drift), number(run.min_distance))
        for run in stability.runs
    ]
    return _card(
        "Energy conservation",
        trace_plot([(run.time, run.energy) for run in stability.runs]),
        tag("p", text, class_="note"),
        grid(
            ("Seed", "Outcome", "Drift, meV/atom/ps", "Closest, Å"),
            rows,
            numbers_from=2,
        ),
    )


def _outcome(run: StabilityRun) -> str:
    if run.status == "completed":
        return f"{run.steps_done} steps"
    return f"exploded at {run.failure_step}: {run.reason}"


def _throughput_card(throughput: Throughput) -> Markup:
    protocol = throughput.protocol
    rows: list[tuple[str, ...]] = []
    for size in throughput.sizes:
        if size.status != "ok":
            rows.append((str(size.natoms), "out of memory", "–", "–", "–", "–"))
            continue
        for name, timing in size.quantities.items():
            rows.append(
                (
                    str(size.natoms),
                    METRICS[name].title if name in METRICS else name,
                    f"{number(timing.median)} "
                    f"[{number(timing.quartile_low)}, {number(timing.quartile_high)}]",
                    number(timing.katom_step_per_s),
                    number(timing.ns_per_day),
                    number(timing.warmup_s),
                )
            )
    text = (
        f"{protocol.repeats} windows of about {number(protocol.window_s)} s each, the "
        "quantities taking turns; warm-up left out. Raw samples are in the record."
    )
    heads = (
        "Atoms",
        "Quantity",
        "µs/atom/step [IQR]",
        "katom-step/s",
        f"ns/day ({number(protocol.timestep)} fs)",
        "Warm-up, s",
    )
    return _card(
        "Speed",
        grid(heads, rows, numbers_from=2),
        tag("p", text, class_="note"),
        span="two",
    )


def _backend_facts(record: Record, program: BackendFacts) -> list[tuple[str, str]]:
    """Say what program evaluated, and what asking it took."""
    versions = ", ".join(f"{k} {v}" for k, v in sorted(program.versions.items()))
    facts = [
        ("program", f"{record.backend}, {program.licence}"),
        ("versions", versions),
    ]
    if program.converted is not None:
        facts.append(("model file", program.converted))
    facts.append(("sandbox", program.sandbox))
    if record.failure is not None:
        facts.append(("failed in", record.failure))
    if program.calls:
        per_call = 1e6 * program.overhead_s / program.calls
        facts.append(
            (
                "asking it",
                f"{program.calls} calls, {number(program.worker_s)} s of its own, "
                f"{number(per_call)} µs a call beside them",
            )
        )
    return facts


def provenance_card(row: Row) -> Markup:
    """The chain: row, run, model, split, dataset version, source files."""
    record = row.record
    run = record.provenance.run or {}
    steps = [
        ("Row", [(f"record, {t}", d) for t, d in row.digests.items()]),
        ("Run", _run_facts(run)),
        ("Model", [("digest", record.model.digest), ("file", record.model.path)]),
        ("Split", [*_split_facts(record), *_leakage_facts(row.leakage_record)]),
        ("Dataset", _dataset_facts(record)),
    ]
    if record.foreign is not None:
        steps.insert(1, ("Backend", _backend_facts(record, record.foreign)))
    items = [tag("li", tag("strong", name), facts_list(facts)) for name, facts in steps]
    shown = record.provenance.sources[:SOURCES_SHOWN]
    rows = [
        (
            s.path,
            s.sha256,
            s.format,
            s.code if s.code_version is None else f"{s.code} {s.code_version}",
            "–" if s.nframes is None else str(s.nframes),
        )
        for s in shown
    ]
    more = record.provenance.nsources - len(shown)
    items.append(
        tag(
            "li",
            tag("strong", f"Source files ({record.provenance.nsources})"),
            grid(("Path", "sha256", "Format", "Code", "Frames"), rows, numbers_from=4),
            tag("p", f"and {more} more", class_="note") if more > 0 else None,
        )
    )
    return _card(
        "Where the row comes from", tag("ol", *items, class_="chain"), span="wide"
    )


def _run_facts(run: dict[str, object]) -> list[tuple[str, str]]:
    plain = [
        (key.replace("_", " "), str(run[key]))
        for key in ("run_id", "seed", "steps", "engine", "precision", "wall_time_s")
        if run.get(key) is not None
    ]
    command = run.get("command")
    if isinstance(command, list):
        plain.append(("command", " ".join(str(word) for word in command)))
    elif command:
        plain.append(("command", str(command)))
    return plain or [("run", "not known to the model file")]


def _split_facts(record: Record) -> list[tuple[str, str]]:
    split = record.split
    if split is None:
        return [("split", "none: the whole version was evaluated")]
    parts = ", ".join(f"{name} {count}" for name, count in split.parts.items())
    return [
        ("digest", split.digest),
        ("made by", f"{split.strategy}, seed {split.seed}"),
        ("frames", parts),
    ]


def _leakage_facts(record: Record) -> list[tuple[str, str]]:
    found = record.leakage
    return [] if found is None else [("leakage", leakage_line(found))]


def _dataset_facts(record: Record) -> list[tuple[str, str]]:
    dataset, training = record.dataset, record.provenance.training_dataset
    facts = [("evaluated on", f"{dataset.label}:{record.part}")]
    facts.append(("digest", dataset.digest))
    if training is not None and training.digest != dataset.digest:
        facts += [("trained on", training.label), ("digest", training.digest)]
    return facts


def facts_list(facts: Iterable[tuple[str, str]]) -> Markup:
    """List named facts."""
    return tag(
        "dl", *(join(tag("dt", name), tag("dd", value)) for name, value in facts)
    )


def _record_card(row: Row) -> Markup:
    record = row.record
    hardware, software = record.hardware, record.software
    commit = "" if software.commit is None else f" ({software.commit[:10]}"
    if commit:
        commit += ", with changes)" if software.dirty else ")"
    facts = [
        ("made", record.created_at),
        ("mode", record.mode),
        ("hardware", hardware.label),
        ("cores", f"{hardware.cores} physical, {hardware.logical} usable"),
        ("memory", f"{hardware.memory_gib} GiB"),
        ("load before", "–" if hardware.load is None else str(hardware.load)),
        ("system", f"{hardware.os} {hardware.machine}"),
        ("dpbench", f"{software.dpbench}{commit}"),
        ("python", software.python),
        *software.packages.items(),
        *software.environment.items(),
    ]
    return _card(
        "Record",
        tag("pre", tag("code", " ".join(record.command) or "–"), tabindex="0"),
        facts_list(facts),
        tag(
            "details",
            tag("summary", "Full record, less the points of the plots and the sources"),
            tag("pre", record_text(record), tabindex="0"),
        ),
        span="wide",
    )


def record_text(record: Record) -> str:
    """Write a record as indented JSON, without the points that the plots show."""
    accuracy, stability = record.accuracy, record.stability
    if accuracy is not None:
        parity = Parity(
            energy_reference=(),
            energy_predicted=(),
            force_reference=(),
            force_predicted=(),
        )
        accuracy = replace(accuracy, parity=parity, by_source=())
    if stability is not None:
        runs = tuple(
            replace(run, time=(), energy=(), temperature=()) for run in stability.runs
        )
        stability = replace(stability, runs=runs)
    provenance = replace(record.provenance, sources=())
    short = replace(
        record, accuracy=accuracy, stability=stability, provenance=provenance
    )
    payload = record_to_payload(short)
    return json.dumps(payload, indent=1, ensure_ascii=False, sort_keys=True)
