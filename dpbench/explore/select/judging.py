"""Trust levels: which frames are accurate, candidates or failed.

Source: DP-GEN (dpgen/generator/run.py: standard and adaptive selection;
dpgen/simplify/simplify.py) and dpgen2 (exploration/report). Numbers at the edges:
a frame is accurate below the lower level, a candidate from it on, failed from the upper
level on. The adaptive rule alone still takes a frame that lies on the upper level.
"""

from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dpbench.errors import EvaluationError
from dpbench.explore.select.settings import Level, SelectSettings, TrustLevels
from dpbench.explore.select.table import DeviationTable

ACCURATE = "accurate"
CANDIDATE = "candidate"
FAILED = "failed"
SKIPPED = "skipped"
"""Of a step before ``skip``: not looked at, and no part of any share."""

VERDICTS = (ACCURATE, CANDIDATE, FAILED)
"""What is counted."""

OPEN = (float("inf"), float("inf"))
"""Levels of a quantity that is not looked at: everything is accurate."""

Mask = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True, slots=True)
class Judged:
    """What each frame is."""

    table: DeviationTable
    """What was judged."""
    verdict: NDArray[np.str_]
    """(frame), one of ``VERDICTS``, or ``skipped``."""
    is_unknown: Mask
    """(frame), whether it failed because its deviation is not a number."""
    levels: dict[str, TrustLevels]
    """Levels used, by structure; the adaptive rule finds the lower ones."""
    atoms: NDArray[np.str_] | None = None
    """(atom), the verdict of each atom where single atoms were judged."""

    @property
    def counts(self) -> dict[str, int]:
        """How many frames, or atoms, are of each verdict."""
        return counted(self.verdict if self.atoms is None else self.atoms)

    def of_structure(self, name: str) -> dict[str, int]:
        """Count the verdicts of one structure."""
        rows = self.table.structure == name
        if self.atoms is None:
            return counted(self.verdict[rows])
        return counted(self.atoms[np.repeat(rows, np.diff(self.table.atom_offset))])


def counted(verdict: NDArray[np.str_]) -> dict[str, int]:
    """Count verdicts; skipped ones are no part."""
    found = Counter(verdict.tolist())
    return {name: found[name] for name in VERDICTS}


def judge(table: DeviationTable, settings: SelectSettings) -> Judged:
    """Judge every frame by the deviation of the models on it.

    Args:
        table: Deviations, relative ones where the settings ask for them.
        settings: The rule and its levels.

    Raises:
        EvaluationError: If levels are set for what the table does not tell.
    """
    verdict = np.full(table.nframes, SKIPPED, "U9")
    is_unknown = np.zeros(table.nframes, np.bool_)
    looked_at = table.step >= settings.skip
    levels = {}
    for name in np.unique(table.structure).tolist():
        rows = np.flatnonzero(looked_at & (table.structure == name))
        wanted = settings.levels_of(name)
        _check_told(table, rows, wanted)
        columns = _columns(table, rows, wanted)
        unknown = np.isnan(columns).any(axis=0)
        known = rows[~unknown]
        if settings.rule == "fixed":
            levels[name] = wanted
            verdict[known] = _fixed(columns[:, ~unknown], wanted, settings.first)
        else:
            found, levels[name] = _adaptive(table, known, wanted, settings)
            verdict[known] = found
        verdict[rows[unknown]] = FAILED
        is_unknown[rows[unknown]] = True
    judged = Judged(table=table, verdict=verdict, is_unknown=is_unknown, levels=levels)
    return judged if settings.cluster is None else _by_atom(judged)


def _columns(
    table: DeviationTable, rows: NDArray[np.intp], levels: TrustLevels
) -> NDArray[np.float64]:
    """(quantity, frame): force, virial, energy; zero where it is not looked at."""
    columns = np.zeros((3, len(rows)))
    columns[0] = table.max_devi_f[rows]
    if levels.virial is not None:
        columns[1] = table.max_devi_v[rows]
    if levels.energy is not None:
        columns[2] = table.devi_e[rows]
    return columns


def _check_told(
    table: DeviationTable, rows: NDArray[np.intp], levels: TrustLevels
) -> None:
    """Refuse levels of a quantity about which nothing is told."""
    for name, level, column in (
        ("virial", levels.virial, table.max_devi_v),
        ("energy", levels.energy, table.devi_e),
    ):
        told = ~np.isnan(column[rows])
        if level is not None and len(rows) and not told.any():
            raise EvaluationError(
                f"{name}: has trust levels {list(level)}, but no frame has a deviation "
                f"of the {name}; expected one. Leave the levels out."
            )


def _fixed(
    columns: NDArray[np.float64], levels: TrustLevels, first: str
) -> NDArray[np.str_]:
    """Compare the columns (quantity, frame) with their levels."""
    bounds = [levels.force, levels.virial or OPEN, levels.energy or OPEN]
    lower, upper = np.array(bounds).T[:, :, None]
    is_candidate = ((columns >= lower) & (columns < upper)).any(axis=0)
    is_failed = (columns >= upper).any(axis=0)
    verdict = np.full(columns.shape[1], ACCURATE, "U9")
    order = ((FAILED, is_failed), (CANDIDATE, is_candidate))
    for name, flag in order if first == CANDIDATE else order[::-1]:
        verdict[flag] = name
    return verdict


def _adaptive(
    table: DeviationTable,
    rows: NDArray[np.intp],
    levels: TrustLevels,
    settings: SelectSettings,
) -> tuple[NDArray[np.str_], TrustLevels]:
    """Take the frames of the largest deviation that is not above the upper level."""
    columns = _columns(table, rows, levels)
    virial = levels.virial or OPEN
    is_failed = (columns[0] > levels.force[1]) | (columns[1] > virial[1])
    verdict = np.full(len(rows), ACCURATE, "U9")
    verdict[is_failed] = FAILED
    rest = np.flatnonzero(~is_failed)
    # Ties: of the later walk, then of the later step.
    place = (table.step[rows[rest]], table.walk[rows[rest]])

    def largest(quantity: int, least: int, percent: float, upper: float) -> Level:
        values = columns[quantity][rest]
        # DP-GEN's own rounding: the percentage becomes a fraction first.
        number = min(max(least, int(percent * 0.01 * len(rest))), len(rest))
        taken = np.lexsort((*place, values))[len(rest) - number :]
        verdict[rest[taken]] = CANDIDATE
        return (float(values[taken[0]]) if number else upper), upper

    force = largest(
        0, settings.adaptive_force, settings.adaptive_force_percent, levels.force[1]
    )
    if levels.virial is None:
        return verdict, TrustLevels(force=force)
    found = largest(
        1, settings.adaptive_virial, settings.adaptive_virial_percent, virial[1]
    )
    return verdict, TrustLevels(force=force, virial=found)


def _by_atom(judged: Judged) -> Judged:
    """Judge single atoms by their own force deviation.

    A frame then is a candidate if one of its atoms is, else failed if one failed.
    """
    table = judged.table
    if table.nframes and not table.has_atoms:
        raise EvaluationError(
            "cluster: the deviations tell nothing of single atoms; expected a column "
            "for each. Write them with 'atomic' in LAMMPS, or leave 'cluster' out."
        )
    frame = np.repeat(np.arange(table.nframes), np.diff(table.atom_offset))
    atoms = np.full(len(frame), SKIPPED, "U9")
    verdict = judged.verdict.copy()
    is_unknown = np.zeros(table.nframes, np.bool_)
    for name, levels in judged.levels.items():
        seen = (table.structure[frame] == name) & (judged.verdict[frame] != SKIPPED)
        rows = np.flatnonzero(seen)
        values = table.atom_devi_f[rows]
        found = _fixed(values[None], TrustLevels(force=levels.force), CANDIDATE)
        found[np.isnan(values)] = FAILED
        is_unknown[frame[rows[np.isnan(values)]]] = True
        atoms[rows] = found
    for name in (ACCURATE, FAILED, CANDIDATE):
        verdict[np.unique(frame[atoms == name])] = name
    return Judged(
        table=table,
        verdict=verdict,
        is_unknown=is_unknown & (verdict == FAILED),
        levels=judged.levels,
        atoms=atoms,
    )
