"""How many runs still hold after how much of a ramp."""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def survived_parts(failed_at: list[int | None], steps: int) -> Array:
    """Return the part of its steps that each run did before it failed, (run).

    Args:
        failed_at: Step at which each run failed; None = it reached the end.
        steps: Asked of each.
    """
    done = [steps if step is None else step for step in failed_at]
    return np.asarray(done, np.float64) / max(steps, 1)


def survival_curve(parts: Array, *, npoints: int = 101) -> tuple[Array, Array]:
    """Return the fraction of runs that still hold against the part of the run done.

    Args:
        parts: (run), as ``survived_parts`` gives them; failed runs are in it.
        npoints: Points from 0 to 1.

    Returns:
        Part of the run, and fraction that had not failed before it.
    """
    progress = np.linspace(0.0, 1.0, npoints)
    return progress, (parts[:, None] >= progress[None, :]).mean(axis=0)


def survival_auc(parts: Array) -> float:
    """Return the area under the survival curve: 1 = no run failed.

    The area under a staircase that falls by 1/n where each run ends is the mean of
    where they end; no grid comes in.

    Source:
        MLIP Arena, MD stability under heating and compression.
    """
    return float(parts.mean())


def stability_score(
    nframes: int, *, exploded_at: int | None, detached_at: int | None
) -> float:
    """Return the score of one run between 0 and 1.

        exploded at f_e: f_e / (2 N);  detached at f_h: 1/2 + f_h / (2 N);  else 1

    Args:
        nframes: N, asked for.
        exploded_at: Frame of the explosion; None = there was none.
        detached_at: Frame at which the first atom was detached; None = none was.

    Source:
        MLIP Audit, stability of molecular dynamics.
    """
    if exploded_at is not None:
        return 0.5 * exploded_at / nframes
    if detached_at is not None:
        return 0.5 + 0.5 * detached_at / nframes
    return 1.0
