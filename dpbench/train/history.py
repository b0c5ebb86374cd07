"""The learning curve: one row per validation, appended to a CSV file as it comes."""

import csv
import math
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path

from dpbench.errors import TrainingError

CURVE_FILE = "curve.csv"
"""Name of the learning curve in a run's folder."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Errors:
    """Root mean squared errors; NaN where nothing is labelled."""

    energy: float
    """eV/atom."""
    force: float
    """eV/Å, per component."""
    virial: float
    """eV/atom, per component."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CurveRow:
    """One point of the learning curve. Missing values are NaN, empty in the file."""

    step: int
    """Optimiser steps done."""
    learning_rate: float
    """Of the last step."""
    rmse_e_train: float
    """eV/atom, over the batches since the row before."""
    rmse_f_train: float
    """eV/Å, over the batches since the row before."""
    rmse_v_train: float
    """eV/atom, over the batches since the row before."""
    rmse_e_validation: float
    """eV/atom, pooled over the validation frames."""
    rmse_f_validation: float
    """eV/Å, pooled over the validation frames."""
    rmse_v_validation: float
    """eV/atom, pooled over the validation frames."""
    wall_time: float
    """Seconds of training until here, over all sessions of the run."""


COLUMNS = tuple(field.name for field in fields(CurveRow))


class CurveFile:
    """The CSV file of a run's learning curve."""

    def __init__(self, path: Path, *, rows: Iterable[CurveRow] = ()) -> None:
        """Start the file anew with ``rows``: those up to the step resumed from."""
        self._path = path
        lines = [COLUMNS, *(_cells(row) for row in rows)]
        self._write("w", lines)

    def append(self, row: CurveRow) -> None:
        """Add a row; it is on disk when this returns."""
        self._write("a", [_cells(row)])

    def _write(self, mode: str, lines: Iterable[Iterable[str]]) -> None:
        try:
            with self._path.open(mode, newline="", encoding="utf-8") as file:
                csv.writer(file, lineterminator="\n").writerows(lines)
        except OSError as error:
            raise TrainingError(
                f"{self._path}: cannot be written ({error.strerror}). Make room, then "
                "go on with --resume."
            ) from error


def read_curve(path: Path) -> list[CurveRow]:
    """Read a learning curve; TrainingError if the file is none."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        return [_row(row) for row in rows]
    except (OSError, KeyError, ValueError) as error:
        raise TrainingError(f"{path}: is no learning curve ({error}).") from error


def _cells(row: CurveRow) -> list[str]:
    values = [getattr(row, name) for name in COLUMNS]
    return [
        ""
        if isinstance(v, float) and math.isnan(v)
        else f"{v:.6g}"
        if isinstance(v, float)
        else str(v)
        for v in values
    ]


def _row(cells: dict[str, str]) -> CurveRow:
    values = {
        name: float(cells[name]) if cells[name] else math.nan for name in COLUMNS[1:]
    }
    return CurveRow(step=int(cells["step"]), **values)
