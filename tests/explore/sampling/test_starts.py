"""Start structures: crystals, variations, slabs, liquids, files, and their faults."""

from collections import Counter

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.io import write

from dpbench.errors import ConfigError
from dpbench.explore.sampling.modifiers import whole_counts
from dpbench.explore.sampling.prototypes import (
    OTHER_NAMES,
    PROTOTYPES,
    crystal,
    element_volume,
)
from dpbench.io.quality.environments import describe
from dpbench.kernels.neighbours import find_neighbours
from tests.explore.sampling.small import FCC, settings_of, starts_of


def only(structure, where, **options):
    return starts_of(settings_of([structure]), where=where, **options)


def coordination(frame):
    """Neighbours of the first atom within 1.05 of the nearest distance."""
    near = float(describe(frame).nearest[0])
    found = find_neighbours(frame.coord, frame.box[0], frame.pbc[0], 1.05 * near)
    return int((found.edge_i == 0).sum()), near


@pytest.mark.parametrize(
    ("name", "neighbours"),
    [
        ("sc", 6),
        ("fcc", 12),
        ("bcc", 8),
        ("hcp", 12),
        ("diamond", 4),
        ("L1_0", 12),
        ("L1_2", 12),
        ("B1", 6),
        ("B2", 8),
        ("B3", 4),
        ("B4", 4),
        ("C1", 8),
        ("A15", 12),
    ],
)
def test_atoms_of_a_prototype_have_the_neighbours_of_that_crystal(name, neighbours):
    letters = len(set(PROTOTYPES[name].sublattices))
    frame = crystal(name, ("Al", "Mg", "O")[:letters], volume=17.0)
    count, near = coordination(frame)
    volume = abs(np.linalg.det(frame.box[0])) / len(frame.z)
    assert volume == pytest.approx(17.0)
    if name == "A15":  # its corner has twelve, a little farther than the chains
        found = find_neighbours(frame.coord, frame.box[0], frame.pbc[0], 1.2 * near)
        count = int((found.edge_i == 0).sum())
    assert count == neighbours


def test_lattice_constants_of_elements_are_those_of_ase():
    for symbol, kind in (
        ("Al", "fcc"),
        ("Fe", "bcc"),
        ("Si", "diamond"),
        ("Mg", "hcp"),
    ):
        atoms = bulk(symbol, kind)
        assert element_volume(symbol) == pytest.approx(
            atoms.get_volume() / len(atoms), rel=1e-6
        )


def test_other_names_are_names_of_prototypes():
    assert set(OTHER_NAMES.values()) <= set(PROTOTYPES)


def test_compositions_take_turns_and_volumes_follow_vegard(tmp_path):
    starts = only(FCC, tmp_path, count=7)
    counts = [
        Counter(starts.frames.z[starts.frames.atoms_of(i)].tolist()) for i in range(7)
    ]
    assert [one[12] for one in counts] == [0, 2, 4, 0, 2, 4, 0]
    volumes = np.abs(np.linalg.det(starts.frames.box)) / 4
    al, mg = element_volume("Al"), element_volume("Mg")
    np.testing.assert_allclose(volumes[:3], [al, (al + mg) / 2, mg])
    assert starts.names == ("fcc",) * 7
    assert starts.origins[1] == "Al2Mg2 from fcc, rattle 0.05 Å"


def test_starts_are_those_of_their_seed_and_iteration(tmp_path):
    one, again = (only(FCC, tmp_path, count=6) for _ in range(2))
    other = only(FCC, tmp_path, count=6, seed=2)
    later = only(FCC, tmp_path, count=6, iteration=1)
    np.testing.assert_array_equal(one.frames.coord, again.frames.coord)
    assert not np.array_equal(one.frames.coord, other.frames.coord)
    assert not np.array_equal(one.frames.coord, later.frames.coord)
    # Draws of one variant differ, too.
    assert not np.array_equal(one.frames.coord[:4], one.frames.coord[12:16])


def test_modifiers_do_what_they_say(tmp_path):
    made = {
        "name": "x",
        "kind": "prototype",
        "prototype": "fcc",
        "elements": ["Al"],
        "lattice": 4.0,
        "repeat": [2, 2, 1],
        "scale": [0.95, 1.05],
        "vacancies": 3,
    }
    starts = only(made, tmp_path)
    assert starts.frames.natoms.tolist() == [13, 13]
    np.testing.assert_allclose(starts.frames.box[:, 0, 0], 8.0 * np.array([0.95, 1.05]))
    assert starts.origins[0] == "Al13 from fcc, repeat 2x2x1, scale 0.95, vacancies 3"
    strained = only(made | {"strain": 0.02, "vacancies": 0}, tmp_path).frames.box[0]
    unit = strained / [[8], [8], [4]]
    np.testing.assert_allclose(unit, unit.T)
    assert 0 < np.abs(strained - 0.95 * np.diag([8, 8, 4])).max() < 1


def test_substitution_keeps_to_its_sites(tmp_path):
    made = {
        "name": "B1",
        "kind": "prototype",
        "elements": ["Mg", "O"],
        "lattice": 4.2,
        "repeat": [2, 2, 2],
        "substitute": {"elements": ["Mg", "Ca"], "fractions": [0.25], "of": "Mg"},
    }
    z = only(made, tmp_path).frames.z
    assert Counter(z.tolist()) == {8: 32, 12: 24, 20: 8}


def test_fractions_become_the_nearest_whole_numbers():
    assert whole_counts((0.5, 0.5), 4).tolist() == [2, 2]
    assert whole_counts((0.1, 0.9), 4).tolist() == [0, 4]
    assert whole_counts((1 / 3, 1 / 3, 1 / 3), 4).sum() == 4
    assert whole_counts((0.7, 0.3), 10).tolist() == [7, 3]


def test_slab_has_its_layers_and_vacuum(tmp_path):
    made = {
        "name": "fcc",
        "kind": "slab",
        "elements": ["Al"],
        "lattice": 4.05,
        "miller": [1, 1, 1],
        "layers": 2,
        "vacuum": 12.0,
    }
    frame = only(made, tmp_path).frames
    normal = np.cross(frame.box[0][0], frame.box[0][1])
    height = frame.coord @ (normal / np.linalg.norm(normal))
    depth = abs(np.linalg.det(frame.box[0])) / np.linalg.norm(normal)
    assert depth - np.ptp(height) == pytest.approx(12.0)
    assert frame.pbc.all()
    assert len(np.unique(np.round(height, 3))) >= 2


def test_atoms_of_a_liquid_do_not_touch(tmp_path):
    made = {
        "name": "melt",
        "kind": "liquid",
        "natoms": 40,
        "substitute": {"elements": ["Al", "Mg"], "fractions": [0.25]},
    }
    starts = only(made, tmp_path)
    assert Counter(starts.frames.z.tolist()) == {13: 30, 12: 10}
    assert describe(starts.frames).ratio[0] > 0.7


def test_molecules_of_a_liquid_stay_whole(tmp_path):
    made = {
        "name": "water",
        "kind": "liquid",
        "molecules": {"H2O": 8},
        "density": 0.9,
    }
    frame = only(made, tmp_path).frames
    assert Counter(frame.z.tolist()) == {1: 16, 8: 8}
    edge = frame.box[0][0, 0]
    assert 8 * 18.015 / edge**3 == pytest.approx(0.9 * 0.602214, rel=1e-3)
    found = find_neighbours(frame.coord, frame.box[0], frame.pbc[0], 1.2)
    assert len(found.edge_i) == 32


def test_a_liquid_too_dense_says_so(tmp_path):
    made = {
        "name": "melt",
        "kind": "liquid",
        "natoms": 20,
        "elements": ["Al"],
        "volume": 2.0,
    }
    with pytest.raises(ConfigError, match=r"do not fit into a cube of 3\.42 Å"):
        only(made, tmp_path)


def test_files_are_starts(tmp_path):
    crystal_atoms = bulk("Al", "fcc", a=4.05, cubic=True)
    write(tmp_path / "two.extxyz", [crystal_atoms, bulk("Mg")])
    molecule = Atoms("OH2", [[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]])
    write(tmp_path / "water.xyz", molecule)
    made = {"name": "f", "kind": "file", "files": ["two.extxyz@0", "water.xyz"]}
    starts = only(made, tmp_path)
    assert starts.frames.natoms.tolist() == [4, 3]
    assert starts.frames.pbc.tolist() == [[True] * 3, [False] * 3]
    assert starts.origins == ("Al4 from two.extxyz@0", "H2O from water.xyz")
    gone = made | {"files": ["nothing.extxyz"]}
    with pytest.raises(ConfigError, match=r"nothing\.extxyz: is no file"):
        only(gone, tmp_path)


def test_draws_that_never_pass_the_filters_are_told(tmp_path):
    settings = settings_of([FCC], filters={"min_distance": 1.3})
    with pytest.raises(ConfigError, match=r"none of 50 draws passed the filter"):
        starts_of(settings, where=tmp_path)


def test_starts_differ_as_long_as_they_can(tmp_path):
    still = FCC | {"rattle": 0.0}
    mixed = still | {"substitute": FCC["substitute"] | {"fractions": [0.5]}}
    # There are six ways to put two of each on four sites.
    several = only(mixed, tmp_path, count=6)
    assert several.redrawn > 0
    assert len({c.tobytes() for c in several.frames.coord.reshape(6, 4, 3)}) == 6
    more = only(mixed, tmp_path, count=7)
    assert len({c.tobytes() for c in more.frames.coord.reshape(7, 4, 3)}) == 6
    pure = still | {"substitute": FCC["substitute"] | {"fractions": [1.0]}}
    alike = only(pure | {"vacancies": 0}, tmp_path, count=2)
    np.testing.assert_allclose(alike.frames.box[0], alike.frames.box[1])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"kind": "liquid"}, "needs natoms or molecules"),
        ({"natoms": 3}, "natoms: means nothing to kind 'prototype'"),
        ({"prototype": "fccc"}, "prototype = 'fccc': is unknown"),
        ({"lattice": 4.0, "volume": 16.0}, "lattice and volume: both tell the size"),
        ({"kind": "file"}, "kind 'file' needs files"),
        ({"ratio": 1.1}, "prototype fcc has none"),
        ({"name": "a b"}, "expected a word"),
        ({"volumes": {"Al": 16.0}}, "volumes: has no Mg"),
        ({"vacancies": 4}, "the cell has 4 atoms"),
        ({"rattel": 1}, "did you mean 'rattle'"),
        ({"count": 0}, "count = 0; expected 1 or more"),
        ({"repeat": [0, 1, 1]}, "expected 1 or more each"),
        ({"scale": [-1.0]}, "scale = "),
        ({"rattle": -1.0}, "rattle = -1.0; expected 0 or more"),
        ({"volume": -1.0}, "volume = -1.0; expected a positive number"),
        ({"elements": ["Al", "Mg"]}, "has 1 sublattices, but elements are"),
        ({"kind": "dataset"}, "kind 'dataset' needs dataset"),
        ({"kind": "slab", "miller": [0, 0, 0]}, "expected one that is not 0"),
        (
            {"substitute": {"elements": ["Al", "Mg"], "fractions": [1.5]}},
            "numbers from 0 to 1",
        ),
        (
            {"substitute": {"elements": ["Al", "Mg"], "fractions": [0.5], "of": "O"}},
            "no such site",
        ),
    ],
)
def test_wrong_crystals_are_told(change, said, tmp_path):
    with pytest.raises(ConfigError, match=said):
        only(FCC | change, tmp_path)


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ({"elements": ["Al", "Al"], "fractions": [0.5]}, "two different ones"),
        ({"elements": ["Al", "Mg"], "fractions": []}, "there is none"),
        ({"elements": ["Al", "Mg", "Zn"], "fractions": [0.5]}, "two elements alone"),
        ({"elements": ["Al", "Mg"], "fractions": [[0.5, 0.2]]}, "whose sum is 1"),
    ],
)
def test_wrong_compositions_are_told(wanted, said, tmp_path):
    with pytest.raises(ConfigError, match=said):
        only(FCC | {"substitute": wanted}, tmp_path)


MIXED = {"elements": ["Al", "Mg"], "fractions": [0.5]}


@pytest.mark.parametrize(
    ("structure", "said"),
    [
        ({"molecules": {"H2OO": 1}, "density": 1.0}, "'H2OO' is unknown to ASE"),
        ({"molecules": {"H2O": 1}}, "has no size"),
        ({"molecules": {"H2O": 0}, "density": 1.0}, "there is none"),
        ({"molecules": {"H2O": 1}, "substitute": MIXED}, "no sites in molecules"),
        ({"natoms": 4}, "needs one of elements, or substitute"),
        ({"natoms": 4, "substitute": MIXED | {"of": "Al"}}, "no sites to choose"),
        ({"natoms": 4, "elements": ["O"]}, "volume of an atom is not known"),
    ],
)
def test_wrong_liquids_are_told(structure, said, tmp_path):
    with pytest.raises(ConfigError, match=said):
        only({"name": "melt", "kind": "liquid"} | structure, tmp_path)


def test_a_compound_needs_a_size(tmp_path):
    salt = {"name": "B1", "kind": "prototype", "elements": ["Na", "Cl"]}
    with pytest.raises(ConfigError, match="B1 of Na, Cl: has no size"):
        only(salt, tmp_path)
    volumes = {"Na": 15.0, "Cl": 30.0}
    box = only(salt | {"volumes": volumes}, tmp_path).frames.box[0]
    assert np.linalg.det(box) / 8 == pytest.approx(22.5)


def test_densities_of_liquids_are_those_asked_for(tmp_path):
    for made in (
        {"molecules": {"Ar": 8}},
        {"natoms": 8, "elements": ["Ar"]},
    ):
        liquid = {"name": "ar", "kind": "liquid", "density": 1.4} | made
        frame = only(liquid, tmp_path).frames
        volume = abs(np.linalg.det(frame.box[0]))
        assert 8 * 39.95 / volume == pytest.approx(1.4 * 0.602214, rel=1e-3)


def test_open_structures_are_varied_but_not_repeated(tmp_path):
    molecule = Atoms("OH2", [[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]])
    write(tmp_path / "water.xyz", molecule)
    made = {"name": "w", "kind": "file", "files": ["water.xyz"]}
    frame = only(made | {"scale": [1.1], "strain": 0.1}, tmp_path).frames
    np.testing.assert_allclose(frame.coord, 1.1 * molecule.positions)
    with pytest.raises(ConfigError, match="is not periodic, but repeat"):
        only(made | {"repeat": [2, 1, 1]}, tmp_path)


def test_layers_that_are_periodic_in_two_directions_are_told(tmp_path):
    layer = Atoms("C", cell=[2.5, 2.5, 10], pbc=(True, True, False))
    write(tmp_path / "layer.extxyz", layer)
    made = {"name": "l", "kind": "file", "files": ["layer.extxyz"]}
    with pytest.raises(ConfigError, match="periodic in some directions only"):
        only(made, tmp_path)
