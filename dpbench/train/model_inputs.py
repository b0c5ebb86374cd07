"""What a model takes beside structures: facts of frames, and a pair table."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dpbench.errors import ModelError
from dpbench.models.config import EnergyFittingConfig, ModelConfig
from dpbench.models.pair_table import read_table
from dpbench.models.statistics import ModelStatistics, number_moments
from dpbench.store.dataset import DatasetVersion
from dpbench.store.segment import layout
from dpbench.train.model_settings import FittingSettings, ModelSettings

_AT_ONCE = 4096
"""Frames that are looked into at once."""

_UNITS = {"temperature": "K", "charge": "e", "multiplicity": "2S + 1"}


def frame_numbers(
    version: DatasetVersion,
    indices: NDArray[np.int64],
    settings: FittingSettings | EnergyFittingConfig,
) -> NDArray[np.float64] | None:
    """Return the facts of some frames that the fitting net takes.

    Args:
        version: The dataset.
        indices: (frame), which frames.
        settings: Names of the facts, and their values where a frame tells none.

    Returns:
        (frame, number), or None where no fact is asked for.

    Raises:
        ModelError: If a frame tells none, and there is no default.
    """
    columns = []
    for position, name in enumerate(settings.fparam):
        values = version.facts[name][indices].astype(np.float64)
        if name == "multiplicity":
            values[values < 1] = np.nan
        unknown = np.isnan(values)
        if settings.default_fparam is not None:
            values[unknown] = settings.default_fparam[position]
        elif unknown.any():
            raise ModelError(
                f"{version.label}: {int(unknown.sum())} of {len(values)} frames do not "
                f"tell their {name} ({_UNITS[name]}), which the model's fparam asks "
                "for; expected it of every frame. Train with model.fitting."
                "default_fparam, or take frames that tell it."
            )
        columns.append(values)
    return np.stack(columns, axis=1) if columns else None


def check_atom_numbers(
    version: DatasetVersion, indices: NDArray[np.int64], numb_aparam: int
) -> None:
    """Look whether frames have the numbers of atoms that the fitting net takes.

    Facts and manifests tell; that a frame has fewer than others of its segment is seen
    where it is read.

    Args:
        version: The dataset.
        indices: (frame), which frames.
        numb_aparam: Numbers of each atom that the model takes; 0 = none.

    Raises:
        ModelError: If a frame has none, fewer or more; names the first of them.
    """
    if not numb_aparam:
        return
    has_some = version.facts["labels"][indices] & layout.APARAM_BIT > 0
    widths = np.array([segment.numb_aparam for segment in version.segments])
    counts = np.where(has_some, widths[version.places[0][indices]], 0)
    # A segment is as wide as its widest frame: of too wide ones only frames tell.
    places = np.flatnonzero(counts > numb_aparam)
    for start in range(0, len(places), _AT_ONCE):
        block = places[start : start + _AT_ONCE]
        counts[block] = version.read(indices[block]).numb_aparam
    wrong = counts != numb_aparam
    if wrong.any():
        first = indices[wrong][0]
        source = version.sources[version.source_of[first]]
        raise ModelError(
            f"{version.label}: {wrong.sum()} of {len(indices)} frames have not the "
            f"{numb_aparam} numbers of each atom (aparam) that numb_aparam of the "
            f"fitting net asks for; the first is step {version.step[first]} of "
            f"{source.path}, which has {counts[wrong][0]}. Ingest data "
            f"with aparam.npy, (nframes, natoms * {numb_aparam}), into a new dataset, "
            "or take frames that have them."
        )


def with_inputs(
    statistics: ModelStatistics,
    config: ModelConfig,
    settings: ModelSettings,
    *,
    numbers: NDArray[np.float64] | None,
) -> ModelStatistics:
    """Add the scale of the frames' numbers and the pair table, where a model has them.

    Args:
        statistics: Of the training frames.
        config: The model.
        settings: Where the table is.
        numbers: (frame, number) of the training frames.

    Raises:
        ConfigError: If the table cannot be read, or does not fit the model.
    """
    if numbers is not None:
        statistics = replace(statistics, fparam=number_moments(numbers).scale())
    if settings.pair_table is None:
        return statistics
    table = read_table(
        Path(settings.pair_table.file),
        ntypes=config.ntypes,
        rcut=config.descriptor.rcut,
    )
    return replace(statistics, pair_table=table)
