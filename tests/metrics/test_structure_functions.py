"""Radial and angular distribution functions on cases with known answers (E3)."""

import numpy as np
import pytest

from dpbench.metrics.adf import adf, adf_error
from dpbench.metrics.periodic import half_shortest, shortest_lattice_vector, unwrapped
from dpbench.metrics.rdf import rdf, rdf_error
from dpbench.metrics.wasserstein import wasserstein

CUBE = np.eye(3) * 9.0
SKEWED = np.array([[9.0, 0, 0], [8.0, 8.0, 0], [-7.0, 4.0, 9.0]])


def boxes(cell, nframes):
    return np.repeat(cell[None], nframes, axis=0)


@pytest.mark.parametrize("cell", [CUBE, SKEWED], ids=["cube", "skewed"])
@pytest.mark.parametrize("natoms", [4, 30])
def test_an_ideal_gas_has_g_of_one_within_its_noise(cell, natoms):
    """E3. Every bin is within five standard errors, the mean within three."""
    rng = np.random.default_rng(7)
    nframes = 30_000 // natoms**2
    coord = rng.random((nframes, natoms, 3)) @ cell
    r, g = rdf(coord, boxes(cell, nframes), nbins=40)
    volume = abs(np.linalg.det(cell))
    pairs = nframes * natoms * (natoms - 1) / 2
    expected = pairs * 4 * np.pi * r**2 * (r[1] - r[0]) / volume
    off = (g - 1) * np.sqrt(expected)
    assert np.abs(off).max() < 5
    assert abs(np.average(g, weights=expected) - 1) < 3 / np.sqrt(expected.sum())


def fcc(a, copies):
    base = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
    shifts = np.array(list(np.ndindex(copies, copies, copies)))
    return (shifts[:, None] + base).reshape(-1, 3) * a, np.eye(3) * a * copies


def test_shells_of_a_lattice_lie_at_their_distances_with_their_counts():
    """E3. fcc: 12 neighbours at a/sqrt(2), 6 at a, 24 at a sqrt(3/2)."""
    coord, cell = fcc(4.0, 3)
    r, g = rdf(coord[None], boxes(cell, 1), nbins=1201)
    shells = r[g > 0]
    radii = 4.0 * np.sqrt([0.5, 1.0, 1.5, 2.0])
    np.testing.assert_allclose(shells, radii, atol=(r[1] - r[0]))
    edge = (r[1] - r[0]) / 2
    volume = 4 / 3 * np.pi * ((r + edge) ** 3 - (r - edge) ** 3)
    density = (len(coord) - 1) / np.linalg.det(cell)
    counts = (g * volume * density)[g > 0]
    np.testing.assert_allclose(counts, [12, 6, 24, 12], rtol=1e-9)


def test_a_skewed_cell_of_the_same_lattice_gives_the_same_g():
    """Another basis of one lattice changes nothing but which images are nearest."""
    coord, cell = fcc(4.0, 2)
    skew = np.array([[1, 0, 0], [2, 1, 0], [-1, 3, 1]]) @ cell
    r, g = rdf(coord[None], boxes(cell, 1), nbins=200)
    same, other = rdf(coord[None], boxes(skew, 1), nbins=200)
    np.testing.assert_allclose(same, r)
    np.testing.assert_allclose(other, g)


def test_the_largest_radius_is_half_the_shortest_lattice_vector_not_row():
    """Rows of a skewed cell are all longer than a combination of them."""
    skew = np.array([[1, 0, 0], [2, 1, 0], [-1, 3, 1]]) @ (np.eye(3) * 5.0)
    assert np.linalg.norm(skew, axis=1)[1:].min() > 11
    assert shortest_lattice_vector(skew[[1, 2, 0]]) == pytest.approx(5.0)
    assert half_shortest(boxes(skew, 2)) == pytest.approx(2.5)
    thin = np.array([[10.0, 0, 0], [9.0, 1.0, 0], [0, 0, 10.0]])
    assert shortest_lattice_vector(thin) == pytest.approx(np.sqrt(2))


def test_beyond_half_the_cell_all_images_count_but_an_atoms_own():
    coord, cell = fcc(4.0, 1)
    _, near = rdf(coord[None], boxes(cell, 1), nbins=100)
    assert not near.any()  # 2.83 Å is beyond half of 4 Å
    r, g = rdf(coord[None], boxes(cell, 1), r_max=3.5, nbins=700)
    assert r[g > 0] == pytest.approx([np.sqrt(8)], abs=0.005)
    edge = (r[1] - r[0]) / 2
    shell = 4 / 3 * np.pi * ((r + edge) ** 3 - (r - edge) ** 3)
    assert (g * shell)[g > 0] * 3 / 64 == pytest.approx([12])


def test_pairs_of_two_kinds_are_counted_alone():
    coord = np.array([[[0, 0, 0], [2.0, 0, 0], [0, 3.0, 0]]])
    first, second = np.array([True, False, False]), np.array([False, True, False])
    r, g = rdf(coord, boxes(CUBE, 1), nbins=450, chosen=(first, second))
    assert r[g > 0] == pytest.approx([2.0], abs=0.01)


def test_error_of_rdf_is_zero_for_the_same_and_full_for_an_ideal_gas():
    r = np.linspace(0.01, 5, 500)
    g = 1 + np.exp(-((r - 2.5) ** 2) / 0.02)
    assert rdf_error(r, g, g) == 0
    assert rdf_error(r, g, np.ones_like(g)) == pytest.approx(100)
    half = 1 + (g - 1) / 2
    assert rdf_error(r, g, half) == pytest.approx(50)
    assert rdf_error(r, np.ones_like(g), g) is None
    assert rdf_error(r, np.zeros_like(g), g) is None
    with pytest.raises(ValueError, match="prediction"):
        rdf_error(r, g, -g)


def test_no_pair_is_refused():
    with pytest.raises(ValueError, match="one pair"):
        rdf(np.zeros((1, 1, 3)), boxes(CUBE, 1))


def test_angles_of_a_tetrahedron_and_of_a_line():
    """E3. 109.47 degrees six times; 180 once."""
    corners = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) / np.sqrt(3)
    coord = np.concatenate([np.zeros((1, 3)), corners])[None]
    angle, density = adf(coord, None, cutoff=np.full((5, 5), 1.1))
    assert angle[density > 0] == pytest.approx([109.5], abs=0.5)
    line = np.array([[[0.0, 0, 0], [1.0, 0, 0], [2.0, 0, 0]]])
    angle, density = adf(line, None, cutoff=np.full((3, 3), 1.1))
    assert angle[density > 0] == pytest.approx([179.5])
    assert adf(line, None, cutoff=np.full((3, 3), 0.5)) is None


def test_bonds_to_images_count_in_a_cell_of_few_atoms():
    """fcc in its cell of four atoms has the angles of a large cell."""
    coord, cell = fcc(4.0, 1)
    large, wide = fcc(4.0, 3)
    few = adf(coord[None], boxes(cell, 1), cutoff=np.full((4, 4), 3.0), nbins=91)
    many = adf(large[None], boxes(wide, 1), cutoff=np.full((108, 108), 3.0), nbins=91)
    np.testing.assert_allclose(few[1], many[1])
    counted = few[1] / few[1].sum() * 66  # angles of an atom
    angles = few[0][counted > 0.5]
    assert angles == pytest.approx([60, 90, 120, 180], abs=1.1)


def test_neighbours_at_random_have_the_density_of_a_sine():
    rng = np.random.default_rng(5)
    arms = rng.normal(size=(2000, 12, 3))
    arms /= np.linalg.norm(arms, axis=2)[:, :, None]
    coord = np.concatenate([np.zeros((2000, 1, 3)), arms], axis=1)
    only = np.zeros((13, 13))
    only[0] = 1.1
    angle, density = adf(coord, None, cutoff=only, nbins=18)
    expected = -np.diff(np.cos(np.radians(np.linspace(0, 180, 19)))) / 2 / 10
    np.testing.assert_allclose(density, expected, rtol=0.07)
    sharp = np.where(np.abs(angle - 105) < 5, 1.0, 0)
    assert adf_error(angle, sharp, expected) == pytest.approx(100, abs=3)
    assert adf_error(angle, sharp, sharp) == 0


def test_error_of_adf_grows_with_the_shift_of_a_peak():
    angle = np.arange(0.5, 180)

    def peak(at):
        return np.exp(-((angle - at) ** 2) / 8)

    errors = [
        adf_error(angle, peak(109), peak(109 + shift)) for shift in (0, 5, 15, 25)
    ]
    assert errors[0] == 0
    assert errors == sorted(errors)
    assert errors[3] > 1.5 * errors[2] > 0


def test_wasserstein_is_the_shift_of_a_peak():
    grid = np.arange(100.0)
    first, second = (grid == 20).astype(float), 3.0 * (grid == 57)
    assert wasserstein(grid, first, second) == pytest.approx(37)
    assert wasserstein(grid, first, first) == 0
    with pytest.raises(ValueError, match="masses"):
        wasserstein(grid, first, np.zeros(100))


def test_paths_are_followed_across_faces():
    rng = np.random.default_rng(0)
    start = rng.random((6, 3)) @ SKEWED
    path = start + np.cumsum(rng.normal(scale=0.3, size=(200, 6, 3)), axis=0)
    inverse = np.linalg.inv(SKEWED)
    wrapped = path - np.floor(path @ inverse) @ SKEWED
    found = unwrapped(wrapped, boxes(SKEWED, 200))
    np.testing.assert_allclose(found - found[0], path - path[0], atol=1e-9)
    np.testing.assert_array_equal(unwrapped(path, None), path)
