"""Columns that all forms of the leaderboard share, and values with their spread."""

from dataclasses import dataclass

from dpbench.eval.web.numbers import number, spread_text
from dpbench.metrics.definitions import METRICS, MetricValue


@dataclass(frozen=True, kw_only=True, slots=True)
class Column:
    """A column of measured numbers."""

    metric: str
    """Key of ``METRICS``."""
    head: str
    """Words in the head."""

    @property
    def unit(self) -> str:
        """Unit as printed."""
        return METRICS[self.metric].unit

    @property
    def meaning(self) -> str:
        """What the number is."""
        return METRICS[self.metric].meaning


COLUMNS = (
    Column(metric="energy_mae_per_atom_mev", head="Energy MAE"),
    Column(metric="energy_rmse_per_atom_mev", head="Energy RMSE"),
    Column(metric="force_rmse_component_mev_per_ang", head="Force RMSE"),
    Column(metric="force_rmse_relative_percent", head="Force rel."),
    Column(metric="virial_rmse_per_atom_mev", head="Virial RMSE"),
    Column(metric="nve_drift_mev_per_atom_ps", head="NVE drift"),
    Column(metric="md_us_per_atom_step", head="MD step"),
)
"""Measured columns from left to right."""


def half_width(metric: MetricValue) -> float | None:
    """Half the length of the 95 % interval."""
    if metric.ci_low is None or metric.ci_high is None:
        return None
    return (metric.ci_high - metric.ci_low) / 2


def with_spread(metric: MetricValue | None) -> str:
    """Write ``12.3 ± 0.4``."""
    if metric is None or metric.value is None:
        return "–"
    half = half_width(metric)
    spread = "" if half is None else f" ± {spread_text(metric.value, half)}"
    return f"{number(metric.value)}{spread}"
