"""From per-frame errors to the reported accuracy: value, interval, breakdowns."""

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from dpbench.metrics.blocks import Estimate, Series, estimate
from dpbench.metrics.composition import fit_composition
from dpbench.metrics.definitions import MetricValue, metric_value
from dpbench.metrics.frame_errors import FrameErrors
from dpbench.metrics.rows import Rows, lay_rows


@dataclass(frozen=True, kw_only=True, slots=True)
class Ratio:
    """A metric as scale * f(sum(numerator) / sum(denominator)), f a root or nothing."""

    name: str
    numerator: NDArray[np.float64]
    """(frame); NaN where the frame does not count."""
    denominator: NDArray[np.float64]
    """(frame); weights or reference squares of the frames that count."""
    n: NDArray[np.int64]
    """(frame), numbers that each frame contributes."""
    scale: float
    root: bool
    signed: NDArray[np.float64] | None = None
    """(frame), the error with its sign, where it has one."""


def accuracy_metrics(
    errors: FrameErrors, *, trajectory: NDArray[np.integer] | None = None
) -> tuple[MetricValue, ...]:
    """All accuracy metrics of some frames, with intervals from independent blocks.

    Args:
        errors: Per-frame partial sums; frames of a trajectory in their order.
        trajectory: (frame), trajectory of each frame; its source if None.

    Returns:
        One value per metric, in the order of ``METRICS``; None where no frame has the
        label, infinity where the model's answer was not finite.
    """
    of_frame = errors.group if trajectory is None else trajectory
    order = np.argsort(of_frame, kind="stable")
    rows = lay_rows(of_frame[order])
    return tuple(
        _value(ratio, estimate([_series(ratio, rows, order)]))
        for ratio in accuracy_ratios(errors)
    )


def accuracy_ratios(errors: FrameErrors) -> list[Ratio]:
    """Every accuracy metric as a ratio of sums over frames, in the order of reports."""
    return [*_energy_ratios(errors), *_force_ratios(errors), *_virial_ratios(errors)]


def element_metrics(errors: FrameErrors, element: str) -> tuple[MetricValue, ...]:
    """Force metrics over the atoms of one element; no intervals."""
    column = errors.elements.index(element)
    return tuple(_value(ratio, None) for ratio in _force_ratios(errors, column))


def group_metrics(errors: FrameErrors, group: int) -> tuple[MetricValue, ...]:
    """Raw energy, force and virial metrics of one source; no intervals."""
    chosen = errors.select(errors.group == group)
    ratios = [
        *_raw_energy_ratios(chosen),
        *_force_ratios(chosen),
        *_virial_ratios(chosen),
    ]
    return tuple(_value(ratio, None) for ratio in ratios)


def _energy_ratios(errors: FrameErrors) -> list[Ratio]:
    shifted = _shifted_error(errors)
    fluctuation, counted = _fluctuation_error(errors)
    return [
        *_raw_energy_ratios(errors),
        _energy("energy_shifted_rmse_per_atom_mev", shifted, root=True),
        _energy("energy_shifted_mae_per_atom_mev", shifted, root=False),
        _energy(
            "energy_fluctuation_rmse_per_atom_mev",
            np.where(counted, fluctuation, np.nan),
            root=True,
        ),
    ]


def _raw_energy_ratios(errors: FrameErrors) -> list[Ratio]:
    raw = errors.energy_error / np.maximum(errors.natoms, 1)
    return [
        _energy("energy_rmse_per_atom_mev", raw, root=True),
        _energy("energy_mae_per_atom_mev", raw, root=False),
    ]


def _energy(name: str, error: NDArray[np.float64], *, root: bool) -> Ratio:
    values = error**2 if root else np.abs(error)
    return replace(_per_frame(name, values, root=root, scale=1000.0), signed=error)


def _per_frame(
    name: str,
    values: NDArray[np.float64],
    *,
    root: bool,
    scale: float,
    each: int = 1,
) -> Ratio:
    counts = np.where(np.isnan(values), 0, 1)
    return Ratio(
        name=name,
        numerator=values,
        denominator=counts.astype(np.float64),
        n=counts * each,
        scale=scale,
        root=root,
    )


def _shifted_error(errors: FrameErrors) -> NDArray[np.float64]:
    """(frame), eV/atom, after the best energy per element is taken off."""
    error = errors.energy_error
    fit = fit_composition(
        errors.counts,
        np.where(np.isfinite(error), error, np.nan),
        elements=errors.elements,
    )
    shifted: NDArray[np.float64] = (error - fit.predict(errors.counts)) / np.maximum(
        errors.natoms, 1
    )
    return shifted


def _fluctuation_error(
    errors: FrameErrors,
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """(frame), eV/atom, less the mean of its source; and which frames count."""
    error = errors.energy_error / np.maximum(errors.natoms, 1)
    labelled = np.flatnonzero(~np.isnan(error))
    _, member = np.unique(errors.group[labelled], return_inverse=True)
    size = np.bincount(member)
    with np.errstate(invalid="ignore"):
        mean = np.bincount(member, weights=error[labelled]) / size
        fluctuation = np.full(errors.nframes, np.nan)
        fluctuation[labelled] = error[labelled] - mean[member]
    counted = np.zeros(errors.nframes, np.bool_)
    counted[labelled] = size[member] > 1
    # A source with an infinite error has no mean: all its frames are infinitely off.
    lost = counted & np.isnan(fluctuation)
    fluctuation[lost] = np.inf
    return fluctuation, counted


def _force_ratios(errors: FrameErrors, column: int | None = None) -> list[Ratio]:
    columns = slice(None) if column is None else slice(column, column + 1)
    square = errors.force_square[:, columns].sum(axis=1)
    labelled = ~np.isnan(square)
    atoms = np.where(labelled, errors.counts[:, columns].sum(axis=1), 0)
    reference = errors.reference_square[:, columns].sum(axis=1)
    rows = (
        ("force_rmse_component_mev_per_ang", square, 3 * atoms, True),
        (
            "force_mae_component_mev_per_ang",
            errors.force_absolute[:, columns].sum(axis=1),
            3 * atoms,
            False,
        ),
        (
            "force_mae_vector_norm_mev_per_ang",
            errors.force_norm[:, columns].sum(axis=1),
            atoms,
            False,
        ),
    )
    ratios = [
        Ratio(
            name=name,
            numerator=values,
            denominator=weight.astype(np.float64),
            n=weight,
            scale=1000.0,
            root=root,
        )
        for name, values, weight, root in rows
    ]
    relative = Ratio(
        name="force_rmse_relative_percent",
        numerator=square,
        denominator=np.where(labelled, reference, 0.0),
        n=3 * atoms,
        scale=100.0,
        root=True,
    )
    return [*ratios, relative]


def _virial_ratios(errors: FrameErrors) -> list[Ratio]:
    rows = (
        ("virial_rmse_per_atom_mev", errors.virial_square, True, 1000.0),
        ("virial_mae_per_atom_mev", errors.virial_absolute, False, 1000.0),
        ("stress_rmse_component_gpa", errors.stress_square, True, 1.0),
        ("stress_mae_component_gpa", errors.stress_absolute, False, 1.0),
    )
    return [
        _per_frame(name, values, root=root, scale=scale, each=9)
        for name, values, root, scale in rows
    ]


def _value(ratio: Ratio, found: Estimate | None) -> MetricValue:
    counted = ~np.isnan(ratio.numerator)
    weight = math.fsum(ratio.denominator[counted])
    n = int(ratio.n[counted].sum())
    if weight <= 0:
        return metric_value(ratio.name, None, n=n)
    # fsum rounds once, so neither order nor chunking of the frames shows in the value.
    value = math.fsum(ratio.numerator[counted]) / weight
    return metric_value(
        ratio.name,
        ratio.scale * (math.sqrt(value) if ratio.root else value),
        n=n,
        interval=None if found is None else found.interval,
        nblocks=None if found is None else found.nblocks,
    )


def _series(ratio: Ratio, rows: Rows, order: NDArray[np.int64]) -> Series:
    """Sum a metric's frames into rows."""
    counted = ~np.isnan(ratio.numerator)

    def sums(values: NDArray[np.float64]) -> NDArray[np.float64]:
        of_frame = np.where(counted, values, 0.0)[order]
        return np.bincount(rows.of_frame, of_frame, rows.count).astype(np.float64)

    return Series(
        numerator=sums(ratio.numerator),
        denominator=sums(ratio.denominator),
        trajectory=rows.trajectory,
        scale=ratio.scale,
        root=ratio.root,
        signed=None if ratio.signed is None else sums(_finite(ratio.signed)),
    )


def _finite(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.nan_to_num(values, posinf=0.0, neginf=0.0)
