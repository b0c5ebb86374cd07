"""The report as one HTML file that needs nothing else."""

from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

from dpbench.eval.dataset_report import findings, sections
from dpbench.eval.dataset_report.collect import Content
from dpbench.eval.dataset_report.findings import Judgement
from dpbench.eval.web.document import document, masthead
from dpbench.eval.web.markup import Markup, tag

Facts = Mapping[str, Any]

CONTENTS = (
    ("holdings", "What it holds"),
    ("distributions", "Distributions"),
    ("quality", "Quality"),
    ("theory", "Level of theory"),
    ("sources", "Where it came from"),
    ("versions", "Versions and splits"),
    ("licence", "Licence and citation"),
)
"""Sections of the page: id and title."""


def render_report(content: Content) -> str:
    """Write the page: a pure function of what was collected."""
    facts = content.facts
    style = files("dpbench.eval.dataset_report") / "assets" / "report.css"
    return document(
        f"{facts['label']} · dpbench",
        tag("style", Markup(style.read_text(encoding="utf-8"))),
        tag("a", "Skip to the report", href="#holdings", class_="skip"),
        _header(facts, content.cards),
        tag(
            "main",
            _tiles(facts, content.judgement),
            tag(
                "nav",
                *(tag("a", title, href=f"#{name}") for name, title in CONTENTS),
                class_="contents",
                aria_label="Contents",
            ),
            sections.holdings(facts),
            sections.distributions(content.profile),
            findings.quality(content.judgement, content.frames),
            sections.theories(facts),
            sections.sources(facts),
            sections.history(facts),
            sections.licence(facts, content.cards),
        ),
    )


def _header(facts: Facts, cards: Sequence[Facts]) -> Markup:
    titles = [str(card["title"]) for card in cards if card.get("title")]
    words = "; ".join(titles) or facts["note"] or "A dataset of labelled structures"
    return masthead(facts["label"], words, summary=f"made {facts['created_at']}")


def _tiles(facts: Facts, judgement: Judgement) -> Markup:
    n_theories = len(facts["theories"])
    n_quarantined = sum(facts["quarantined"].values())
    tiles = (
        (f"{facts['n_frames']:,}", "frames", False),
        (f"{facts['n_atoms']:,}", "atoms", False),
        (" ".join(facts["elements"]), "elements", False),
        (f"{len(facts['compositions']):,}", "compositions", False),
        (f"{len(facts['sources']):,}", "sources", False),
        (f"{n_theories}", "levels of theory", n_theories > 1),
        (f"{n_quarantined:,}", "kept out", n_quarantined > 0),
        (f"{judgement.n_flagged:,}", "frames flagged", judgement.n_flagged > 0),
    )
    items = (
        tag("li", tag("b", value), tag("span", word), class_="warn" if bad else None)
        for value, word, bad in tiles
    )
    return tag("ul", *items, class_="tiles")
