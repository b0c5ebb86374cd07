"""Do energies, forces and positions of a trajectory belong together?"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpbench.io.quality.steps import SHIFTS, Steps
from dpbench.io.quality.thresholds import Thresholds
from dpbench.units import BOHR, HARTREE

KCAL = 0.0433641
"""eV in one kcal/mol."""

KJ = 0.01036427
"""eV in one kJ/mol."""

CAUSES: tuple[tuple[float, str], ...] = (
    (1 / HARTREE, "energies are Hartree, read as eV"),
    (2 / HARTREE, "energies are Rydberg, read as eV"),
    (HARTREE, "forces are Hartree/Å, or energies were converted twice"),
    (HARTREE / BOHR, "forces are Hartree/Bohr, read as eV/Å"),
    (HARTREE / BOHR / 2, "forces are Rydberg/Bohr, read as eV/Å"),
    (HARTREE / 2, "forces are Rydberg/Å, or energies were converted twice"),
    (BOHR, "positions are Bohr, read as Å"),
    (1 / BOHR, "forces are eV/Bohr, read as eV/Å"),
    (1 / KCAL, "energies are kcal/mol, read as eV"),
    (KCAL, "forces are kcal/mol/Å, read as eV/Å"),
    (1 / KJ, "energies are kJ/mol, read as eV"),
    (KJ, "forces are kJ/mol/Å, read as eV/Å"),
    (-1.0, "forces have the wrong sign: gradients"),
)
"""Slope of dE over work, and what makes it."""

SAME_SLOPE = 0.03
"""A slope this near (relatively) to one of ``CAUSES`` is put down to it."""

BETTER = 0.2
"""A shift is named if it leaves this share of the unexplained variance, or less."""

NOISE = 1e-4
"""Unexplained share of variance that no shift needs to explain."""

AT_REST = 1e-4
"""Å; a step in which no atom moves farther is none: an equation of state."""

NO_STEP = 1.0
"""Å; where some atom moves farther in half of the steps, and no time step is told, the
frames are likely a set of structures."""

LEAST_CHANGE = 1e-3
"""eV; root mean square of energy changes or work below which both may be noise of the
self-consistency."""

ODD = 30.0
"""A step is odd if |dE - work| is this many times that of half the steps."""

MOST_ODD = 0.1
"""Largest share of the steps that may be left out as odd."""

SHIFTED = {
    (1, 0): "forces stand one frame late",
    (-1, 0): "forces stand one frame early",
    (0, 1): "energies stand one frame late",
    (0, -1): "energies stand one frame early",
    (1, 1): "positions stand one frame early, beside the next frame's labels",
    (-1, -1): "positions stand one frame late, beside the labels of the frame before",
}
"""(shift of forces, shift of energies) that mends it, and what it mends."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrajectoryVerdict:
    """What the check says of one source."""

    verdict: str
    """``ok``, ``misaligned``, ``units``, ``inconsistent`` or ``skipped``."""
    cause: str
    """What is wrong, or why it was skipped."""
    n_steps: int
    """Steps that were compared."""
    slope: float | None
    """dE over work; 1 where all is well, None where there is no work."""
    r: float | None
    """Correlation of dE and work; 1 where all is well."""

    @property
    def is_bad(self) -> bool:
        """Whether its frames are flagged."""
        return self.verdict in ("misaligned", "units", "inconsistent")

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {name: getattr(self, name) for name in self.__slots__}


def judge_trajectory(
    energy: NDArray[np.float64],
    step: NDArray[np.integer],
    steps: Steps,
    *,
    thresholds: Thresholds,
    natoms: int,
    time_step: float | None = None,
) -> TrajectoryVerdict:
    """Hold energy changes against the work of the forces along one source.

        E_(k+1) - E_k  =  -(F_k + F_(k+1)) / 2 . dx  -  (virial_k + virial_(k+1)) / 2 : strain

    holds to third order in the step. The slope tells wrong units; a correlation that
    rises when forces or energies are moved by a frame tells that they are misaligned.

    Args:
        energy: eV, (frame), of the source's frames in order.
        step: (frame), their positions in the source.
        steps: The steps that start at these frames.
        thresholds: Those of trajectories.
        natoms: Atoms of a frame, to recognise energies per atom.
        time_step: fs from one position in the source to the next; None = not told.
    """  # noqa: E501 -- a formula is read in one line
    if len(energy) < 2:
        return _skipped("one frame")
    is_timed = time_step is not None
    usable, reason = _usable(step, steps, thresholds, is_timed=is_timed)
    if time_step is not None and not reason:
        apart = float(np.median(np.diff(step)[usable[:-1]])) * time_step
        if apart > thresholds.trajectory_stride:
            reason = f"frames are {apart:.3g} fs apart"
    if reason:
        return _skipped(reason)
    fits = {
        shift: _fit(energy, steps.work, usable, shift=shift)
        for shift in ((0, 0), *SHIFTED)
    }
    n_steps, slope, r = fits[0, 0]
    if n_steps < thresholds.trajectory_pairs:
        return _skipped(f"fewer than {thresholds.trajectory_pairs} steps")
    if np.isnan(slope):
        return _skipped(f"energies and work change by less than {LEAST_CHANGE:g} eV")
    best = max(SHIFTED, key=lambda shift: abs(fits[shift][2]))
    unexplained, rest = 1 - r**2, 1 - fits[best][2] ** 2
    if unexplained > NOISE and rest < BETTER * unexplained:
        fit = TrajectoryVerdict(
            verdict="misaligned",
            cause=SHIFTED[best],
            n_steps=n_steps,
            slope=slope,
            r=r,
        )
        return _with_units(fit, fits[best][1], thresholds, natoms)
    return _judge_fit((n_steps, slope, r), thresholds, natoms)


def _judge_fit(
    fit: tuple[int, float, float], thresholds: Thresholds, natoms: int
) -> TrajectoryVerdict:
    """Judge a trajectory that no shift makes better."""
    n_steps, slope, r = fit
    verdict, cause = "ok", ""
    if not abs(r) >= thresholds.trajectory_r:
        verdict = "inconsistent"
        cause = "energies do not follow the forces, however they are shifted"
    elif not abs(slope - 1) <= thresholds.trajectory_slope:
        verdict, cause = "units", cause_of_slope(slope, natoms)
    return TrajectoryVerdict(
        verdict=verdict,
        cause=cause,
        n_steps=n_steps,
        slope=slope if np.isfinite(slope) else None,
        r=r,
    )


def cause_of_slope(slope: float, natoms: int) -> str:
    """Name what makes dE this many times the work."""
    known = [*CAUSES]
    if natoms > 1:
        known.append((1 / natoms, "energies are per atom"))
    for value, cause in known:
        if abs(slope / value - 1) <= SAME_SLOPE:
            return cause
    return f"forces times positions are {1 / slope:.4g} times what the energies say"


def _with_units(
    verdict: TrajectoryVerdict, slope: float, thresholds: Thresholds, natoms: int
) -> TrajectoryVerdict:
    """Say too if units are wrong once the frames are aligned."""
    if abs(slope - 1) <= thresholds.trajectory_slope:
        return verdict
    return TrajectoryVerdict(
        verdict=verdict.verdict,
        cause=f"{verdict.cause}; once aligned, {cause_of_slope(slope, natoms)}",
        n_steps=verdict.n_steps,
        slope=verdict.slope,
        r=verdict.r,
    )


def _usable(
    step: NDArray[np.integer],
    steps: Steps,
    thresholds: Thresholds,
    *,
    is_timed: bool,
) -> tuple[NDArray[np.bool_], str]:
    """Mark the steps (frame) to compare, and say why there are none.

    Steps of the most frequent stride are compared, of the shortest among equals.
    """
    there = np.isfinite(steps.moved)
    if not there.any():
        return there, "no frame follows another with the same atoms"
    stride = np.append(np.diff(step), 0)
    strides, count = np.unique(stride[there], return_counts=True)
    even = there & (stride == strides[count.argmax()])
    moves = even & (steps.moved > AT_REST)
    if not moves.any():
        return moves, "no atom moves"
    near = moves & (steps.moved <= thresholds.trajectory_displacement)
    if moves.sum() < thresholds.trajectory_pairs:
        return near, f"fewer than {thresholds.trajectory_pairs} steps"
    if near.sum() < max(thresholds.trajectory_pairs, moves.sum() / 2):
        middle = float(np.median(steps.moved[moves]))
        if middle > NO_STEP and not is_timed:
            return near, (
                "not a trajectory, or frames far apart: in half of the steps an atom "
                f"moves by {middle:.2g} Å, or farther"
            )
        return near, (
            f"steps are too long: in half of them an atom moves by {middle:.2g} Å, "
            "or farther"
        )
    work = steps.work[:, SHIFTS.index(0)]
    if np.isnan(work[near]).all():
        return near, (
            "the cell changes and there is no virial"
            if steps.strained[near].all()
            else "no forces"
        )
    return near, ""


def _fit(
    energy: NDArray[np.float64],
    work: NDArray[np.float64],
    usable: NDArray[np.bool_],
    *,
    shift: tuple[int, int],
) -> tuple[int, float, float]:
    """Fit dE to work, with forces and energies moved by a frame.

    Returns:
        Number of steps, slope through the origin (NaN if neither energies nor work
        change enough to be told from noise), and correlation.
    """
    of_force, of_energy = shift
    column = SHIFTS.index(of_force)
    expected = -(work[:-1, column] + work[:-1, min(column + 1, 3)]) / 2
    change = np.full(len(energy) - 1, np.nan)
    moved = np.diff(energy)
    if of_energy > 0:
        change[:-1] = moved[1:]
    elif of_energy < 0:
        change[1:] = moved[:-1]
    else:
        change = moved
    good = usable[:-1] & np.isfinite(expected) & np.isfinite(change)
    x, y = _without_odd(expected[good], change[good])
    norm_x, norm_y = float((x**2).sum()), float((y**2).sum())
    if max(norm_x, norm_y) < len(x) * LEAST_CHANGE**2:
        return len(x), float("nan"), 0.0
    product = float((x * y).sum())
    # Constant energies have a slope of zero; without any work the slope is endless.
    slope = product / norm_x if norm_x > 0 else float("inf")
    spread = float(np.sqrt(norm_x * norm_y))
    return len(x), slope, product / spread if spread > 0 else 0.0


def _without_odd(
    x: NDArray[np.float64], y: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Leave out the few steps that stand out: a bad frame spoils two, not the rest."""
    if len(x) < 3:
        return x, y
    apart = np.abs(y - x)
    limit = max(ODD * float(np.median(apart)), np.quantile(apart, 1 - MOST_ODD))
    kept = apart <= limit
    return x[kept], y[kept]


def _skipped(reason: str) -> TrajectoryVerdict:
    return TrajectoryVerdict(
        verdict="skipped", cause=reason, n_steps=0, slope=None, r=None
    )
