"""How ``dpbench dataset`` words what it found."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from dpbench.io.leakage.words import leakage_words

Rows = Sequence[Mapping[str, Any]]

FAR_OFF = 0.05
"""Difference of a part's share from the one asked above which it is told."""

MOST_COMPOSITIONS = 12
"""Compositions that ``show`` names; ``--json`` has them all."""


def as_text(value: Any) -> str:
    """Word a value for ``--json``."""
    return json.dumps(value, indent=2)


def table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Align columns: numbers to the right, words to the left."""
    cells = [list(map(str, row)) for row in rows]
    widths = [
        max(len(row[i]) for row in [list(header), *cells]) for i in range(len(header))
    ]
    is_number = [
        bool(rows) and all(isinstance(row[i], int | float) for row in rows)
        for i in range(len(header))
    ]
    lines = []
    for row in [list(header), *cells]:
        padded = [
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(row, widths, is_number, strict=True)
        ]
        lines.append("  ".join(padded).rstrip())
    return "\n".join(lines)


def datasets_text(rows: Rows) -> str:
    """Word ``dataset list``."""
    if not rows:
        return "No datasets. Make one with 'dpbench ingest CODE PATH'."
    return table(
        ("dataset", "frames", "atoms", "quarantined", "created", "digest"),
        [
            (
                row["label"] + (" (retracted)" if row["retracted"] else ""),
                row["n_frames"],
                row["n_atoms"],
                row["n_quarantined"],
                row["created_at"],
                row["digest"][:17],
            )
            for row in rows
        ],
    )


def version_text(facts: Mapping[str, Any]) -> str:
    """Word ``dataset show``."""
    labels = ", ".join(f"{name} {count}" for name, count in facts["labels"].items())
    head = [
        f"{facts['label']}  {facts['digest']}",
        f"  frames        {facts['n_frames']} ({facts['n_atoms']} atoms)",
        f"  elements      {' '.join(facts['elements'])}",
        f"  compositions  {_compositions(facts['compositions'])}",
        f"  labels        {labels}",
        f"  quarantined   {_counts(facts['quarantined']) or '0'}",
    ]
    for key, name in (("charges", "charge"), ("multiplicities", "multiplicity")):
        if facts[key]:
            words = ", ".join(f"{v} in {n} frames" for v, n in facts[key].items())
            head.append(f"  {name:<13} {words}")
    if facts["note"]:
        head.append(f"  note          {facts['note']}")
    parts = ["\n".join(head), _versions(facts["versions"])]
    parts += [_theory(theory) for theory in facts["theories"]]
    parts += [_mixture(facts["mixed_theory"])] if facts["mixed_theory"] else []
    parts += [_sources(facts["sources"]), _splits(facts["splits"])]
    return "\n\n".join(parts)


def quarantine_text(label: str, rows: Rows) -> str:
    """Word ``dataset show --quarantined``."""
    if not rows:
        return f"{label}: no frame is in quarantine."
    return table(
        ("reason", "step", "atoms", "energy eV", "max force eV/Å", "source"),
        [
            (
                row["reason"],
                row["step"],
                row["n_atoms"],
                "-" if row["energy"] is None else f"{row['energy']:.6f}",
                "-" if row["force_max"] is None else f"{row['force_max']:.4f}",
                row["path"],
            )
            for row in rows
        ],
    )


def statistics_text(facts: Mapping[str, Any]) -> str:
    """Word ``dataset stats``."""
    lines = [f"{facts['label']}  {facts['n_frames']} frames, {facts['n_atoms']} atoms"]
    columns = ("mean", "std", "min", "max")
    rows = [
        (name, values["n"], *(f"{values[key]:.6g}" for key in columns))
        for name, values in facts["quantities"].items()
        if values is not None
    ]
    lines.append(table(("quantity", "n", *columns), rows))
    missing = [name for name, values in facts["quantities"].items() if values is None]
    if missing:
        lines.append(f"no values: {', '.join(missing)}")
    return "\n".join(lines)


def split_text(facts: Mapping[str, Any]) -> str:
    """Word ``dataset split``."""
    parameters = facts["parameters"]
    called = f"'{facts['name']}' " if facts["name"] else ""
    lines = [
        f"{facts['dataset']}: split {called}{facts['digest']}",
        f"  strategy      {facts['strategy']}, seed {facts['seed']}",
        f"  parts         {_counts(facts['sizes'], before=True)}",
    ]
    lines += _far_off(facts["sizes"], parameters["fractions"], parameters["hold_out"])
    if "asked" in parameters:
        lines.append(f"  asked for     {parameters['asked']}")
    if parameters["n_in_gaps"]:
        lines.append(f"  in no part    {parameters['n_in_gaps']} frames, in gaps")
    if parameters.get("n_set_aside"):
        lines.append(
            f"  in no part    {parameters['n_set_aside']} frames, twins of frames in "
            "another part"
        )
    lines += [
        f"  {part} has in common with train: {leakage_words(found)}"
        for part, found in facts["leakage"].items()
    ]
    return "\n".join(lines)


def _far_off(
    sizes: Mapping[str, int], asked: Mapping[str, float], held: Mapping[str, Any]
) -> list[str]:
    """Say how far the shares of parts are from those asked, where that is far."""
    total = sum(n for part, n in sizes.items() if part not in held)
    told = [
        f"{part} {sizes[part] / total:.0%} of {share:.0%} asked"
        for part, share in asked.items()
        if part in sizes and total and abs(sizes[part] / total - share) > FAR_OFF
    ]
    return [f"  shares        {', '.join(told)}"] if told else []


def _versions(rows: Rows) -> str:
    return table(
        ("version", "frames", "quarantined", "created", "digest", "note"),
        [
            (
                row["label"],
                row["n_frames"],
                row["n_quarantined"],
                row["created_at"],
                row["digest"][:17],
                f"RETRACTED. {row['note']}" if row["retracted"] else row["note"],
            )
            for row in rows
        ],
    )


def _theory(entry: Mapping[str, Any]) -> str:
    from dpbench.store.theory.mixture import show

    lines = [f"theory {entry['id'][:12]} ({entry['n_frames']} frames)"]
    if not entry["theory"]:
        lines.append("  undeclared")
    told = {k: value for k, value in entry["theory"].items() if value is not None}
    lines += [f"  {key:<18} {show(value)}" for key, value in told.items()]
    return "\n".join(lines)


def _mixture(conflicts: Rows) -> str:
    """Word what differs between levels of theory that were mixed on request."""
    from dpbench.store.theory.mixture import show

    lines = ["mixed theory (--allow-mixed-theory)"]
    for conflict in conflicts:
        lines += [
            f"  {conflict['key']:<18} {show(claim['value'])} "
            f"(sources: {claim['n_sources']}, e.g. {claim['example']})"
            for claim in conflict["values"]
        ]
    return "\n".join(lines)


def _sources(rows: Rows) -> str:
    return table(
        ("frames", "quarantined", "format", "code", "complete", "source"),
        [
            (
                row["n_frames"],
                _counts(row["quarantined"]) or "0",
                row["format"],
                f"{row['code']} {row['code_version'] or ''}".strip(),
                "yes" if row["complete"] else "no",
                row["path"],
            )
            for row in rows
        ],
    )


def _splits(rows: Rows) -> str:
    if not rows:
        return "splits: none yet ('dpbench dataset split', or made by 'dpbench train')"
    return table(
        ("split", "name", "strategy", "seed", "parts"),
        [
            (
                row["digest"][:17],
                ", ".join(row["names"]) or "-",
                row["strategy"],
                row["seed"],
                _counts(row["sizes"], before=True),
            )
            for row in rows
        ],
    )


def _compositions(counts: Mapping[str, int]) -> str:
    first = list(counts.items())[:MOST_COMPOSITIONS]
    text = ", ".join(f"{name} ({count})" for name, count in first)
    more = len(counts) - len(first)
    return f"{text} and {more} more" if more > 0 else text


def _counts(counts: Mapping[str, int], *, before: bool = False) -> str:
    pairs = counts.items()
    return ", ".join(f"{n} {c}" if before else f"{c} {n}" for n, c in pairs)
