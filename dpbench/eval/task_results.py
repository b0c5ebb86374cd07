"""What each task leaves in a record: protocol, numbers, raw samples."""

from dataclasses import dataclass, field
from typing import Any, Literal

from dpbench.errors import ConfigError
from dpbench.metrics.definitions import MetricValue
from dpbench.metrics.rows import MOST_ROWS, unpack_column

SIGNED = "energy_error"
"""Column of E_pred - E_ref per atom, with its sign."""

MOST_COLUMNS = 32
"""Most columns of an error series."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Baseline:
    """The composition-only baseline on the evaluated frames.

    Energies are least-squares energies per element, forces and virials are zero.
    """

    fitted_on: str
    """Frames that the energies were fitted to."""
    energies: dict[str, float]
    """eV per atom of each element."""
    rank: int
    """Independent compositions among the fitted frames."""
    metrics: tuple[MetricValue, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceAccuracy:
    """Accuracy on the frames of one source."""

    source: str
    """Path of the source; a hint."""
    sha256: str
    nframes: int
    metrics: tuple[MetricValue, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Parity:
    """A bounded sample of predicted against reference values."""

    energy_reference: tuple[float, ...]
    """eV/atom."""
    energy_predicted: tuple[float | None, ...]
    """eV/atom."""
    force_reference: tuple[float, ...]
    """eV/Å, components."""
    force_predicted: tuple[float | None, ...]
    """eV/Å, components."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PredictionFile:
    """The kept predictions that the accuracy was scored from."""

    path: str
    """Relative to the workspace."""
    sha256: str
    nframes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Fidelity:
    """How far a fast mode is from the same weights in float64, embedding exact."""

    reference: str
    """Backend and precision of the reference."""
    nframes: int
    """Frames compared: the first of the evaluated ones."""
    energy_max_per_atom_mev: float | None
    """Largest difference of energies, meV/atom."""
    force_mae_component_mev_per_ang: float | None
    """Mean absolute difference of force components, meV/Å."""
    force_max_component_mev_per_ang: float | None
    """Largest difference of force components, meV/Å."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ErrorSeries:
    """Sums of errors row by row: two records are compared on the same frames.

    A row is a frame; of more than ``metrics.rows.MOST_ROWS`` frames, a few consecutive
    frames of a trajectory. ``eval.error_series`` writes and reads it.
    """

    frames: str
    """sha256 of the frames' digests in the order of the rows, and of the rows' layout:
    two series pair only where it is the same."""
    lengths: tuple[int, ...]
    """Frames of each trajectory; trajectories follow each other."""
    stride: int
    """Consecutive frames in one row."""
    columns: dict[str, str]
    """Name -> numbers (row), base64 of little-endian float32; a single number where all
    rows have the same. Energies in eV/atom, forces in eV/Å, virials in eV/atom."""

    def __post_init__(self) -> None:
        """Check what types cannot say."""
        if self.stride < 1 or min(self.lengths, default=1) < 1:
            raise ConfigError("errors: lengths and stride must be at least 1.")
        # Checked before anything is made of it: a record may come from elsewhere.
        nrows = sum(-(-length // self.stride) for length in self.lengths)
        if nrows > MOST_ROWS:
            raise ConfigError(
                f"errors: lengths and stride make {nrows} rows; expected at most "
                f"{MOST_ROWS}."
            )
        if len(self.columns) > MOST_COLUMNS:
            raise ConfigError(
                f"errors: there are {len(self.columns)} columns; expected at most "
                f"{MOST_COLUMNS}."
            )
        for name, text in self.columns.items():
            try:
                column = unpack_column(text, nrows)
            except ValueError as error:
                raise ConfigError(f"errors: {name} {error}.") from error
            if name != SIGNED and bool((column < 0).any()):
                raise ConfigError(
                    f"errors: {name} has negative sums; expected none. The record is "
                    "damaged: evaluate the model again."
                )


@dataclass(frozen=True, kw_only=True, slots=True)
class Accuracy:
    """Result of the task ``accuracy``."""

    metrics: tuple[MetricValue, ...]
    nonfinite_frames: int
    """Frames on which the model's answer was NaN or infinite."""
    baseline: Baseline | None
    by_element: dict[str, tuple[MetricValue, ...]]
    by_source: tuple[SourceAccuracy, ...]
    """The first two hundred sources that occur."""
    nsources: int
    """Sources that occur among the evaluated frames."""
    parity: Parity
    predictions: PredictionFile | None
    wall_time_s: float
    """Time of the prediction stage, seconds."""
    fidelity: Fidelity | None = None
    """None where the row is itself the float64 reference."""
    errors: ErrorSeries | None = None
    """None in records before schema 5."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StabilityProtocol:
    """How the constant-energy runs were done."""

    ensemble: str
    integrator: str
    temperature: float
    """K, of the Maxwell-Boltzmann velocities at the start."""
    timestep: float
    """fs."""
    steps: int
    """Asked for, each run."""
    sample_every: int
    """Steps between two points of the trace."""
    discard: float
    """Part of the run dropped before the regression."""
    start_frame: int
    """Index of the start frame in the dataset version."""
    replicas: tuple[int, int, int]
    """Supercell of the start frame."""
    natoms: int
    limits: dict[str, float]
    """Limits whose crossing ends a run as exploded."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StabilityRun:
    """One run of molecular dynamics."""

    seed: int
    """Of the velocities."""
    status: Literal["completed", "exploded"]
    reason: str | None
    """Which limit was crossed."""
    failure_step: int | None
    steps_done: int
    drift: float | None
    """meV/atom/ps, signed slope; None if the run exploded."""
    residual: float | None
    """meV/atom, RMS around the regression line."""
    min_distance: float | None
    """Å, smallest distance of two atoms in any sampled step."""
    time: tuple[float, ...]
    """fs, of the trace."""
    energy: tuple[float | None, ...]
    """meV/atom, total energy less that of the start."""
    temperature: tuple[float | None, ...]
    """K."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Stability:
    """Result of the task ``stability``."""

    status: Literal["completed", "exploded"]
    """Exploded if any run did."""
    protocol: StabilityProtocol
    runs: tuple[StabilityRun, ...]
    metrics: tuple[MetricValue, ...]
    """Median over the runs; no drift if one exploded."""
    wall_time_s: float


@dataclass(frozen=True, kw_only=True, slots=True)
class ThroughputProtocol:
    """How the speed was measured."""

    window_s: float
    """Target length of one timed window, s."""
    repeats: int
    """Timed windows per quantity; the quantities take turns."""
    timestep: float
    """fs, of the molecular dynamics."""
    temperature: float
    """K, of its start velocities."""
    integrator: str
    independent_processes: bool
    """Whether each repeat ran in a process of its own."""
    start_frame: int
    """Index of the frame that supercells are made of."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Timing:
    """One timed quantity at one size."""

    samples: tuple[float, ...]
    """µs/atom/step, one per window."""
    steps_per_window: int
    warmup_steps: int
    """Steps before the first window; none of them counts."""
    warmup_s: float
    first_call_s: float
    """The first call of all, compilation and allocation included."""
    median: float
    """µs/atom/step."""
    quartile_low: float
    quartile_high: float
    ci_low: float
    ci_high: float
    steps_per_s: float
    katom_step_per_s: float
    ns_per_day: float | None = None
    """Molecular dynamics only, with the protocol's time step."""
    list_rebuilds: int | None = None
    """Neighbour lists built during the timed windows, where that is known."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SizeResult:
    """All quantities at one system size."""

    natoms: int
    replicas: tuple[int, int, int]
    density: float | None
    """Atoms per Å^3; None without a cell."""
    mean_neighbours: float | None
    """Neighbours per atom within the cutoff; None where the backend tells none."""
    status: Literal["ok", "out_of_memory", "failed"]
    """``failed``: the dynamics ended in an error of the model."""
    quantities: dict[str, Timing]
    """Metric name -> timing; empty unless the status is ok."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Throughput:
    """Result of the task ``throughput``."""

    protocol: ThroughputProtocol
    sizes: tuple[SizeResult, ...]
    """From small to large."""
    metrics: tuple[MetricValue, ...]
    """Of the largest size that ran."""
    natoms: int | None
    """That size."""
    wall_time_s: float


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskResult:
    """Result of any other task; ``eval.tasks`` names them."""

    task: str
    """Name of the task."""
    code: str
    """Digest of the task's source: numbers of two codes never share a table."""
    status: Literal["ok", "failed", "no_reference"]
    """``failed``: the model or its backend gave out; ``no_reference``: there is nothing
    to compare with, and the metrics are null."""
    reason: str | None = None
    """Why the status is not ``ok``."""
    protocol: dict[str, Any] = field(default_factory=dict)
    """How it was done; keys carry their units."""
    metrics: tuple[MetricValue, ...] = ()
    """Headline numbers."""
    samples: dict[str, Any] = field(default_factory=dict)
    """Raw numbers behind them, bounded: series, runs, values by structure."""
    kept: PredictionFile | None = None
    """What the dear stage left; the score can be made again from it."""
    wall_time_s: float = 0.0
    """Seconds of the dear stage."""
