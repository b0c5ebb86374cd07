"""Figures of the active-learning benchmark: errors, ratios, and labels needed."""

import math
import statistics
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

ERRORS = ("force_rmse", "force_p95", "energy_rmse")
"""eV/Å, per component; eV/Å, of the length of an atom's force error; eV/atom."""

AIMS = {"force_rmse": 0.85, "force_p95": 0.7}
"""Ratios, active over random, that were aimed at."""


def errors(
    energy: NDArray[np.float64],
    force: NDArray[np.float64],
    *,
    true_energy: NDArray[np.float64],
    true_force: NDArray[np.float64],
    natoms: NDArray[np.int64],
) -> dict[str, float]:
    """Compare predictions with labels.

    Args:
        energy: (frame), eV.
        force: (atom, 3), eV/Å.
        true_energy: (frame), eV.
        true_force: (atom, 3), eV/Å.
        natoms: (frame).
    """
    miss = force - true_force
    wrong = (energy - true_energy) / natoms
    return {
        "force_rmse": float(np.sqrt((miss**2).mean())),
        "force_p95": float(np.percentile(np.sqrt((miss**2).sum(axis=1)), 95)),
        "energy_rmse": float(np.sqrt((wrong**2).mean())),
    }


def mean_errors(members: Sequence[dict[str, float]]) -> dict[str, float]:
    """Take the mean of each error over the members of an ensemble."""
    return {name: statistics.fmean(m[name] for m in members) for name in ERRORS}


def labels_for(curve: Sequence[tuple[int, float]], error: float) -> float | None:
    """Return how many labels a learning curve needs for an error.

    Between its points log(error) is taken as straight in log(labels); the first point
    from which on the error is reached counts. None if it never is.

    Args:
        curve: (labels, error), labels rising.
        error: The error to be reached.
    """
    if curve[0][1] <= error:
        return float(curve[0][0])
    for (n, high), (more, low) in pairwise(curve):
        if low <= error < high:
            part = math.log(high / error) / math.log(high / low)
            return float(n * (more / n) ** part)
    return None


def compared(
    active: Sequence[dict[str, Any]], random: Sequence[dict[str, Any]]
) -> dict[str, Any]:
    """Compare the learning curves of one seed.

    Args:
        active: Points ``{"labels": ..., "force_rmse": ..., ...}``, labels rising.
        random: Those of the control, for the same numbers of labels.
    """
    told: dict[str, Any] = {}
    for name in ERRORS:
        mine, other = (
            [(point["labels"], point[name]) for point in arm]
            for arm in (active, random)
        )
        told[f"{name}_ratio"] = mine[-1][1] / other[-1][1]
        # Where the worse of the two ends, the better one was earlier.
        error = max(mine[-1][1], other[-1][1])
        told[f"{name}_at_equal_error"] = {
            "error": error,
            "active_labels": labels_for(mine, error),
            "random_labels": labels_for(other, error),
        }
    return told


def summary(comparisons: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Take medians over the seeds, and say which aims were met."""
    told: dict[str, Any] = {}
    for name in ERRORS:
        ratios = [one[f"{name}_ratio"] for one in comparisons]
        told[f"{name}_ratio"] = statistics.median(ratios)
        told[f"{name}_ratios"] = ratios
        shares = [
            pair["active_labels"] / pair["random_labels"]
            for pair in (one[f"{name}_at_equal_error"] for one in comparisons)
            if pair["active_labels"] and pair["random_labels"]
        ]
        told[f"{name}_label_share"] = statistics.median(shares) if shares else None
        if name in AIMS:
            told[f"{name}_aim"] = AIMS[name]
            told[f"{name}_met"] = bool(told[f"{name}_ratio"] <= AIMS[name])
    return told


def table(seeds: Sequence[dict[str, Any]], total: dict[str, Any]) -> str:
    """Word the outcome as a Markdown table."""
    lines = [
        "| seed | labels | force RMSE, active | random | ratio | 95 % force error, "
        "active | random | ratio | wall, s |",
        "| --- " * 9 + "|",
    ]
    for one in seeds:
        mine, other = one["active"][-1], one["random"][-1]
        cells = [
            str(one["seed"]),
            str(mine["labels"]),
            f"{mine['force_rmse']:.4f}",
            f"{other['force_rmse']:.4f}",
            f"{mine['force_rmse'] / other['force_rmse']:.2f}",
            f"{mine['force_p95']:.4f}",
            f"{other['force_p95']:.4f}",
            f"{mine['force_p95'] / other['force_p95']:.2f}",
            f"{one['wall_seconds']:.0f}",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    lines.append(
        f"| median |  |  |  | {total['force_rmse_ratio']:.2f} |  |  | "
        f"{total['force_p95_ratio']:.2f} |  |"
    )
    return "\n".join(lines)
