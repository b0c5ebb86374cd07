"""The table of a speed measurement, for a terminal."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from dpbench.eval.speed.results import Ladders, Level, Rung
from dpbench.eval.speed.settings import LEVEL_NAMES
from dpbench.eval.task_results import Fidelity
from dpbench.eval.web.numbers import number, spread_text
from dpbench.metrics.statistics import spread
from dpbench.metrics.verdicts import compare_timings

HEADS = ("family", "atoms", "configuration", "engine")


def speed_table(
    ladders: Sequence[Ladders],
    levels: Sequence[str],
    *,
    fidelity: Mapping[str, Fidelity | None] = MappingProxyType({}),
) -> str:
    """Lay out all sizes: time per atom and step with its interval, ratio to the first.

    Args:
        ladders: One per configuration, measured together.
        levels: What was timed; a column each.
        fidelity: Of each label, how far its forces are from the exact ones.
    """
    names = [name for name, level in LEVEL_NAMES.items() if level in levels]
    rows = [[*HEADS, *(f"{name} µs/atom" for name in names), "to the first", "MiB", ""]]
    for family_index, family in enumerate(ladders[0].ladders if ladders else ()):
        sizes = sorted(
            {rung.asked for one in ladders for rung in one.ladders[family_index].rungs}
        )
        for size in sizes:
            rows += _rows_of(ladders, family_index, size, levels)
        if not sizes:
            rows.append([family.family, "–", "no model knows its elements"])
    told = [_fidelity_words(label, one) for label, one in fidelity.items()]
    return "\n".join([_laid_out(rows), *(words for words in told if words)])


def _fidelity_words(label: str, one: Fidelity | None) -> str:
    """Say beside a speed what it costs."""
    if one is None or one.force_max_component_mev_per_ang is None:
        return ""
    return (
        f"{label}: forces within {number(one.force_max_component_mev_per_ang)} meV/Å "
        f"of {one.reference}"
    )


def _rows_of(
    ladders: Sequence[Ladders], family: int, size: int, levels: Sequence[str]
) -> list[list[str]]:
    rows = []
    first: Rung | None = None
    for one in ladders:
        rung = next((r for r in one.ladders[family].rungs if r.asked == size), None)
        if rung is None:
            continue
        if first is None and rung.status == "ok":
            first = rung
        wanted = [level for level in LEVEL_NAMES.values() if level in levels]
        cells = [_cell(rung.levels.get(level)) for level in wanted]
        note = "" if rung.status == "ok" else f"{rung.status}: {rung.reason}"[:60]
        if rung.is_busy:
            note = f"busy machine: {rung.others_cores} cores; {note}".rstrip("; ")
        rows.append(
            [
                one.ladders[family].family,
                str(rung.natoms),
                one.label,
                one.engine,
                *cells,
                _ratio(rung, first, wanted[-1]),
                f"{rung.peak_mib:.0f}",
                note,
            ]
        )
    return rows


def _cell(level: Level | None) -> str:
    if level is None:
        return "–"
    half = (level.ci_high - level.ci_low) / 2
    return f"{number(level.median)} ± {spread_text(level.median, half)}"


def _ratio(rung: Rung, first: Rung | None, level: str) -> str:
    """Say how a time compares with the first's, and whether the difference is sure."""
    if first is None or rung is first:
        return "" if first is None else "1"
    mine, theirs = rung.levels.get(level), first.levels.get(level)
    if mine is None or theirs is None:
        return "–"
    verdict = compare_timings(rounds_of(mine), rounds_of(theirs))
    sign = {"better": "faster", "worse": "slower", "level": "level"}
    word = sign.get(verdict.outcome, "not tested")
    return f"{mine.median / theirs.median:.2f} ({word})"


def rounds_of(level: Level) -> list[float]:
    """Return one time per round: the median of each process, which is independent."""
    return [spread(windows).median for windows in level.samples]


def _laid_out(rows: Sequence[Sequence[str]]) -> str:
    width = max(len(row) for row in rows)
    whole = [[*row, *[""] * (width - len(row))] for row in rows]
    widths = [max(len(row[i]) for row in whole) for i in range(width)]
    lines = [
        "  ".join(cell.ljust(size) for cell, size in zip(row, widths, strict=True))
        for row in whole
    ]
    return "\n".join(line.rstrip() for line in lines)
