"""Sections of the page that tell what a version holds and where it came from."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpbench.eval.dataset_report import plots
from dpbench.eval.dataset_report.profile import DISTANCE_EDGES, FORCE_EDGES, Profile
from dpbench.eval.web.markup import Child, Markup, join, tag
from dpbench.eval.web.numbers import number
from dpbench.eval.web.tables import grid

Facts = Mapping[str, Any]

MOST_FITS = 6
"""Composition fits that are told below the plot."""

MOST_ROWS = 200
"""Rows of a table; how many more there are is said below it."""

LABELS = {
    "energy": "energy",
    "force": "forces",
    "virial": "virial",
    "box": "a cell",
    "aparam": "numbers of atoms",
}
"""What frames may have, in words."""


def section(name: str, title: str, *children: Child) -> Markup:
    """Make a section that the page's contents can link to."""
    return tag("section", tag("h2", title), *children, id=name, class_="part-section")


def table(
    heads: Sequence[str], rows: Sequence[Sequence[str]], *, numbers_from: int = 99
) -> Markup:
    """Draw a table, cut after ``MOST_ROWS`` rows with a word on the rest."""
    drawn = grid(heads, rows[:MOST_ROWS], numbers_from=numbers_from)
    more = len(rows) - MOST_ROWS
    rest = tag("p", f"… and {more} more.", class_="note") if more > 0 else None
    return join(drawn, rest)


def holdings(facts: Facts) -> Markup:
    """Tell compositions and labels."""
    total = facts["n_frames"] or 1
    compositions = sorted(facts["compositions"].items(), key=lambda c: (-c[1], c[0]))
    labelled = [
        (LABELS[name], str(n), f"{100 * n / total:.4g} %")
        for name, n in facts["labels"].items()
    ]
    rows = [(name, str(n), f"{100 * n / total:.4g} %") for name, n in compositions]
    quarantined = [(reason, str(n)) for reason, n in facts["quarantined"].items()]
    return section(
        "holdings",
        "What it holds",
        tag(
            "div",
            _card("Compositions", table(("formula", "frames", ""), rows)),
            _card("Frames that have", table(("label", "frames", ""), labelled)),
            _card(
                "Kept out",
                table(("reason", "frames"), quarantined)
                if quarantined
                else tag("p", "No frame is in quarantine.", class_="note"),
            ),
            class_="cards",
        ),
    )


def distributions(found: Profile) -> Markup:
    """Draw energies, forces, distances, volumes, pressures and temperatures."""
    drawn = (
        *_energies(found),
        _forces(found),
        _distances(found),
        *(
            _histogram(values, title, x_label=x_label, note=note)
            for values, x_label, title, note in (
                (found.volume_per_atom, "Volume, Å³/atom", "Volume per atom", ""),
                (
                    found.pressure,
                    "Pressure, GPa",
                    "Pressure",
                    "From the virial, without the kinetic part.",
                ),
                (
                    found.temperature,
                    "Temperature, K",
                    "Temperature",
                    "Kinetic temperature, as the sources print it.",
                ),
            )
        ),
    )
    return section(
        "distributions", "Distributions", tag("div", *drawn, class_="figures")
    )


def _forces(found: Profile) -> Markup:
    drawing = plots.binned(
        found.force_counts,
        FORCE_EDGES,
        x_label="Force norm, eV/Å",
        label="Norms of forces",
    )
    below, above = found.force_beyond
    edges = ((below, "below", FORCE_EDGES[0]), (above, "above", FORCE_EDGES[-1]))
    parts = [
        f"{_count(n, 'atom')} {word} {edge:g} eV/Å" for n, word, edge in edges if n
    ]
    note = f"Not drawn: forces on {', on '.join(parts)}." if parts else ""
    return _figure(drawing, "Force on an atom", note)


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def _histogram(
    values: NDArray[np.float64], title: str, *, x_label: str, note: str = ""
) -> Markup:
    drawing = plots.histogram(values, x_label=x_label, label=title)
    return _figure(drawing, title, f"{note} {plots.beyond(values)}".strip())


def _energies(found: Profile) -> tuple[Markup, Markup]:
    notes = [_fit_note(fit, many=len(found.fits) > 1) for fit in found.fits[:MOST_FITS]]
    more = len(found.fits) - MOST_FITS
    notes += [f"And {more} more fits."] if more > 0 else []
    return (
        _histogram(found.energy_per_atom, "Energy per atom", x_label="Energy, eV/atom"),
        _histogram(
            1000 * found.energy_residual,
            "Energy beyond one energy an element",
            x_label="Energy beyond the composition, meV/atom",
            note=" ".join(notes),
        ),
    )


def _fit_note(fit: Facts, *, many: bool) -> str:
    """Tell one composition fit; of several, whose frames it was fitted to."""
    elements = fit["elements"]
    pairs = zip(elements, fit["energy"], strict=True)
    fitted = ", ".join(f"{element} {energy:.3f}" for element, energy in pairs)
    of = (
        f" ({_count(fit['n_frames'], 'frame')} of theory {fit['theory'][:16]}"
        if many
        else ""
    )
    of += f", {fit['state']}" if many and fit["state"] else ""
    note = f"Fitted, eV{of + ')' if of else ''}: {fitted}."
    if fit["is_deficient"]:
        note += (
            f" Only {fit['rank']} of its {len(elements)} energies can be told apart: "
            "the compositions depend on each other."
        )
    return note


def _distances(found: Profile) -> Markup:
    width = float(DISTANCE_EDGES[1] - DISTANCE_EDGES[0])
    drawing = plots.curves(
        {
            "–".join(pair): counts / (found.n_distance_frames * width)
            for pair, counts in found.distances.items()
        },
        (DISTANCE_EDGES[1:] + DISTANCE_EDGES[:-1]) / 2,
        x_label="Distance, Å",
        y_label="Pairs a frame and Å",
        label="Distances between atoms by pair of elements",
    )
    note = f"{_count(found.n_distance_frames, 'frame')}, evenly spread."
    return _figure(drawing, "Distances by pair", note)


def theories(facts: Facts) -> Markup:
    """Tell the levels of theory."""
    cards = [
        _card(
            _count(entry["n_frames"], "frame"),
            _pairs(entry["theory"])
            if entry["theory"]
            else tag("p", "undeclared", class_="badge warn"),
            tag("p", f"Fingerprint {entry['id'][:16]}", class_="note"),
        )
        for entry in facts["theories"]
    ]
    mixed = facts["mixed_theory"]
    return section(
        "theory",
        "Level of theory",
        _mixture(mixed) if mixed else None,
        tag("div", *cards, class_="cards"),
    )


def _mixture(conflicts: Sequence[Facts]) -> Markup:
    """Warn of incompatible levels of theory that were mixed on request."""
    rows = [
        (
            conflict["key"],
            text_of(claim["value"]),
            str(claim["n_sources"]),
            claim["example"],
            conflict["note"],
        )
        for conflict in conflicts
        for claim in conflict["values"]
    ]
    keys = ", ".join(conflict["key"] for conflict in conflicts)
    words = f"Levels of theory are mixed: they differ in {keys}."
    return join(
        tag("p", tag("span", words, class_="badge warn")),
        table(("differs", "value", "sources", "e.g.", "why"), rows),
    )


def sources(facts: Facts) -> Markup:
    """List the source files."""
    rows = [
        (
            str(row["n_frames"]),
            ", ".join(f"{n} {why}" for why, n in row["quarantined"].items()) or "0",
            row["format"],
            f"{row['code']} {row['code_version'] or ''}".strip(),
            "yes" if row["complete"] else "no",
            row["sha256"][:12],
            row["path"],
        )
        for row in facts["sources"]
    ]
    heads = ("frames", "kept out", "format", "code", "complete", "sha256", "path")
    return section(
        "sources",
        "Where it came from",
        tag("p", f"{_count(len(rows), 'source')}.", class_="note"),
        table(heads, rows),
    )


def history(facts: Facts) -> Markup:
    """List versions and splits."""
    versions = [
        (
            row["label"],
            str(row["n_frames"]),
            str(row["n_quarantined"]),
            row["created_at"],
            row["digest"],
            row["note"],
        )
        for row in facts["versions"]
    ]
    splits = [
        (
            row["digest"][:17],
            row["strategy"],
            str(row["seed"]),
            ", ".join(f"{name} {size}" for name, size in row["sizes"].items()),
        )
        for row in facts["splits"]
    ]
    heads = ("version", "frames", "kept out", "made", "digest", "note")
    return section(
        "versions",
        "Versions and splits",
        table(heads, versions),
        table(("split", "strategy", "seed", "frames by part"), splits)
        if splits
        else tag("p", "No split yet.", class_="note"),
    )


def licence(facts: Facts, cards: Sequence[Facts]) -> Markup:
    """Tell licence, citation and the digest that names the content."""
    drawn = [
        _card(
            str(card.get("title") or card.get("name") or "Data"),
            _pairs(
                {
                    key: card[key]
                    for key in ("licence", "doi", "url", "authors")
                    if card.get(key)
                }
            ),
            tag("p", str(card["citation"]), class_="note cite")
            if card.get("citation")
            else None,
        )
        for card in cards
    ]
    if not drawn:
        words = "No licence or citation is declared."
        drawn = [tag("p", words, class_="badge warn")]
    digest = tag("p", "Content digest ", tag("code", facts["digest"]))
    return section(
        "licence",
        "Licence and citation",
        tag("div", *drawn, class_="cards"),
        digest,
    )


def text_of(value: Any) -> str:
    """Write a value of a level of theory on one line."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {text_of(item)}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return " × ".join(text_of(item) for item in value)
    if isinstance(value, float):
        is_round = math.isfinite(value) and value == round(value, 6)
        return f"{value:.6g}" if is_round else number(value)
    return "unknown" if value is None else str(value)


def _pairs(facts: Facts) -> Markup:
    rows = ((tag("dt", key), tag("dd", text_of(v))) for key, v in facts.items())
    return tag("dl", *(item for row in rows for item in row))


def _card(title: str, *children: Child) -> Markup:
    return tag("div", tag("h4", title), *children, class_="card")


def _figure(drawing: Markup | None, caption: str, note: str = "") -> Markup:
    if drawing is None and not note.startswith("Not drawn"):
        drawing = tag("p", "No frame has it.", class_="note")
    below = tag("p", note, class_="note") if note else None
    return tag("figure", tag("figcaption", caption), drawing, below)
