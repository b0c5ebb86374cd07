"""``dpbench dataset quality``."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from dpbench.cli.context import Context, pass_context
from dpbench.cli.dataset.text import as_text, table


@click.command("quality")
@click.argument("name")
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="Set a threshold, e.g. min_distance=0.6; may be repeated.",
)
@click.option(
    "--thresholds",
    "thresholds_file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    metavar="FILE",
    help="Read thresholds from a TOML file; --set goes before it.",
)
@click.option(
    "--exclude",
    metavar="FLAG[,FLAG]",
    help="Make the next version, without the frames that have these flags.",
)
@click.option(
    "--worst",
    type=click.IntRange(min=0),
    default=3,
    show_default=True,
    metavar="N",
    help="Frames to name for each flag.",
)
@click.option("--again", is_flag=True, help="Judge again, whatever is kept.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@pass_context
def quality_command(
    context: Context,
    name: str,
    *,
    settings: tuple[str, ...],
    thresholds_file: Path | None,
    exclude: str | None,
    worst: int,
    again: bool,
    as_json: bool,
) -> None:
    """Judge every frame of NAME, and make a version without some if asked.

    \b
    Example:
        dpbench dataset quality water --set min_distance=0.6
        dpbench dataset quality water --exclude duplicate_exact,net_force
    """
    from datetime import UTC, datetime

    from dpbench.io.quality.findings import check_flags, describe
    from dpbench.io.quality.judge import judge
    from dpbench.io.quality.thresholds import read_thresholds
    from dpbench.store.dataset import open_dataset

    limits = read_thresholds(settings, file=thresholds_file)
    flags = (
        check_flags([flag.strip() for flag in exclude.split(",")])
        if exclude is not None
        else ()
    )
    version = open_dataset(context.workspace(), name)
    with click.progressbar(
        length=version.nframes,
        label="Judging",
        file=sys.stderr,
        hidden=as_json or not sys.stderr.isatty(),
    ) as bar:
        quality = judge(version, limits, is_cached=not again, progress=bar.update)
    facts = describe(version, quality, most=worst)
    if flags:
        from dpbench.io.quality.exclude import exclude as exclude_frames

        made = exclude_frames(
            version,
            quality,
            flags,
            created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        facts["made"] = {
            "label": made.label,
            "digest": made.digest,
            "n_frames": made.nframes,
            "note": made.payload["note"],
        }
    click.echo(as_text(facts) if as_json else _text(facts))


def _text(facts: Mapping[str, Any]) -> str:
    """Word the findings."""
    parts = [
        f"{facts['label']}  {_count(facts['n_frames'], 'frame')}, "
        f"{facts['n_flagged']} flagged",
        table(
            ("flag", "frames", "what it says"),
            [(row["name"], row["n"], row["meaning"]) for row in facts["flags"]],
        ),
    ]
    parts += [_worst(row) for row in facts["flags"] if row["worst"]]
    parts += [_checks(facts["checks"])]
    if "made" in facts:
        made = facts["made"]
        parts.append(f"{made['label']}  {made['digest']}  {made['n_frames']} frames")
    return "\n\n".join(parts)


def _worst(row: Mapping[str, Any]) -> str:
    more = "; --worst N for more" if len(row["worst"]) < row["n"] else ""
    lines = [f"{row['name']}: {len(row['worst'])} of {row['n']}{more}"]
    for frame in row["worst"]:
        values = "  ".join(
            f"{key} {value:.4g}"
            for key, value in frame["values"].items()
            if value is not None
        )
        lines.append(
            f"  frame {frame['frame']}: step {frame['step']} of {frame['source']}"
        )
        if "of" in frame:
            of = frame["of"]
            lines.append(
                f"    as frame {of['frame']}: step {of['step']} of {of['source']}"
            )
        else:
            lines.append(f"    {values}")
    return "\n".join(lines)


def _checks(checks: Mapping[str, Any]) -> str:
    lines = []
    for entry in checks["energy"]:
        rank = f"rank {entry['rank']} of {len(entry['elements'])}"
        if entry["is_deficient"]:
            rank += ": the compositions do not tell the elements' energies apart"
        spread = entry["spread"]
        tail = (
            "not judged" if spread is None else f"spread {1000 * spread:.3g} meV/atom"
        )
        lines.append(
            f"energies by composition: {_count(entry['n_frames'], 'frame')} of "
            f"{' '.join(entry['elements'])}, {rank}; {tail}"
        )
    fine = [e for e in checks["trajectory"] if e["verdict"] == "ok"]
    lines.append(
        f"trajectories: {len(checks['trajectory'])} checked, {len(fine)} in order"
    )
    lines += [
        f"  {e['verdict']}: {e['source']}: {e['cause']} "
        f"({_slope(e)}r {e['r']:.4f}, {_count(e['n_steps'], 'step')})"
        for e in checks["trajectory"]
        if e["verdict"] != "ok"
    ]
    lines.append("energies against pressures: " + _volumes(checks["volume"]))
    lines += [f"lengths: {e['source']}: {e['cause']}" for e in checks["units"]]
    if checks["relabelled"]:
        lines.append(
            f"relabelled: {_count(len(checks['relabelled']), 'exact duplicate')} with "
            "other labels than the frame that stands earlier"
        )
    if checks["twins"]["unconfirmed"]:
        lines.append(
            f"twins: {checks['twins']['unconfirmed']} flagged by their fingerprint "
            "alone, too many to be confirmed here; --exclude confirms them"
        )
    lines += [
        f"skipped {e['check']}: {_count(e['n_frames'], 'frame')} in "
        f"{_count(e['n_groups'], 'group')}: {e['reason']}"
        for e in checks["skipped"]
        if e["n_frames"]
    ]
    return "\n".join(lines)


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def _slope(entry: Mapping[str, Any]) -> str:
    return "" if entry["slope"] is None else f"slope {entry['slope']:.4f}, "


def _volumes(entries: list[dict[str, Any]]) -> str:
    if not entries:
        return "none checked"
    return "".join(
        f"\n  {e['verdict']}: {e['composition']}, {e['n_volumes']} volumes, "
        f"{_count(e['n_frames'], 'frame')}: -dE/dV - P = {e['difference']:.2f} "
        f"+- {e['error']:.2f} GPa"
        for e in entries
    )
