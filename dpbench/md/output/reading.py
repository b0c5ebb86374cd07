"""Observables of a run read back from its files."""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from dpbench.md.observables import COLUMNS, Sample


def read_samples(path: Path, nreplicas: int) -> Iterator[Sample]:
    """Read the log points of ``observables.csv`` or ``.zarr``, one after the other."""
    return _of_csv(path, nreplicas) if path.suffix == ".csv" else _of_zarr(path)


def _of_csv(path: Path, nreplicas: int) -> Iterator[Sample]:
    with path.open(newline="") as file:
        held: list[dict[str, str]] = []
        for row in csv.DictReader(file):
            held.append(row)
            if len(held) < nreplicas:
                continue
            values = {
                name: np.array([float(line[column] or "nan") for line in held])
                for name, (column, _, _) in COLUMNS.items()
            }
            first = held[0]
            yield Sample(
                step=int(first["step"]), time=float(first["time_ps"]), values=values
            )
            held = []


def _of_zarr(path: Path) -> Iterator[Sample]:
    import zarr  # takes 0.3 s

    group = zarr.open_group(path, mode="r")
    arrays: dict[str, Any] = {
        name: np.asarray(group[name]) for name in ("step", "time", *COLUMNS)
    }
    for row, step in enumerate(arrays["step"]):
        yield Sample(
            step=int(step),
            time=float(arrays["time"][row]),
            values={name: arrays[name][row] for name in COLUMNS},
        )
