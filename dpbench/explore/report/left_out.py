"""The section that tells all that was left out, and why."""

from collections import Counter
from collections.abc import Sequence

from dpbench.eval.dataset_report.sections import section, table
from dpbench.eval.web.markup import Child, Markup, tag
from dpbench.explore.report.collect import Content
from dpbench.explore.select.choosing import WHY


def rejected(content: Content) -> Markup:
    """Tell all that was left out, and why."""
    cards = (
        card("Explored frames that were not chosen", _not_chosen(content), kind="wide"),
        card("Labels in quarantine", _quarantined(content), kind="wide second"),
        card("Walks that did not end well", _walks(content), kind="wide second"),
        card("Frames that the filters kept out of the walks", _dropped(content)),
        card("Labelled frames that were refused", _refused(content)),
        card("Labels that needed remedies", _remedies(content)),
    )
    return section(
        "rejected", "Left out, and why", tag("div", *cards, class_="cards wrap")
    )


def card(title: str, *children: Child, kind: str = "") -> Markup:
    """Frame something under a small title."""
    return tag("div", tag("h4", title), *children, class_=f"card {kind}".strip())


def _matrix(
    content: Content, counts: Sequence[tuple[int, dict[str, int]]], *, words: bool
) -> Markup:
    """Draw counts by reason and iteration."""
    reasons = sorted({why for _, found in counts for why in found})
    if not reasons:
        return _none()
    several = len(counts) > 1
    rows = [
        (
            why,
            *(str(found.get(why, 0)) for _, found in counts),
            *((str(sum(found.get(why, 0) for _, found in counts)),) * several),
            *((WHY.get(why, ""),) if words else ()),
        )
        for why in reasons
    ]
    heads = (
        "why",
        *(f"it. {n}" for n, _ in counts),
        *(("all",) * several),
        *(("which means",) if words else ()),
    )
    return table(heads, rows)


def _not_chosen(content: Content) -> Markup:
    counts = [
        (t.number, t.select.rejected)
        for t in content.iterations
        if t.select is not None
    ]
    return _matrix(content, counts, words=True)


def _dropped(content: Content) -> Markup:
    counts: list[tuple[int, dict[str, int]]] = []
    for told in content.iterations:
        if told.explore is not None:
            total: Counter[str] = Counter()
            for walk in told.explore.walks:
                total.update(walk.dropped)
            counts.append((told.number, dict(total)))
    return _matrix(content, counts, words=False)


def _walks(content: Content) -> Markup:
    rows = [
        (str(told.number), walk.reason, walk.name, walk.outcome, str(walk.nframes))
        for told in content.iterations
        if told.explore is not None
        for walk in told.explore.walks
        if walk.outcome != "done"
    ]
    heads = ("it.", "reason", "walk", "outcome", "frames kept")
    return table(heads, rows) if rows else _none()


def _quarantined(content: Content) -> Markup:
    labels = [("start", content.start_label)]
    labels += [(str(told.number), told.label) for told in content.iterations]
    rows = [
        (name, one.reason, one.walk, str(one.step), str(one.attempts), one.key[:12])
        for name, label in labels
        if label is not None
        for one in label.quarantined
    ]
    heads = ("it.", "reason", "walk", "step", "attempts", "key")
    return table(heads, rows) if rows else _none()


def _refused(content: Content) -> Markup:
    ingests = [("start", content.start)]
    ingests += [(str(told.number), told.ingest) for told in content.iterations]
    rows = [
        (name, str(count), why)
        for name, one in ingests
        if one is not None
        for why, count in one.refused.items()
    ]
    return table(("it.", "frames", "why"), rows) if rows else _none()


def _remedies(content: Content) -> Markup:
    labels = [content.start_label, *(told.label for told in content.iterations)]
    counts = Counter(
        remedy
        for label in labels
        if label is not None
        for one in label.done
        for remedy in one.remedies
    )
    rows = [(str(count), remedy) for remedy, count in counts.most_common()]
    return table(("labels", "remedy"), rows) if rows else _none()


def _none() -> Markup:
    return tag("p", "None.", class_="note")
