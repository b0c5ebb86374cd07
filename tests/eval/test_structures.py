import numpy as np
import pytest

from dpbench.eval.stability import min_distance
from dpbench.eval.structures import (
    default_timestep,
    from_atoms,
    replicas_to_reach,
    supercell,
    to_atoms,
)
from dpbench.frames import uniform
from dpbench.kernels.neighbours import find_neighbours

BOX = np.array([[[4.0, 0.0, 0.0], [1.0, 5.0, 0.0], [0.5, 0.3, 9.0]]])
FRAME = uniform(
    z=[14, 8],
    coord=np.array([[[0.1, 0.2, 0.3], [2.0, 2.5, 4.0]]]),
    box=BOX,
)


def distances(frame, rcut=6.0):
    found = find_neighbours(frame.coord, frame.box[0], frame.pbc[0], rcut)
    vector = frame.coord[found.edge_j] - frame.coord[found.edge_i]
    vector = vector + found.shift @ frame.box[0]
    return np.sort(np.linalg.norm(vector, axis=1))


def test_a_supercell_is_the_same_crystal():
    big = supercell(FRAME, (2, 3, 1))
    assert len(big.z) == 12
    expected = np.repeat(distances(FRAME), 6)
    np.testing.assert_allclose(distances(big), expected, atol=1e-10)


def test_the_narrow_directions_grow_first():
    assert replicas_to_reach(FRAME, 8) == (2, 2, 1)
    assert replicas_to_reach(FRAME, 2) == (1, 1, 1)
    n1, n2, n3 = replicas_to_reach(FRAME, 100)
    assert n1 * n2 * n3 * 2 >= 100


def test_a_molecule_is_not_repeated():
    molecule = uniform(z=[1, 1], coord=np.array([[[0, 0, 0], [0, 0, 0.74]]]))
    assert replicas_to_reach(molecule, 1000) == (1, 1, 1)
    assert not supercell(molecule, (1, 1, 1)).pbc.any()


def test_ase_and_back_is_the_identity():
    again = from_atoms(to_atoms(FRAME))
    np.testing.assert_array_equal(again.coord, FRAME.coord)
    np.testing.assert_array_equal(again.box, FRAME.box)
    np.testing.assert_array_equal(again.z, FRAME.z)


def test_smallest_distance_sees_periodic_images():
    frame = uniform(
        z=[14, 14],
        coord=np.array([[[0.1, 0, 0], [9.9, 0, 0]]]),
        box=np.eye(3)[None] * 10,
    )
    assert min_distance(frame) == pytest.approx(0.2)


def test_hydrogen_halves_the_time_step():
    water = uniform(z=[8, 1, 1], coord=np.zeros((1, 3, 3)))
    assert default_timestep(water) == 0.5
    assert default_timestep(FRAME) == 1.0
