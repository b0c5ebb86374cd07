"""Columns that all forms of the leaderboard share, and values with their spread."""

from collections.abc import Iterable
from dataclasses import dataclass

from dpbench.eval.leaderboard.board import Row
from dpbench.eval.web.numbers import number, spread_text
from dpbench.metrics.definitions import METRICS, MetricValue

GROUPS = {
    "overview": "Overview",
    "accuracy": "Accuracy",
    "dynamics": "Dynamics",
    "crystals": "Crystals",
    "speed": "Speed",
    "other": "Other tasks",
}
"""Sets of columns that the page shows one of, and their titles."""

ROUNDING = 1e-9
"""Relative spread below which a number does not spread: it is what it is."""

GROUP_OF_TASK = {
    "accuracy": "accuracy",
    "fidelity": "accuracy",
    "size_transfer": "accuracy",
    "smoothness": "accuracy",
    "stability": "dynamics",
    "nve": "dynamics",
    "nvt": "dynamics",
    "ramps": "dynamics",
    "md_stability": "dynamics",
    "elastic": "crystals",
    "eos": "crystals",
    "phonons": "crystals",
    "vacancy": "crystals",
    "relaxation": "crystals",
    "throughput": "speed",
    "md_throughput": "speed",
    "scaling": "speed",
    "dft_speedup": "speed",
    "data_loading": "speed",
    "training_time": "speed",
}
"""Task -> set of columns; of any other task ``other``."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Column:
    """A column of measured numbers."""

    metric: str
    """Key of ``METRICS``."""
    head: str
    """Words in the head."""
    task: str = "accuracy"
    """Task that measures it."""
    code: str | None = None
    """Digest of the task's source, where rows of several stand in one table: numbers of
    two codes are not compared, so each has a column."""

    @property
    def key(self) -> str:
        """Name of the column in links and in exports."""
        return self.metric if self.code is None else f"{self.metric}@{self.code[:8]}"

    @property
    def unit(self) -> str:
        """Unit as printed."""
        return unit_text(METRICS[self.metric].unit)

    @property
    def meaning(self) -> str:
        """What the number is."""
        return METRICS[self.metric].meaning

    @property
    def group(self) -> str:
        """Set of columns that it belongs to."""
        return GROUP_OF_TASK.get(self.task, "other")

    @property
    def is_speed(self) -> bool:
        """Whether the number belongs to one hardware and is compared on that alone."""
        return self.group == "speed"


def unit_text(unit: str) -> str:
    """Write a unit; a number without one has none to be written."""
    return "" if unit == "1" else unit


COLUMNS = (
    Column(metric="energy_mae_per_atom_mev", head="Energy MAE"),
    Column(metric="energy_rmse_per_atom_mev", head="Energy RMSE"),
    Column(metric="force_rmse_component_mev_per_ang", head="Force RMSE"),
    Column(metric="force_rmse_relative_percent", head="Force rel."),
    Column(metric="virial_rmse_per_atom_mev", head="Virial RMSE"),
    Column(metric="nve_drift_mev_per_atom_ps", head="NVE drift", task="stability"),
    Column(metric="md_us_per_atom_step", head="MD step", task="throughput"),
)
"""Columns of every table, from left to right."""


def further_columns(rows: Iterable[Row]) -> tuple[Column, ...]:
    """Columns of what these rows have beyond ``COLUMNS``, in the order of ``METRICS``.

    Args:
        rows: Of one table, or of all that go into one file.
    """
    known = {column.metric for column in COLUMNS}
    found: dict[str, tuple[str, set[str]]] = {}
    for row in rows:
        for task, name, code in _measured(row):
            if name in METRICS and name not in known:
                codes = found.setdefault(name, (task, set()))[1]
                codes.update([code] if code else [])
    out = []
    for name in METRICS:
        task, codes = found.get(name, ("", set()))
        if task:
            told: list[str | None] = [*sorted(codes)] if len(codes) > 1 else [None]
            out += [_column(name, task, code) for code in told]
    return tuple(out)


def _measured(row: Row) -> Iterable[tuple[str, str, str]]:
    """List (task, metric, code of the task) of all numbers of a row."""
    old = {
        "accuracy": row.accuracy,
        "stability": row.stability,
        "throughput": row.throughput,
    }
    for task, result in old.items():
        for metric in () if result is None else result.metrics:
            yield task, metric.name, ""
    for task, other in row.tasks.items():
        for metric in other.metrics:
            yield task, metric.name, other.code


def _column(name: str, task: str, code: str | None) -> Column:
    return Column(metric=name, head=METRICS[name].title, task=task, code=code)


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
    is_exact = half is None or half <= ROUNDING * abs(metric.value)
    spread = "" if is_exact else f" ± {spread_text(metric.value, half or 0.0)}"
    return f"{number(metric.value)}{spread}"
