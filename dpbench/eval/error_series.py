"""Errors of a record frame by frame: kept in few bytes, and read back for a metric."""

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dpbench.eval.task_results import SIGNED, ErrorSeries
from dpbench.metrics.accuracy import Ratio, accuracy_metrics, accuracy_ratios
from dpbench.metrics.blocks import Series
from dpbench.metrics.definitions import MetricValue
from dpbench.metrics.frame_errors import FrameErrors
from dpbench.metrics.rows import Rows, lay_rows, pack_column, unpack_column


@dataclass(frozen=True, kw_only=True, slots=True)
class _Columns:
    """Where a metric's sums lie: scale * f(sum(numerator)/sum(denominator))."""

    numerator: str
    denominator: str
    scale: float
    root: bool


PAIRED: dict[str, _Columns] = {
    name: _Columns(numerator=top, denominator=bottom, scale=scale, root=root)
    for name, top, bottom, scale, root in (
        ("energy_rmse_per_atom_mev", "energy_square", "energy_frames", 1e3, True),
        ("energy_mae_per_atom_mev", "energy_absolute", "energy_frames", 1e3, False),
        (
            "energy_shifted_rmse_per_atom_mev",
            "energy_shifted_square",
            "energy_frames",
            1e3,
            True,
        ),
        (
            "energy_shifted_mae_per_atom_mev",
            "energy_shifted_absolute",
            "energy_frames",
            1e3,
            False,
        ),
        (
            "force_rmse_component_mev_per_ang",
            "force_square",
            "force_components",
            1e3,
            True,
        ),
        (
            "force_mae_component_mev_per_ang",
            "force_absolute",
            "force_components",
            1e3,
            False,
        ),
        ("force_mae_vector_norm_mev_per_ang", "force_norm", "force_atoms", 1e3, False),
        (
            "force_rmse_relative_percent",
            "force_square",
            "force_reference_square",
            1e2,
            True,
        ),
        ("virial_rmse_per_atom_mev", "virial_square", "virial_frames", 1e3, True),
        ("virial_mae_per_atom_mev", "virial_absolute", "virial_frames", 1e3, False),
    )
}
"""Metrics that a series holds, and where."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ErrorsInTime:
    """Frame errors in the order of trajectories and of time within each."""

    errors: FrameErrors
    trajectory: NDArray[np.int64]
    """(frame), counted from 0."""
    order: NDArray[np.int64]
    """(frame), where each frame stood before."""

    def metrics(self) -> tuple[MetricValue, ...]:
        """Give all accuracy metrics, with intervals."""
        return accuracy_metrics(self.errors, trajectory=self.trajectory)

    def series(self, frame_digests: NDArray[np.uint8]) -> ErrorSeries:
        """Keep the errors for pairing.

        Args:
            frame_digests: (frame, 32), which frames these are, in the old order.
        """
        rows = lay_rows(self.trajectory)
        digest = hashlib.sha256(frame_digests[self.order].tobytes())
        digest.update(np.array([rows.stride, *rows.lengths], "<i8").tobytes())
        columns: dict[str, NDArray[np.float64]] = {}
        for ratio in accuracy_ratios(self.errors):
            if ratio.name in PAIRED:
                columns |= _sums_of(ratio, rows)
        return ErrorSeries(
            frames=digest.hexdigest(),
            lengths=rows.lengths,
            stride=rows.stride,
            columns={name: pack_column(column) for name, column in columns.items()},
        )


def in_order_of_time(
    errors: FrameErrors, trajectory: NDArray[np.integer], position: NDArray[np.integer]
) -> ErrorsInTime:
    """Sort frame errors by trajectory, composition and time.

    Frames of one trajectory that differ in their composition are trajectories of their
    own, as for leakage.

    Args:
        errors: Per-frame sums.
        trajectory: (frame), trajectory of each.
        position: (frame), place of each in its trajectory.
    """
    _, formula = np.unique(errors.counts, axis=0, return_inverse=True)
    formula = formula.reshape(-1)
    order = np.lexsort((position, formula, trajectory))
    both = np.stack([trajectory, formula], axis=1)[order]
    _, number = np.unique(both, axis=0, return_inverse=True)
    return ErrorsInTime(
        errors=errors.select(order),
        trajectory=number.reshape(-1).astype(np.int64),
        order=order,
    )


def metric_series(series: ErrorSeries | None, name: str) -> Series | None:
    """Read the errors that make up one metric.

    Args:
        series: As a record has it.
        name: Key of ``METRICS``.

    Returns:
        None where the record does not keep them.
    """
    if series is None or name not in PAIRED:
        return None
    rows, of = Rows(lengths=series.lengths, stride=series.stride), PAIRED[name]
    if of.numerator not in series.columns or of.denominator not in series.columns:
        return None

    def column(key: str) -> NDArray[np.float64]:
        return unpack_column(series.columns[key], rows.count)

    has_sign = name.startswith("energy_") and SIGNED in series.columns
    return Series(
        numerator=column(of.numerator),
        denominator=column(of.denominator),
        trajectory=rows.trajectory,
        scale=of.scale,
        root=of.root,
        signed=column(SIGNED) if has_sign else None,
        frames=series.frames,
    )


def _sums_of(ratio: Ratio, rows: Rows) -> dict[str, NDArray[np.float64]]:
    of, of_row = PAIRED[ratio.name], rows.of_frame
    counted = ~np.isnan(ratio.numerator)
    values = {of.numerator: ratio.numerator, of.denominator: ratio.denominator}
    if ratio.name == "energy_rmse_per_atom_mev" and ratio.signed is not None:
        values[SIGNED] = np.nan_to_num(ratio.signed, posinf=0.0, neginf=0.0)
    return {
        name: np.bincount(of_row, np.where(counted, column, 0.0), rows.count).astype(
            np.float64
        )
        for name, column in values.items()
    }
