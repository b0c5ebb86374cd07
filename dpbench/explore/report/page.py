"""The report as one HTML file that needs nothing else."""

from importlib.resources import files

from dpbench.eval.web.document import document, masthead
from dpbench.eval.web.markup import Markup, tag
from dpbench.explore.progress import STAGE_WORDS, title_of
from dpbench.explore.report import left_out, provenance, sections
from dpbench.explore.report.collect import Content

RELOAD_SECONDS = 15
"""How often a browser reads the page anew while the exploration runs."""

CONTENTS = (
    ("iterations", "Iterations"),
    ("deviations", "Deviations"),
    ("errors", "Errors"),
    ("rejected", "Left out"),
    ("cost", "Cost"),
    ("provenance", "Provenance"),
)
"""Sections of the page: id and title."""

WORDS = {
    "new": "Nothing is done yet",
    "running": "Running",
    "stopped": "Stopped before its end",
    "converged": "Converged",
    "limit": "Ended, not converged",
}
"""Headline of each state."""


def render_report(content: Content) -> str:
    """Write the page: a pure function of what was collected."""
    assets = files("dpbench.explore.report") / "assets"
    return document(
        f"{content.name}: exploration · dpbench",
        tag("a", "Skip to the report", href="#iterations", class_="skip"),
        _header(content),
        tag(
            "main",
            _state(content),
            _tiles(content),
            tag(
                "nav",
                *(tag("a", title, href=f"#{name}") for name, title in CONTENTS),
                class_="contents",
                aria_label="Contents",
            ),
            sections.iterations(content),
            sections.deviations(content),
            sections.errors(content),
            left_out.rejected(content),
            sections.cost(content),
            provenance.provenance(content),
        ),
        script=(assets / "report.js").read_text(encoding="utf-8"),
        style=(assets / "report.css").read_text(encoding="utf-8"),
    )


def _header(content: Content) -> Markup:
    return masthead(
        content.name,
        "Exploration: train, explore, select, label, ingest",
        summary=f"written {content.written_at}",
    )


def _state(content: Content) -> Markup:
    """Say whether it goes on, what it does, or why it has ended."""
    running = content.running
    is_doubted = content.state == "converged" and bool(content.doubts)
    parts: list[Markup] = []
    if running is not None:
        words = title_of(running)
        if running.total:
            words += f", {running.done} of {running.total}"
        parts.append(tag("p", ": ".join(w for w in (words, running.text) if w)))
        if running.total:
            parts.append(
                tag("progress", value=running.done, max=running.total, aria_label=words)
            )
        parts.append(tag("p", "", id="stale", class_="stale", hidden=""))
    elif content.stop is not None:
        parts.append(tag("p", content.stop.reason))
        parts += [tag("p", f"But {doubt}.", class_="doubt") for doubt in content.doubts]
    elif content.state == "stopped":
        last = _last_stage(content)
        parts.append(
            tag("p", f"Done last: {last}. The same command goes on from there.")
        )
    return tag(
        "div",
        tag("b", WORDS[content.state] + (", with doubts" if is_doubted else "")),
        *parts,
        id="state",
        class_=f"state {content.state}" + (" doubted" if is_doubted else ""),
        role="status",
        data_state=content.state,
        data_written=content.written_at.replace(" UTC", "Z").replace(" ", "T"),
        data_every=RELOAD_SECONDS,
    )


def _last_stage(content: Content) -> str:
    for told in reversed(content.iterations):
        for stage in ("ingest", "label", "select", "explore", "train"):
            if getattr(told, stage) is not None:
                return f"{STAGE_WORDS[stage]} of iteration {told.number}"
    return "the start"


def _tiles(content: Content) -> Markup:
    labels = [content.start_label, *(told.label for told in content.iterations)]
    quarantined = sum(len(one.quarantined) for one in labels if one is not None)
    paid = sum(
        not frame.is_cached for one in labels if one is not None for frame in one.done
    )
    last = next((t for t in reversed(content.iterations) if t.select is not None), None)
    versions = [t.ingest for t in content.iterations if t.ingest is not None]
    version = versions[-1] if versions else content.start
    tiles = [
        (str(sum(t.select is not None for t in content.iterations)), "iterations", 0),
        (f"{version.nframes:,}" if version else "–", "labelled frames", 0),
        (f"{paid:,}", "labels computed", 0),
        (f"{quarantined:,}", "labels quarantined", quarantined),
        (f"{sum(content.cpu_seconds.values()) / 3600:.3g}", "CPU hours", 0),
    ]
    if last is not None and last.select is not None:
        share = sections.accurate_share(last.select, last.explore)
        tiles.insert(1, (share, "accurate in the last iteration", 0))
    items = (
        tag("li", tag("b", value), tag("span", word), class_="warn" if bad else None)
        for value, word, bad in tiles
    )
    return tag("ul", *items, class_="tiles")
