"""Structures at the edges of what a model takes, drawn by hypothesis."""

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from dpbench.frames import Frames, uniform
from dpbench.models.config import EnergyFittingConfig, ModelConfig, SeE2AConfig
from dpbench.models.potential import DeepPotential
from dpbench.models.statistics import ModelStatistics
from tests.models.structures import neighbours_of, statistics

RCUT = 4.0

FEW = settings(
    max_examples=25,
    deadline=None,  # the first example compiles
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)


@st.composite
def structures(draw: st.DrawFn, *, most: int = 7) -> Frames:
    """One labelled frame of O and H.

    One atom or several, cells smaller and larger than the cutoff, skewed, periodic
    along any of their vectors or not at all, atoms outside their cell, atoms without
    neighbours, and pairs far closer than any table reaches.
    """
    natoms = draw(st.integers(1, most))
    rng = np.random.default_rng(draw(st.integers(0, 2**31)))
    pbc = np.array(draw(st.tuples(*3 * [st.booleans()])))
    length = np.array(draw(st.tuples(*3 * [st.sampled_from([2.3, 3.7, 5.2, 11.0])])))
    cell = np.diag(length)
    if draw(st.booleans()):
        cell += rng.uniform(-0.35, 0.35, (3, 3)) * length.min()
    scale = draw(st.sampled_from([1.0, 1.0, 12.0]))  # far apart where it is open
    frac = rng.random((natoms, 3)) * np.where(pbc, 1.0, scale)
    coord = frac @ cell
    if natoms > 1 and draw(st.booleans()):
        arm = rng.normal(size=3)
        arm *= draw(st.sampled_from([0.01, 0.2, 0.45])) / np.linalg.norm(arm)
        coord[-1] = coord[0] + arm
    if draw(st.booleans()):
        coord += rng.integers(-2, 3, (natoms, 3)) * pbc @ cell
    box = cell if pbc.any() or draw(st.booleans()) else None
    frames = uniform(
        z=np.where(rng.random(natoms) < 0.4, 8, 1),
        coord=coord[None],
        box=None if box is None else box[None],
        energy=rng.normal(-20, 1, 1),
        force=rng.normal(0, 1, (1, natoms, 3)),
        virial=rng.normal(0, 1, (1, 3, 3)),
    )
    return with_pbc(frames, pbc)


def with_pbc(frames: Frames, pbc: np.ndarray) -> Frames:
    """The frames, periodic along other vectors."""
    return Frames(
        atom_offset=frames.atom_offset,
        z=frames.z,
        coord=frames.coord,
        force=frames.force,
        box=frames.box,
        pbc=np.tile(pbc, (frames.nframes, 1)),
        energy=frames.energy,
        virial=frames.virial,
    )


def most_neighbours(frames: Frames) -> list[int]:
    """The most neighbours of each type around any atom."""
    most = np.zeros(2, dtype=int)
    for index, found in enumerate(neighbours_of(frames, RCUT)):
        z = frames.z[frames.atoms_of(index)]
        for kind, number in enumerate((8, 1)):
            is_kind = z[found.edge_j] == number
            counts = np.bincount(found.edge_i[is_kind], minlength=len(z))
            most[kind] = max(most[kind], counts.max(initial=0))
    return most.tolist()


def model_for(
    frames: Frames, *, spare: int, precision: str = "float64", seed: int = 5
) -> DeepPotential:
    """A model whose slots are just full, or have some to spare."""
    sel = tuple(max(1, count + spare) for count in most_neighbours(frames))
    config = ModelConfig(
        type_map=("O", "H"),
        descriptor=SeE2AConfig(
            rcut=RCUT, rcut_smth=1.0, sel=sel, neuron=(4, 8, 16), axis_neuron=3
        ),
        fitting=EnergyFittingConfig(neuron=(10, 10, 20)),
        precision=precision,
    )
    known: ModelStatistics = statistics()
    return DeepPotential.initialise(config, known, seed)


def relative(found, expected) -> float:
    """The largest difference over the largest number; NaN stays NaN."""
    scale = expected.abs().max().clamp(min=1e-3) if expected.numel() else 1.0
    if not expected.numel():
        return 0.0
    return float((found.double() - expected.double()).abs().max() / scale)
