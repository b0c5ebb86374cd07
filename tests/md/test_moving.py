"""One moving structure: plain and compressed models, exact or from tables."""

import logging

import numpy as np
import pytest

from dpbench.errors import ModelError
from dpbench.md.moving import EXACT, TABULATED, MovingStructure, fastest, way_of
from dpbench.md.skin import Geometry
from dpbench.models.compressed import CompressedPotential, TableSettings, compress
from tests.models.structures import BOX, model, moved, predict, water

TABLE_ERROR = 1e-5


def geometry_of(frames):
    return Geometry(
        z=frames.z,
        coord=np.array(frames.coord),
        box=np.array(frames.box[0]),
        pbc=np.array(frames.pbc[0]),
    )


def test_a_plain_model_is_tabulated_and_stays_near():
    frames, potential = water(natoms=30, box=2 * BOX), model()
    exact = predict(frames, potential)
    found = {
        is_exact: MovingStructure(potential, skin=1.0, is_exact=is_exact).evaluate(
            geometry_of(frames)
        )
        for is_exact in (True, False)
    }
    np.testing.assert_array_equal(found[True].force, exact.force)
    error = float((found[False].force - exact.force).abs().max())
    assert 0 < error < TABLE_ERROR
    assert way_of(potential) == EXACT
    assert way_of(fastest(potential)) == TABULATED


def test_a_compressed_model_is_taken_as_it_is():
    compressed = compress(model(), TableSettings(intervals=16))
    assert fastest(compressed) is compressed
    frames = water()
    found = MovingStructure(compressed, skin=0.0).evaluate(geometry_of(frames))
    np.testing.assert_allclose(
        found.force, predict(frames, compressed).force, atol=1e-12
    )


def test_the_reference_kernels_leave_a_plain_model_exact(monkeypatch):
    monkeypatch.setenv("DPBENCH_KERNELS", "inference=reference")
    potential = model()
    assert fastest(potential) is potential
    monkeypatch.delenv("DPBENCH_KERNELS")
    assert isinstance(fastest(potential), CompressedPotential)


@pytest.mark.parametrize("is_exact", [True, False])
def test_more_neighbours_than_slots_name_the_atom(is_exact):
    potential = model(sel=(1, 2))
    structure = MovingStructure(potential, skin=0.5, is_exact=is_exact)
    with pytest.raises(ModelError, match=r"atom 3 \(O\): has 8 H within"):
        structure.evaluate(geometry_of(water()))


def test_neighbours_beyond_the_slots_are_dropped_as_asked():
    """DeePMD-kit's truncation, with tables as with the nets."""
    potential, geometry = model(sel=(1, 2)), geometry_of(water())
    found = [
        MovingStructure(
            potential, skin=0.5, is_exact=is_exact, sel_overflow="deepmd"
        ).evaluate(geometry)
        for is_exact in (True, False)
    ]
    np.testing.assert_allclose(found[0].force, found[1].force, atol=TABLE_ERROR)


def test_a_lost_atom_is_named():
    frames = water()
    coord = np.array(frames.coord)
    structure = MovingStructure(model(), skin=1.0)
    structure.evaluate(geometry_of(frames))
    coord[7, 2] = np.nan
    with pytest.raises(ModelError, match="atom 7 is at"):
        structure.evaluate(geometry_of(moved(frames, coord=coord)))


@pytest.mark.parametrize("overflow", ["error", "deepmd"])
def test_pairs_beyond_the_table_are_warned_of_once(caplog, overflow):
    """By the kernels with a list of their own, and by batches."""
    frames = water(natoms=2, box=None)
    coord = np.array([[0.0, 0, 0], [0.4, 0, 0]])
    structure = MovingStructure(model(), skin=1.0, sel_overflow=overflow)
    with caplog.at_level(logging.WARNING, logger="dpbench.md.moving"):
        for _ in range(2):
            structure.evaluate(geometry_of(moved(frames, coord=coord)))
    assert [r.message.split(";")[0] for r in caplog.records] == [
        "2 edges are shorter than the tables of the model reach"
    ]
