"""The section that tells where everything came from, by digests."""

import json

from dpbench.eval.dataset_report.sections import section, table
from dpbench.eval.web.markup import Markup, join, tag
from dpbench.eval.web.numbers import number
from dpbench.explore.report.collect import Content


def provenance(content: Content) -> Markup:
    """Tell versions, models and configurations by their digests."""
    return section(
        "provenance",
        "Provenance",
        tag("h3", "Dataset versions"),
        _versions(content),
        tag("h3", "Models"),
        _models(content),
        tag("h3", "Configuration"),
        _configs(content),
    )


def _versions(content: Content) -> Markup:
    rows = []
    if content.start is not None:
        one = content.start
        rows.append(("start", one.version, str(one.nframes), "", one.digest))
    rows += [
        (
            f"iteration {told.number}",
            told.ingest.version,
            str(told.ingest.nframes),
            f"+{told.ingest.new}",
            told.ingest.digest,
        )
        for told in content.iterations
        if told.ingest is not None
    ]
    if not rows:
        return tag("p", "No version is committed yet.", class_="note")
    return table(("made by", "version", "frames", "new", "digest"), rows)


def _models(content: Content) -> Markup:
    rows = [
        (
            f"iteration {told.number}",
            str(place),
            told.train.dataset,
            str(model.seed),
            str(model.steps),
            number(_milli(model.errors.get("rmse_f_validation"))),
            model.digest[:20],
            (model.started_from or "anew")[:20] + (" *" if model.note else ""),
            told.train.split[:17],
        )
        for told in content.iterations
        if told.train is not None
        for place, model in enumerate(told.train.models)
    ]
    if not rows:
        return tag("p", "No model is trained yet.", class_="note")
    heads = (
        "trained in",
        "",
        "on",
        "seed",
        "steps",
        "validation, meV/Å",
        "digest",
        "started from",
        "split",
    )
    notes = {
        f"iteration {told.number}, {place}: {model.note}"
        for told in content.iterations
        if told.train is not None
        for place, model in enumerate(told.train.models)
        if model.note
    }
    kept = [
        f"Iteration {told.number} kept the models of the one before: nothing was added."
        for told in content.iterations
        if told.train is not None and told.train.is_kept
    ]
    return join(
        table(heads, rows),
        *(tag("p", f"* {note}", class_="note") for note in sorted(notes)),
        *(tag("p", words, class_="note") for words in kept),
    )


def _configs(content: Content) -> Markup:
    if not content.configs:
        return tag("p", "No configuration is kept.", class_="note")
    parts = []
    for place, entry in enumerate(content.configs):
        words = f"From iteration {entry.iteration} on"
        changed = tag("p", "; ".join(entry.changed), class_="note")
        parts.append(
            tag(
                "details",
                tag("summary", words, " ", tag("code", entry.digest[:20])),
                changed if entry.changed else None,
                tag("pre", json.dumps(entry.config, indent=2, ensure_ascii=False)),
                id=f"config{place}",
            )
        )
    return join(*parts)


def _milli(value: float | None) -> float | None:
    return None if value is None else 1000 * value
