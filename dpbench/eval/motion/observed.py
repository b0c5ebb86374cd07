"""Observables of a run, and how far those of two runs are apart."""

import math
from dataclasses import dataclass

import numpy as np
from ase.data import covalent_radii
from numpy.typing import NDArray

from dpbench.eval.motion.references import Reference
from dpbench.md.observables import Blocking
from dpbench.md.state import masses_of
from dpbench.metrics.adf import adf, adf_error
from dpbench.metrics.diffusion import Diffusion, diffusion
from dpbench.metrics.periodic import half_shortest
from dpbench.metrics.pressure import pressure_error, pressure_mae
from dpbench.metrics.rdf import rdf, rdf_error
from dpbench.metrics.vdos import difference_velocities, vdos, vdos_error

Array = NDArray[np.float64]
Curve = tuple[Array, Array]

MOST_FRAMES = 2000
"""Frames that g(r) and the angles are counted over; more are thinned."""

FEWEST_PRESSURES = 10


@dataclass(frozen=True, kw_only=True, slots=True)
class Look:
    """How observables are taken."""

    r_max: float | None
    """Å; None: half the shortest lattice vector."""
    r_bin: float
    """Å."""
    bond_factor: float
    """Times the sum of two covalent radii."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Observed:
    """Observables; None where there is nothing to see."""

    rdf: Curve | None
    """r (Å) and g."""
    adf: Curve | None
    """Angle (degrees) and density."""
    vdos: Curve | None
    """Frequency (THz) and power."""
    diffusion: Diffusion | None
    pressure: Array | None
    """(frame), GPa, of the virial alone."""


def observed(
    paths: list[Array], reference: Reference, look: Look, *, pressure: Array | None
) -> Observed:
    """Take the observables of runs of one system.

    Args:
        paths: (frame, atom, 3) each, Å, without jumps.
        reference: Its atoms, cell and interval.
        look: Where curves end.
        pressure: GPa, of all frames that have one.
    """
    places = np.concatenate(paths)
    places = places[:: math.ceil(len(places) / MOST_FRAMES)]
    cell = reference.box
    box = None if cell is None else np.repeat(cell[:1], len(places), axis=0)
    spectrum = spread_out = None
    if reference.interval is not None:
        velocity = [difference_velocities(p, reference.interval) for p in paths]
        spectrum = vdos(np.concatenate(velocity, axis=1), timestep=reference.interval)
        spread_out = diffusion(
            paths, timestep=reference.interval, mass=masses_of(reference.z)
        )
    is_enough = pressure is not None and len(pressure) >= FEWEST_PRESSURES
    return Observed(
        rdf=None if box is None or len(reference.z) < 2 else _rdf(places, box, look),
        adf=adf(places, box, cutoff=_bonds(reference.z, look)),
        vdos=spectrum,
        diffusion=spread_out,
        pressure=pressure if is_enough else None,
    )


def errors(reference: Observed, model: Observed) -> dict[str, float | None]:
    """Compare two sets of observables; None where the reference has nothing to say.

    Returns:
        Metric name -> error. Where only the model has nothing, it is wrong: 100.
    """
    found: dict[str, float | None] = {}
    for name, one, other, error in (
        ("adf_error_percent", reference.adf, model.adf, _adf_error),
        ("vdos_error_percent", reference.vdos, model.vdos, vdos_error),
    ):
        found[name] = None if one is None else 100.0
        if one is not None and other is not None:
            found[name] = error(one, other)
    ours, theirs = reference.rdf, model.rdf
    found["rdf_error_percent"] = (
        None
        if ours is None or theirs is None
        else rdf_error(ours[0], ours[1], theirs[1])
    )
    found["diffusion_error_percent"] = _diffusion_error(
        reference.diffusion, model.diffusion
    )
    both = reference.pressure, model.pressure
    has_both = both[0] is not None and both[1] is not None
    found["pressure_mae_gpa"] = pressure_mae(*both) if has_both else None  # type: ignore[arg-type]
    found["pressure_error_percent"] = pressure_error(*both) if has_both else None  # type: ignore[arg-type]
    return found


def mean_with_error(values: Array) -> tuple[float, float | None]:
    """Return the mean of a correlated series and its standard error, by blocking.

    Source:
        ``md.observables.Blocking``: Flyvbjerg and Petersen; None below 16 samples.
    """
    blocks = Blocking()
    for value in values:
        blocks.add(float(value))
    return blocks.mean, blocks.error if math.isfinite(blocks.error) else None


def _rdf(places: Array, box: Array, look: Look) -> Curve:
    r_max = look.r_max or half_shortest(box)
    return rdf(places, box, r_max=r_max, nbins=max(2, round(r_max / look.r_bin)))


def _bonds(z: NDArray[np.integer], look: Look) -> Array:
    radius = covalent_radii[z]
    longest: Array = look.bond_factor * (radius[:, None] + radius[None, :])
    return longest


def _adf_error(reference: Curve, model: Curve) -> float | None:
    return adf_error(reference[0], reference[1], model[1])


def _diffusion_error(
    reference: Diffusion | None, model: Diffusion | None
) -> float | None:
    if reference is None or not reference.is_diffusive:
        return None
    if model is None:
        return 100.0
    off = abs(model.value - reference.value) / reference.value
    return 100.0 * min(1.0, off)
