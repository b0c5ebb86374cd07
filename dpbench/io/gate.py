"""The gate that every reader shares: numbers must be numbers, labels must be there."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dpbench.frames import Frames
from dpbench.io.parsed import Quarantine

SMALLEST_VOLUME = 1e-3
"""Å^3; a periodic cell below this is flat, so that no stress or image is defined."""

LARGEST = {"coord": 1e6, "force": 1e6, "box": 1e6, "energy": 1e11, "virial": 1e10}
"""Å, eV/Å, Å, eV, eV; beyond any calculation, so that digits ran together."""


def judge(
    frames: Frames,
    *,
    verdict: Sequence[Quarantine] | None = None,
    energy_given: bool | NDArray[np.bool_] = True,
    force_given: bool | NDArray[np.bool_] = True,
) -> tuple[Quarantine, ...]:
    """Decide which frames are fit to be kept.

    A NaN label can mean "not printed" or "printed as NaN or stars"; the reader knows
    which, and says so.

    Args:
        frames: What was read; missing labels are NaN.
        verdict: (frame), what the reader found already; it stands.
        energy_given: (frame), whether the source holds an energy.
        force_given: (frame), whether the source holds forces.

    Returns:
        (frame), NONE for a frame that is good.
    """
    out = list(verdict) if verdict is not None else [Quarantine.NONE] * frames.nframes
    energy_given = np.broadcast_to(energy_given, frames.nframes)
    force_given = np.broadcast_to(force_given, frames.nframes)
    bad = not_a_number(frames)
    bad |= energy_given & np.isnan(frames.energy)
    no_force = np.logical_not(frames.has_force)
    bad |= force_given & no_force
    flat = _is_flat(frames)
    no_energy = np.isnan(frames.energy)
    for index in np.flatnonzero(bad | flat | no_energy | no_force).tolist():
        if out[index] is not Quarantine.NONE:
            continue
        if bad[index]:
            out[index] = Quarantine.NOT_A_NUMBER
        elif flat[index]:
            out[index] = Quarantine.BAD_SHAPE
        elif no_energy[index]:
            out[index] = Quarantine.NO_ENERGY
        else:
            out[index] = Quarantine.NO_FORCE
    return tuple(out)


def not_a_number(frames: Frames) -> NDArray[np.bool_]:
    """(frame), whether a coordinate, cell or label is NaN, infinite or beyond all.

    Labels that are NaN throughout a frame count as absent, not as bad.
    """
    bad = frames.any_atom(np.logical_not(_fits(frames.coord, "coord").all(axis=1)))
    bad |= _is_huge(frames.energy, "energy")
    largest = np.abs(frames.force).max(axis=1, initial=0.0)
    bad |= frames.any_atom(_is_huge(largest, "force"))
    missing = np.isnan(frames.force).any(axis=1)
    bad |= frames.any_atom(missing) & frames.any_atom(np.logical_not(missing))
    periodic = frames.pbc.any(axis=1)
    bad |= periodic & np.logical_not(_fits(frames.box, "box").all(axis=(1, 2)))
    gaps = np.isnan(frames.virial)
    bad |= gaps.any(axis=(1, 2)) & np.logical_not(gaps.all(axis=(1, 2)))
    bad |= _is_huge(frames.virial, "virial").any(axis=(1, 2))
    if frames.aparam is not None:
        # NaN behind a frame's last number stands for none; before it, for a gap.
        last = np.repeat(frames.numb_aparam, frames.natoms)[:, np.newaxis]
        is_given = np.arange(frames.aparam.shape[1]) < last
        is_sound = (np.isfinite(frames.aparam) | ~is_given).all(axis=1)
        bad |= frames.any_atom(np.logical_not(is_sound))
    return bad


def _is_huge(values: NDArray[np.floating], name: str) -> NDArray[np.bool_]:
    """Whether each value is infinite or beyond what can be; NaN is not."""
    huge: NDArray[np.bool_] = np.abs(values) > LARGEST[name]
    return huge


def _fits(values: NDArray[np.floating], name: str) -> NDArray[np.bool_]:
    """Whether each value is a number, and one that can be."""
    fits: NDArray[np.bool_] = np.abs(values) <= LARGEST[name]
    return fits


def _is_flat(frames: Frames) -> NDArray[np.bool_]:
    """(frame), whether a periodic cell has no volume."""
    whole = np.where(np.isfinite(frames.box), frames.box, 0.0)
    return frames.pbc.any(axis=1) & (volumes(whole) < SMALLEST_VOLUME)


def volumes(box: NDArray[np.float64]) -> NDArray[np.float64]:
    """Volumes of cells, Å^3, from boxes (frame, 3, 3).

    The triple product is written out: canonical values use no LAPACK, whose last bit
    depends on the machine.
    """
    a, b, c = box[:, 0], box[:, 1], box[:, 2]
    product = (
        a[:, 0] * (b[:, 1] * c[:, 2] - b[:, 2] * c[:, 1])
        + a[:, 1] * (b[:, 2] * c[:, 0] - b[:, 0] * c[:, 2])
        + a[:, 2] * (b[:, 0] * c[:, 1] - b[:, 1] * c[:, 0])
    )
    size: NDArray[np.float64] = np.abs(product)
    return size
