"""The neighbour list of molecular dynamics against an independent brute force."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpbench.errors import ModelError
from dpbench.kernels.neighbours.cell import complete_box
from dpbench.kernels.neighbours.verlet import build_list
from tests.kernels.test_neighbours import NO_CELL, OPEN, PERIODIC, every_edge

TYPES = 3


def entries(found, natoms):
    """All entries of a list as edges of each replica, shifts as for raw atoms."""
    out = [[] for _ in range(len(found.box))]
    for slot, atom in enumerate(found.order):
        replica, i = divmod(int(atom), natoms)
        for entry in range(found.start[slot], found.start[slot + 1]):
            other = found.neighbour[entry]
            owner, j = divmod(int(found.order[other]), natoms)
            assert owner == replica
            shift = found.images[found.image[entry]] + found.wrap[slot]
            out[replica].append((i, j, *(shift - found.wrap[other]).tolist()))
    return [sorted(edges) for edges in out]


@st.composite
def replicas(draw):
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    count = draw(st.integers(1, 3))
    natoms = draw(st.integers(1, 12))
    pbc = np.array([draw(st.booleans()) for _ in range(3)])
    skew = draw(st.floats(0, 0.6))
    boxes, coords = [], []
    for _ in range(count):
        lengths = rng.uniform(1.5, 9.0, 3)
        box = np.diag(lengths) + skew * rng.uniform(-1, 1, (3, 3)) * lengths.min()
        boxes.append(box)
        coords.append(rng.uniform(-2, 2, (natoms, 3)) @ box)
    atype = rng.integers(0, TYPES, natoms)
    radius = draw(st.floats(1.0, 4.5))
    return np.concatenate(coords), np.stack(boxes), pbc, atype, radius


@given(replicas())
def test_every_pair_is_listed_once_in_every_replica(structure):
    coord, box, pbc, atype, radius = structure
    natoms = len(atype)
    found = build_list(coord, box, pbc, atype, radius=radius, ntypes=TYPES + 1)
    for replica, edges in enumerate(entries(found, natoms)):
        rows = slice(replica * natoms, (replica + 1) * natoms)
        assert edges == every_edge(coord[rows], box[replica], pbc, radius)


@given(replicas())
def test_slots_and_entries_come_by_type(structure):
    coord, box, pbc, atype, radius = structure
    found = build_list(coord, box, pbc, atype, radius=radius, ntypes=TYPES + 1)
    slot_type = atype[found.order % len(atype)]
    for t in range(TYPES + 1):
        assert (slot_type[found.type_offset[t] : found.type_offset[t + 1]] == t).all()
    for low, high in zip(found.start[:-1], found.start[1:], strict=True):
        assert (np.diff(slot_type[found.neighbour[low:high]]) >= 0).all()


@given(replicas(), st.floats(0, 0.5), st.floats(0, 0.08), st.integers(0, 2**31))
def test_a_list_that_serves_misses_no_pair(structure, move, strain, seed):
    """Atoms and cells move; as long as the list says yes, it holds every pair."""
    coord, box, pbc, atype, rcut = structure
    natoms, rng = len(atype), np.random.default_rng(seed)
    found = build_list(coord, box, pbc, atype, radius=rcut + 0.6, ntypes=TYPES)
    affine = np.eye(3) + strain * rng.uniform(-1, 1, (3, 3))
    # An open direction has no cell that could be strained.
    if not pbc.all():
        affine = np.eye(3)
    now = coord @ affine + move * rng.uniform(-1, 1, coord.shape)
    cells = box @ affine
    complete = np.stack([complete_box(cell, pbc) for cell in cells])
    if not found.serves(now, rcut, complete):
        return
    for replica, edges in enumerate(entries(found, natoms)):
        rows = slice(replica * natoms, (replica + 1) * natoms)
        assert set(every_edge(now[rows], cells[replica], pbc, rcut)) <= set(edges)


def test_a_list_serves_until_half_the_skin_is_used_up():
    coord = np.array([[1.0, 1, 1], [2.0, 1, 1]])
    box = 9.0 * np.eye(3)[None]
    found = build_list(coord, box, PERIODIC, np.zeros(2, int), radius=4.0, ntypes=1)
    moved = coord.copy()
    moved[0, 2] += 0.499
    assert found.serves(moved, 3.0)
    moved[0, 2] += 0.002
    assert not found.serves(moved, 3.0)
    moved[0, 2] = np.nan
    assert not found.serves(moved, 3.0)
    assert found.serves(coord * 1.1, 3.0, box * 1.1)
    assert not found.serves(coord * 0.7, 3.0, box * 0.7)


def test_two_atoms_a_kilometre_apart_need_no_memory_between_them():
    coord = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1e13, 0], [1, 1e13, 0]])
    found = build_list(
        coord, NO_CELL[None], OPEN, np.zeros(4, int), radius=1.5, ntypes=1
    )
    pairs = [(i, j) for i, j, *_ in entries(found, 4)[0]]
    assert pairs == [(0, 1), (1, 0), (2, 3), (3, 2)]


def test_a_chain_has_bins_along_its_length():
    """Ten thousand atoms in a row: all pairs would be a hundred million."""
    coord = np.zeros((10_000, 3))
    coord[:, 1] = np.arange(10_000)
    found = build_list(
        coord, NO_CELL[None], OPEN, np.zeros(len(coord), int), radius=2.5, ntypes=1
    )
    assert len(found.neighbour) == 2 * (9_999 + 9_998)


def test_parallel_and_serial_lists_are_the_same():
    rng = np.random.default_rng(1)
    coord, box = rng.uniform(0, 25, (2500, 3)), 25 * np.eye(3)[None]
    atype = rng.integers(0, 2, 2500)
    lists = [
        build_list(coord, box, PERIODIC, atype, radius=4, ntypes=2, is_parallel=way)
        for way in (False, True)
    ]
    for name in ("order", "start", "neighbour", "image"):
        np.testing.assert_array_equal(*(getattr(found, name) for found in lists))


def test_a_lost_atom_is_named():
    coord = np.zeros((6, 3))
    coord[:, 0] = np.arange(6)
    coord[4, 1] = np.inf
    box = np.stack([9 * np.eye(3)] * 2)
    with pytest.raises(ModelError, match=r"atom 1, system 1 is at \[4\.0, inf, 0\.0\]"):
        build_list(coord, box, PERIODIC, np.zeros(3, int), radius=2, ntypes=1)


def test_no_atoms_give_an_empty_list():
    found = build_list(
        np.zeros((0, 3)),
        np.eye(3)[None],
        PERIODIC,
        np.zeros(0, int),
        radius=3,
        ntypes=2,
    )
    assert len(found.neighbour) == 0
    assert found.serves(np.zeros((0, 3)), 2.5)
