"""Columns that all forms of the leaderboard share, and how numbers are written."""

from dataclasses import dataclass

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


def number(value: float | None) -> str:
    """Write a number with three significant digits; a dash where there is none."""
    if value is None:
        return "–"
    if value == 0:
        return "0"
    size = abs(value)
    if size >= 1e6 or size < 1e-4:
        return _short_exponent(f"{value:.2e}")
    return f"{value:.{_decimals(size)}f}"


def _decimals(size: float) -> int:
    """Decimals that three significant digits take."""
    digits = 0
    while digits < 7 and round(size, digits) < 10 ** (2 - digits):
        digits += 1
    return digits


def spread_text(value: float, half: float) -> str:
    """Write half an interval with the decimals of its value, or one digit at least."""
    size = abs(value)
    if 1e-4 <= size < 1e6:
        text = f"{half:.{_decimals(size)}f}"
        if float(text) > 0 or half == 0:
            return text
    return _short_exponent(f"{half:.0e}") if half < 1e-4 else f"{half:.1g}"


def _short_exponent(text: str) -> str:
    """Write 1.2e-05 as 1.2e-5."""
    digits, _, exponent = text.partition("e")
    return f"{digits}e{int(exponent)}"


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
