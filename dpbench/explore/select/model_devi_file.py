"""Reading ``model_devi.out``, as LAMMPS, DeePMD-kit and dpbench write it."""

from pathlib import Path

import numpy as np

from dpbench.errors import SourceError
from dpbench.explore.select.table import DeviationTable, table_of
from dpbench.metrics.model_deviation import COLUMNS

PLAIN = COLUMNS[:-1]
"""Columns behind the step that every program writes; ``devi_e`` came later."""

OTHER_NAMES = {
    "max_devi_e": "max_devi_v",
    "min_devi_e": "min_devi_v",
    "avg_devi_e": "avg_devi_v",
    "max_devi_fr": "max_devi_f",
    "min_devi_fr": "min_devi_f",
    "avg_devi_fr": "avg_devi_f",
}
"""What stands in the place of a column: GROMACS writes energies where others write
virials, and DP-GEN holds them against the levels of virials; models of spins tell the
forces on atoms and on spins apart."""


def read_model_devi(
    path: Path, *, walk: int = 0, structure: str = ""
) -> DeviationTable:
    """Read a file of deviations; a header stands wherever the columns change.

    Columns behind those that the header names are the force deviations of single atoms.
    Without a header there are six columns behind the step, then those of the atoms;
    eight columns in all are DeePMD-kit's, the last one being ``devi_e``.

    Args:
        path: The file.
        walk: Number that its frames get.
        structure: Name that its frames get.

    Raises:
        SourceError: If it cannot be read, or a line is not what the header says.
    """
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f"{path}: cannot be read ({error}).") from error
    header: tuple[str, ...] | None = None
    steps, atoms = [], []
    columns: dict[str, list[float]] = {name: [] for name in COLUMNS}
    for number, line in enumerate(lines, 1):
        words = line.split()
        if not words:
            continue
        if words[0].startswith("#"):
            header = _header(f"{path}, line {number}", line) or header
            continue
        values = _numbers(f"{path}, line {number}", words)
        names = header or _usual(len(values))
        if len(values) < len(names) + 1:
            raise SourceError(
                f"{path}, line {number}: has {len(values)} columns; expected at least "
                f"{len(names) + 1} ({', '.join(('step', *names))}). A run that was "
                "killed may have cut it: delete the line."
            )
        steps.append(int(values[0]))
        told = dict(zip(names, values[1:], strict=False))
        for name in COLUMNS:
            columns[name].append(told.get(name, float("nan")))
        atoms.append(np.array(values[len(names) + 1 :]))
    return table_of(
        np.array(steps, np.int64),
        {name: np.array(column) for name, column in columns.items()},
        atoms,
        walk=np.full(len(steps), walk, np.int64),
        structure=[structure] * len(steps),
    )


def _header(where: str, line: str) -> tuple[str, ...] | None:
    """Return the columns behind the step that a comment names, if it does."""
    words = line.lstrip("#").split()
    if not words or words[0] != "step":
        return None
    names = tuple(
        OTHER_NAMES.get(word, word)
        for word in words[1:]
        if not word.startswith("atm_")  # one word for all atoms
    )
    if "max_devi_f" not in names:
        raise SourceError(
            f"{where}: names the columns {', '.join(words)}; expected 'max_devi_f' "
            "among them. Is it a file of model deviations?"
        )
    return names


def _usual(width: int) -> tuple[str, ...]:
    return COLUMNS if width == len(COLUMNS) + 1 else PLAIN


def _numbers(where: str, words: list[str]) -> list[float]:
    try:
        return [float(word) for word in words]
    except ValueError as error:
        raise SourceError(f"{where}: {error}; expected numbers.") from error
