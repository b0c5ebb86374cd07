"""Twins are found in every description, and nothing else is."""

import numpy as np
import pytest

from dpbench.frames import concatenate, empty, uniform
from dpbench.io.quality.environments import describe
from dpbench.io.quality.fingerprint import (
    WIDTH,
    Fingerprints,
    invariant_fingerprints,
    join,
)
from dpbench.io.quality.lattice import reduce_lattices
from dpbench.io.quality.twins import TOLERANCE, find_twins
from tests.io.quality.twin_makers import (
    mlearn,
    npy_runs,
    random_orthogonal,
    random_unimodular,
    twins_of,
)

GENERATED = ["si8_qe_lda", "almg_qe_lda", "water8_cp2k_pbe", "water8_xtb_cp2k"]


def random_structures(rng, *, pbc, nframes=12):
    """Draw structures of two elements, some of one atom."""
    parts = []
    for _ in range(nframes):
        natoms = int(rng.integers(1, 9))
        box = np.eye(3) * rng.uniform(3, 6, 3) + rng.normal(scale=0.4, size=(3, 3))
        frame = uniform(
            z=rng.choice([8, 14], natoms),
            coord=rng.uniform(0, 6, (1, natoms, 3)),
            box=box[None],
        )
        frame.pbc[:] = pbc
        parts.append(frame)
    return concatenate(parts)


def pairs_of(found):
    return set(zip(found.i.tolist(), found.j.tolist(), strict=True))


@pytest.mark.parametrize(
    "pbc",
    [
        (True, True, True),
        (True, False, True),
        (False, False, True),
        (False, False, False),
    ],
)
def test_every_other_description_is_found_and_nothing_else(pbc):
    rng = np.random.default_rng(7)
    frames = random_structures(rng, pbc=pbc)
    a = invariant_fingerprints(frames)
    b = invariant_fingerprints(twins_of(frames, rng))
    n = frames.nframes
    assert pairs_of(find_twins(a, b)) == {(i, i) for i in range(n)}
    both = join([a, b])
    assert pairs_of(find_twins(both)) == {(i, n + i) for i in range(n)}


@pytest.mark.parametrize("name", GENERATED)
def test_planted_twins_of_real_frames_are_found(shared_data, name):
    rng = np.random.default_rng(3)
    for run, frames in npy_runs(shared_data, name):
        some = frames.select(np.arange(0, frames.nframes, 9))
        a = invariant_fingerprints(some)
        b = invariant_fingerprints(twins_of(some, rng))
        expected = {(i, i) for i in range(some.nframes)}
        assert pairs_of(find_twins(a, b)) == expected, run


@pytest.mark.parametrize("name", GENERATED)
def test_consecutive_frames_of_molecular_dynamics_are_no_twins(shared_data, name):
    every = []
    for run, frames in npy_runs(shared_data, name):
        fingerprints = invariant_fingerprints(frames)
        assert len(find_twins(fingerprints).i) == 0, run
        steps = np.abs(np.diff(fingerprints.vectors, axis=0)).max(axis=1)
        assert steps.min() > 4 * TOLERANCE, run
        every.append(fingerprints)
    assert len(find_twins(join(every)).i) == 0


def test_three_silicon_test_frames_have_symmetric_twins_in_training(shared_data):
    test, groups = mlearn(shared_data, "Si", "test")
    training, _ = mlearn(shared_data, "Si", "training")
    found = find_twins(invariant_fingerprints(test), invariant_fingerprints(training))
    assert np.unique(found.i).tolist() == [22, 23, 24]
    assert {groups[i] for i in found.i} == {"Elastic"}
    assert found.distance.max() < 1e-5
    # Twins have one energy: labels took no part in finding them.
    apart = test.energy[found.i] - training.energy[found.j]
    assert np.abs(apart).max() < 1e-6


def test_molybdenum_sets_share_no_structure(shared_data):
    test, _ = mlearn(shared_data, "Mo", "test")
    training, _ = mlearn(shared_data, "Mo", "training")
    found = find_twins(invariant_fingerprints(test), invariant_fingerprints(training))
    assert len(found.i) == 0


def test_rounding_to_a_hundred_thousandth_is_forgiven_a_hundredth_is_not():
    rng = np.random.default_rng(11)
    frames = random_structures(rng, pbc=(True, True, True))
    a = invariant_fingerprints(frames)
    rounded = np.round(frames.coord, 5)
    moved = frames.coord + rng.normal(scale=0.01, size=frames.coord.shape)
    for coord, expected in (
        (rounded, 12),
        (moved, 12 - int((frames.natoms > 1).sum())),
    ):
        other = uniform(z=[8], coord=np.zeros((0, 1, 3)))
        other = type(frames)(
            **{
                name: getattr(frames, name)
                for name in ("atom_offset", "z", "force", "box", "pbc")
            },
            coord=coord,
            energy=frames.energy,
            virial=frames.virial,
        )
        found = find_twins(a, invariant_fingerprints(other))
        assert int((found.i == found.j).sum()) == expected


def test_exchanged_elements_and_supercells_are_no_twins():
    rng = np.random.default_rng(5)
    coord = rng.uniform(0, 4, (1, 4, 3))
    box = np.diag([4.0, 4.5, 5.0])[None]
    one = uniform(z=[12, 13, 12, 13], coord=coord, box=box)
    swapped = uniform(z=[13, 12, 12, 13], coord=coord, box=box)
    twice = uniform(
        z=[12, 13, 12, 13] * 2,
        coord=np.concatenate([coord, coord + np.array([4.0, 0, 0])], axis=1),
        box=box * np.array([2.0, 1, 1])[:, None],
    )
    found = find_twins(invariant_fingerprints(concatenate([one, swapped, twice])))
    assert len(found.i) == 0


def test_every_copy_of_a_clump_stands_in_a_pair():
    rng = np.random.default_rng(2)
    vectors = rng.normal(size=(40, WIDTH)).astype(np.float32)
    vectors[[3, 9, 30]] = vectors[7]
    vectors[20] = vectors[7] + np.float32(0.5 * TOLERANCE)
    a = Fingerprints(vectors=vectors, keys=np.full(40, "H2O 3d"))
    assert pairs_of(find_twins(a)) == {(3, 7), (3, 9), (3, 30), (3, 20)}
    b = a.select(np.array([20, 30, 9, 1]))
    found = find_twins(a, b)
    assert set(found.i.tolist()) == {1, 3, 7, 9, 20, 30}
    assert set(found.j.tolist()) == {0, 1, 2, 3}


def test_search_agrees_with_comparing_everything():
    rng = np.random.default_rng(4)
    low = rng.normal(size=(300, 3)) @ rng.normal(size=(3, WIDTH))
    near = low + rng.uniform(-1, 1, low.shape) * 1.5 * TOLERANCE
    a, b = (
        Fingerprints(vectors=v.astype(np.float32), keys=np.full(300, "Si8 3d"))
        for v in (low, near)
    )
    apart = np.abs(a.vectors[:, None] - b.vectors[None]).max(axis=2)
    expected = set(zip(*np.nonzero(apart <= TOLERANCE), strict=True))
    assert pairs_of(find_twins(a, b)) == expected
    wide = find_twins(a, b, tolerance=1.5 * TOLERANCE + 1e-6)
    assert len(wide.i) == 300


def test_no_frames_have_no_twins():
    none = invariant_fingerprints(empty())
    assert (none.nframes, len(find_twins(none).i)) == (0, 0)
    some = invariant_fingerprints(uniform(z=[1], coord=np.zeros((2, 1, 3))))
    assert len(find_twins(some, none).i) == 0
    assert pairs_of(find_twins(some)) == {(0, 1)}


def test_another_scheme_is_refused():
    some = invariant_fingerprints(uniform(z=[1], coord=np.zeros((1, 1, 3))))
    other = Fingerprints(vectors=some.vectors, keys=some.keys, scheme=0)
    with pytest.raises(ValueError, match="schemes"):
        find_twins(some, other)
    with pytest.raises(ValueError, match="tolerance"):
        find_twins(some, tolerance=1.0)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_lengths_of_a_reduced_lattice_do_not_depend_on_its_vectors(count):
    rng = np.random.default_rng(count)
    for _ in range(30):
        box = rng.normal(size=(count, 3)) + 2 * np.eye(3)[:count]
        others = [
            random_unimodular(rng, count, steps=8) @ box @ random_orthogonal(rng)
            for _ in range(4)
        ]
        reduced = reduce_lattices(np.stack([box, *others]))
        lengths = np.sqrt((reduced**2).sum(axis=2))
        assert np.abs(lengths - lengths[0]).max() < 1e-6
        assert (np.diff(lengths, axis=1) >= 0).all()


def test_reduced_vectors_are_the_shortest_of_their_lattice():
    rng = np.random.default_rng(1)
    whole = np.stack(np.meshgrid(*[np.arange(-3, 4)] * 3), axis=-1).reshape(-1, 3)
    whole = whole[np.abs(whole).sum(axis=1) > 0]
    for _ in range(20):
        box = random_unimodular(rng) @ rng.normal(size=(3, 3))
        reduced = reduce_lattices(box[None])[0]
        assert abs(np.linalg.det(reduced)) == pytest.approx(abs(np.linalg.det(box)))
        shortest = np.sqrt(((whole @ reduced) ** 2).sum(axis=1)).min()
        assert np.linalg.norm(reduced[0]) == pytest.approx(shortest)


@pytest.mark.slow
def test_no_twin_of_a_thousand_is_missed():
    """Crystals with and without strain, lines, planes and disorder, open or not."""
    rng = np.random.default_rng(123)
    fcc = np.array([[0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]])
    sites = [fcc, np.array([[0, 0, 0], [0.5, 0.5, 0.5]]), np.vstack([fcc, fcc + 0.25])]
    parts = []
    for number in range(1000):
        kind = number % 6
        box = np.eye(3) * rng.uniform(4, 9, 3) + rng.normal(scale=0.3, size=(3, 3))
        if kind < 3:
            box = (np.eye(3) + (number % 2) * 0.02 * rng.normal(size=(3, 3))) * 4.05
            coord = sites[kind] @ box
        else:
            natoms = int(rng.integers(1, 9))
            coord = (
                rng.uniform(0, 5, (natoms, 3))
                * ([1, 1, 1], [1, 1, 0], [1, 0, 0])[kind - 3]
            )
        z = rng.choice([12, 13], len(coord))
        parts.append(uniform(z=z, coord=coord[None], box=box[None]))
        if kind > 2:
            parts[-1].pbc[:] = rng.random(3) < 0.6
    frames = concatenate(parts)
    twins = twins_of(frames, rng)
    found = find_twins(invariant_fingerprints(frames), invariant_fingerprints(twins))
    # Some perfect crystals are drawn twice: a clump's copies meet its first frame.
    assert set(found.i.tolist()) == set(found.j.tolist()) == set(range(1000))
    assert found.distance.max() < 1e-5


def test_atoms_on_one_place_have_finite_fingerprints_and_twins():
    rng = np.random.default_rng(6)
    coord = rng.uniform(0, 4, (1, 4, 3))
    coord[0, 3] = coord[0, 0]
    frame = uniform(z=[8, 8, 1, 1], coord=coord, box=4.5 * np.eye(3)[None])
    around = describe(frame)
    assert around.nearest.tolist() == around.ratio.tolist() == [0.0]
    fingerprints = invariant_fingerprints(frame)
    assert np.isfinite(fingerprints.vectors).all()
    twins = invariant_fingerprints(twins_of(frame, rng))
    assert pairs_of(find_twins(fingerprints, twins)) == {(0, 0)}


def test_crammed_atoms_do_not_take_all_memory():
    rng = np.random.default_rng(7)
    frame = uniform(
        z=[14] * 8, coord=rng.uniform(0, 0.3, (1, 8, 3)), box=0.3 * np.eye(3)[None]
    )
    assert np.isfinite(invariant_fingerprints(frame).vectors).all()
