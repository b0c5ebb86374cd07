"""The neighbour search against an independent brute force."""

import itertools
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpbench.kernels.neighbours import find_neighbours
from dpbench.kernels.neighbours.cell import make_lattice
from dpbench.kernels.neighbours.cpu import cell_list
from dpbench.kernels.neighbours.pairs import all_pairs, serves
from dpbench.kernels.neighbours.reference import brute_force

ENGINES = [brute_force, cell_list]
NO_CELL = np.full((3, 3), np.nan)
OPEN = np.zeros(3, dtype=bool)
PERIODIC = np.ones(3, dtype=bool)


def edges(found):
    return sorted(map(tuple, np.c_[found.edge_i, found.edge_j, found.shift].tolist()))


def every_edge(coord, box, pbc, rcut):
    """All edges by loops over atoms and many more images than needed."""
    box = np.nan_to_num(box)
    far = [0, 0, 0]
    if pbc.any():
        full = make_lattice(coord, box, pbc).box
        heights = 1 / np.linalg.norm(np.linalg.inv(full), axis=0)
        spread = np.abs(coord @ np.linalg.inv(full)).max(axis=0)
        far = np.where(pbc, np.ceil(rcut / heights + 2 * spread) + 1, 0).astype(int)
    ranges = [range(-n, n + 1) for n in far]
    found = []
    for shift in itertools.product(*ranges):
        moved = coord + np.array(shift) @ box
        distance = np.linalg.norm(moved[None] - coord[:, None], axis=2)
        for i, j in np.argwhere(distance < rcut):
            if i != j or any(shift):
                found.append((int(i), int(j), *shift))
    return sorted(found)


@st.composite
def structures(draw):
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    lengths = [draw(st.floats(1.5, 9.0)) for _ in range(3)]
    skew = draw(st.floats(0, 0.6))
    box = np.diag(lengths) + skew * rng.uniform(-1, 1, (3, 3)) * min(lengths)
    pbc = np.array([draw(st.booleans()) for _ in range(3)])
    natoms = draw(st.integers(1, 12))
    outside = draw(st.sampled_from([1.0, 1.0, 2.5]))
    coord = rng.uniform(-outside, outside, (natoms, 3)) @ box
    return coord, box, pbc, draw(st.floats(1.0, 4.5))


@given(structures())
@pytest.mark.parametrize("engine", ENGINES)
def test_every_neighbour_is_found_once(engine, structure):
    coord, box, pbc, rcut = structure
    found = engine(make_lattice(coord, box, pbc), rcut)
    assert edges(found) == every_edge(coord, box, pbc, rcut)
    assert (np.diff(found.edge_i) >= 0).all()


@given(structures(), st.booleans())
def test_all_pairs_of_thick_cells_are_found_once(structure, is_thick):
    """Cells between one and two cutoffs thick, and thicker ones, in any mix."""
    coord, box, pbc, _ = structure
    height = make_lattice(coord, box, pbc).height
    rcut = float(min(height.min(), 4.5)) * (0.49 if is_thick else 0.97)
    lattice = make_lattice(coord, box, pbc)
    assert serves(lattice, rcut)
    found = all_pairs(lattice, rcut)
    assert edges(found) == every_edge(coord, box, pbc, rcut)
    assert (np.diff(found.edge_i) >= 0).all()


def test_thin_cells_and_many_atoms_are_left_to_the_cell_list():
    thin = make_lattice(np.zeros((1, 3)), np.diag([9.0, 9.0, 2.9]), PERIODIC)
    assert not serves(thin, 3.0)
    assert serves(thin, 2.8)
    many = make_lattice(np.random.default_rng(0).random((400, 3)), np.eye(3), PERIODIC)
    assert serves(many, 0.4)
    assert not serves(many, 0.9)  # eight images each


def test_room_for_edges_grows():
    coord = np.random.default_rng(1).random((300, 3)) * 3.0
    lattice = make_lattice(coord, NO_CELL, OPEN)
    found = all_pairs(lattice, 9.0)
    assert len(found.edge_i) == 300 * 299


@pytest.mark.parametrize("engine", ENGINES)
def test_a_lone_atom_sees_its_own_images(engine):
    """Simple cubic, a = 3 Å: 6 neighbours at 3 Å, 12 at 4.24 Å, 8 at 5.20 Å."""
    lattice = make_lattice(np.zeros((1, 3)), 3 * np.eye(3), PERIODIC)
    counts = [len(engine(lattice, rcut).edge_i) for rcut in (2.9, 3.1, 4.3, 5.3)]
    assert counts == [0, 6, 18, 26]


@pytest.mark.parametrize("engine", ENGINES)
def test_open_boundaries_need_no_cell(engine):
    coord = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1e6, 0], [1, 1e6, 0]])
    found = engine(make_lattice(coord, NO_CELL, OPEN), 1.5)
    assert edges(found) == [
        (0, 1, 0, 0, 0),
        (1, 0, 0, 0, 0),
        (2, 3, 0, 0, 0),
        (3, 2, 0, 0, 0),
    ]


def test_a_slab_needs_no_vector_along_its_normal():
    """The open row of the box may be zero; the two others are not orthogonal."""
    box = np.array([[3.0, 0, 0], [1.0, 3.0, 0], [0, 0, 0]])
    pbc = np.array([True, True, False])
    coord = np.array([[0.2, 0.1, 5.0], [1.0, 2.0, 6.0]])
    found = find_neighbours(coord, box, pbc, 4.0)
    assert edges(found) == every_edge(coord, box, pbc, 4.0)
    assert not found.shift[:, 2].any()


def test_no_atoms_give_no_neighbours():
    assert len(find_neighbours(np.zeros((0, 3)), np.eye(3), PERIODIC, 3.0).edge_i) == 0
    lattice = make_lattice(np.zeros((0, 3)), np.eye(3), PERIODIC)
    assert len(cell_list(lattice, 3.0).edge_i) == 0


@pytest.mark.parametrize(
    ("coord", "box", "rcut", "message"),
    [
        ([[np.nan, 0, 0]], np.eye(3), 3.0, "not|NaN"),
        ([[0.0, 0, 0]], np.ones((3, 3)), 3.0, "linearly dependent"),
        ([[0.0, 0, 0]], NO_CELL, 3.0, "NaN"),
        ([[0.0, 0, 0]], np.eye(3), 0.0, "rcut > 0"),
    ],
)
def test_bad_geometry_is_refused(coord, box, rcut, message):
    with pytest.raises(ValueError, match=message):
        find_neighbours(np.array(coord), box, PERIODIC, rcut)


def test_neighbours_do_without_torch():
    code = """
import sys
sys.modules["torch"] = None
import numpy as np
from dpbench.kernels.neighbours import find_neighbours
rng = np.random.default_rng(0)
found = find_neighbours(rng.random((200, 3)) * 9, 9 * np.eye(3), np.ones(3, bool), 5.0)
print(len(found.edge_i))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) > 0
