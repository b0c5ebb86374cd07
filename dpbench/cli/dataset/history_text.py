"""How ``dpbench dataset log`` and ``diff`` word what they found."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dpbench.cli.dataset.text import table

if TYPE_CHECKING:
    from dpbench.store.diff import Diff, FrameRecord

FACTORS = {
    "energy": (1e3, "meV/atom"),
    "force": (1, "eV/Å"),
    "virial": (1, "eV"),
    "aparam": (1, "(numbers of atoms)"),
}
"""What a difference is multiplied by, and its unit then."""

FIRST_ROWS = 10
"""Frames of each kind that ``diff`` prints; ``--json`` has them all."""


def log_text(facts: Mapping[str, Any]) -> str:
    """Word ``dataset log``."""
    lines = [facts["name"]]
    lines += [
        f"  called {event['name']} instead of {event['before']} since {event['at']} "
        f"({event['by']})"
        for event in reversed(facts["names"])
    ]
    return "\n\n".join(["\n".join(lines), *map(_version, reversed(facts["versions"]))])


def diff_text(facts: Mapping[str, Any], found: "Diff") -> str:
    """Word ``dataset diff``."""
    counts = facts["counts"]
    parts = [
        f"{facts['a']} -> {facts['b']}: {counts['added']} frames added, "
        f"{counts['removed']} removed, {counts['relabelled']} relabelled, "
        f"{counts['common']} in both"
    ]
    for title, frames in (("added", found.added), ("removed", found.removed)):
        parts += _block(title, ("step", "atoms", "composition", "source"), frames, _row)
    if found.largest:
        parts.append(f"largest |Δ|: {', '.join(_deltas(found.largest))}")
    header = ("changed", "step", "atoms", "composition", "before", "after")
    parts += _block("relabelled", header, found.relabelled, _pair)
    return "\n\n".join(parts)


def _version(entry: Mapping[str, Any]) -> str:
    held_back = entry["n_quarantined"]
    aside = f", {held_back} in quarantine" if held_back else ""
    changes = ", ".join(
        f"{sign}{entry[name]} {name}"
        for sign, name in (("+", "added"), ("-", "removed"), ("", "relabelled"))
        if entry[name]
    )
    since = f" since {entry['parent']}" if entry["parent"] else ""
    lines = [
        f"{entry['label']}  {entry['created_at']}  {entry['digest'][:17]}",
        f"  {entry['n_frames']} frames{aside}; {changes or 'the same frames'}{since}",
    ]
    if entry["note"]:
        lines.append(f"  {entry['note']}")
    if entry["mixed_theory"]:
        keys = ", ".join(conflict["key"] for conflict in entry["mixed_theory"])
        lines.append(f"  mixes levels of theory: {keys}")
    if entry["retraction"]:
        told = entry["retraction"]
        lines.append(f"  RETRACTED {told['at']} by {told['by']}: {told['reason']}")
    return "\n".join(lines)


def _block(title: str, header: Sequence[str], items: Any, row: Any) -> list[str]:
    if not items:
        return []
    lines = [table(header, [row(item) for item in items[:FIRST_ROWS]])]
    if len(items) > FIRST_ROWS:
        lines.append(f"... and {len(items) - FIRST_ROWS} more (--json has them all)")
    return [f"{title}\n" + "\n".join(lines)]


def _row(frame: "FrameRecord") -> tuple[Any, ...]:
    return frame.step, frame.natoms, frame.formula, _place(frame)


def _pair(pair: Any) -> tuple[Any, ...]:
    before, after = pair.before, pair.after
    return (
        ", ".join(_changed(pair)),
        after.step,
        after.natoms,
        after.formula,
        _place(before),
        _place(after),
    )


def _changed(pair: Any) -> list[str]:
    """Word what changed in one frame: labels by how much, electrons from what."""
    words = _deltas(pair.largest)
    words += [name for name in pair.changed if name in ("theory", "quarantine")]
    for name, (before, after) in pair.electrons.items():
        old, new = ("unknown" if v is None else f"{v:g}" for v in (before, after))
        words.append(f"{name} {old} -> {new}")
    return words


def _deltas(largest: Mapping[str, float | None]) -> list[str]:
    return [
        f"{name} (one version lacks it)"
        if delta is None
        else f"{name} {delta * FACTORS[name][0]:.4g} {FACTORS[name][1]}"
        for name, delta in largest.items()
    ]


def _place(frame: "FrameRecord") -> str:
    return f"{frame.path} ({frame.quarantine})" if frame.quarantine else frame.path
