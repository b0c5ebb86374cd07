"""Every metric by name: its unit, its polarity and what it reduces over.

A name carries quantity, reduction and unit, so that two numbers under one name can
always be compared. Variants of the energy error (raw, shifted, fluctuation) are
different names and never share a column.
"""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Definition:
    """What one metric name means."""

    unit: str
    """As printed, e.g. ``meV/atom``."""
    title: str
    """A few words for a table's head."""
    meaning: str
    """One sentence: reduction, weights, variant."""
    polarity: str = "lower"
    """``lower`` or ``higher``: which way is better."""


_EACH = "every frame has weight 1"
_POOL = "pooled over all atoms of all frames"

METRICS: dict[str, Definition] = {
    "energy_rmse_per_atom_mev": Definition(
        unit="meV/atom",
        title="Energy RMSE",
        meaning=f"RMS of (E_pred - E_ref)/natoms, raw energies; {_EACH}.",
    ),
    "energy_mae_per_atom_mev": Definition(
        unit="meV/atom",
        title="Energy MAE",
        meaning=f"Mean absolute (E_pred - E_ref)/natoms, raw energies; {_EACH}.",
    ),
    "energy_shifted_rmse_per_atom_mev": Definition(
        unit="meV/atom",
        title="Energy RMSE, shifted",
        meaning="As the RMSE, after a least-squares energy per element, fitted on the "
        f"evaluated frames, is taken off the error; {_EACH}.",
    ),
    "energy_shifted_mae_per_atom_mev": Definition(
        unit="meV/atom",
        title="Energy MAE, shifted",
        meaning="As the MAE, after a least-squares energy per element, fitted on the "
        f"evaluated frames, is taken off the error; {_EACH}.",
    ),
    "energy_fluctuation_rmse_per_atom_mev": Definition(
        unit="meV/atom",
        title="Energy RMSE, fluctuation",
        meaning="RMS of (E_pred - E_ref)/natoms after its mean over each source is "
        "taken off; sources of one frame do not count.",
    ),
    "force_rmse_component_mev_per_ang": Definition(
        unit="meV/Å",
        title="Force RMSE",
        meaning=f"RMS over the three components of F_pred - F_ref, {_POOL}.",
    ),
    "force_mae_component_mev_per_ang": Definition(
        unit="meV/Å",
        title="Force MAE",
        meaning=f"Mean absolute component of F_pred - F_ref, {_POOL}.",
    ),
    "force_mae_vector_norm_mev_per_ang": Definition(
        unit="meV/Å",
        title="Force MAE, vector",
        meaning=f"Mean length of the vector F_pred - F_ref, {_POOL}.",
    ),
    "force_rmse_relative_percent": Definition(
        unit="%",
        title="Force RMSE, relative",
        meaning="Force RMSE divided by the RMS of the reference forces of the same "
        "frames; predicting no force at all gives 100 %.",
    ),
    "virial_rmse_per_atom_mev": Definition(
        unit="meV/atom",
        title="Virial RMSE",
        meaning="RMS over the nine components of (W_pred - W_ref)/natoms, "
        f"W = -dE/dstrain; {_EACH}.",
    ),
    "virial_mae_per_atom_mev": Definition(
        unit="meV/atom",
        title="Virial MAE",
        meaning="Mean absolute component of (W_pred - W_ref)/natoms, "
        f"W = -dE/dstrain; {_EACH}.",
    ),
    "stress_rmse_component_gpa": Definition(
        unit="GPa",
        title="Stress RMSE",
        meaning=f"RMS over the nine components of the stress error, -W/V; {_EACH}.",
    ),
    "stress_mae_component_gpa": Definition(
        unit="GPa",
        title="Stress MAE",
        meaning=f"Mean over the nine components of the stress error, -W/V; {_EACH}.",
    ),
    "nve_drift_mev_per_atom_ps": Definition(
        unit="meV/atom/ps",
        title="NVE drift",
        meaning="Absolute slope of the linear regression of the total energy per atom "
        "on time in ps, first 20 % of the run dropped.",
    ),
    "nve_completed_percent": Definition(
        unit="%",
        title="NVE completed",
        meaning="Steps done before the run exploded, of the steps asked for.",
        polarity="higher",
    ),
    "forward_us_per_atom_step": Definition(
        unit="µs/atom/step",
        title="Forward",
        meaning="Energy, force and virial on a neighbour list that is there already.",
    ),
    "forward_with_list_us_per_atom_step": Definition(
        unit="µs/atom/step",
        title="Forward with list",
        meaning="Neighbour search and batch building, then energy, force and virial.",
    ),
    "md_us_per_atom_step": Definition(
        unit="µs/atom/step",
        title="MD step",
        meaning="One velocity-Verlet step through the ASE calculator, atoms moving, "
        "neighbour lists rebuilt when needed.",
    ),
}
"""All metrics, in the order of reports."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MetricValue:
    """One measured number with its spread."""

    name: str
    """Key of ``METRICS``."""
    unit: str
    """Unit of ``value``, repeated so that a record reads alone."""
    polarity: str
    """``lower`` or ``higher`` is better."""
    value: float | None
    """None where there is nothing to measure, e.g. no label."""
    n: int
    """Numbers that entered: frames, components or repeats."""
    ci_low: float | None = None
    """Lower end of the 95 % bootstrap interval; None where it cannot be had."""
    ci_high: float | None = None
    """Upper end of the 95 % bootstrap interval."""


def metric_value(
    name: str,
    value: float | None,
    *,
    n: int,
    interval: tuple[float, float] | None = None,
) -> MetricValue:
    """Give a number its name, unit and polarity from ``METRICS``."""
    definition = METRICS[name]
    low, high = interval if interval is not None else (None, None)
    return MetricValue(
        name=name,
        unit=definition.unit,
        polarity=definition.polarity,
        value=value,
        n=n,
        ci_low=low,
        ci_high=high,
    )
