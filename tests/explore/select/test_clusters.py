"""Cutting clusters: molecules whole, images as atoms of their own."""

import numpy as np

from dpbench.explore.select.clusters import cut_cluster
from dpbench.frames import Frames, uniform
from tests.explore.select.tables import crystals

WATER = np.array([[0.0, 0, 0], [0.76, 0.59, 0], [-0.76, 0.59, 0]])


def row_of_water(spacing=3.0, count=4) -> Frames:
    """Molecules along x, one period long; hydrogens of the last lie outside."""
    period = spacing * count
    coord = np.concatenate(
        [WATER + np.array([spacing * i, 0, 0]) for i in range(count)]
    )
    coord[:, 0] %= period  # some hydrogens are wrapped to the other side
    return uniform(
        z=[8, 1, 1] * count,
        coord=coord[None],
        box=np.diag([period, 20.0, 20.0])[None],
    )


def test_atoms_are_cut_at_the_cutoff_and_the_middle_comes_first():
    found = cut_cluster(row_of_water(), 0, 0, cutoff=2.5)
    assert found.z.tolist()[0] == 8
    assert found.natoms.tolist() == [5]  # its hydrogens, and one of each neighbour
    assert np.linalg.norm(found.coord - found.coord[0], axis=1).max() <= 2.5


def test_molecules_stay_whole_up_to_the_hard_cutoff():
    found = cut_cluster(row_of_water(), 0, 0, cutoff=2.5, hard=5.0)
    assert sorted(found.z.tolist()) == [1] * 6 + [8] * 3
    oxygen = found.coord[found.z == 8]
    for place in found.coord[found.z == 1]:
        assert np.isclose(
            np.linalg.norm(oxygen - place, axis=1).min(), 0.962, atol=0.01
        )


def test_nothing_lies_beyond_the_hard_cutoff_in_an_endless_network():
    found = cut_cluster(crystals(1), 0, 0, cutoff=3.3, hard=4.5)
    far = np.linalg.norm(found.coord - found.coord[0], axis=1).max()
    assert 3.3 < far <= 4.5


def test_an_image_of_the_atom_itself_is_another_atom():
    found = cut_cluster(crystals(1, amplitude=0.0), 0, 0, cutoff=4.1)
    assert found.natoms.tolist() == [1 + 12 + 6]


def test_a_cluster_without_a_cell_is_cut_as_well():
    found = cut_cluster(uniform(z=[8, 1, 1], coord=WATER[None]), 0, 1, cutoff=1.2)
    assert found.z.tolist() == [1, 8]
