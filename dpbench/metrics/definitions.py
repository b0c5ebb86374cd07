"""Every metric by name: its unit, its polarity and what it reduces over.

A name carries quantity, reduction and unit, so that two numbers under one name can
always be compared. Variants of the energy error (raw, shifted, fluctuation) are
different names and never share a column.
"""

from dataclasses import dataclass

from dpbench.metrics.crystal_definitions import CRYSTAL_METRICS
from dpbench.metrics.definition import Definition

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
    "nve_survived_percent": Definition(
        unit="%",
        title="NVE survived",
        meaning="Steps done before a run failed, of those asked for; mean over all "
        "runs, failed ones included.",
        polarity="higher",
    ),
    "nve_instability": Definition(
        unit="1",
        title="NVE instability",
        meaning="max(0, log10(drift / 0.5 meV/atom/ps)), 5 for a failed run; mean over "
        "all runs (LAMBench).",
    ),
    "nve_drift_over_fluctuation": Definition(
        unit="1",
        title="NVE drift over fluctuation",
        meaning="Drift times the time fitted, divided by the standard deviation of the "
        "kinetic energy; median over the runs, below 1 is good (MLIP Audit). Null if "
        "one failed.",
    ),
    "rdf_error_percent": Definition(
        unit="%",
        title="RDF error",
        meaning="Area between the radial distribution functions of model and "
        "reference, of the area between the reference's and 1, at most 100; mean over "
        "the reference trajectories, 100 where the model's run failed.",
    ),
    "adf_error_percent": Definition(
        unit="%",
        title="ADF error",
        meaning="Wasserstein distance of the distributions of bond angles, of that "
        "between the reference's and sin(theta), at most 100; mean over the reference "
        "trajectories, 100 where the model's run failed.",
    ),
    "vdos_error_percent": Definition(
        unit="%",
        title="vDOS error",
        meaning="Wasserstein distance of the vibrational densities of states, of the "
        "width of the reference's, at most 100; mean over the reference trajectories, "
        "100 where the model's run failed.",
    ),
    "diffusion_error_percent": Definition(
        unit="%",
        title="Diffusion error",
        meaning="Absolute error of the self-diffusion coefficient, of the "
        "reference's, at most 100; mean over the reference trajectories that diffuse "
        "measurably, 100 where the model's run failed.",
    ),
    "pressure_mae_gpa": Definition(
        unit="GPa",
        title="Pressure MAE",
        meaning="Absolute difference of the mean pressures of model and reference, "
        "without the kinetic part, not paired by frame; mean over the reference "
        "trajectories, null where a run failed.",
    ),
    "pressure_error_percent": Definition(
        unit="%",
        title="Pressure error",
        meaning="Part of the distribution of the pressure that model and reference do "
        "not share; mean over the reference trajectories, 100 where the model's run "
        "failed.",
    ),
    "nvt_survived_percent": Definition(
        unit="%",
        title="NVT survived",
        meaning="Steps done before a run failed, of those asked for; mean over all "
        "runs, failed ones included.",
        polarity="higher",
    ),
    "heating_survival_auc": Definition(
        unit="1",
        title="Heating AUC",
        meaning="Area under the fraction of runs that still hold against the part of a "
        "ramp of temperature that is done (300 to 3000 K unless the protocol says "
        "otherwise).",
        polarity="higher",
    ),
    "compression_survival_auc": Definition(
        unit="1",
        title="Compression AUC",
        meaning="Area under the fraction of runs that still hold against the part of a "
        "ramp of pressure that is done (0 to 500 GPa unless the protocol says "
        "otherwise).",
        polarity="higher",
    ),
    "heating_survivors_percent": Definition(
        unit="%",
        title="Heating survivors",
        meaning="Runs that reached the end of the ramp of temperature, of all.",
        polarity="higher",
    ),
    "compression_survivors_percent": Definition(
        unit="%",
        title="Compression survivors",
        meaning="Runs that reached the end of the ramp of pressure, of all.",
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
    "md_water_us_per_atom_step": Definition(
        unit="µs/atom/step",
        title="MD step, water",
        meaning="One step of Langevin dynamics of liquid water in the engine that the "
        "record names, at the ladder's reference size; median over processes.",
    ),
    "md_dense_us_per_atom_step": Definition(
        unit="µs/atom/step",
        title="MD step, dense",
        meaning="The same of a dense metal, alloy or semiconductor.",
    ),
    "md_slab_us_per_atom_step": Definition(
        unit="µs/atom/step",
        title="MD step, slab",
        meaning="The same of a slab between empty space.",
    ),
    "time_exponent": Definition(
        unit="1",
        title="Exponent of time",
        meaning="Slope of log(time of a step) against log(atoms) above the stated "
        "size: 1 is linear scaling.",
    ),
    "speedup_over_dft": Definition(
        unit="1",
        title="Speed-up over DFT",
        meaning="Wall time of the DFT calculation that labelled a frame over that of "
        "one evaluation of the same frame; median over frames, cores not counted.",
        polarity="higher",
    ),
    "loader_frames_per_s": Definition(
        unit="frames/s",
        title="Data loading",
        meaning="Frames of random batches of 32 read from the store into one buffer, "
        "files in the cache; one thread.",
        polarity="higher",
    ),
    "training_time_to_target_s": Definition(
        unit="s",
        title="Training time",
        meaning="Wall time of training until the force RMSE on validation frames first "
        "reached the stated target, from the curve of the run.",
    ),
    "training_steps_to_target": Definition(
        unit="steps",
        title="Training steps",
        meaning="Steps of training until the same.",
    ),
} | CRYSTAL_METRICS
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
    """Lower end of the 95 % interval; None where it cannot be had."""
    ci_high: float | None = None
    """Upper end of the 95 % interval."""
    nblocks: int | None = None
    """Independent blocks that the interval rests on, or would, were they enough; None
    where it rests on something else."""


def metric_value(
    name: str,
    value: float | None,
    *,
    n: int,
    interval: tuple[float, float] | None = None,
    nblocks: int | None = None,
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
        nblocks=nblocks,
    )
