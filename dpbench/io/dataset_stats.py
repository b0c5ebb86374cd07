"""Statistics of a version: mergeable moments of each quantity, counted by blocks."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpbench.frames import Frames
from dpbench.kernels.neighbours import find_neighbours
from dpbench.store.dataset import DatasetVersion
from dpbench.units import GPA

BLOCK_FRAMES = 512
"""Frames in memory at a time."""

FIRST_CUTOFF = 2.5
"""Å, where the search for the nearest pair starts; doubled until one is found."""

LARGEST_CUTOFF = 20.0
"""Å, where it ends: atoms farther apart have no neighbour worth naming."""

QUANTITIES = (
    "natoms",
    "energy_per_atom_ev",
    "force_component_ev_per_angstrom",
    "force_magnitude_ev_per_angstrom",
    "nearest_distance_angstrom",
    "volume_per_atom_angstrom3",
    "pressure_gpa",
)
"""What is measured, unit last."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Moments:
    """Count, mean, spread and extremes of a quantity; ``+`` merges two."""

    n: int = 0
    """Number of values."""
    mean: float = 0.0
    """Mean."""
    squares: float = 0.0
    """Sum of squared deviations from the mean."""
    low: float = np.inf
    """Smallest value."""
    high: float = -np.inf
    """Largest value."""

    @classmethod
    def of(cls, values: NDArray[np.floating]) -> "Moments":
        """Take the moments of the values that are not NaN."""
        known = values[~np.isnan(values)].astype(np.float64)
        if not len(known):
            return cls()
        mean = float(known.mean())
        return cls(
            n=len(known),
            mean=mean,
            squares=float(((known - mean) ** 2).sum()),
            low=float(known.min()),
            high=float(known.max()),
        )

    def __add__(self, other: "Moments") -> "Moments":
        """Merge, as if all values had been given at once.

        Source: T. F. Chan, G. H. Golub, R. J. LeVeque, Am. Stat. 37, 242 (1983).
        """
        n = self.n + other.n
        if not n:
            return self
        step = other.mean - self.mean
        return Moments(
            n=n,
            mean=self.mean + step * other.n / n,
            squares=self.squares + other.squares + step**2 * self.n * other.n / n,
            low=min(self.low, other.low),
            high=max(self.high, other.high),
        )

    def to_json(self) -> dict[str, float] | None:
        """Return n, mean, std, rms, min and max; None if there were no values."""
        if not self.n:
            return None
        variance = self.squares / self.n
        return {
            "n": self.n,
            "mean": self.mean,
            "std": float(np.sqrt(variance)),
            "rms": float(np.sqrt(self.mean**2 + variance)),
            "min": self.low,
            "max": self.high,
        }


def statistics(version: DatasetVersion) -> dict[str, Any]:
    """Measure a version, block by block.

    Returns:
        ``quantities``: for each of ``QUANTITIES`` n, mean, std, rms, min and max, or
        None where no frame has it; and the version's label, digest and size.

    Raises:
        DatasetError: If a file is missing or damaged.
    """
    total = dict.fromkeys(QUANTITIES, Moments())
    for _, frames in version.blocks(BLOCK_FRAMES):
        for name, values in measure(frames).items():
            total[name] += Moments.of(values)
    return {
        "label": version.label,
        "digest": version.digest,
        "n_frames": version.nframes,
        "n_atoms": int(version.payload["n_atoms"]),
        "quantities": {name: moments.to_json() for name, moments in total.items()},
    }


def measure(frames: Frames) -> dict[str, NDArray[np.floating]]:
    """Take the values of every quantity; NaN where a frame does not have it."""
    natoms = frames.natoms
    volume = np.full(frames.nframes, np.nan)
    has_cell = ~np.isnan(frames.box).any(axis=(1, 2))
    volume[has_cell] = np.abs(np.linalg.det(frames.box[has_cell]))
    trace = np.trace(frames.virial, axis1=1, axis2=2)
    values: tuple[NDArray[np.floating], ...] = (
        natoms.astype(np.float64),
        frames.energy / natoms,
        frames.force.reshape(-1),
        np.sqrt((frames.force**2).sum(axis=1)),
        np.array([nearest_distance(frames, i) for i in range(frames.nframes)]),
        volume / natoms,
        trace / (3 * volume) / GPA,
    )
    return dict(zip(QUANTITIES, values, strict=True))


def nearest_distance(frames: Frames, frame_idx: int) -> float:
    """Return the smallest distance between two atoms, or an atom and its image, Å.

    NaN if there is none within ``LARGEST_CUTOFF``.
    """
    coord = frames.coord[frames.atoms_of(frame_idx)].astype(np.float64)
    box, pbc = frames.box[frame_idx], frames.pbc[frame_idx]
    cutoff = FIRST_CUTOFF
    while cutoff <= LARGEST_CUTOFF:
        found = find_neighbours(coord, box, pbc, cutoff)
        if len(found.edge_i):
            shift = np.where(pbc, found.shift, 0) @ np.nan_to_num(box)
            vector = coord[found.edge_j] + shift - coord[found.edge_i]
            return float(np.sqrt((vector**2).sum(axis=1).min()))
        cutoff *= 2
    return float("nan")
