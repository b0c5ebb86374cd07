"""What a simplification came to."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from dpbench.config import to_mapping
from dpbench.explore.simplify.settings import SimplifySettings
from dpbench.store.files import disk_errors, write_atomically

FORMAT = 1
"""Of ``simplify.json``."""

CHOSEN, RANDOM, FULL = "chosen", "random", "full"


@dataclass(frozen=True, kw_only=True, slots=True)
class Point:
    """One model and its errors on the frames that neither side trains on."""

    side: str
    """``chosen``, ``random`` or ``full``."""
    size: int
    """Frames that it was trained on."""
    member: int
    """Number of the member of the ensemble, or of the random subset."""
    rmse_f: float
    """eV/Å; NaN, as the others, where there is no number."""
    p95_f: float
    """eV/Å, 95th percentile of the length of the force error."""
    rmse_e: float
    """eV/atom."""
    cpu_seconds: float
    """Of its training."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Round:
    """One step of growth."""

    size: int
    """Frames before it."""
    counts: dict[str, int]
    """What became of the frames not yet chosen, by reason."""
    max_devi_f: tuple[float, float, float]
    """eV/Å: median, 95th percentile and largest deviation on them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Simplified:
    """The subset, and what it is worth."""

    dataset: str
    """``NAME-vN``."""
    digest: str
    """Of the version."""
    split: str
    """Digest of the split that holds the subset as its part ``train``."""
    name: str
    """What the split is called."""
    pool: str
    """Part that was chosen from."""
    test: str
    """Part that errors are measured on."""
    pool_frames: int
    """Frames of it."""
    test_frames: int
    """Frames of it."""
    frames: tuple[int, ...]
    """Indices of the subset in the version, in the order of choice."""
    settings: SimplifySettings
    """How."""
    rounds: tuple[Round, ...]
    """Growth, of method ``deviation``."""
    points: tuple[Point, ...]
    """All models."""
    ended: str = ""
    """Why the subset is smaller than asked; empty if it is not."""
    cpu_seconds: float = 0.0
    """Of all trainings."""

    def curve(self, side: str, quantity: str = "rmse_f") -> list[tuple[int, float]]:
        """Return (size, median over the models of a side), by size."""
        sizes = sorted({p.size for p in self.points if p.side == side})
        medians = [(size, self.median(side, size, quantity)) for size in sizes]
        return [(size, error) for size, error in medians if not math.isnan(error)]

    def median(self, side: str, size: int, quantity: str = "rmse_f") -> float:
        """Return the median error of one side at one size; NaN if there is none."""
        found = self.values(side, size, quantity)
        return float(np.median(found)) if found else float("nan")

    def values(self, side: str, size: int, quantity: str = "rmse_f") -> list[float]:
        """Return the errors of all models of one side at one size."""
        return [
            value
            for p in self.points
            if p.side == side and p.size == size
            if not math.isnan(value := getattr(p, quantity))
        ]

    @property
    def random_equivalent(self) -> float | None:
        """Frames chosen at random that reach the subset's force error; None = unknown.

        Between the sizes that were trained, error and size are followed on logarithmic
        axes. Where the curve does not fall, there is no such number.
        """
        error = self.median(CHOSEN, len(self.frames))
        return size_reaching(error, [*self.curve(RANDOM), *self.curve(FULL)])

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        equivalent = self.random_equivalent
        told = {
            "format": FORMAT,
            **to_mapping(self),
            "random_equivalent": None if equivalent is None else round(equivalent, 1),
        }
        return {name: _plain(value) for name, value in told.items()}

    def write(self, path: Path) -> None:
        """Write ``simplify.json``."""
        text = json.dumps(self.to_json(), indent=1)
        with disk_errors(path):
            write_atomically(path, text.encode())

    def summary(self) -> str:
        """Word the outcome for a person."""
        size = len(self.frames)
        lines = [
            f"{size} of {self.pool_frames} frames of {self.dataset}:{self.pool}; force "
            f"RMSE on the {self.test_frames} frames of '{self.test}', median, eV/Å",
            f"{'frames':>8}  {'chosen':>9}  {'random':>9}",
        ]
        sizes = sorted({p.size for p in self.points})
        for at in sizes:
            cells = [self.median(side, at) for side in (CHOSEN, RANDOM)]
            if at == self.pool_frames:
                cells = [float("nan"), self.median(FULL, at)]
            shown = "  ".join("        -" if c != c else f"{c:>9.4f}" for c in cells)
            lines.append(f"{at:>8}  {shown}" + ("  all" * (at == self.pool_frames)))
        equivalent = self.random_equivalent
        if equivalent is not None:
            lines.append(f"as good as {equivalent:.0f} frames chosen at random")
        if self.ended:
            lines.append(self.ended)
        return "\n".join(lines)


def _plain(value: Any) -> Any:
    """Replace numbers that JSON does not know by None."""
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_plain(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def size_reaching(error: float, curve: Sequence[tuple[int, float]]) -> float | None:
    """Return the size from which on a curve is not above ``error``.

    A curve that comes down, rises again and comes down once more counts from its last
    descent: the first was luck.

    Args:
        error: Wanted.
        curve: (size, error), by rising size.

    Returns:
        The size, between two points on logarithmic axes; the first size if the curve
        begins below and falls; None if it does not get there or there is no curve.
    """
    if not curve or curve[-1][1] > error:
        return None
    for (a, at_a), (b, at_b) in reversed([*pairwise(curve)]):
        if at_a > error:
            share = np.log(at_a / error) / np.log(at_a / at_b)
            return float(a * (b / a) ** share)
    if any(at_b > at_a for (_, at_a), (_, at_b) in pairwise(curve)):
        return None
    return float(curve[0][0])
