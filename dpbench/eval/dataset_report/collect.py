"""Everything that the page about a version says, measured or looked up."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dpbench.config import to_mapping
from dpbench.elements import SYMBOLS
from dpbench.eval.dataset_report.findings import (
    CheckRow,
    FlaggedFrame,
    FlagRow,
    Judgement,
    ListedFrame,
)
from dpbench.eval.dataset_report.plots import structure
from dpbench.eval.dataset_report.profile import Profile, profile
from dpbench.eval.web.numbers import number
from dpbench.frames import Frames
from dpbench.io.dataset_cards import cards_of
from dpbench.io.quality.findings import describe as describe_quality
from dpbench.io.quality.flags import DECIDED_BY, SEVERITY
from dpbench.io.quality.judge import judge
from dpbench.store.dataset import DatasetVersion
from dpbench.store.summary import describe

WORST = 12
"""Frames of each flag that the page shows."""

LISTED = 2000
"""Frames of each flag that the page names."""

UNITS = {
    "min_distance_ratio": "of the radii's sum",
    "net_force": "eV/Å",
    "force_rms": "eV/Å",
    "force_max": "eV/Å",
    "pressure": "GPa",
}
"""Units of the values behind the flags."""

Facts = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Content:
    """What the page is made of."""

    facts: Facts
    """What ``store.summary.describe`` says of the version."""
    profile: Profile
    judgement: Judgement
    frames: tuple[FlaggedFrame, ...]
    """The worst of the flagged frames."""
    cards: tuple[Facts, ...]
    """Title, licence and citation of the data that it is made of."""


def collect(version: DatasetVersion) -> Content:
    """Measure a version and look up what is known of it.

    Raises:
        DatasetError: If a file is missing or damaged.
    """
    quality = judge(version)
    found = describe_quality(version, quality, most=LISTED)
    judgement = _judgement(found)
    return Content(
        facts=describe(version),
        profile=profile(version, quality),
        judgement=judgement,
        frames=_flagged_frames(version, judgement.flags),
        cards=tuple(to_mapping(card) for card in cards_of(version)),
    )


def extended_xyz(frames: Frames, frame_idx: int) -> str:
    """Write one frame as extended XYZ; a label that is missing is left out."""
    rows = frames.atoms_of(frame_idx)
    box, energy = frames.box[frame_idx], float(frames.energy[frame_idx])
    columns = [frames.coord[rows]]
    words = ["Properties=species:S:1:pos:R:3"]
    if not np.isnan(frames.force[rows]).any():
        columns.append(frames.force[rows])
        words[0] += ":forces:R:3"
    if not np.isnan(box).any():
        lattice = " ".join(f"{value:.10g}" for value in box.reshape(-1))
        flags = " ".join("FT"[int(flag)] for flag in frames.pbc[frame_idx])
        words += [f'Lattice="{lattice}"', f'pbc="{flags}"']
    if np.isfinite(energy):
        words.append(f"energy={energy:.12g}")
    values = np.concatenate(columns, axis=1)
    symbols = [SYMBOLS[z] for z in frames.z[rows].tolist()]
    lines = [
        " ".join([symbol, *(f"{value:.10g}" for value in row)])
        for symbol, row in zip(symbols, values, strict=True)
    ]
    return "\n".join([str(len(lines)), " ".join(words), *lines]) + "\n"


def _judgement(found: Facts) -> Judgement:
    checks = found["checks"]
    return Judgement(
        n_flagged=found["n_flagged"],
        flags=tuple(
            FlagRow(
                name=flag["name"],
                meaning=flag["meaning"],
                limit=_limits(flag["name"], found["thresholds"]),
                n=flag["n"],
                worst=tuple(row["frame"] for row in flag["worst"][:WORST]),
                rows=tuple(_listed(flag["name"], row) for row in flag["worst"]),
            )
            for flag in found["flags"]
        ),
        checks=(
            *map(_trajectory_row, checks["trajectory"]),
            *map(_volume_row, checks["volume"]),
        ),
        notes=tuple(
            f"Not checked for {row['check']}: {_frames(row['n_frames'])}; "
            f"{row['reason']}"
            for row in checks["skipped"]
            if row["n_frames"]
        ),
    )


def _listed(flag: str, row: Facts) -> ListedFrame:
    """Name a flagged frame, with the value behind the flag or what it repeats."""
    of = row["of"]["frame"] if "of" in row else None
    value = ""
    if flag in SEVERITY:
        key = SEVERITY[flag][0]
        value = f"{key} {number(row['values'][key])} {UNITS.get(key, '')}".strip()
    return ListedFrame(
        index=row["frame"], step=row["step"], path=row["source"], value=value, of=of
    )


def _frames(n: int) -> str:
    return "1 frame" if n == 1 else f"{n} frames"


def _flagged(entry: Facts) -> str:
    n = entry["n_flagged"]
    return f", {_frames(n)} flagged" if n else ""


def _limits(name: str, thresholds: Facts) -> str:
    keys = DECIDED_BY.get(name, ())
    return ", ".join(f"{key} {number(float(thresholds[key]))}" for key in keys)


def _trajectory_row(entry: Facts) -> CheckRow:
    slope = entry["slope"]
    words = "no work" if slope is None else f"slope {slope:.4f}"
    return CheckRow(
        name="forces along the trajectory",
        subject=entry["source"],
        verdict=_verdict(entry),
        is_ok=entry["verdict"] == "ok",
        detail=f"{words}, r {entry['r']:.4f}, {entry['n_steps']} steps"
        + _flagged(entry),
    )


def _volume_row(entry: Facts) -> CheckRow:
    return CheckRow(
        name="pressure against volume",
        subject=entry["composition"],
        verdict=_verdict(entry),
        is_ok=entry["verdict"] == "ok",
        detail=f"differ by {entry['difference']:.2f} ± {entry['error']:.2f} GPa, "
        f"{entry['n_volumes']} volumes" + _flagged(entry),
    )


def _verdict(entry: Facts) -> str:
    return (
        f"{entry['verdict']}: {entry['cause']}" if entry["cause"] else entry["verdict"]
    )


def _flagged_frames(
    version: DatasetVersion, flags: Sequence[FlagRow]
) -> tuple[FlaggedFrame, ...]:
    shown = {index for flag in flags for index in flag.worst}
    found: dict[int, list[tuple[str, ListedFrame]]] = {index: [] for index in shown}
    for flag in flags:
        for row in flag.rows:
            if row.index in shown:
                found[row.index].append((flag.name, row))
    chosen = sorted(shown)
    frames = version.read(chosen)
    return tuple(
        _flagged_frame(version, frames, row, index=index, reasons=tuple(found[index]))
        for row, index in enumerate(chosen)
    )


def _flagged_frame(
    version: DatasetVersion,
    frames: Frames,
    row: int,
    *,
    index: int,
    reasons: tuple[tuple[str, ListedFrame], ...],
) -> FlaggedFrame:
    source = version.sources[int(version.source_of[index])]
    norm = np.sqrt((frames.force[frames.atoms_of(row)] ** 2).sum(axis=1))
    largest = float(norm.max(initial=0.0))
    energy = float(frames.energy[row]) / int(frames.natoms[row])
    return FlaggedFrame(
        index=index,
        reasons=reasons,
        path=source.path,
        sha256=source.sha256,
        step=int(version.step[index]),
        formula=version.formulas[index],
        energy_per_atom=energy if np.isfinite(energy) else None,
        force_max=largest if np.isfinite(largest) else None,
        picture=structure(frames, row, label=f"Frame {index}"),
        xyz=extended_xyz(frames, row),
    )
