"""Numbers of a log point, and what the whole run says of them."""

import math
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from dpbench.md.dynamics import Dynamics

COLUMNS = {
    "potential": ("potential_ev", "eV", "potential energy"),
    "kinetic": ("kinetic_ev", "eV", "kinetic energy"),
    "temperature": ("temperature_k", "K", "kinetic temperature"),
    "pressure": ("pressure_bar", "bar", "pressure; NaN without a volume"),
    "volume": ("volume_ang3", "angstrom^3", "volume; NaN without one"),
    "conserved": ("conserved_ev", "eV", "energy with that of thermostat and barostat"),
}
"""Name -> (name with its unit in files, unit, description)."""

DISCARD = 0.2
"""Part of a run that its means leave out."""

FEWEST_BLOCKS = 16
"""Means of fewer blocks say too little about their own spread."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """One log point; arrays have one value per replica, units as in ``COLUMNS``."""

    step: int
    time: float
    """ps."""
    values: dict[str, NDArray[np.float64]]


def observe(dynamics: Dynamics) -> Sample:
    """Take the observables of a state."""
    state = dynamics.state
    values = {
        "potential": state.energy,
        "kinetic": 0.5 * state.twice_kinetic(),
        "temperature": state.temperature(dynamics.dof),
        "pressure": state.pressure(),
        "volume": state.volume(),
        "conserved": dynamics.conserved(),
    }
    return Sample(
        step=state.step,
        time=state.step * dynamics.baths.timestep / 1000,
        values={name: value.cpu().numpy().copy() for name, value in values.items()},
    )


@final
class Blocking:
    """Mean of a correlated series and its error, in memory of log(samples).

    Pairs of neighbours are averaged again and again; the error of the mean computed
    from blocks grows until they are longer than the correlation time.

    Source:
        H. Flyvbjerg, H. G. Petersen, J. Chem. Phys. 91, 461 (1989).
    """

    LEVELS = 48

    def __init__(self, table: NDArray[np.float64] | None = None) -> None:
        """Start empty, or from what ``table`` of another one was."""
        # count, mean, sum of squared deviations, block that waits for its partner
        self.table = np.zeros((self.LEVELS, 4)) if table is None else table.copy()
        if table is None:
            self.table[:, 3] = np.nan

    def add(self, value: float) -> None:
        """Take one sample."""
        for row in self.table:
            row[0] += 1
            delta = value - row[1]
            row[1] += delta / row[0]
            row[2] += delta * (value - row[1])
            if math.isnan(row[3]):
                row[3] = value
                return
            value, row[3] = (value + row[3]) / 2, math.nan

    @property
    def count(self) -> int:
        """Samples taken."""
        return int(self.table[0, 0])

    @property
    def mean(self) -> float:
        """Mean of all samples; NaN without any."""
        return float(self.table[0, 1]) if self.count else math.nan

    @property
    def deviation(self) -> float:
        """Standard deviation of the samples; NaN below two."""
        count, _, squares, _ = self.table[0]
        return math.sqrt(squares / (count - 1)) if count > 1 else math.nan

    @property
    def error(self) -> float:
        """Standard error of the mean: the largest of any block length; NaN if unknown.

        Block lengths with fewer than 16 blocks are left out.
        """
        errors = [
            math.sqrt(squares / (count - 1) / count)
            for count, _, squares, _ in self.table
            if count >= FEWEST_BLOCKS
        ]
        return max(errors, default=math.nan)


@final
class Line:
    """A straight line through points that are not kept."""

    def __init__(self, sums: NDArray[np.float64] | None = None) -> None:
        """Start empty, or from what ``sums`` of another one was."""
        # count, mean t, mean e, sum dt dt, sum dt de
        self.sums = np.zeros(5) if sums is None else sums.copy()

    def add(self, t: float, e: float) -> None:
        """Take one point."""
        sums = self.sums
        sums[0] += 1
        dt, de = t - sums[1], e - sums[2]
        sums[1] += dt / sums[0]
        sums[2] += de / sums[0]
        sums[3] += dt * (t - sums[1])
        sums[4] += dt * (e - sums[2])

    @property
    def slope(self) -> float:
        """Slope of the least-squares line; NaN below three points."""
        if self.sums[0] < 3 or not self.sums[3] > 0:
            return math.nan
        return float(self.sums[4] / self.sums[3])


@final
class Digest:
    """Means with errors and the drift of a run, gathered while it goes on."""

    AVERAGED = ("temperature", "pressure", "volume", "potential")

    def __init__(self, *, nreplicas: int, first: int) -> None:
        """Average from step ``first`` on."""
        self.first = first
        self.means = {name: Blocking() for name in self.AVERAGED}
        self.lines = [Line() for _ in range(nreplicas)]
        self.extreme = {"temperature": 0.0}

    def add(self, sample: Sample) -> None:
        """Take a log point; replicas count as one mean, the drift is each one's own."""
        hottest = float(sample.values["temperature"].max())
        self.extreme["temperature"] = max(self.extreme["temperature"], hottest)
        if sample.step < self.first:
            return
        for name, mean in self.means.items():
            value = float(sample.values[name].mean())
            if math.isfinite(value):
                mean.add(value)
        for line, energy in zip(self.lines, sample.values["conserved"], strict=True):
            line.add(sample.time, float(energy))

    def drift(self, natoms: int) -> float:
        """Mean drift of the conserved quantity, meV/atom/ps; NaN if unknown."""
        return 1000 * float(np.mean([line.slope for line in self.lines])) / natoms

    def arrays(self) -> dict[str, NDArray[np.float64]]:
        """Return all that is needed to go on."""
        return {
            "lines": np.stack([line.sums for line in self.lines]),
            "extreme": np.array([self.extreme["temperature"]]),
            **{name: mean.table for name, mean in self.means.items()},
        }

    def restore(self, arrays: dict[str, NDArray[np.float64]]) -> None:
        """Go on from what ``arrays`` returned."""
        self.lines = [Line(sums) for sums in arrays["lines"]]
        self.extreme["temperature"] = float(arrays["extreme"][0])
        self.means = {name: Blocking(arrays[name]) for name in self.AVERAGED}

    def summary(self, natoms: int) -> dict[str, Any]:
        """Return means, errors, deviations and drift; None for what is not known."""

        def known(value: float) -> float | None:
            return value if math.isfinite(value) else None

        means = {
            name: {
                "mean": known(mean.mean),
                "error": known(mean.error),
                "deviation": known(mean.deviation),
                "samples": mean.count,
            }
            for name, mean in self.means.items()
        }
        return {
            **means,
            "drift_mev_per_atom_ps": known(self.drift(natoms)),
            "hottest_k": self.extreme["temperature"],
        }
